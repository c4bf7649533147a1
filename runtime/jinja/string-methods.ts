// Methods of str. Those of Python that are not here are refused by name.
import { flag, take, textOr } from "./arguments.ts";
import { spend } from "./budget.ts";
import { failure } from "./errors.ts";
import { wholeOf } from "./numbers.ts";
import { isPrintable } from "./text.ts";
import { Tuple, characters, iterate, typeName, tuple, type Args, type Value } from "./values.ts";

/** What Python takes for white space. */
const SPACES =
  "\t\n\v\f\r\x1c\x1d\x1e\x1f " +
  "\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000";

export function stripped(s: string, chars: string | null, left = true, right = true): string {
  const set = new Set(chars === null ? SPACES : characters(chars));
  const all = characters(s);
  let [from, to] = [0, all.length];
  while (left && from < to && set.has(all[from])) from++;
  while (right && to > from && set.has(all[to - 1])) to--;
  return all.slice(from, to).join("");
}

/** split() without a separator. */
function words(s: string, most = Infinity): string[] {
  const out: string[] = [];
  let rest = stripped(s, null, true, false);
  while (rest !== "") {
    if (out.length >= most) return [...out, rest];
    let end = 0;
    while (end < rest.length && !SPACES.includes(rest[end])) end++;
    out.push(rest.slice(0, end));
    rest = stripped(rest.slice(end), null, true, false);
    spend(1 + rest.length / 16);
  }
  return out;
}

function separated(s: string, sep: string, most: number, fromRight: boolean): string[] {
  if (sep === "") throw failure("empty separator");
  const parts = s.split(sep);
  spend(parts.length);
  if (parts.length - 1 <= most) return parts;
  return fromRight
    ? [parts.slice(0, parts.length - most).join(sep), ...parts.slice(parts.length - most)]
    : [...parts.slice(0, most), parts.slice(most).join(sep)];
}

function split(s: string, args: Args, fromRight: boolean): Value[] {
  const [sep = null, max = -1n] = take("split", args, ["sep", "maxsplit"]);
  const n = wholeOf(max, "maxsplit");
  const most = n < 0 ? Infinity : n;
  if (sep !== null) return separated(s, textOr(sep, "", "sep"), most, fromRight);
  if (!fromRight || most === Infinity) return words(s, most);
  const reversed = words(characters(s).toReversed().join(""), most).map((w) => characters(w).toReversed().join(""));
  return reversed.toReversed();
}

export function lines(s: string, keepEnds = false): string[] {
  const out =
    s.match(
      /[^\n\r\v\f\x1c-\x1e\x85\u2028\u2029]*(?:\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029])|[^\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+$/g,
    ) ?? [];
  spend(out.length);
  return keepEnds ? out : out.map((l) => l.replace(/(?:\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029])$/, ""));
}

export function centered(s: string, width: number, fill = " "): string {
  spend(Math.max(0, width) / 8);
  const missing = width - characters(s).length;
  if (missing <= 0) return s;
  // As Python: the odd one stands left where the width is odd.
  const left = Math.floor(missing / 2) + (missing & width & 1);
  return fill.repeat(left) + s + fill.repeat(missing - left);
}

export function replaced(s: string, old: string, by: string, count = -1): string {
  const parts = old === "" ? ["", ...characters(s), ""] : s.split(old);
  const most = count < 0 ? parts.length - 1 : Math.min(count, parts.length - 1);
  spend(parts.length + (most * by.length) / 8 + s.length / 8);
  if (most === parts.length - 1) return parts.join(by);
  return parts.slice(0, most + 1).join(by) + (most + 1 < parts.length ? old + parts.slice(most + 1).join(old) : "");
}

/** Every letter after one that is none in upper case, the others in lower case. */
const titled = (s: string): string => s.replace(/[\p{L}\p{M}]+/gu, (w) => capital(w));
export const capital = (s: string): string => {
  const [first = "", ...rest] = characters(s);
  return first.toUpperCase() + rest.join("").toLowerCase();
};

/** The part of a text between two indices, as find, count and startswith take them. */
function part(s: string, start: Value | undefined, end: Value | undefined): { text: string; from: number } {
  if ((start ?? null) === null && (end ?? null) === null) return { text: s, from: 0 };
  const all = characters(s);
  const bound = (v: Value | undefined, otherwise: number): number => {
    if ((v ?? null) === null) return otherwise;
    const i = wholeOf(v!, "index");
    return Math.max(0, Math.min(all.length, i < 0 ? i + all.length : i));
  };
  const [from, to] = [bound(start, 0), bound(end, all.length)];
  return { text: all.slice(from, to).join(""), from };
}

function find(s: string, name: string, args: Args, last: boolean, must: boolean): bigint {
  const [sub, start, end] = take(name, args, ["sub", "start", "end"], 1);
  const { text, from } = part(s, start, end);
  const sought = textOr(sub, "", "sub");
  const at = last ? text.lastIndexOf(sought) : text.indexOf(sought);
  if (at < 0 && must) throw failure("substring not found");
  return at < 0 ? -1n : BigInt(characters(text.slice(0, at)).length + from);
}

function affix(s: string, name: string, args: Args, test: (text: string, affix: string) => boolean): boolean {
  const [what, start, end] = take(name, args, ["prefix", "start", "end"], 1);
  const all: Value[] = what instanceof Tuple ? [...what] : [what!];
  const { text } = part(s, start, end);
  return all.some((a) => {
    if (typeof a !== "string") throw failure(`${name} first arg must be str or a tuple of str, not ${typeName(a)}`);
    return test(text, a);
  });
}

function partition(s: string, args: Args, last: boolean): Tuple {
  const sep = textOr(take("partition", args, ["sep"], 1)[0], "", "sep");
  if (sep === "") throw failure("empty separator");
  const at = last ? s.lastIndexOf(sep) : s.indexOf(sep);
  if (at < 0) return last ? tuple("", "", s) : tuple(s, "", "");
  return tuple(s.slice(0, at), sep, s.slice(at + sep.length));
}

function justified(s: string, name: string, args: Args): string {
  const [w, f] = take(name, args, ["width", "fillchar"], 1);
  const width = wholeOf(w!, "width");
  const fill = textOr(f, " ", "the fill character");
  if (characters(fill).length !== 1) throw failure("The fill character must be exactly one character long");
  if (name === "center") return centered(s, width, fill);
  spend(Math.max(0, width) / 8);
  const more = fill.repeat(Math.max(0, width - characters(s).length));
  return name === "ljust" ? s + more : more + s;
}

function joinedBy(sep: string, items: readonly Value[]): string {
  let size = 0;
  items.forEach((x, i) => {
    if (typeof x !== "string") throw failure(`sequence item ${i}: expected str instance, ${typeName(x)} found`);
    size += x.length + sep.length;
  });
  spend(size / 8);
  return items.join(sep);
}

export const isLower = (s: string): boolean => /\p{Lowercase}/u.test(s) && !/\p{Lu}|\p{Lt}/u.test(s);
export const isUpper = (s: string): boolean => /\p{Uppercase}/u.test(s) && !/\p{Ll}|\p{Lt}/u.test(s);

const is =
  (pattern: RegExp) =>
  (s: string): boolean =>
    pattern.test(s);
const none =
  (name: string, f: (s: string) => Value) =>
  (s: string, args: Args): Value => {
    take(name, args, []);
    return f(s);
  };
const strip =
  (name: string, left: boolean, right: boolean) =>
  (s: string, args: Args): Value => {
    const [chars = null] = take(name, args, ["chars"]);
    return stripped(s, chars === null ? null : textOr(chars, "", "chars"), left, right);
  };

const plain: Record<string, (s: string) => Value> = {
  upper: (s) => s.toUpperCase(),
  lower: (s) => s.toLowerCase(),
  casefold: (s) => s.toLowerCase().replaceAll("ß", "ss"),
  capitalize: capital,
  title: titled,
  swapcase: (s) =>
    characters(s)
      .map((c) => (c === c.toLowerCase() ? c.toUpperCase() : c.toLowerCase()))
      .join(""),
  isalpha: is(/^\p{L}+$/u),
  isalnum: is(/^[\p{L}\p{N}]+$/u),
  isascii: (s) => !/[^\0-\x7f]/.test(s),
  isdecimal: is(/^\p{Nd}+$/u),
  isdigit: is(/^[\p{Nd}²³¹⁰⁴-⁹₀-₉①-⑨]+$/u),
  isnumeric: is(/^\p{N}+$/u),
  isidentifier: is(/^[\p{XID_Start}_]\p{XID_Continue}*$/u),
  islower: isLower,
  isupper: isUpper,
  isspace: (s) => s !== "" && stripped(s, null) === "",
  isprintable: (s) => characters(s).every(isPrintable),
  istitle: (s) => /\p{L}/u.test(s) && titled(s) === s,
};

export const stringMethods: Readonly<Record<string, (s: string, args: Args) => Value>> = {
  ...Object.fromEntries(Object.entries(plain).map(([name, f]) => [name, none(name, f)])),
  strip: strip("strip", true, true),
  lstrip: strip("lstrip", true, false),
  rstrip: strip("rstrip", false, true),
  split: (s, args) => split(s, args, false),
  rsplit: (s, args) => split(s, args, true),
  splitlines: (s, args) => lines(s, flag(take("splitlines", args, ["keepends"])[0])),
  replace(s, args) {
    const [old, by, count = -1n] = take("replace", args, ["old", "new", "count"], 2);
    return replaced(s, textOr(old, "", "old"), textOr(by, "", "new"), wholeOf(count, "count"));
  },
  find: (s, args) => find(s, "find", args, false, false),
  rfind: (s, args) => find(s, "rfind", args, true, false),
  index: (s, args) => find(s, "index", args, false, true),
  rindex: (s, args) => find(s, "rindex", args, true, true),
  count(s, args) {
    const [sub, start, end] = take("count", args, ["sub", "start", "end"], 1);
    const { text } = part(s, start, end);
    const sought = textOr(sub, "", "sub");
    return BigInt(sought === "" ? characters(text).length + 1 : text.split(sought).length - 1);
  },
  startswith: (s, args) => affix(s, "startswith", args, (t, a) => t.startsWith(a)),
  endswith: (s, args) => affix(s, "endswith", args, (t, a) => t.endsWith(a)),
  removeprefix(s, args) {
    const a = textOr(take("removeprefix", args, ["prefix"], 1)[0], "", "prefix");
    return s.startsWith(a) ? s.slice(a.length) : s;
  },
  removesuffix(s, args) {
    const a = textOr(take("removesuffix", args, ["suffix"], 1)[0], "", "suffix");
    return a !== "" && s.endsWith(a) ? s.slice(0, -a.length) : s;
  },
  partition: (s, args) => partition(s, args, false),
  rpartition: (s, args) => partition(s, args, true),
  join: (s, args) => joinedBy(s, iterate(take("join", args, ["iterable"], 1)[0]!)),
  center: (s, args) => justified(s, "center", args),
  ljust: (s, args) => justified(s, "ljust", args),
  rjust: (s, args) => justified(s, "rjust", args),
  zfill(s, args) {
    const width = wholeOf(take("zfill", args, ["width"], 1)[0]!, "width");
    spend(Math.max(0, width) / 8);
    const [, sign, rest] = /^([-+]?)([\s\S]*)$/.exec(s)!;
    return sign + "0".repeat(Math.max(0, width - characters(s).length)) + rest;
  },
  expandtabs(s, args) {
    const [size = 8n] = take("expandtabs", args, ["tabsize"]);
    const n = wholeOf(size, "tabsize");
    let column = 0;
    return characters(s)
      .map((c) => {
        if (c === "\n" || c === "\r") column = -1;
        const text = c === "\t" ? " ".repeat(n > 0 ? n - (column % n) : 0) : c;
        spend(text.length / 8);
        column += c === "\t" ? text.length : 1;
        return text;
      })
      .join("");
  },
};

/** Methods Python has and this engine has not. */
export const otherStringMethods = ["encode", "maketrans", "translate"];
