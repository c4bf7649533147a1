// A JSON text with the places of all its keys and values, so that a diagnostic can point at them.
// Stricter than JSON.parse: a duplicate key is an error, because one of the two would be silently lost.
import { DiagnosticError, type Span } from "../../ir/diagnostic.ts";
import { keysTwice, scanJson, spanAt, type Json, type JsonPath, type Range } from "../../ir/json.ts";
import { badJson } from "./diagnostics.ts";

export type { Json } from "../../ir/json.ts";

/** A parsed text: its value, and where each path ("rope_scaling.factor") and its key stand. */
export interface Document {
  file: string;
  value: Json;
  /** Span of the value at a path; "" is the whole. */
  spanOf(path: string): Span | undefined;
  /** Span of the key of a path. */
  keySpanOf(path: string): Span | undefined;
}

/** Deeper than any config, and no danger to what walks its values. */
const DEEPEST = 64;

/** Parses `text`; throws DSC1001 at the first thing that is not JSON. */
export function parseJson(text: string, file: string): Document {
  const values = new Map<string, Range>();
  const keys = new Map<string, Range>();
  const twice = keysTwice();
  const key = (range: Range, path: JsonPath): string | undefined => {
    keys.set(path.join("."), range);
    return twice(path) ? `the key ${JSON.stringify(path.at(-1))} stands here a second time` : undefined;
  };
  const value = (range: Range, path: JsonPath): void => void values.set(path.join("."), range);
  const fault = scanJson(text, { key, value }, DEEPEST);
  if (fault) throw new DiagnosticError(badJson({ problem: fault.problem }, spanAt(file, text, fault.from, fault.to)));
  const spanOf = (places: ReadonlyMap<string, Range>) => (path: string) => {
    const r = places.get(path);
    return r && spanAt(file, text, r.from, r.to);
  };
  return { file, value: JSON.parse(text.replace(/^\ufeff/, "")) as Json, spanOf: spanOf(values), keySpanOf: spanOf(keys) };
}
