// A paged cache as kernels see it: sequences over scattered pages, NaN wherever nothing was written.
import type { Tensor } from "../../../ir/interpret.ts";
import { draw } from "../numbers.ts";
import type { Sequences } from "./cases.ts";

/** Pages of several sequences, scattered; entries past a sequence's end name no page. */
export function paged(
  { lengths }: Sequences,
  pageRows: number,
  spare = 1,
): { pages: number[]; P: number; B: number; count: number; where: (b: number, c: number) => number } {
  const needed = lengths.map((s) => Math.ceil(s / pageRows));
  const P = Math.max(...needed) + spare;
  const total = needed.reduce((a, b) => a + b, 0) + 1;
  // Multiplying by a number prime to the count visits every page once.
  const step = [7, 5, 3, 2, 1].find((p) => total % p !== 0 || p === 1)!;
  let next = 0;
  const pages = lengths.flatMap((_, b) => Array.from({ length: P }, (__, i) => (i < needed[b] ? (++next * step) % total : -1)));
  return {
    pages,
    P,
    B: lengths.length,
    count: total,
    where: (b, c) => pages[b * P + Math.floor(c / pageRows)] * pageRows + (c % pageRows),
  };
}

export const BATCHES: Sequences[] = [
  { starts: [0, 1], lengths: [1] },
  { starts: [0, 1], lengths: [64] },
  { starts: [0, 1, 2, 3], lengths: [1, 65, 130] },
  { starts: [0, 5, 6, 40], lengths: [5, 33, 100] },
  { starts: [0, 70], lengths: [70] },
];

/** Rows of the cache before the step, per sequence, and as a paged buffer that is NaN everywhere else. */
export function cached(
  random: () => number,
  batch: Sequences,
  pageRows: number,
  w: number,
  upTo: "all" | "old",
): { rows: Float64Array[]; cache: Float64Array; pages: ReturnType<typeof paged> } {
  const pages = paged(batch, pageRows);
  const cache = new Float64Array(pages.count * pageRows * w).fill(NaN);
  const rows = batch.lengths.map((s, b) => {
    const n = upTo === "all" ? s : s - (batch.starts[b + 1] - batch.starts[b]);
    const data = draw(random, n * w);
    for (let c = 0; c < n; c++) cache.set(data.subarray(c * w, (c + 1) * w), pages.where(b, c) * w);
    return data;
  });
  return { rows, cache, pages };
}

/** What the cache holds after an append: the reference's rows at their places, NaN where nothing was written. */
export function placedRows(rows: Float64Array[], pages: ReturnType<typeof paged>, pageRows: number, w: number): Float64Array {
  const out = new Float64Array(pages.count * pageRows * w).fill(NaN);
  for (const [b, data] of rows.entries())
    for (let c = 0; c * w < data.length; c++) out.set(data.subarray(c * w, (c + 1) * w), pages.where(b, c) * w);
  return out;
}

export const cacheOf = (rows: Float64Array[], width = 0): Tensor => ({
  shape: [width],
  dtype: "f32",
  data: new Float64Array(),
  rows,
});

/** Lanes of rows of d in the order of the axes [pair, side] that rope reads: pairs lie beside each other, or halves apart. */
export function paired(x: Float64Array, d: number, interleaved: boolean): Float64Array {
  return x.map((_, i) => {
    const j = i % d;
    return x[i - j + (interleaved ? j : (j % 2) * (d / 2) + (j >> 1))];
  });
}

/** cos | sin of every position. */
export function ropeTable(positions: number, d: number): Float64Array {
  return Float64Array.from({ length: positions * d }, (_, i) => {
    const [p, j] = [Math.floor(i / d), i % d];
    const angle = p / 10000 ** ((2 * (j % (d / 2))) / d);
    return Math.fround(j < d / 2 ? Math.cos(angle) : Math.sin(angle));
  });
}
