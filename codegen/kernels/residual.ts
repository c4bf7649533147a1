// The ends of the two halves of a layer: the sum of a residual connection with the norm after it, and the experts' rows
// added up, weighted, onto it. Each is one visit of a row; results round where those of the separate kernels do.
import { f, kernel, x, type Body } from "../../ir/kernel/build.ts";
import type { Arg, Site } from "../../ir/kernel/catalogue.ts";
import type { BufferParam, Kernel, Tile } from "../../ir/kernel/stmt.ts";
import { family, one, strided, type Match, type Refusal } from "../family.ts";
import { act, asRows, float, isPacked, num } from "../layouts.ts";
import { quantiseBlock, rows } from "./rows.ts";
import { when } from "../text.ts";

export interface AddNormProblem {
  /** Columns of a row. */
  d: number;
  /** Elements from one row of a, and of b, to the next. */
  aStride: number;
  bStride: number;
  eps: number;
  gain: "f32" | "bf16";
  ue8m0?: boolean;
  /** Dtype of activations, f32 unless said. */
  act?: "bf16";
}

/** sum = a + b, then each block of 128 columns of sum / rms(sum) * gain. The sum is read back as it was stored, rounded. */
function normalised(
  k: Body,
  a: BufferParam,
  b: BufferParam,
  gain: BufferParam,
  sum: BufferParam,
  p: AddNormProblem,
  use: (n: Tile) => void,
): void {
  k.grid({ i: ["m", 1] });
  const at = { at: ["i", "p"], cols: 1, colLimit: p.d } as const;
  k.of("add", () =>
    k.loop("p", 0, p.d, 128, () => k.store(k.map("s", f.add(k.load("u", 1, 128, a, at), k.load("v", 1, 128, b, at))), sum, at)),
  );
  const by = k.of("rms_norm", () => {
    const squares = k.fill("squares", 1, 1, 0);
    k.loop("p", 0, p.d, 128, () => {
      const v = k.load("v", 1, 128, sum, at);
      k.set(squares, f.add(squares, k.reduce("part", k.map("sq", f.mul(v, v)), "sum", "cols")));
    });
    return k.map("by", f.div(1, f.sqrt(f.add(f.div(squares, p.d), p.eps))));
  });
  k.loop("p", 0, p.d, 128, () => {
    const n = k.of("rms_norm", () => {
      const v = k.load("v", 1, 128, sum, at);
      const g = k.load("g", 1, 128, gain, { at: ["p"], cols: 0, colLimit: p.d });
      return k.map("n", f.mul(f.mul(v, by), g));
    });
    use(n);
  });
}

const inputs = (p: AddNormProblem) =>
  ({
    a: rows(p.d, p.aStride, p.act),
    b: rows(p.d, p.bStride, p.act),
    gain: { dtype: p.gain, shape: [p.d] },
    sum: { ...rows(p.d, p.d, p.act), access: "inout" },
  }) as const;
const codes = (p: AddNormProblem) =>
  ({
    codes: { dtype: "e4m3", shape: ["m", p.d], access: "out" },
    scales: { dtype: "f32", shape: ["m", Math.ceil(p.d / 128)], access: "out" },
  }) as const;

/** sum = a + b, y = sum / rms(sum) * gain */
function addNorm(p: AddNormProblem): Kernel {
  return kernel({
    name: `add_norm_${p.d}`,
    summary: "Add two rows and normalise the sum.",
    params: { ...inputs(p), y: { ...rows(p.d, p.d, p.act), access: "out" } },
    dims: ["m"],
    body: (k, { a, b, gain, sum, y }) =>
      normalised(k, a, b, gain, sum, p, (n) => k.of("rms_norm", () => k.store(n, y, { at: ["i", "p"], cols: 1, colLimit: p.d }))),
  });
}

/** The same, the normalised row quantised and never written. */
function addNormQuant(p: AddNormProblem): Kernel {
  return kernel({
    name: `add_norm_quant_${p.d}${when(p.ue8m0, "_ue8m0")}`,
    summary: "Add two rows, normalise the sum and quantise it with one scale per 128 columns.",
    params: { ...inputs(p), ...codes(p) },
    dims: ["m"],
    body: (k, { a, b, gain, sum, codes, scales }) =>
      normalised(k, a, b, gain, sum, p, (n) =>
        k.of("quantize", () => quantiseBlock(k, n, codes, scales, "i", "p", p.d, p.ue8m0 === true)),
      ),
  });
}

/** The same with the normalised row as well: the router reads it unquantised. */
function addNormBoth(p: AddNormProblem): Kernel {
  return kernel({
    name: `add_norm_both_${p.d}${when(p.ue8m0, "_ue8m0")}`,
    summary: "Add two rows, normalise the sum; write it as it is and quantised.",
    params: { ...inputs(p), y: { ...rows(p.d, p.d, p.act), access: "out" }, ...codes(p) },
    dims: ["m"],
    body: (k, { a, b, gain, sum, y, codes, scales }) =>
      normalised(k, a, b, gain, sum, p, (n) => {
        k.of("rms_norm", () => k.store(n, y, { at: ["i", "p"], cols: 1, colLimit: p.d }));
        k.of("quantize", () => quantiseBlock(k, n, codes, scales, "i", "p", p.d, p.ue8m0 === true));
      }),
  });
}

/** The three that begin with a residual sum differ in what else they write. */
const matchAddNorm =
  (outs: Arg[]) =>
  ({ ins, attrs }: Site): Match<AddNormProblem>[] | Refusal => {
    const [a, b] = [asRows(ins[0]), asRows(ins[1])];
    if (!a || !b) return strided;
    const problem = {
      d: num(ins[0].shape.at(-1)),
      aStride: a.stride,
      bStride: b.stride,
      eps: num(attrs.eps),
      gain: float(ins[2]),
      ...(attrs.scale ? { ue8m0: attrs.scale === "ue8m0" } : {}),
      ...act(ins[0]),
    };
    return one(problem, [{ in: 0 }, { in: 1 }, { in: 2 }, { out: 0 }, ...outs], [a.rows]);
  };

export const addNormFamily = family({
  name: "add_norm",
  serves: ["add_norm"],
  match: matchAddNorm([{ out: 1 }]),
  kernel: addNorm,
});
export const addNormQuantFamily = family({
  name: "add_norm_quant",
  serves: ["add_norm_quant"],
  match: matchAddNorm([{ out: 1 }, { out: 1, part: "scales" }]),
  kernel: addNormQuant,
});
export const addNormBothFamily = family({
  name: "add_norm_both",
  serves: ["add_norm_both"],
  match: matchAddNorm([{ out: 1 }, { out: 2 }, { out: 2, part: "scales" }]),
  kernel: addNormBoth,
});

export interface CombineProblem {
  d: number;
  /** Slots of a token. */
  k: number;
  xStride: number;
  /** combine_add: a residual is added, and the shared expert's rows where `shared`. */
  shared?: boolean;
  act?: "bf16";
}

/** Columns of one cell: tokens and columns are independent. */
const WIDE = 512;

/** Slot by slot, experts ascending: row places[i k + j] of ys times its weight. */
function weighted(k: Body, p: CombineProblem, ys: BufferParam, places: BufferParam, weights: BufferParam): Tile {
  k.grid({ i: ["T", 1], c: [p.d, WIDE] });
  const acc = k.fill("acc", 1, WIDE, 0);
  k.loop("j", 0, p.k, 1, () => {
    const pair = x.add(x.mul("i", p.k), "j");
    const at = k.scalar("at", places, [pair]);
    const w = k.load("w", 1, 1, weights, { at: [pair] });
    k.set(acc, f.add(acc, f.mul(w, k.load("row", 1, WIDE, ys, { at: [at, "c"], cols: 1, colLimit: p.d }))));
  });
  return acc;
}

const routed = (p: CombineProblem) =>
  ({
    ys: { dtype: p.act ?? "f32", shape: ["r", p.d], strides: [p.xStride, 1] },
    places: { dtype: "i32", shape: ["r"] },
    weights: { dtype: "f32", shape: ["r"] },
  }) as const;
const tokens = (p: CombineProblem) => ({ dtype: p.act ?? "f32", shape: ["T", p.d] }) as const;

/** y[t] = sum of weight * row over the token's slots, experts ascending. */
function combine(p: CombineProblem): Kernel {
  return kernel({
    name: `combine_${p.d}_top${p.k}`,
    summary: "Rows back to their tokens, weighted, in ascending expert order.",
    params: { ...routed(p), y: { ...tokens(p), access: "out" } },
    dims: ["T", "r"],
    body: (k, { ys, places, weights, y }) =>
      k.store(weighted(k, p, ys, places, weights), y, { at: ["i", "c"], cols: 1, colLimit: p.d }),
  });
}

export const combineFamily = family({
  name: "combine",
  serves: ["combine"],
  match({ ins }) {
    const ys = asRows(ins[0]);
    if (!ys) return strided;
    const problem = { d: num(ins[0].shape[1]), k: num(ins[2].shape[1]), xStride: ys.stride, ...act(ins[0]) };
    return one(problem, [{ in: 0 }, { in: 1 }, { in: 2 }, { out: 0 }], [ins[2].shape[0], ys.rows]);
  },
  kernel: combine,
});

/** y = x + (combine + shared) */
function combineAdd(p: CombineProblem): Kernel {
  const added = p.shared ? "the shared expert and the residual are" : "the residual is";
  return kernel({
    name: `combine_add_${p.d}_top${p.k}${when(p.shared, "_shared")}`,
    summary: `Rows back to their tokens, weighted, in ascending expert order; ${added} added.`,
    params: { ...routed(p), x: tokens(p), ...(p.shared ? { shared: tokens(p) } : {}), y: { ...tokens(p), access: "out" } },
    dims: ["T", "r"],
    body(k, { ys, places, weights, x: residual, shared, y }) {
      const acc = k.of("combine", () => weighted(k, p, ys, places, weights));
      const at = { at: ["i", "c"], cols: 1, colLimit: p.d } as const;
      k.of("add", () => {
        if (shared) k.set(acc, f.add(acc, k.load("s", 1, WIDE, shared, at)));
        k.store(k.map("next", f.add(k.load("u", 1, WIDE, residual, at), acc)), y, at);
      });
    },
  });
}

export const combineAddFamily = family({
  name: "combine_add",
  serves: ["combine_add"],
  match({ ins }) {
    const ys = asRows(ins[0]);
    if (!ys || !ins.slice(3).every(isPacked)) return strided;
    const problem = {
      d: num(ins[0].shape[1]),
      k: num(ins[2].shape[1]),
      xStride: ys.stride,
      shared: ins.length > 4,
      ...act(ins[0]),
    };
    return one(problem, [...ins.map((_, i) => ({ in: i })), { out: 0 }], [ins[2].shape[0], ys.rows]);
  },
  kernel: combineAdd,
});
