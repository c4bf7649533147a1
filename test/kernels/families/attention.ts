// Attention. What was never written reads as NaN here: rows past the end of a page, scores past the diagonal, gaps between
// heads. None of it may reach a result.
import { close, draw, randomOf } from "../numbers.ts";
import { magnitudes, refer, rowsOf, tensor, type Cases } from "./cases.ts";
import { BATCHES, cached, cacheOf } from "./paged.ts";

/** A score of a few units carries 1e-6 of error, exp passes it on: relative to the weighted magnitudes of the values. */
const MIXED = 1e-5;

export const attentionFamilies: Cases = {
  softmax_causal: {
    "rows see their past, are zero beyond, and ignore what lies there"(run) {
      const random = randomOf(11);
      for (const [t, heads, s] of [
        [1, 1, 1],
        [1, 3, 130],
        [5, 2, 5],
        [33, 1, 70],
        [2, 5, 129],
        [3, 1, 300],
      ])
        for (const size of [1, 60]) {
          const x = draw(random, t * heads * s, "f32", size);
          const clean = x.slice();
          for (let i = 0; i < t; i++)
            for (let h = 0; h < heads; h++) x.fill(NaN, (i * heads + h) * s + s - t + i + 1, (i * heads + h + 1) * s);
          // Differences of up to 120 are rounded to 4e-6 before exp.
          const want = refer("softmax_causal", { x: tensor([t, heads, s], clean) }).out.data;
          close(run({ heads }, { x }, { t, s }).y, want, { t, heads, s, size }, size > 1 ? 2e-5 : 4e-6);
        }
    },
  },

  attend: {
    "keys per head or shared latents, gaps between rows"(run) {
      const random = randomOf(12);
      const shapes = [
        [1, 1, 1, 8, 2, 8],
        [1, 70, 3, 33, 8, 7],
        [5, 5, 2, 16, 8, 16],
        [33, 40, 1, 128, 64, 128],
        [16, 31, 2, 7, 2, 33],
        [31, 130, 1, 24, 4, 1],
        [3, 64, 2, 8, 8, 40],
      ];
      for (const [i, [t, s, heads, n, d, v]] of shapes.entries())
        for (const shared of [false, true]) {
          const g = i % 3;
          const kHeads = shared ? 1 : heads;
          const [q, qp, keys, kp, values] = [
            draw(random, t * heads * n, "f32", 2),
            draw(random, t * heads * d),
            draw(random, s * kHeads * n),
            draw(random, s * d),
            draw(random, s * kHeads * v),
          ];
          const scale = (n + d) ** -0.5;
          const problem = {
            heads,
            n,
            d,
            v,
            scale,
            q: [heads * (n + d) + g, n + d],
            qp: [heads * (n + d) + g, n + d],
            k: shared ? [n + g, 0] : [heads * (n + v), n + v],
            kp: d + g,
            vStrides: shared ? [v + g, 0] : [heads * (n + v), n + v],
            y: [heads * v + g, v],
          };
          const { y } = run(problem, { q, qp, keys, kp, values }, { t, s });
          const shape = (w: number): number[] => (shared ? [s, w] : [s, heads, w]);
          const ins = {
            q: tensor([t, heads, n], q),
            qp: tensor([t, heads, d], qp),
            k: tensor(shape(n), keys),
            kp: tensor([s, d], kp),
            v: tensor(shape(v), values),
          };
          const size = refer("attend", { ...ins, v: magnitudes(ins.v) }, { scale }).out.data;
          close(y, refer("attend", ins, { scale }).out.data, { t, s, heads, n, d, v, shared }, MIXED, size);
        }
    },
  },

  mla_attend: {
    "sequences of any length over scattered pages; unwritten rows are NaN"(run) {
      const random = randomOf(13);
      for (const [heads, r, d, pageRows] of [
        [1, 8, 2, 64],
        [3, 33, 8, 64],
        [16, 40, 4, 32],
        [20, 16, 8, 16],
        [2, 130, 6, 64],
      ])
        for (const batch of BATCHES) {
          const [T, B] = [batch.starts.at(-1)!, batch.lengths.length];
          const { rows, cache, pages } = cached(random, batch, pageRows, r + d, "all");
          const [ql, qp] = [draw(random, T * heads * r, "f32", 2), draw(random, T * heads * d)];
          const scale = (r + d) ** -0.5;
          const problem = { heads, r, d, pageRows, ql: [heads * r + 3, r], qp: [heads * (r + d), r + d], scale };
          const { y } = run(
            problem,
            { ql, qp, cache, ...rowsOf(batch), pages: pages.pages },
            { T, P: pages.P, B, pages_count: pages.count },
          );
          const ins = { ql: tensor([T, heads, r], ql), qp: tensor([T, heads, d], qp) };
          const want = refer("mla_attend", { ...ins, cache: cacheOf(rows) }, { scale }, batch).out.data;
          // The values' magnitudes: of latents of size 1, at most one.
          close(
            y,
            want,
            { heads, r, d, pageRows, batch },
            MIXED,
            want.map(() => 1),
          );
        }
    },
  },
};
