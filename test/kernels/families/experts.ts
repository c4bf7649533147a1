// Routing and the moves around grouped products. Choices and orders are exact, ties included: the first expert wins.
import { close, draw, exact, randomOf } from "../numbers.ts";
import { blocksOf, magnitudes, refer, rows1x128, tensor, type Cases } from "./cases.ts";
import type { Tensor } from "../../../ir/interpret.ts";
import { runnerOf, type Run } from "../run-wasm.ts";

interface Routing {
  experts: number;
  topk: number;
  groups: number;
  kept: number;
}

const ROUTINGS: Routing[] = [
  { experts: 1, topk: 1, groups: 1, kept: 1 },
  { experts: 5, topk: 5, groups: 1, kept: 1 },
  { experts: 8, topk: 2, groups: 2, kept: 1 },
  { experts: 8, topk: 3, groups: 8, kept: 4 },
  { experts: 33, topk: 6, groups: 3, kept: 2 },
  { experts: 64, topk: 6, groups: 1, kept: 1 },
  { experts: 130, topk: 7, groups: 10, kept: 3 },
  { experts: 256, topk: 8, groups: 8, kept: 4 },
];

function routes(run: Run, seed: number, logits: (random: () => number, n: number) => Float64Array, biased: boolean): void {
  const random = randomOf(seed);
  for (const shape of ROUTINGS)
    for (const scoring of ["sigmoid", "softmax"])
      for (const method of ["noaux_tc", "greedy", "group_limited_greedy"]) {
        const e = shape.experts;
        const T = 7;
        const attrs = {
          topk: shape.topk,
          groups: shape.groups,
          kept: shape.kept,
          scoring,
          method,
          normalise: seed % 2 === 0,
          factor: 2.5,
        };
        const x = logits(random, T * e);
        const bias = biased ? draw(random, e, "f32", 0.5) : undefined;
        const got = run({ experts: e, ...attrs, bias: biased, xStride: e + 3 }, { logits: x, bias: bias ?? [] }, { T });
        const want = refer("route", { logits: tensor([T, e], x), ...(bias ? { bias: tensor([e], bias) } : {}) }, attrs);
        exact(got.indices, want.indices.data, { ...shape, scoring, method });
        close(got.weights, want.weights.data, { ...shape, scoring, method }, 4e-6);
      }
}

/** Experts of each pair. */
const pairs = (random: () => number, r: number, experts: number): Float64Array =>
  Float64Array.from({ length: r }, () => Math.floor(random() ** 2 * experts));

export const expertFamilies: Cases = {
  route: {
    "choices are exact, weights close": (run) => routes(run, 18, (random, n) => draw(random, n, "f32", 4), true),
    "without bias, unnormalised": (run) => routes(run, 19, (random, n) => draw(random, n, "f32", 4), false),
    "ties go to the first expert and the first group": (run) =>
      routes(run, 20, (random, n) => draw(random, n, "f32", 3).map(Math.round), false),
    "a bias that makes every choice negative never lets a dropped group win"(run) {
      const random = randomOf(21);
      const [T, e] = [5, 16];
      const attrs = { topk: 4, groups: 4, kept: 2, scoring: "sigmoid", method: "noaux_tc", normalise: true, factor: 1 };
      const [x, bias] = [draw(random, T * e), draw(random, e).map((v) => Math.fround(v - 5))];
      const got = run({ experts: e, ...attrs, bias: true, xStride: e }, { logits: x, bias }, { T });
      exact(got.indices, refer("route", { logits: tensor([T, e], x), bias: tensor([e], bias) }, attrs).indices.data, "negative");
    },
    "shared experts come last, with weight 1"(run) {
      const random = randomOf(26);
      const [T, e] = [4, 9];
      const attrs = {
        topk: 3,
        groups: 1,
        kept: 1,
        scoring: "sigmoid",
        method: "noaux_tc",
        normalise: true,
        factor: 2.5,
        shared: 2,
      };
      const x = draw(random, T * e);
      const got = run({ experts: e, ...attrs, bias: false, xStride: e }, { logits: x }, { T });
      const want = refer("route", { logits: tensor([T, e], x) }, attrs);
      exact(got.indices, want.indices.data, "shared");
      close(got.weights, want.weights.data, "shared", 4e-6);
    },
    "no tokens": (run) =>
      exact(
        run(
          {
            experts: 8,
            topk: 2,
            groups: 1,
            kept: 1,
            scoring: "sigmoid",
            method: "noaux_tc",
            normalise: true,
            factor: 1,
            bias: false,
            xStride: 8,
          },
          { logits: [] },
          { T: 0 },
        ).indices,
        [],
        "none",
      ),
  },

  sort_experts: {
    "stable, with experts that nobody chose; at and around 128 pairs"(run) {
      const random = randomOf(22);
      for (const experts of [1, 3, 8, 33])
        for (const r of [0, 1, 2, 127, 128, 129, 300]) {
          const indices = pairs(random, r, experts);
          const got = run({ experts, k: 1 }, { indices }, { r });
          const want = refer("sort_experts", { indices: tensor([r, 1], indices) }, { experts });
          exact(got.order, want.order.data, { experts, r });
          exact(got.offsets, want.offsets.data, { experts, r });
          exact(got.places, want.places.data, { experts, r });
        }
    },
  },

  gather_rows: {
    "rows of f32 and codes with their scales, bit for bit"(run) {
      const random = randomOf(23);
      for (const [i, d] of [1, 7, 33, 128, 130, 513, 600].entries())
        for (const [T, per] of [
          [1, 1],
          [3, 2],
          [5, 8],
          [0, 2],
        ]) {
          const r = T * per;
          const order = Array.from({ length: r }, (_, p) => (p * 7 + i) % r).sort((a, b) => (a % per) - (b % per) || a - b);
          const at = { order: tensor([r], order) };
          const x = draw(random, T * d);
          const plain = run({ d, per, x: "f32", xStride: d + (i % 3) }, { x, order }, { T, r });
          exact(plain.y, refer("gather_rows", { x: tensor([T, d], x), ...at }, { per }).out.data, { d, T, per });
          const [codes, scales] = [draw(random, T * d, "e4m3"), draw(random, T * blocksOf(d))];
          const scaled = run({ d, per, x: "e4m3", xStride: d }, { x: codes, x_scale: scales, order }, { T, r });
          const want = refer("gather_rows", { x: rows1x128([T, d], codes, scales), ...at }, { per }).out;
          exact(scaled.y, want.data, { d, T, per });
          exact(scaled.y_scale, want.scales!, { d, T, per });
        }
    },
  },

  combine: {
    "weighted rows back to their tokens; tokens in any order"(run) {
      combined(24, (random, p, ins) => {
        const { y } = run({ ...p, xStride: p.d + 1 }, valuesOf(ins), sizesOf(ins));
        const size = refer("combine", { ...ins, ys: magnitudes(ins.ys), weights: magnitudes(ins.weights) }).out.data;
        close(y, refer("combine", ins).out.data, p, 1e-6, size);
      });
    },
  },

  combine_add: {
    "the bits of combine, then of the two sums"(run) {
      const plain = runnerOf("combine");
      combined(25, (random, p, ins) => {
        const n = sizesOf(ins).T * p.d;
        const [x, shared] = [draw(random, n), draw(random, n)];
        const routed = plain({ ...p, xStride: p.d }, valuesOf(ins), sizesOf(ins)).y;
        const both = run({ ...p, xStride: p.d, shared: true }, { ...valuesOf(ins), x, shared }, sizesOf(ins)).y;
        exact(
          both,
          x.map((v, i) => Math.fround(v + Math.fround(routed[i] + shared[i]))),
          p,
        );
        const one = run({ ...p, xStride: p.d, shared: false }, { ...valuesOf(ins), x }, sizesOf(ins)).y;
        exact(
          one,
          x.map((v, i) => Math.fround(v + routed[i])),
          p,
        );
      });
    },
  },
};

interface Combined extends Record<string, Tensor> {
  ys: Tensor;
  places: Tensor;
  weights: Tensor;
}
const valuesOf = (ins: Combined): Record<string, Float64Array> =>
  Object.fromEntries(Object.entries(ins).map(([k, t]) => [k, t.data]));
const sizesOf = ({ weights }: Combined): { T: number; r: number } => ({ T: weights.shape[0], r: weights.data.length });

/** Rows of every width, sorted by random experts. */
function combined(seed: number, f: (random: () => number, p: { d: number; k: number }, ins: Combined) => void): void {
  const random = randomOf(seed);
  for (const d of [1, 7, 33, 128, 130, 513, 1030])
    for (const [T, k] of [
      [0, 2],
      [1, 1],
      [3, 2],
      [7, 8],
      [33, 3],
    ]) {
      const r = T * k;
      const { places } = refer("sort_experts", { indices: tensor([T, k], pairs(random, r, 5)) }, { experts: 5 });
      f(random, { d, k }, { ys: tensor([r, d], draw(random, r * d)), places, weights: tensor([T, k], draw(random, r)) });
    }
}
