// Attention and the cache. What was never written reads as NaN here: rows past the end of a page, scores past the diagonal,
// gaps between heads. None of it may reach a result.
import { close, draw, exact, randomOf } from "../run-wasm.ts";
import { magnitudes, refer, rowsOf, tensor, type Cases, type Sequences } from "./cases.ts";
import type { Tensor } from "../../../ir/interpret.ts";

/** A score of a few units carries 1e-6 of error, exp passes it on: relative to the weighted magnitudes of the values. */
const MIXED = 1e-5;

/** Pages of several sequences, scattered; entries past a sequence's end name no page. */
function paged({ lengths }: Sequences, pageRows: number, spare = 1): { pages: number[]; P: number; B: number; count: number; where: (b: number, c: number) => number } {
  const needed = lengths.map((s) => Math.ceil(s / pageRows));
  const P = Math.max(...needed) + spare;
  const total = needed.reduce((a, b) => a + b, 0) + 1;
  // Multiplying by a number prime to the count visits every page once.
  const step = [7, 5, 3, 2, 1].find((p) => total % p !== 0 || p === 1)!;
  let next = 0;
  const pages = lengths.flatMap((_, b) => Array.from({ length: P }, (__, i) => (i < needed[b] ? (++next * step) % total : -1)));
  return { pages, P, B: lengths.length, count: total, where: (b, c) => pages[b * P + Math.floor(c / pageRows)] * pageRows + (c % pageRows) };
}

const BATCHES: Sequences[] = [
  { starts: [0, 1], lengths: [1] },
  { starts: [0, 1], lengths: [64] },
  { starts: [0, 1, 2, 3], lengths: [1, 65, 130] },
  { starts: [0, 5, 6, 40], lengths: [5, 33, 100] },
  { starts: [0, 70], lengths: [70] },
];

/** Rows of the cache before the step, per sequence, and as a paged buffer that is NaN everywhere else. */
function cached(random: () => number, batch: Sequences, pageRows: number, w: number, upTo: "all" | "old"): { rows: Float64Array[]; cache: Float64Array; pages: ReturnType<typeof paged> } {
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
function placedRows(rows: Float64Array[], pages: ReturnType<typeof paged>, pageRows: number, w: number): Float64Array {
  const out = new Float64Array(pages.count * pageRows * w).fill(NaN);
  for (const [b, data] of rows.entries()) for (let c = 0; c * w < data.length; c++) out.set(data.subarray(c * w, (c + 1) * w), pages.where(b, c) * w);
  return out;
}

const cacheOf = (rows: Float64Array[]): Tensor => ({ shape: [], dtype: "f32", data: new Float64Array(), rows });

/** cos | sin of every position. */
export function ropeTable(positions: number, d: number): Float64Array {
  return Float64Array.from({ length: positions * d }, (_, i) => {
    const [p, j] = [Math.floor(i / d), i % d];
    const angle = p / 10000 ** ((2 * (j % (d / 2))) / d);
    return Math.fround(j < d / 2 ? Math.cos(angle) : Math.sin(angle));
  });
}

export const attentionFamilies: Cases = {
  softmax_causal: {
    "rows see their past, are zero beyond, and ignore what lies there"(run) {
      const random = randomOf(11);
      for (const [t, heads, s] of [[1, 1, 1], [1, 3, 130], [5, 2, 5], [33, 1, 70], [2, 5, 129], [3, 1, 300]])
        for (const size of [1, 60]) {
          const x = draw(random, t * heads * s, "f32", size);
          const clean = x.slice();
          for (let i = 0; i < t; i++) for (let h = 0; h < heads; h++) x.fill(NaN, (i * heads + h) * s + s - t + i + 1, (i * heads + h + 1) * s);
          // Differences of up to 120 are rounded to 4e-6 before exp.
          const want = refer("softmax_causal", { x: tensor([t, heads, s], clean) }).out.data;
          close(run({ heads }, { x }, { t, s }).y, want, { t, heads, s, size }, size > 1 ? 2e-5 : 4e-6);
        }
    },
  },

  attend: {
    "keys per head or shared latents, gaps between rows"(run) {
      const random = randomOf(12);
      const shapes = [[1, 1, 1, 8, 2, 8], [1, 70, 3, 33, 8, 7], [5, 5, 2, 16, 8, 16], [33, 40, 1, 128, 64, 128], [16, 31, 2, 7, 2, 33], [31, 130, 1, 24, 4, 1], [3, 64, 2, 8, 8, 40]];
      for (const [i, [t, s, heads, n, d, v]] of shapes.entries())
        for (const shared of [false, true]) {
          const g = i % 3;
          const kHeads = shared ? 1 : heads;
          const [q, qp, keys, kp, values] = [draw(random, t * heads * n, "f32", 2), draw(random, t * heads * d), draw(random, s * kHeads * n), draw(random, s * d), draw(random, s * kHeads * v)];
          const scale = (n + d) ** -0.5;
          const problem = {
            heads, n, d, v, scale,
            q: [heads * (n + d) + g, n + d], qp: [heads * (n + d) + g, n + d],
            k: shared ? [n + g, 0] : [heads * (n + v), n + v], kp: d + g, vStrides: shared ? [v + g, 0] : [heads * (n + v), n + v], y: [heads * v + g, v],
          };
          const { y } = run(problem, { q, qp, keys, kp, values }, { t, s });
          const shape = (w: number): number[] => (shared ? [s, w] : [s, heads, w]);
          const ins = { q: tensor([t, heads, n], q), qp: tensor([t, heads, d], qp), k: tensor(shape(n), keys), kp: tensor([s, d], kp), v: tensor(shape(v), values) };
          const size = refer("attend", { ...ins, v: magnitudes(ins.v) }, { scale }).out.data;
          close(y, refer("attend", ins, { scale }).out.data, { t, s, heads, n, d, v, shared }, MIXED, size);
        }
    },
  },

  mla_attend: {
    "sequences of any length over scattered pages; unwritten rows are NaN"(run) {
      const random = randomOf(13);
      for (const [heads, r, d, pageRows] of [[1, 8, 2, 64], [3, 33, 8, 64], [16, 40, 4, 32], [20, 16, 8, 16], [2, 130, 6, 64]])
        for (const batch of BATCHES) {
          const [T, B] = [batch.starts.at(-1)!, batch.lengths.length];
          const { rows, cache, pages } = cached(random, batch, pageRows, r + d, "all");
          const [ql, qp] = [draw(random, T * heads * r, "f32", 2), draw(random, T * heads * d)];
          const scale = (r + d) ** -0.5;
          const problem = { heads, r, d, pageRows, ql: [heads * r + 3, r], qp: [heads * (r + d), r + d], scale };
          const { y } = run(problem, { ql, qp, cache, ...rowsOf(batch), pages: pages.pages }, { T, P: pages.P, B, pages_count: pages.count });
          const ins = { ql: tensor([T, heads, r], ql), qp: tensor([T, heads, d], qp) };
          const want = refer("mla_attend", { ...ins, cache: cacheOf(rows) }, { scale }, batch).out.data;
          // The values' magnitudes: of latents of size 1, at most one.
          close(y, want, { heads, r, d, pageRows, batch }, MIXED, want.map(() => 1));
        }
    },
  },

  rope: {
    "pairs beside each other or halves apart, heads beyond a tile, strided rows"(run) {
      const random = randomOf(14);
      const maxPositions = 140;
      for (const [heads, d] of [[1, 2], [1, 64], [3, 8], [16, 6], [20, 8], [33, 4]])
        for (const interleaved of [true, false])
          for (const batch of BATCHES) {
            const T = batch.starts.at(-1)!;
            const [x, table] = [draw(random, T * heads * d), ropeTable(maxPositions, d)];
            const problem = { heads, d, xStrides: [heads * (d + 5), d + 5], interleaved, maxPositions };
            // Values in the order of the buffer's axes [T, heads, pair, side].
            const paired = x.map((_, i) => {
              const [row, j] = [i - (i % d), i % d];
              return x[row + (interleaved ? j : (j % 2) * (d / 2) + (j >> 1))];
            });
            const { y } = run(problem, { x: paired, table, positions: rowsOf(batch).positions }, { T });
            const ins = { x: tensor([T, heads, d], x), table: tensor([maxPositions, d], table) };
            const want = refer("rope", ins, { interleaved }, batch).out.data;
            close(y, want, { heads, d, interleaved, batch }, 1e-6, want.map(() => 1));
          }
    },
  },

  cache_append: {
    "new rows at their places, across pages; every other element as it was"(run) {
      const random = randomOf(15);
      for (const [r, d, pageRows] of [[8, 2, 64], [130, 6, 64], [33, 64, 16]])
        for (const batch of BATCHES) {
          const [T, B] = [batch.starts.at(-1)!, batch.lengths.length];
          const { rows, cache, pages } = cached(random, batch, pageRows, r + d, "old");
          const [c, kp] = [draw(random, T * r), draw(random, T * d)];
          const got = run({ r, d, pageRows, cStride: r + d, kpStride: d + 1 }, { cache, c, kp, ...rowsOf(batch), pages: pages.pages }, { T, P: pages.P, B, pages_count: pages.count });
          const want = refer("cache_append", { cache: cacheOf(rows), c: tensor([T, r], c), kp: tensor([T, d], kp) }, {}, batch).out.rows!;
          exact(got.cache, placedRows(want, pages, pageRows, r + d), { r, d, pageRows, batch });
        }
    },
  },

  rope_append: {
    "the norm of the latent and the turned key, across pages; every other element as it was"(run) {
      const random = randomOf(16);
      const maxPositions = 140;
      for (const [i, [r, d, pageRows]] of [[8, 2, 64], [130, 6, 64], [33, 64, 16], [128, 8, 64]].entries())
        for (const batch of BATCHES) {
          const [T, B] = [batch.starts.at(-1)!, batch.lengths.length];
          const { rows, cache, pages } = cached(random, batch, pageRows, r + d, "old");
          const gain = i % 2 ? "bf16" : "f32";
          const interleaved = i < 2;
          const [c, kr, g, table] = [draw(random, T * r), draw(random, T * d), draw(random, r, gain, 2), ropeTable(maxPositions, d)];
          const paired = kr.map((_, j) => kr[j - (j % d) + (interleaved ? j % d : ((j % d) % 2) * (d / 2) + ((j % d) >> 1))]);
          const problem = { r, d, pageRows, cStride: r + d, krStride: r + d, gain, eps: 1e-6, interleaved, maxPositions };
          const got = run(problem, { cache, c, kr: paired, gain: g, table, ...rowsOf(batch), pages: pages.pages }, { T, P: pages.P, B, pages_count: pages.count });
          const ins = { cache: cacheOf(rows), c: tensor([T, r], c), kr: tensor([T, d], kr), gain: tensor([r], g), table: tensor([maxPositions, d], table) };
          const want = placedRows(refer("rope_append", ins, { eps: 1e-6, interleaved }, batch).out.rows!, pages, pageRows, r + d);
          const written = want.map((v) => (Number.isNaN(v) ? 0 : v));
          const kept = got.cache.map((v, j) => (Number.isNaN(want[j]) && Number.isNaN(v) ? 0 : v));
          close(kept, written, { r, d, pageRows, batch }, 2e-6, written.map((v) => Math.max(1, Math.abs(v))));
        }
    },
  },

  cache_rows: {
    "one sequence of several, side by side"(run) {
      const random = randomOf(17);
      for (const [width, pageRows] of [[1, 64], [10, 64], [513, 16], [576, 64]])
        for (const batch of BATCHES) {
          const { rows, cache, pages } = cached(random, batch, pageRows, width, "all");
          for (const [b, s] of batch.lengths.entries())
            exact(run({ width, pageRows }, { cache, pages: pages.pages }, { s, b, P: pages.P, B: pages.B, pages_count: pages.count }).y, rows[b], { width, pageRows, b, s });
        }
    },
  },
};
