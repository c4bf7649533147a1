// Text to ids and back, from the tokenizer.json beside a model. The package that reads it is loaded on first use only,
// so that ids in, ids out needs no tokenizer at all. Also the streaming of text: characters come when they are whole.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import * as diagnostics from "./diagnostics.ts";

export interface Tokenizer {
  /** The folder it was read from. */
  readonly folder: string;
  /** Ids of a text. `special` (the default) adds what the tokenizer adds by itself: a leading <bos>. */
  encode(text: string, options?: { special?: boolean }): number[];
  /** The text of ids; special tokens are left out unless `special`. */
  decode(ids: readonly number[], options?: { special?: boolean }): string;
  /** The id of a token such as "<｜User｜>". */
  id(token: string): number | undefined;
  /** tokenizer_config.json. */
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
    folder,
    // The package takes an empty text for one it was not given.
    encode: (text, { special = true } = {}) => (text || special ? Array.from(inner.encode(text, { add_special_tokens: special }).ids, Number) : []),
    decode: (ids, { special = false } = {}) => (ids.length ? inner.decode([...ids], { skip_special_tokens: !special }) : ""),
    id: (token) => inner.token_to_id(token),
    config,
  };
}

async function readJson(path: string): Promise<Record<string, unknown>> {
  return JSON.parse(await readFile(path, "utf8")) as Record<string, unknown>;
}

/** Ids that are decoded again with every new one, for the text of an id can depend on those before it. */
const CONTEXT = 8;

/** Text of a growing list of ids: `push` gives what is new, holding back an unfinished character. */
export class TextStream {
  private readonly tokenizer: Tokenizer;
  private readonly special: boolean;
  private ids: number[] = [];
  /** Characters of the text of `ids` that were given out. */
  private shown = 0;

  constructor(tokenizer: Tokenizer, options: { special?: boolean } = {}) {
    this.tokenizer = tokenizer;
    this.special = options.special ?? false;
  }

  push(id: number): string {
    this.ids.push(id);
    const text = this.text();
    // Bytes of a character that are not whole yet decode to one U+FFFD; a real one comes with whatever follows it.
    const whole = text.endsWith("\ufffd") ? text.length - 1 : text.length;
    const fresh = text.slice(this.shown, whole);
    this.shown = whole;
    if (whole === text.length && this.ids.length >= 2 * CONTEXT) {
      this.ids = this.ids.slice(-CONTEXT);
      this.shown = this.text().length;
    }
    return fresh;
  }

  /** What was held back: an unfinished character prints as U+FFFD. */
  end(): string {
    const fresh = this.text().slice(this.shown);
    this.shown += fresh.length;
    return fresh;
  }

  private text(): string {
    return this.tokenizer.decode(this.ids, { special: this.special });
  }
}
