// Choices by a run-time size: two of them as one, and one by another size than its own.
import type { Cases, Choice, Chosen } from "../ir/kernel/catalogue.ts";
import { evaluate, type Size } from "../ir/size.ts";

/** Two choices as one: by the sizes at which either changes. */
export function oneAfterAnother(a: Choice, b: Choice): Choice {
  if (!("on" in a) && !("on" in b)) return [...a, ...b];
  const on = !("on" in b) || ("on" in a && of(a.on, b.on) === null) ? (a as Cases).on : b.on;
  const [left, right] = [by(on, a), by(on, b)];
  const mosts = new Set([...("on" in left ? left.cases : []), ...("on" in right ? right.cases : [])].map((c) => c.most));
  const sizes = [...mosts].toSorted((x, y) => (x ?? Infinity) - (y ?? Infinity));
  const at = (c: Choice, most: number | null): Chosen[] =>
    "on" in c ? c.cases.find((x) => (x.most ?? Infinity) >= (most ?? Infinity))!.launches : c;
  return { on, cases: sizes.map((most) => ({ most, launches: [...at(left, most), ...at(right, most)] })) };
}

/** How many times one size is another, where it is so whatever the batch: rows of pairs and of tokens. Null where it is not. */
function of(size: Size, one: Size): number | null {
  const times = [1, 7].map((T) => evaluate(size, { T, B: T }) / evaluate(one, { T, B: T }));
  return times[0] === times[1] && Number.isInteger(times[0]) ? times[0] : null;
}

/** A choice by another size, of which its own is a multiple. */
export function by(on: Size, c: Choice): Choice {
  if (!("on" in c)) return c;
  const times = of(c.on, on);
  if (times === null) throw new RangeError(`cases by ${JSON.stringify(c.on)} are no cases by ${JSON.stringify(on)}`);
  const cases = c.cases.map((x) => ({ ...x, most: x.most === null ? null : Math.floor(x.most / times) }));
  return { on, cases: cases.filter((x, i) => x.most === null || x.most > (cases[i - 1]?.most ?? 0)) };
}
