// Kernels that move rows and compute nothing: exact.
import { draw, exact, randomOf } from "../numbers.ts";
import { count, refer, tensor, WIDTHS, type Cases } from "./cases.ts";

export const moveFamilies: Cases = {
  embed: {
    "rows of the table, the first and the last too"(run) {
      const random = randomOf(25);
      for (const table of ["f32", "bf16"] as const)
        for (const d of [...WIDTHS, 1100]) {
          const vocab = 11;
          const ids = [vocab - 1, 0, ...Array.from({ length: 5 }, () => Math.floor(random() * vocab))];
          const values = draw(random, vocab * d, table);
          exact(
            run({ vocab, d, table }, { ids, table: values }, { T: ids.length }).y,
            refer("embed", { ids: tensor([ids.length], ids), table: tensor([vocab, d], values) }).out.data,
            { d, table },
          );
        }
    },
  },

  last_rows: {
    "the last row of every sequence"(run) {
      const random = randomOf(26);
      for (const [i, d] of WIDTHS.entries())
        for (const starts of [
          [0, 1],
          [0, 1, 2, 3],
          [0, 5, 6, 40],
        ]) {
          const [T, B] = [starts.at(-1)!, starts.length - 1];
          const x = draw(random, T * d);
          const want = refer(
            "last_rows",
            { x: tensor([T, d], x) },
            {},
            { starts, lengths: starts.slice(1).map((s, b) => s - starts[b]) },
          ).out.data;
          exact(run({ d, xStride: d + (i % 3) }, { x, starts }, { T, B }).y, want, { d, starts });
        }
    },
  },

  copy: {
    "from any strides to any others, static and run-time"(run) {
      const random = randomOf(27);
      for (const [a, b, c] of [
        [1, 1, 1],
        [2, 3, 7],
        [3, 1, 513],
        [1, 5, 1030],
        [4, 33, 2],
      ]) {
        const x = draw(random, a * b * c);
        const layouts = [
          [b * c, c, 1],
          [b * c + 3, c, 1],
          [c, a * c, 1],
          [1, a, a * b],
          [2 * b * c, 2 * c, 2],
        ];
        for (const [i, from] of layouts.entries()) {
          const to = layouts[(i + 2) % layouts.length];
          exact(run({ shape: [a, b, c], from, to, dims: [] }, { x }, {}).y, x, { a, b, c, from, to });
          const named = { shape: ["n0", b, "n1"], from: ["n2", from[1], from[2]], to, dims: ["n0", "n1", "n2"] };
          exact(run(named, { x }, { n0: a, n1: c, n2: from[0] }).y, x, { a, b, c, from, to, named: true });
        }
      }
    },
    "into the second half of a wider row, leaving the first"(run) {
      const random = randomOf(28);
      for (const [m, n] of [
        [1, 1],
        [5, 7],
        [3, 130],
        [2, 600],
      ]) {
        const x = draw(random, m * n);
        const { y } = run(
          { shape: [1, m, n], from: [0, n, 1], to: [0, 2 * n, 1], dims: [], offset: n },
          { x },
          {},
          { y: [1, m, 2 * n] },
        );
        const want = new Float64Array(count([m, 2 * n])).fill(NaN);
        for (let i = 0; i < m; i++) want.set(x.subarray(i * n, (i + 1) * n), i * 2 * n + n);
        exact(y, want, { m, n });
      }
    },
  },
};
