// Matrix products and what undoes block scaling. An f32 sum may differ from the exact one by 1e-5 of the sum of its terms'
// magnitudes; a single product of a code and a scale may not differ at all.
import { close, draw, drawScales, exact, randomOf } from "../numbers.ts";
import { blocks128, blocksOf, count, magnitudes, refer, ROWS, rows1x128, tensor, type Cases } from "./cases.ts";
import type { Tensor } from "../../../ir/interpret.ts";

const SUM = 1e-5;
/** A product per batch entry, of operands already in that order. */
const BATCHED = { spec: "zmk,znk->zmn" };

/** [n, k]: around the register block of 4, the tile of 32, the scale block of 128, and the eight columns of a step. */
const SHAPES = [
  [1, 1],
  [1, 7],
  [3, 8],
  [7, 33],
  [33, 130],
  [130, 33],
  [5, 200],
  [129, 129],
  [32, 128],
  [4, 513],
] as const;

function sums(got: ArrayLike<number>, op: string, ins: Record<string, Tensor>, what: unknown, attrs = {}): void {
  const size = refer(op, Object.fromEntries(Object.entries(ins).map(([k, t]) => [k, magnitudes(t)])), attrs).out.data;
  close(got, refer(op, ins, attrs).out.data, what, SUM, size);
}

/** Rows of activations as codes with scales, or exact. */
function activations(
  random: () => number,
  m: number,
  k: number,
  type: "e4m3" | "f32",
): { x: Float64Array; scale?: Float64Array; tensor: Tensor } {
  const x = draw(random, m * k, type);
  if (type === "f32") return { x, tensor: tensor([m, k], x) };
  const scale = drawScales(random, m * blocksOf(k));
  return { x, scale, tensor: rows1x128([m, k], x, scale) };
}

export const denseFamilies: Cases = {
  linear: {
    "every shape, strides and weight types"(run) {
      const random = randomOf(4);
      for (const w of ["f32", "bf16"] as const)
        for (const [i, [n, k]] of SHAPES.entries())
          for (const m of i % 2 ? ROWS : [1, 4, 6, 33]) {
            const [x, ws] = [draw(random, m * k), draw(random, n * k, w)];
            const { y } = run({ n, k, xStride: k + (i % 3), yStride: n + (i % 2) * 5, w }, { x, w: ws }, { m });
            sums(y, "linear", { x: tensor([m, k], x), w: tensor([n, k], ws) }, { m, n, k, w });
          }
    },
  },

  block_linear: {
    "codes or exact rows, one part or two, ragged blocks"(run) {
      const random = randomOf(5);
      for (const type of ["e4m3", "f32"] as const)
        for (const [i, [n, k]] of [...SHAPES, [260, 72] as const].entries())
          for (const parts of i % 3 ? [1] : [1, 2])
            for (const m of i % 2 ? ROWS : [1, 4, 6, 33]) {
              const a = activations(random, m, k, type);
              const wShape = parts > 1 ? [parts, n, k] : [n, k];
              const [w, wScale] = [draw(random, parts * n * k, "e4m3"), drawScales(random, parts * blocksOf(n) * blocksOf(k))];
              const xStride = type === "f32" ? k + (i % 3) : k;
              const { y } = run({ parts, n, k, x: type, xStride }, { x: a.x, x_scale: a.scale ?? [], w, w_scale: wScale }, { m });
              sums(y, "block_linear", { x: a.tensor, w: blocks128(wShape, w, wScale) }, { m, n, k, type, parts });
            }
    },
  },

  grouped_linear: {
    "every weight type; experts without rows, with one, with more than a tile"(run) {
      const random = randomOf(6);
      const groups = [[0, 0, 0], [1, 0, 0], [0, 0, 40], [3, 0, 1, 33, 0], [0, 5, 32, 0, 31], [1]];
      for (const [xType, wType] of [
        ["e4m3", "e4m3"],
        ["f32", "e4m3"],
        ["f32", "bf16"],
        ["f32", "f32"],
      ] as const)
        for (const [i, [n, k]] of SHAPES.entries()) {
          const sizes = groups[(i + xType.length) % groups.length];
          const parts = i % 2 ? 1 : 2;
          const experts = sizes.length;
          const offsets = [0, ...sizes.map((_, e) => sizes.slice(0, e + 1).reduce((a, b) => a + b, 0))];
          const r = offsets.at(-1)!;
          const a = activations(random, r, k, xType);
          const shape = [experts, parts, n, k];
          const w = draw(random, count(shape), wType);
          const scale = wType === "e4m3" ? drawScales(random, experts * parts * blocksOf(n) * blocksOf(k)) : undefined;
          const xStride = xType === "f32" ? k + (i % 3) : k;
          const { y } = run(
            { experts, parts, n, k, x: xType, w: wType, xStride },
            { x: a.x, x_scale: a.scale ?? [], w, w_scale: scale ?? [], offsets },
            { r },
          );
          const ins = {
            x: a.tensor,
            w: scale ? blocks128(shape, w, scale) : tensor(shape, w),
            offsets: tensor([experts + 1], offsets),
          };
          sums(y, "grouped_linear", ins, { n, k, xType, wType, sizes, parts });
        }
    },
  },

  bmm: {
    "rows by heads: operands and result with the head axis inside, run-time extents"(run) {
      // thn,shn->ths: batch h; strides as they lie in q [t, h, n], k [s, h, n], y [t, h, s].
      const random = randomOf(7);
      for (const [t, h, n, s] of [
        [1, 2, 16, 1],
        [5, 3, 33, 70],
        [33, 1, 130, 31],
        [2, 4, 7, 200],
        [3, 2, 8, 5],
      ]) {
        const problem = {
          batch: h,
          m: "t",
          n: "s",
          k: n,
          a: [n, h * n, 1],
          b: [n, h * n, 1],
          y: ["s", "y1", 1],
          aType: "f32",
          bType: "f32",
          dims: ["t", "s", "y1"],
        };
        const [a, b] = [draw(random, h * t * n), draw(random, h * s * n)];
        const { y } = run(problem, { a, b }, { t, s, y1: h * s });
        sums(y, "einsum", { a: tensor([h, t, n], a), b: tensor([h, s, n], b) }, { t, h, n, s }, BATCHED);
      }
    },
    "values by weights: contracted over a run-time extent, columns beside each other"(run) {
      // ths,shv->thv: form nn, since neighbours of b lie along the columns of the result.
      const random = randomOf(8);
      for (const [t, h, s, v] of [
        [1, 2, 1, 16],
        [5, 3, 70, 33],
        [33, 1, 31, 130],
        [2, 4, 200, 7],
        [3, 2, 130, 8],
      ])
        for (const bType of ["f32", "bf16"]) {
          const problem = {
            batch: h,
            m: "t",
            n: v,
            k: "s",
            a: ["s", "a1", 1],
            b: [v, 1, h * v],
            y: [v, h * v, 1],
            aType: "f32",
            bType,
            dims: ["t", "s", "a1"],
          };
          const [a, b] = [draw(random, h * t * s), draw(random, h * v * s, bType as "f32")];
          const { y } = run(problem, { a, b }, { t, s, a1: h * s });
          sums(y, "einsum", { a: tensor([h, t, s], a), b: tensor([h, v, s], b) }, { t, h, s, v, bType }, BATCHED);
        }
    },
  },

  dequantize_rows: {
    "every product is exact"(run) {
      const random = randomOf(9);
      for (const k of [1, 7, 128, 130, 513])
        for (const m of [0, 1, 5]) {
          const a = activations(random, m, k, "e4m3");
          exact(
            run({ k }, { x: a.x, x_scale: a.scale! }, { m }).y,
            refer("dequantize", { x: a.tensor }).out.data.map(Math.fround),
            { m, k },
          );
        }
    },
  },

  dequantize_blocks: {
    "every product is exact"(run) {
      const random = randomOf(10);
      for (const [n, k] of SHAPES)
        for (const batch of [1, 3]) {
          const [x, scale] = [draw(random, batch * n * k, "e4m3"), drawScales(random, batch * blocksOf(n) * blocksOf(k))];
          const want = refer("dequantize", { x: blocks128([batch, n, k], x, scale) }).out.data.map(Math.fround);
          exact(run({ batch, n, k }, { x, x_scale: scale }, {}).y, want, { batch, n, k });
        }
    },
  },
};
