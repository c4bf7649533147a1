// generation_config.json: what a checkpoint says of how its answers are chosen and where they end, read as transformers' generate reads
// it. Options a caller gives come before it. What it asks for and dsc cannot do is a warning, once.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Diagnostic, Span } from "../ir/diagnostic.ts";
import * as diagnostics from "./diagnostics.ts";
import type { Sampling } from "./sample.ts";
import { shown } from "./side-file.ts";

export interface Generation {
  /** Ids that end an answer; undefined where the file names none, and config.json counts. */
  eos: readonly number[] | undefined;
  /** How ids are chosen: temperature 0 unless it says do_sample. */
  sampling: Sampling;
  /** What the file says of drawing, for a caller who wants to draw where the file does not: top-k, top-p and temperature. */
  drawing: Sampling;
  /** New ids of an answer, at most. */
  maxNew: number | undefined;
  /** Ids of prompt and answer together, at most. */
  maxLength: number | undefined;
  /** Settings that would change the answer and are not followed. */
  warnings: readonly Diagnostic[];
}

/** transformers draws from so many ids where a file that draws does not say. */
const TOP_K = 50;

type Settings = Readonly<Record<string, unknown>>;

/** Settings that change the answer and that dsc has not; the value is what leaves the answer as it is. */
const OTHERS: Readonly<Record<string, readonly unknown[]>> = {
  num_beams: [1],
  num_beam_groups: [1],
  num_return_sequences: [1],
  penalty_alpha: [0],
  min_length: [0],
  min_new_tokens: [0],
  no_repeat_ngram_size: [0],
  encoder_no_repeat_ngram_size: [0],
  encoder_repetition_penalty: [1],
  bad_words_ids: [],
  sequence_bias: [],
  suppress_tokens: [],
  begin_suppress_tokens: [],
  forced_bos_token_id: [],
  forced_eos_token_id: [],
  forced_decoder_ids: [],
  exponential_decay_length_penalty: [],
  guidance_scale: [1],
  stop_strings: [],
  dola_layers: [],
  watermarking_config: [],
  token_healing: [false],
  max_time: [],
};
/** The same, of those that count only where ids are drawn. */
const OTHERS_OF_DRAWING: Readonly<Record<string, readonly unknown[]>> = { min_p: [0], top_h: [1], typical_p: [1], epsilon_cutoff: [0], eta_cutoff: [0] };

/** What a folder says, or undefined where it has no generation_config.json. Throws DSC5062 with its line where the file cannot be followed. */
export async function loadGeneration(folder: string): Promise<Generation | undefined> {
  const file = join(folder, "generation_config.json");
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (e) {
    if ((e as NodeJS.ErrnoException).code === "ENOENT" || (e as NodeJS.ErrnoException).code === "ENOTDIR") return undefined;
    throw diagnostics.badGeneration({ file, line: 0, column: 0 }, `${file} cannot be read`, (e as Error).message);
  }
  return new Reader(file, text).generation();
}

class Reader {
  private readonly file: string;
  private readonly text: string;
  private readonly settings: Settings;

  constructor(file: string, text: string) {
    this.file = file;
    this.text = text;
    let value: unknown;
    try {
      value = JSON.parse(text.replace(/^\ufeff/, ""));
    } catch (e) {
      const at = /position (\d+)/.exec((e as Error).message);
      throw diagnostics.badGeneration(this.spanAt(at ? Number(at[1]) : 0, 1), `${file} is no JSON`, (e as Error).message);
    }
    if (typeof value !== "object" || value === null || Array.isArray(value)) throw diagnostics.badGeneration(this.spanAt(0, 1), `${file} is no JSON object`, "settings are keys of an object");
    this.settings = value as Settings;
  }

  generation(): Generation {
    const drawn = this.flag("do_sample") ?? false;
    const topP = this.number("top_p", (v) => v >= 0 && v <= 1, "a number from 0 to 1");
    const topK = this.number("top_k", (v) => Number.isSafeInteger(v) && v >= -1, "a whole number; -1 and 0 keep every id");
    const temperature = this.number("temperature", (v) => v >= 0, "a number from 0 up");
    const repeatPenalty = this.number("repetition_penalty", (v) => v > 0, "a number above 0");
    const k = topK === undefined ? (drawn ? TOP_K : undefined) : Math.max(0, topK);
    const drawing: Sampling = {
      temperature: temperature ?? 1,
      // Nothing of the probability is one id of them.
      ...(topP === 0 ? { topK: 1 } : { ...(k === undefined ? {} : { topK: k }), ...(topP === undefined ? {} : { topP }) }),
    };
    return {
      eos: this.eos(),
      sampling: { ...(drawn ? drawing : { temperature: 0 }), ...(repeatPenalty === undefined ? {} : { repeatPenalty }) },
      drawing: { ...drawing, ...(repeatPenalty === undefined ? {} : { repeatPenalty }) },
      maxNew: this.number("max_new_tokens", (v) => Number.isSafeInteger(v) && v >= 1, "a whole number from 1 up"),
      maxLength: this.number("max_length", (v) => Number.isSafeInteger(v) && v >= 1, "a whole number from 1 up"),
      warnings: this.others(drawn),
    };
  }

  /** A number or a list of them. An id below 0, which some write for none, never ends anything. */
  private eos(): number[] | undefined {
    const value = this.settings.eos_token_id;
    if (value === undefined || value === null) return undefined;
    const list: unknown[] = Array.isArray(value) ? value : [value];
    if (list.length === 0) return undefined;
    if (!list.every((id) => typeof id === "number" && Number.isSafeInteger(id))) throw this.wrong("eos_token_id", "an id, or a list of ids");
    return [...new Set(list as number[])].filter((id) => id >= 0);
  }

  private number(key: string, good: (v: number) => boolean, wanted: string): number | undefined {
    const value = this.settings[key];
    if (value === undefined || value === null) return undefined;
    if (typeof value !== "number" || !Number.isFinite(value) || !good(value)) throw this.wrong(key, wanted);
    return value;
  }

  private flag(key: string): boolean | undefined {
    const value = this.settings[key];
    if (value === undefined || value === null) return undefined;
    if (typeof value !== "boolean") throw this.wrong(key, "true or false");
    return value;
  }

  private others(drawn: boolean): Diagnostic[] {
    const found = Object.entries({ ...OTHERS, ...(drawn ? OTHERS_OF_DRAWING : {}) }).filter(([key, neutral]) => {
      const value = Object.hasOwn(this.settings, key) ? this.settings[key] : undefined;
      const empty = value === undefined || value === null || (typeof value === "object" && Object.keys(value).length === 0);
      return !empty && !neutral.includes(value);
    });
    return found.map(([key]) => diagnostics.settingNotFollowed(this.spanOf(key), key, shown(this.settings[key])));
  }

  private wrong(key: string, wanted: string): Error {
    return diagnostics.badGeneration(this.spanOf(key), `${key} of generation_config.json is ${shown(this.settings[key])}`, `it is ${wanted}`);
  }

  private spanOf(key: string): Span {
    const at = this.text.search(new RegExp(`"${key}"\\s*:`));
    return this.spanAt(Math.max(0, at), key.length + 2);
  }

  // oxlint-disable-next-line no-control-regex
  private spanAt(offset: number, length: number): Span {
    const before = this.text.slice(0, offset).split("\n");
    const text = this.text.split("\n")[before.length - 1].replace(/\r$/, "");
    const column = before.at(-1)!.length + 1;
    return { file: this.file, line: before.length, column, length, ...(text.length > 160 || column > text.length ? {} : { text: text.replace(/[\x00-\x1f\x7f-\x9f]/g, " ") }) };
  }
}
