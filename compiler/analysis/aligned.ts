// Which numbers of one text stand where numbers of another do. Lines that are alike but for their numbers meet first; lines between
// those that are nearly alike meet by their words, and a number of them where the words on either side of it do.
import { pairs } from "./pairs.ts";

/** A number in code: not part of a name. */
const NUMBER = /(?<![\w.$])(?:0x[\da-fA-F]+|\d+(?:\.\d+)?(?:e[+-]?\d+)?)(?=f?\b|\b|f\b)/g;

/** Stands for a number; no text has it. */
const MARK = "\u0001";

/** A number of a line as it stands there, and the column of its first letter, from 1. */
export interface Place {
  text: string;
  column: number;
}

/** A text as lines, what is left of each without its numbers, and the numbers. */
export interface Numbered {
  shapes: readonly string[];
  numbers: readonly (readonly Place[])[];
}

export function numbered(text: string): Numbered {
  const lines = text.split("\n");
  return {
    shapes: lines.map((l) => l.replaceAll(NUMBER, MARK)),
    numbers: lines.map((l) => [...l.matchAll(NUMBER)].map((m) => ({ text: m[0], column: m.index + 1 }))),
  };
}

/** A number of a text: its line, and which number of the line it is, both from 0. */
export type At = readonly [line: number, index: number];

/** Calls `met` for numbers that stand in the same place of both texts. */
export function meet(a: Numbered, b: Numbered, met: (a: At, b: At) => void): void {
  let [i, j] = [0, 0];
  const same = [...equal(a.shapes, b.shapes), [a.shapes.length, b.shapes.length] as const];
  for (const [p, q] of same) {
    for (const [k, l] of nearly(a.shapes.slice(i, p), b.shapes.slice(j, q)))
      for (const [m, n] of within(a.shapes[i + k], b.shapes[j + l])) met([i + k, m], [j + l, n]);
    if (p < a.shapes.length) a.numbers[p].forEach((_, n) => met([p, n], [q, n]));
    [i, j] = [p + 1, q + 1];
  }
}

/** Equal lines of two long texts, in order: those that each text has once, and between them as many as there can be. */
function equal(a: readonly string[], b: readonly string[]): [number, number][] {
  const [inA, inB] = [once(a), once(b)];
  const anchors = rising([...inA].flatMap(([line, i]): [number, number][] => (inB.has(line) ? [[i, inB.get(line)!]] : [])));
  const out: [number, number][] = [];
  let [i, j] = [0, 0];
  for (const [p, q] of [...anchors, [a.length, b.length] as const]) {
    for (const [k, l] of pairs(a.slice(i, p), b.slice(j, q))) out.push([i + k, j + l]);
    if (p < a.length) out.push([p, q]);
    [i, j] = [p + 1, q + 1];
  }
  return out;
}

/** Lines that a text has once, and where. */
function once(lines: readonly string[]): Map<string, number> {
  const at = new Map<string, number>();
  const more = new Set<string>();
  for (const [i, l] of lines.entries()) {
    if (at.has(l)) more.add(l);
    at.set(l, i);
  }
  for (const l of more) at.delete(l);
  return at;
}

/** The most pairs, in order of their first members, whose second members rise. */
function rising(list: readonly [number, number][]): [number, number][] {
  const ends: number[] = [];
  const before: number[] = [];
  for (const [n, [, j]] of list.entries()) {
    let [low, high] = [0, ends.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (list[ends[middle]][1] < j) low = middle + 1;
      else high = middle;
    }
    before[n] = low > 0 ? ends[low - 1] : -1;
    ends[low] = n;
  }
  const out: [number, number][] = [];
  for (let n = ends.at(-1) ?? -1; n >= 0; n = before[n]) out.push(list[n]);
  return out.toReversed();
}

/** Runs of lines are compared line by line where there are no more pairs than this; lines are alike that share so many of their words. */
const MOST_PAIRS = 900;
const ALIKE = 0.65;

/** Lines of two short runs that have most of their words in common, in order. */
function nearly(a: readonly string[], b: readonly string[]): [number, number][] {
  if (!a.length || !b.length || a.length * b.length > MOST_PAIRS) return [];
  const [as, bs] = [a.map(words), b.map(words)];
  const width = b.length + 1;
  const best = new Float64Array((a.length + 1) * width);
  const alike = as.map((x) =>
    bs.map((y) => {
      const all = x.length + y.length;
      if (2 * Math.min(x.length, y.length) < ALIKE * all) return 0;
      const share = (2 * pairs(x, y).length) / all;
      return share >= ALIKE ? share : 0;
    }),
  );
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--)
      best[i * width + j] = Math.max(
        best[(i + 1) * width + j],
        best[i * width + j + 1],
        alike[i][j] ? best[(i + 1) * width + j + 1] + alike[i][j] : 0,
      );
  const out: [number, number][] = [];
  for (let [i, j] = [0, 0]; i < a.length && j < b.length;) {
    const at = best[i * width + j];
    if (alike[i][j] && at === best[(i + 1) * width + j + 1] + alike[i][j]) out.push([i++, j++]);
    else if (at === best[(i + 1) * width + j]) i++;
    else j++;
  }
  return out;
}

const words = (shape: string): string[] => shape.match(/[\w.$]+|[^\s\w]/g) ?? [];

/** Numbers of two lines whose neighbours on both sides are the same words, by their indices among the numbers of each. */
function within(a: string, b: string): [number, number][] {
  const [x, y] = [
    ["", ...words(a), ""],
    ["", ...words(b), ""],
  ];
  const place = (of: readonly string[]): number[] => {
    let n = 0;
    return of.map((w) => (w === MARK ? n++ : -1));
  };
  const [px, py] = [place(x), place(y)];
  const met = new Map(pairs(x, y));
  return [...met].flatMap(([i, j]): [number, number][] =>
    x[i] === MARK && met.get(i - 1) === j - 1 && met.get(i + 1) === j + 1 ? [[px[i], py[j]]] : [],
  );
}
