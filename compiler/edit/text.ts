// The parts of a kernel's text that edits care for.
import type { KernelRecord } from "../../ir/artifact.ts";
import type { Span } from "../../ir/diagnostic.ts";
import { spanAt } from "../../ir/json.ts";
import type { Program } from "./machine.ts";

/** What is beneath a tile program in an artifact of the CPU. */
export const LOWERED = ";; lowered:";

/** The part of a kernel's text that a person changes. */
export const ownText = (text: string): string => {
  const at = text.indexOf(`\n${LOWERED}`);
  return at < 0 ? text : `${text.slice(0, at).trimEnd()}\n`;
};

/** A record whose files are an edit's. */
export function edited({ name, record }: Pick<Program, "name" | "record">, text: string, binary?: string): KernelRecord {
  const out = { ...record, text: `edits/${name}.${text}` };
  if (binary !== undefined) out.binary = `edits/${name}.${binary}`;
  return out;
}

/** The first line of a text that begins with a word. */
export function lineOf(text: string, file: string, word: string): Span {
  const at = text.startsWith(word) ? 0 : text.indexOf(`\n${word}`) + 1;
  const end = text.indexOf("\n", at);
  return spanAt(file, text, at, end < 0 ? text.length : end);
}
