// Text to ids and back, from the tokenizer.json beside a model. The package that reads it is loaded on first use only,
// so that ids in, ids out needs no tokenizer at all.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import * as diagnostics from "./diagnostics.ts";

export interface Tokenizer {
  /** Ids of a text, with the special tokens the tokenizer adds by itself (a leading <bos>). */
  encode(text: string): number[];
  /** The text of ids, special tokens left out. */
  decode(ids: readonly number[]): string;
  /** The id of a special token such as "<｜User｜>". */
  id(token: string): number | undefined;
  /** tokenizer_config.json, for its chat_template. */
  config: Record<string, unknown>;
}

/** Reads tokenizer.json (and tokenizer_config.json, where present) of a folder. */
export async function loadTokenizer(folder: string): Promise<Tokenizer> {
  const json = await readJson(join(folder, "tokenizer.json")).catch((e: Error) => {
    throw diagnostics.noTokenizer(folder, e.message);
  });
  const config = await readJson(join(folder, "tokenizer_config.json")).catch(() => ({}));
  const { Tokenizer } = await import("@huggingface/tokenizers").catch((e: Error) => {
    throw diagnostics.noTokenizerPackage(e.message);
  });
  let inner: InstanceType<typeof Tokenizer>;
  try {
    inner = new Tokenizer(json, config);
  } catch (e) {
    throw diagnostics.noTokenizer(folder, `tokenizer.json is not understood: ${(e as Error).message}`);
  }
  return {
    encode: (text) => Array.from(inner.encode(text).ids, Number),
    decode: (ids) => inner.decode([...ids], { skip_special_tokens: true }),
    id: (token) => inner.token_to_id(token),
    config,
  };
}

async function readJson(path: string): Promise<Record<string, unknown>> {
  return JSON.parse(await readFile(path, "utf8")) as Record<string, unknown>;
}

/** Text of a growing list of ids: `push` gives what is new, holding back bytes of an unfinished character. */
export class TextStream {
  private readonly tokenizer: Tokenizer;
  private readonly ids: number[] = [];
  private shown = "";

  constructor(tokenizer: Tokenizer) {
    this.tokenizer = tokenizer;
  }

  push(id: number): string {
    this.ids.push(id);
    const text = this.tokenizer.decode(this.ids);
    if (text.endsWith("\ufffd")) return "";
    const fresh = text.slice(this.shown.length);
    this.shown = text;
    return fresh;
  }
}
