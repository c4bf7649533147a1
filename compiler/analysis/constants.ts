// Which numbers of a kernel's text come of which fields of its problem. The kernel is printed again with one field at another value:
// a number that is another one then is made of that field, and no other number is.
import { pairs } from "./pairs.ts";
import type { Fields, FieldOrigin } from "./fields.ts";
import { leavesOf } from "./fields.ts";

/** A number in a line. */
export interface Numeral {
  /** As it stands in the text, and the column of its first letter, from 1. */
  text: string;
  column: number;
  /** The fields of the problem that it is made of; none of what the kernel's own text says. */
  fields: string[];
}

/** The same with what its fields are of, at a place that launches the kernel. */
export interface Constant extends Numeral {
  /** In words: "kv_lora_rank + qk_rope_head_dim", "made of pageRows (rows of a page of the cache), r (kv_lora_rank)". */
  from: string;
  keys: string[];
}

/** A number in code: not part of a name, not of a comment's words. */
const NUMBER = /(?<![\w.$])(?:0x[\da-fA-F]+|\d+(?:\.\d+)?(?:e[+-]?\d+)?)(?=f?\b|\b|f\b)/g;

const masked = (line: string): string => line.replaceAll(NUMBER, "#");
const numbersIn = (line: string): { text: string; column: number }[] =>
  [...line.matchAll(NUMBER)].map((m) => ({ text: m[0], column: m.index + 1 }));

/** The numbers of every line of a text, by line (the first is 0); `print` gives the text of another problem, or throws. */
export function numeralsOf(text: string, problem: object, print: (p: object) => string): Numeral[][] {
  const lines = text.split("\n");
  const found = lines.map((l) => numbersIn(l).map((n) => ({ ...n, fields: new Set<string>() })));
  const shapes = lines.map(masked);
  for (const [path, value] of leavesOf(problem)) {
    if (typeof value !== "number") continue;
    const other = printedWith(problem, path, value, print);
    if (other === undefined) continue;
    const theirs = other.split("\n");
    for (const [i, j] of pairs(shapes, theirs.map(masked)))
      numbersIn(theirs[j]).forEach((n, at) => {
        if (n.text !== found[i][at].text) found[i][at].fields.add(path);
      });
  }
  return found.map((line) => line.map((n) => ({ ...n, fields: [...n.fields] })));
}

/** What a number is made of where these are the fields of its kernel's problem. */
export const constantOf = (n: Numeral, fields: Fields): Constant => ({ ...n, ...told(n.text, n.fields, fields) });

/** The first text that a problem has with a field at another value. */
function printedWith(problem: object, path: string, value: number, print: (p: object) => string): string | undefined {
  const others = Number.isInteger(value)
    ? [2 * value, 3 * value, value + 128, value + 64, value + 32, value + 1, value - 1]
    : [1.5 * value];
  for (const v of others) {
    try {
      return print(withLeaf(problem, path, v));
    } catch (e) {
      if (!(e instanceof Error)) throw e;
    }
  }
  return undefined;
}

/** A problem with one leaf at another value. */
function withLeaf(problem: object, path: string, v: number): object {
  const copy = structuredClone(problem) as Record<string, unknown>;
  const keys = path.split(/[.[\]]+/).filter(Boolean);
  let at = copy;
  for (const k of keys.slice(0, -1)) at = at[k] as Record<string, unknown>;
  at[keys.at(-1)!] = v;
  return copy;
}

function told(text: string, of: readonly string[], fields: Fields): Pick<Constant, "from" | "keys"> {
  if (!of.length) return { from: "the kernel's own text", keys: [] };
  const origins = of.map((path): [string, FieldOrigin | undefined] => [path, fields[path]]);
  const keys = [...new Set(origins.flatMap(([, f]) => f?.keys ?? []))];
  const [[path, first]] = origins;
  if (of.length === 1 && first && String(first.value) === text) return { from: first.from, keys };
  const words = origins.map(([p, f]) => `${p}${f ? ` (${f.from})` : ""}`);
  return { from: `made of ${of.length === 1 ? `${path}${first ? ` (${first.from})` : ""}` : words.join(", ")}`, keys };
}
