// JSON with positions: every key and value remembers its line, so that a diagnostic can point at it.
// Stricter than JSON.parse: a duplicate key is an error, because one of the two would be silently lost.
import { DiagnosticError, type Span } from "../../ir/diagnostic.ts";
import { badJson } from "./diagnostics.ts";

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** A parsed text: its value, and where each path ("rope_scaling.factor") and its key stand. */
export interface Document {
  file: string;
  value: Json;
  /** Span of the value at a path; "" is the whole. */
  spanOf(path: string): Span | undefined;
  /** Span of the key of a path. */
  keySpanOf(path: string): Span | undefined;
}

/** Longer lines are not quoted in diagnostics. */
const LONGEST_LINE = 300;

interface Range {
  from: number;
  to: number;
}

/** Parses `text`; throws DSC1001 at the first thing that is not JSON. */
export function parseJson(text: string, file: string): Document {
  const values = new Map<string, Range>();
  const keys = new Map<string, Range>();
  let at = 0;
  const fail = (problem: string, from = at, to = from + 1): never => {
    throw new DiagnosticError(badJson(problem, spanAt(text, file, from, to)));
  };
  const space = (): void => {
    while (at < text.length && " \t\r\n".includes(text[at])) at++;
  };
  const literal = (re: RegExp): string | undefined => {
    re.lastIndex = at;
    const m = re.exec(text);
    if (m) at = re.lastIndex;
    return m?.[0];
  };
  const readString = (): string => {
    const from = at;
    const raw =
      literal(/"(?:[ !#-[\]-\uffff]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y) ?? fail("expected a string in double quotes");
    try {
      return JSON.parse(raw) as string;
    } catch {
      return fail("malformed string", from, at);
    }
  };
  const read = (path: string, depth: number): Json => {
    if (depth > 64) fail("nested deeper than 64 levels");
    space();
    const from = at;
    const v = readValue(path, depth);
    values.set(path, { from, to: at });
    return v;
  };
  const readValue = (path: string, depth: number): Json => {
    const c = text[at];
    if (c === "{") {
      at++;
      const out: { [key: string]: Json } = {};
      space();
      while (text[at] !== "}") {
        space();
        const from = at;
        const key = readString();
        const inner = path ? `${path}.${key}` : key;
        if (Object.hasOwn(out, key)) fail(`the key ${JSON.stringify(key)} stands here a second time`, from, at);
        keys.set(inner, { from, to: at });
        space();
        if (text[at] !== ":") fail("expected : after the key");
        at++;
        Object.defineProperty(out, key, { value: read(inner, depth + 1), enumerable: true, writable: true, configurable: true });
        space();
        if (text[at] === ",") {
          at++;
          space();
          if (text[at] === "}") fail("a comma before } is not JSON", at - 1);
        } else if (text[at] !== "}") fail("expected , or }");
      }
      at++;
      return out;
    }
    if (c === "[") {
      at++;
      const out: Json[] = [];
      space();
      while (text[at] !== "]") {
        out.push(read(`${path}.${out.length}`, depth + 1));
        space();
        if (text[at] === ",") {
          at++;
          space();
          if (text[at] === "]") fail("a comma before ] is not JSON", at - 1);
        } else if (text[at] !== "]") fail("expected , or ]");
      }
      at++;
      return out;
    }
    if (c === '"') return readString();
    const word = literal(/true|false|null/y);
    if (word) return word === "null" ? null : word === "true";
    const number = literal(/-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?/y);
    if (number !== undefined) return Number(number);
    return fail(at >= text.length ? "the text ends in the middle" : `${JSON.stringify(c)} begins no value`);
  };
  if (text.charCodeAt(0) === 0xfeff) at = 1;
  const value = read("", 0);
  space();
  if (at < text.length) fail("there is more text after the value");
  const spanOf = (map: Map<string, Range>) => (path: string) => {
    const r = map.get(path);
    return r && spanAt(text, file, r.from, r.to);
  };
  return { file, value, spanOf: spanOf(values), keySpanOf: spanOf(keys) };
}

function spanAt(text: string, file: string, from: number, to: number): Span {
  const start = from === 0 ? 0 : text.lastIndexOf("\n", from - 1) + 1;
  const end = text.indexOf("\n", from);
  const line = text.slice(start, end < 0 ? undefined : end).replace(/\r$/, "");
  const length = Math.max(1, Math.min(to, start + line.length) - from);
  const span = { file, line: text.slice(0, start).split("\n").length, column: from - start + 1, length };
  // A minified config is one long line: the place is still said, the line not shown.
  return line.length > LONGEST_LINE ? span : { ...span, text: line };
}
