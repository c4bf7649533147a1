// Where something stands in a JSON text: the value at a path, or the first character that no JSON has. JSON.parse says neither,
// and is an order of magnitude faster: this is for the moment when something is wrong already.
import type { Span } from "../ir/diagnostic.ts";

export type JsonPath = readonly (string | number)[];

/** Lines longer than this are not quoted in a diagnostic. */
const LONGEST_LINE = 300;

/** A text that is not ours goes to the terminal without characters that move its cursor. */
// oxlint-disable-next-line no-control-regex
const printable = (text: string): string => text.replace(/[\x00-\x1f\x7f-\x9f]/g, " ");

/** The line and column of an offset, with the line where it is short enough to show. */
export function spanAt(file: string, text: string, from: number, to = from + 1): Span {
  const start = from === 0 ? 0 : text.lastIndexOf("\n", from - 1) + 1;
  const end = text.indexOf("\n", from);
  const line = printable(text.slice(start, end < 0 ? undefined : end).replace(/\r$/, ""));
  let number = 1;
  for (let at = text.indexOf("\n"); at >= 0 && at < start; at = text.indexOf("\n", at + 1)) number++;
  const length = Math.max(1, Math.min(to, start + line.length) - from);
  const column = Math.min(from - start, line.length) + 1;
  return { file, line: number, column, length, ...(line.length > LONGEST_LINE ? {} : { text: line }) };
}

interface Level {
  /** The next index of a list; undefined in an object. */
  index: number | undefined;
  /** How many words of the path lead here, or -1 off the path. */
  matched: number;
}

const STRING = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;
const SCALAR = /(?:true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?)(?![\w.])/y;

/** Reads a JSON text without keeping values, to the value at `path` or the first fault. No recursion: depth costs memory only. */
export function findInJson(text: string, path: JsonPath | undefined): { from: number; to: number; problem?: string } {
  const levels: Level[] = [];
  let at = text.charCodeAt(0) === 0xfeff ? 1 : 0;
  let target: { from: number; level: number } | undefined;
  const space = (): void => {
    while (at < text.length && " \t\r\n".includes(text[at])) at++;
  };
  const fault = (problem: string): { from: number; to: number; problem: string } => ({
    from: Math.min(at, text.length),
    to: at + 1,
    problem: at >= text.length ? "the text ends in the middle" : problem,
  });
  const take = (re: RegExp): string | undefined => {
    re.lastIndex = at;
    const m = re.exec(text)?.[0];
    if (m !== undefined) at += m.length;
    return m;
  };
  // The word of the path that a value is at: -1 off the path, path.length at its end.
  let matched = path ? 0 : -1;
  for (;;) {
    space();
    const from = at;
    if (path && matched === path.length) target ??= { from, level: levels.length };
    let opened = false;
    if (text[at] === "{" || text[at] === "[") {
      levels.push({ index: text[at] === "[" ? 0 : undefined, matched });
      at++;
      space();
      opened = text[at] !== (levels.at(-1)!.index === undefined ? "}" : "]");
    } else if (text[at] === '"' ? take(STRING) === undefined : take(SCALAR) === undefined) return fault("no value begins so");
    // Ends of values, until another one is due.
    while (!opened) {
      const level = levels.at(-1);
      if (target && target.level === levels.length) return { from: target.from, to: at };
      space();
      if (level === undefined) return at < text.length ? fault("there is more text after the value") : { from, to: at };
      const close = level.index === undefined ? "}" : "]";
      if (text[at] === close) {
        at++;
        levels.pop();
      } else if (text[at] === ",") {
        at++;
        space();
        if (text[at] === close) {
          at--;
          while (text[at] !== ",") at--;
          return fault(`a comma before ${close} is not JSON`);
        }
        if (level.index !== undefined) level.index++;
        opened = true;
      } else return fault(`a comma or ${close} was expected`);
    }
    const level = levels.at(-1)!;
    const on = path !== undefined && level.matched >= 0 && level.matched < path.length;
    if (level.index === undefined) {
      const key = take(STRING);
      if (key === undefined) return fault("a key in double quotes was expected");
      space();
      if (text[at] !== ":") return fault("a colon was expected");
      at++;
      matched = on && JSON.parse(key) === path[level.matched] ? level.matched + 1 : -1;
    } else matched = on && level.index === path[level.matched] ? level.matched + 1 : -1;
  }
}
