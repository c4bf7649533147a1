// JSON with positions: where a value or a key stands in a text, and the first character that no JSON has. JSON.parse says neither
// and is an order of magnitude faster, so large texts are read by it, and by this once something is wrong.
import type { Span } from "./diagnostic.ts";

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** Keys and indices from the whole to a value. */
export type JsonPath = readonly (string | number)[];

/** Offsets [from, to) of a text. */
export interface Range {
  from: number;
  to: number;
}

/** What a scan meets; `path` is good during the call only. */
export interface JsonVisitor {
  /** A key that begins a member of an object; a problem that it gives ends the scan. */
  key?(at: Range, path: JsonPath): string | undefined;
  /** The end of a value; true ends the scan. */
  value?(at: Range, path: JsonPath): boolean | void;
}

const STRING = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;
const SCALAR = /(?:true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?)/y;

/**
 * Scans a text, a byte order mark before it or none, and gives its first fault. Without recursion, so that depth costs memory only;
 * what is nested more than `deepest` deep is a fault.
 */
export function scanJson(text: string, visit: JsonVisitor, deepest = Infinity): (Range & { problem: string }) | undefined {
  const open: { close: "}" | "]"; from: number }[] = [];
  const path: (string | number)[] = [];
  let at = text.charCodeAt(0) === 0xfeff ? 1 : 0;
  const space = (): void => {
    while (at < text.length && " \t\r\n".includes(text[at])) at++;
  };
  const take = (re: RegExp): string | undefined => {
    re.lastIndex = at;
    const m = re.exec(text)?.[0];
    if (m !== undefined) at += m.length;
    return m;
  };
  const fault = (problem: string, from = at, to = from + 1): Range & { problem: string } =>
    from >= text.length
      ? { from: text.length, to: text.length + 1, problem: "the text ends in the middle" }
      : { from, to, problem };
  for (;;) {
    space();
    let from = at;
    let ended = true;
    if (text[at] === "{" || text[at] === "[") {
      const close = text[at] === "{" ? "}" : "]";
      open.push({ close, from });
      if (open.length > deepest) return fault(`nested deeper than ${deepest} levels`);
      path.push(0);
      at++;
      space();
      ended = text[at] === close;
      if (ended) {
        at++;
        open.pop();
        path.pop();
      }
    } else if (take(text[at] === '"' ? STRING : SCALAR) === undefined)
      return fault(
        text[at] === '"'
          ? "the string is not closed, or holds what no JSON string has"
          : `${JSON.stringify(text[at])} begins no value`,
      );
    // A value has ended, and perhaps those around it: until another is due.
    while (ended) {
      if (visit.value?.({ from, to: at }, path)) return undefined;
      space();
      const around = open.at(-1);
      if (around === undefined) return at < text.length ? fault("there is more text after the value") : undefined;
      if (text[at] === around.close) {
        at++;
        open.pop();
        path.pop();
        from = around.from;
      } else if (text[at] === ",") {
        const comma = at++;
        space();
        if (text[at] === around.close) return fault(`a comma before ${around.close} is not JSON`, comma);
        if (around.close === "]") path.push(Number(path.pop()) + 1);
        ended = false;
      } else return fault(`expected , or ${around.close}`);
    }
    if (open.at(-1)!.close === "]") continue;
    from = at;
    const key = take(STRING);
    if (key === undefined) return fault("expected a key in double quotes");
    path[path.length - 1] = JSON.parse(key) as string;
    const problem = visit.key?.({ from, to: at }, path);
    if (problem !== undefined) return fault(problem, from, at);
    space();
    if (text[at] !== ":") return fault("expected : after the key");
    at++;
  }
}

/** Where the value at a path stands; undefined where the text has none there, or is no JSON before it. */
export function findInJson(text: string, path: JsonPath): Range | undefined {
  let found: Range | undefined;
  const value = (range: Range, at: JsonPath): boolean => {
    if (at.length === path.length && path.every((word, i) => word === at[i])) found = range;
    return found !== undefined;
  };
  scanJson(text, { value });
  return found;
}

/** For `JsonVisitor.key`: whether the object of a key has had it already. */
export function keysTwice(): (path: JsonPath) => boolean {
  const seen = new Set<string>();
  return (path) => seen.size === seen.add(JSON.stringify(path)).size;
}

/** Lines longer than this, as of a text without line ends, are not quoted in diagnostics. */
const LONGEST_LINE = 300;

/** The line and column of offsets of any text. */
export function spanAt(file: string, text: string, from: number, to = from + 1): Span {
  const start = from === 0 ? 0 : text.lastIndexOf("\n", from - 1) + 1;
  const end = text.indexOf("\n", from);
  const line = text.slice(start, end < 0 ? undefined : end).replace(/\r$/, "");
  let number = 1;
  for (let at = text.indexOf("\n"); at >= 0 && at < start; at = text.indexOf("\n", at + 1)) number++;
  const length = Math.max(1, Math.min(to, start + line.length) - from);
  const column = Math.min(from - start, line.length) + 1;
  return { file, line: number, column, length, ...(line.length > LONGEST_LINE ? {} : { text: line }) };
}
