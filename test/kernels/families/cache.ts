// Rotation and the latent cache: new rows at their places across scattered pages, every other element as it was.
import { close, draw, exact, randomOf } from "../numbers.ts";
import { refer, rowsOf, tensor, type Cases } from "./cases.ts";
import { BATCHES, cached, cacheOf, paired, placedRows, ropeTable } from "./paged.ts";

export const cacheFamilies: Cases = {
  rope: {
    "pairs beside each other or halves apart, heads beyond a tile, strided rows"(run) {
      const random = randomOf(14);
      const maxPositions = 140;
      for (const [heads, d] of [
        [1, 2],
        [1, 64],
        [3, 8],
        [16, 6],
        [20, 8],
        [33, 4],
      ])
        for (const interleaved of [true, false])
          for (const batch of BATCHES) {
            const T = batch.starts.at(-1)!;
            const [x, table] = [draw(random, T * heads * d), ropeTable(maxPositions, d)];
            const problem = { heads, d, xStrides: [heads * (d + 5), d + 5], interleaved, maxPositions };
            const { y } = run(problem, { x: paired(x, d, interleaved), table, positions: rowsOf(batch).positions }, { T });
            const ins = { x: tensor([T, heads, d], x), table: tensor([maxPositions, d], table) };
            const want = refer("rope", ins, { interleaved }, batch).out.data;
            close(
              y,
              want,
              { heads, d, interleaved, batch },
              1e-6,
              want.map(() => 1),
            );
          }
    },
  },

  cache_append: {
    "new rows at their places, across pages; every other element as it was"(run) {
      const random = randomOf(15);
      for (const [r, d, pageRows] of [
        [8, 2, 64],
        [130, 6, 64],
        [33, 64, 16],
      ])
        for (const batch of BATCHES) {
          const [T, B] = [batch.starts.at(-1)!, batch.lengths.length];
          const { rows, cache, pages } = cached(random, batch, pageRows, r + d, "old");
          const [c, kp] = [draw(random, T * r), draw(random, T * d)];
          const got = run(
            { r, d, pageRows, cStride: r + d, kpStride: d + 1 },
            { cache, c, kp, ...rowsOf(batch), pages: pages.pages },
            { T, P: pages.P, B, pages_count: pages.count },
          );
          const want = refer("cache_append", { cache: cacheOf(rows), c: tensor([T, r], c), kp: tensor([T, d], kp) }, {}, batch)
            .out.rows!;
          exact(got.cache, placedRows(want, pages, pageRows, r + d), { r, d, pageRows, batch });
        }
    },
  },

  rope_append: {
    "the norm of the latent and the turned key, across pages; every other element as it was"(run) {
      const random = randomOf(16);
      const maxPositions = 140;
      for (const [i, [r, d, pageRows]] of [
        [8, 2, 64],
        [130, 6, 64],
        [33, 64, 16],
        [128, 8, 64],
      ].entries())
        for (const batch of BATCHES) {
          const [T, B] = [batch.starts.at(-1)!, batch.lengths.length];
          const { rows, cache, pages } = cached(random, batch, pageRows, r + d, "old");
          const gain = i % 2 ? "bf16" : "f32";
          const interleaved = i < 2;
          const [c, kr, g, table] = [
            draw(random, T * r),
            draw(random, T * d),
            draw(random, r, gain, 2),
            ropeTable(maxPositions, d),
          ];
          const problem = { r, d, pageRows, cStride: r + d, krStride: r + d, gain, eps: 1e-6, interleaved, maxPositions };
          const got = run(
            problem,
            { cache, c, kr: paired(kr, d, interleaved), gain: g, table, ...rowsOf(batch), pages: pages.pages },
            { T, P: pages.P, B, pages_count: pages.count },
          );
          const ins = {
            cache: cacheOf(rows, r + d),
            c: tensor([T, r], c),
            kr: tensor([T, d], kr),
            gain: tensor([r], g),
            table: tensor([maxPositions, d], table),
          };
          const want = placedRows(refer("rope_append", ins, { eps: 1e-6, interleaved }, batch).out.rows!, pages, pageRows, r + d);
          const written = want.map((v) => (Number.isNaN(v) ? 0 : v));
          const kept = got.cache.map((v, j) => (Number.isNaN(want[j]) && Number.isNaN(v) ? 0 : v));
          close(
            kept,
            written,
            { r, d, pageRows, batch },
            2e-6,
            written.map((v) => Math.max(1, Math.abs(v))),
          );
        }
    },
  },

  cache_rows: {
    "one sequence of several, side by side"(run) {
      const random = randomOf(17);
      for (const [width, pageRows] of [
        [1, 64],
        [10, 64],
        [513, 16],
        [576, 64],
      ])
        for (const batch of BATCHES) {
          const { rows, cache, pages } = cached(random, batch, pageRows, width, "all");
          for (const [b, s] of batch.lengths.entries())
            exact(
              run({ width, pageRows }, { cache, pages: pages.pages }, { s, b, P: pages.P, B: pages.B, pages_count: pages.count })
                .y,
              rows[b],
              { width, pageRows, b, s },
            );
        }
    },
  },
};
