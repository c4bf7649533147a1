// Which numbers of a kernel's text come of which fields of its problem. The kernel is printed again with one field at another value:
// a number that is another one then is made of that field, and no other number is. Where no other value of a field suits the rest, a
// second field makes room for it, and the two texts that are compared differ in the one alone.
import { meet, numbered, type At, type Numbered, type Place } from "./aligned.ts";
import type { Fields, FieldOrigin } from "./fields.ts";
import { leavesOf } from "./fields.ts";

/** A number in a line: as it stands in the text, and the column of its first letter, from 1. */
export interface Numeral extends Place {
  /** The fields of the problem that it is made of; none of what the kernel's own text says. */
  fields: string[];
}

/** The numbers of a text. */
export interface Numerals {
  /** By line, the first being 0. */
  lines: Numeral[][];
  /** Sizes that the kernel is written for: it can be printed with no other. */
  fixed: string[];
}

/** The same with what its fields are of, at a place that launches the kernel. */
export interface Constant extends Numeral {
  /** In words: "kv_lora_rank + qk_rope_head_dim", "made of pageRows (rows of a page of the cache), r (kv_lora_rank)". */
  from: string;
  keys: string[];
}

type Leaf = number | string | boolean;
type Print = (p: object) => string;
/** A text by its problem; undefined where there is none. */
type Texts = (p: object) => Numbered | undefined;

/** How many other values of a field are looked at, at least: a size may stop growing into a tile. */
const VALUES = 2;

/** The numbers of every line of a text; `print` gives the text of another problem, or throws. */
export function numeralsOf(text: string, problem: object, print: Print): Numerals {
  const own = numbered(text);
  const found = own.numbers.map((line) => line.map((n) => ({ ...n, fields: new Set<string>() })));
  const fixed: string[] = [];
  const texts = textsBy(print);
  for (const [path, value] of leavesOf(problem)) {
    const others = otherValues(value);
    const { of, compared } = changed(
      own,
      others.map((v) => () => texts(withLeaf(problem, path, v))),
    );
    for (const [l, n] of of) found[l][n].fields.add(path);
    if (compared > 0 || typeof value !== "number") continue;
    const beside = besideAnother(problem, path, value, texts);
    if (beside) for (const [l, n] of madeOf(own, beside)) found[l][n].fields.add(path);
    else fixed.push(path);
  }
  return { lines: found.map((line) => line.map((n) => ({ ...n, fields: [...n.fields] }))), fixed };
}

/** The numbers that other texts have otherwise. Texts are asked for until every number has met one of them. */
function changed(own: Numbered, others: readonly (() => Numbered | undefined)[]): { of: At[]; compared: number } {
  const of: At[] = [];
  const met = own.numbers.map((line) => new Uint8Array(line.length));
  let left = own.numbers.reduce((n, line) => n + line.length, 0);
  let compared = 0;
  for (const ask of others) {
    if (compared >= VALUES && left === 0) break;
    const other = ask();
    if (!other) continue;
    compared++;
    meet(own, other, (a, [m, o]) => {
      const [line, index] = a;
      left -= 1 - met[line][index];
      met[line][index] = 1;
      if (own.numbers[line][index].text !== other.numbers[m][o].text) of.push(a);
    });
  }
  return { of, compared };
}

/** Texts of problems that can be printed. */
function textsBy(print: Print): Texts {
  const known = new Map<string, Numbered | undefined>();
  return (p) => {
    const key = JSON.stringify(p);
    if (!known.has(key))
      known.set(
        key,
        printable(() => numbered(print(p))),
      );
    return known.get(key);
  };
}

function printable<T>(print: () => T): T | undefined {
  try {
    return print();
  } catch (e) {
    if (!(e instanceof Error)) throw e;
    return undefined;
  }
}

interface Beside {
  /** Texts of two problems that differ in one field. */
  from: Numbered;
  to: Numbered;
}

/** A problem with another field at another value, and beside it one that differs in this field alone. */
function besideAnother(problem: object, path: string, value: number, texts: Texts): Beside | undefined {
  for (const [other, v] of leavesOf(problem)) {
    if (other === path || typeof v !== "number") continue;
    for (const w of otherValues(v)) {
      const moved = withLeaf(problem, other, w);
      const from = texts(moved);
      if (!from) continue;
      for (const u of otherValues(value)) {
        const to = texts(withLeaf(moved, path, u));
        if (to) return { from, to };
      }
    }
  }
  return undefined;
}

/** The numbers of a text that differ between two others. */
function madeOf(own: Numbered, { from, to }: Beside): At[] {
  const moved = new Set<string>();
  meet(from, to, (a, [m, o]) => {
    if (from.numbers[a[0]][a[1]].text !== to.numbers[m][o].text) moved.add(String(a));
  });
  const out: At[] = [];
  meet(own, from, (at, a) => {
    if (moved.has(String(a))) out.push(at);
  });
  return out;
}

const DTYPES = ["f32", "bf16", "e4m3"];

/** Values to print a field with instead: multiples first, for what divided it then divides still. */
function otherValues(v: Leaf): Leaf[] {
  if (typeof v === "boolean") return [!v];
  if (typeof v === "string") return DTYPES.includes(v) ? DTYPES.filter((d) => d !== v) : [];
  if (!Number.isInteger(v)) return [1.5 * v];
  return [...new Set([2 * v, v / 2, 3 * v, v + 128, v + 64, v + 32, v + 1, v - 1])].filter(
    (n) => Number.isInteger(n) && n >= 0 && n !== v,
  );
}

/** A problem with one leaf at another value. */
function withLeaf(problem: object, path: string, v: Leaf): object {
  const copy = structuredClone(problem) as Record<string, unknown>;
  const keys = path.split(/[.[\]]+/).filter(Boolean);
  let at = copy;
  for (const k of keys.slice(0, -1)) at = at[k] as Record<string, unknown>;
  at[keys.at(-1)!] = v;
  return copy;
}

/** What a number is made of where these are the fields of its kernel's problem; `own` is said of one that no field makes. */
export const constantOf = (n: Numeral, fields: Fields, own: string): Constant => ({
  ...n,
  ...told(n.text, n.fields, fields, own),
});

function told(text: string, of: readonly string[], fields: Fields, own: string): Pick<Constant, "from" | "keys"> {
  if (!of.length) return { from: own, keys: [] };
  const origins = of.map((path): [string, FieldOrigin | undefined] => [path, fields[path]]);
  const keys = [...new Set(origins.flatMap(([, f]) => f?.keys ?? []))];
  const [[path, first]] = origins;
  if (of.length === 1 && first && String(first.value) === text) return { from: first.from, keys };
  const words = origins.map(([p, f]) => `${p}${f ? ` (${f.from})` : ""}`);
  return { from: `made of ${of.length === 1 ? `${path}${first ? ` (${first.from})` : ""}` : words.join(", ")}`, keys };
}
