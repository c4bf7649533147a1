// Tokenizers whose answers are known: folders of model files made of what tokenizer_reference.py writes.
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { loadTokenizer, type Tokenizer } from "../../runtime/tokenizer.ts";

interface Answer {
  ids: number[][];
  /** The text of these ids with special tokens, by index, where it is not the text itself. */
  whole: Record<string, string>;
  /** The same without them, where it is another; null where the library has no such form. */
  plain: Record<string, string> | null;
  long?: { text: string; ids: number[] }[];
}

export interface Reference {
  folder: string;
  names: string[];
  texts(name: string): string[];
  answer(name: string): Answer;
}

export const fixture = path.resolve(import.meta.dirname, "../fixtures/tokenizers");

const read = (folder: string, name: string): never => JSON.parse(readFileSync(path.join(folder, name), "utf8")) as never;

export function readReference(folder: string): Reference {
  const { texts, samples, answers } = read(folder, "answers.json") as {
    texts: string[];
    samples: string[];
    answers: Record<string, Answer>;
  };
  return {
    folder,
    names: Object.keys(answers),
    texts: (name) => (name === "tiktoken" ? samples : texts),
    answer: (name) => answers[name],
  };
}

/** tokenizer.json of a variant, with `own` in place of what it has. */
export function tokenizerJson(folder: string, name: string, own: object = {}): Record<string, unknown> {
  const [which, variant] = (read(folder, "variants.json") as Record<string, [string, object]>)[name];
  const shared = (read(folder, "vocabulary.json") as Record<string, object>)[which];
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    normalizer: null,
    post_processor: null,
    ...variant,
    ...shared,
    ...own,
  };
}

/** Files of a folder: texts and bytes as they are, other things as JSON. */
export type Files = Record<string, object | string | Uint8Array>;

export function folderWith(at: string, files: Files): string {
  mkdirSync(at, { recursive: true });
  for (const [name, content] of Object.entries(files))
    writeFileSync(
      path.join(at, name),
      typeof content === "string" || content instanceof Uint8Array ? content : JSON.stringify(content, null, 1),
    );
  return at;
}

/** The tokenizer of a variant, its files written to a folder below `work`. */
async function tokenizerOf({ folder }: Reference, name: string, work: string): Promise<Tokenizer> {
  const at = path.join(work, name);
  if (name !== "tiktoken") return loadTokenizer(folderWith(at, { "tokenizer.json": tokenizerJson(folder, name) }));
  mkdirSync(at, { recursive: true });
  for (const file of ["tiktoken.model", "tokenizer_config.json"]) copyFileSync(path.join(folder, file), path.join(at, file));
  return loadTokenizer(at);
}

/** What differs from the reference, as text: nothing where all is right. */
export async function differences(reference: Reference, name: string, work: string): Promise<string[]> {
  const tokenizer = await tokenizerOf(reference, name, work);
  const { ids, whole, plain, long } = reference.answer(name);
  const texts = reference.texts(name);
  const out: string[] = [];
  const same = (what: string, text: string, seen: unknown, wanted: unknown): void => {
    if (JSON.stringify(seen) !== JSON.stringify(wanted))
      out.push(`${what} of ${JSON.stringify(text)}: ${JSON.stringify(seen)}, not ${JSON.stringify(wanted)}`);
  };
  for (const [i, text] of texts.entries()) {
    const all = whole[i] ?? text;
    same("ids", text, tokenizer.encode(text, { special: false }), ids[i]);
    same("the text", text, tokenizer.decode(ids[i], { special: true }), all);
    if (plain) same("the text without special tokens", text, tokenizer.decode(ids[i]), plain[i] ?? all);
    const stream = tokenizer.stream({ special: true });
    same("the stream", text, ids[i].map((id) => stream.push(id)).join("") + stream.end(), all);
  }
  for (const { text, ids: wanted } of long ?? [])
    same("ids", text.slice(0, 20), tokenizer.encode(text, { special: false }), wanted);
  return out;
}
