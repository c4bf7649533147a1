// generation_config.json: what a checkpoint says of how its answers are chosen and where they end, read as transformers' generate reads
// it. Options a caller gives come before it. What it asks for and dsc cannot do is a warning, once.
import { join } from "node:path";
import type { Diagnostic } from "../ir/diagnostic.ts";
import * as diagnostics from "./diagnostics.ts";
import type { Sampling } from "./sample.ts";
import { shownJson } from "./shown.ts";
import { readSideJson, type Part } from "./side-file.ts";

/** What generation_config.json beside a checkpoint asks for. */
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
const OTHERS_OF_DRAWING: Readonly<Record<string, readonly unknown[]>> = {
  min_p: [0],
  top_h: [1],
  typical_p: [1],
  epsilon_cutoff: [0],
  eta_cutoff: [0],
};

/**
 * What a folder says, or undefined where it has no generation_config.json. Throws DSC5062 with its line where the file cannot
 * be followed.
 */
export async function loadGeneration(folder: string): Promise<Generation | undefined> {
  const settings = await readSideJson(join(folder, "generation_config.json"), diagnostics.badGeneration);
  return settings && generationOf(settings);
}

function generationOf(settings: Part): Generation {
  const number = (key: string, holds: (n: number) => boolean, wanted: string): number | undefined => {
    const part = settings.get(key);
    return part.given ? part.number(holds, wanted) : undefined;
  };
  const length = (key: string): number | undefined => (settings.get(key).given ? settings.get(key).whole(1) : undefined);
  const drawn = settings.get("do_sample").flag(false);
  const topP = number("top_p", (v) => v >= 0 && v <= 1, "a number from 0 to 1");
  const topK = number("top_k", (v) => Number.isSafeInteger(v) && v >= -1, "a whole number; -1 and 0 keep every id");
  const temperature = number("temperature", (v) => v >= 0 && v < Infinity, "a number from 0 up");
  const repeatPenalty = number("repetition_penalty", (v) => v > 0 && v < Infinity, "a number above 0");
  const k = topK === undefined ? (drawn ? TOP_K : undefined) : Math.max(0, topK);
  const drawing: Sampling = {
    temperature: temperature ?? 1,
    // Nothing of the probability is one id of them.
    ...(topP === 0 ? { topK: 1 } : { ...(k === undefined ? {} : { topK: k }), ...(topP === undefined ? {} : { topP }) }),
  };
  const penalty = repeatPenalty === undefined ? {} : { repeatPenalty };
  return {
    eos: idsOf(settings.get("eos_token_id")),
    sampling: { ...(drawn ? drawing : { temperature: 0 }), ...penalty },
    drawing: { ...drawing, ...penalty },
    maxNew: length("max_new_tokens"),
    maxLength: length("max_length"),
    warnings: others(settings, drawn),
  };
}

/** A number or a list of them. An id below 0, which some write for none, never ends anything. */
function idsOf(part: Part): number[] | undefined {
  if (!part.given) return undefined;
  const parts = Array.isArray(part.value) ? part.list() : [part];
  if (parts.length === 0) return undefined;
  return [...new Set(parts.map((p) => p.number(Number.isSafeInteger, "an id, or a list of ids")))].filter((id) => id >= 0);
}

function others(settings: Part, drawn: boolean): Diagnostic[] {
  return Object.entries({ ...OTHERS, ...(drawn ? OTHERS_OF_DRAWING : {}) }).flatMap(([key, neutral]) => {
    const part = settings.get(key);
    const empty = !part.given || (typeof part.value === "object" && Object.keys(part.value as object).length === 0);
    return empty || neutral.includes(part.value)
      ? []
      : [diagnostics.settingNotFollowed({ key, value: shownJson(part.value) }, part.span())];
  });
}
