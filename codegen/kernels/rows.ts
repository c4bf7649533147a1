// Kernels that treat every row alike: norms, quantisation, elementwise arithmetic, gating.
import { f, kernel, x, type Body } from "../../ir/kernel/build.ts";
import type { BufferParam, Index, Kernel, MapExpr, Tile } from "../../ir/kernel/stmt.ts";

/** Columns an elementwise cell covers. */
const WIDE = 512;

export interface RowsProblem {
  /** Columns of a row. */
  d: number;
  /** Elements from one row of x (or a) to the next. */
  xStride: number;
  /** The same for the result. */
  yStride: number;
  /** Dtype of activations, f32 unless said. */
  act?: "bf16";
}

export interface NormProblem extends RowsProblem {
  eps: number;
  gain: "f32" | "bf16";
  ue8m0?: boolean;
}

/** 1 / sqrt(mean(x^2) + eps) of row i: blocks of 128 columns, each summed in a fixed tree, so that targets agree in every bit. */
function scaleOfRow(k: Body, xs: BufferParam, i: Index, d: number, eps: number): Tile {
  const squares = k.fill("squares", 1, 1, 0);
  k.loop("p", 0, d, 128, () => {
    const v = k.load("v", 1, 128, xs, { at: [i, "p"], cols: 1, colLimit: d });
    const sum = k.reduce("sum", k.map("sq", f.mul(v, v)), "sum", "cols");
    k.set(squares, f.add(squares, sum));
  });
  return k.map("by", f.div(1, f.sqrt(f.add(f.div(squares, d), eps))));
}

/** Stores codes and the scale of one block of 128 columns. s = max(amax, 1e-4) / 448, rounded up to a power of two for ue8m0. */
export function quantiseBlock(k: Body, v: Tile, codes: BufferParam, scales: BufferParam, i: Index, p: Index, d: number, ue8m0: boolean): void {
  const amax = k.reduce("amax", k.map("size", f.abs(v)), "max", "cols");
  const plain = f.div(f.max(amax, Math.fround(1e-4)), 448);
  const s = k.map("s", ue8m0 ? f.pow2ceil(plain) : plain);
  k.store(k.map("code", f.div(v, s)), codes, { at: [i, p], cols: 1, colLimit: d });
  k.store(s, scales, { at: [i, x.div(p, 128)] });
}

/** y = x / rms(x) * gain */
export function rmsNorm(p: NormProblem): Kernel {
  return kernel({
    name: `rms_norm_${p.d}`,
    summary: "Divide each row by its root mean square, then scale by the gain.",
    params: { x: rows(p.d, p.xStride, p.act), gain: { dtype: p.gain, shape: [p.d] }, y: { ...rows(p.d, p.yStride, p.act), access: "out" } },
    dims: ["m"],
    body(k, { x: xs, gain, y }) {
      k.grid({ i: ["m", 1] });
      const by = scaleOfRow(k, xs, "i", p.d, p.eps);
      k.loop("p", 0, p.d, 128, () => {
        const v = k.load("v", 1, 128, xs, { at: ["i", "p"], cols: 1, colLimit: p.d });
        const g = k.load("g", 1, 128, gain, { at: ["p"], cols: 0, colLimit: p.d });
        k.store(k.map("n", f.mul(f.mul(v, by), g)), y, { at: ["i", "p"], cols: 1, colLimit: p.d });
      });
    },
  });
}

/** rms_norm, then 1x128 quantise; the normalised row is never written. */
export function normQuant(p: NormProblem): Kernel {
  return kernel({
    name: `norm_quant_${p.d}${p.ue8m0 ? "_ue8m0" : ""}`,
    summary: "Normalise a row and quantise it to e4m3 with one scale per 128 columns, in one visit.",
    params: {
      x: rows(p.d, p.xStride, p.act),
      gain: { dtype: p.gain, shape: [p.d] },
      codes: { dtype: "e4m3", shape: ["m", p.d], access: "out" },
      scales: { dtype: "f32", shape: ["m", Math.ceil(p.d / 128)], access: "out" },
    },
    dims: ["m"],
    body(k, { x: xs, gain, codes, scales }) {
      k.grid({ i: ["m", 1] });
      const by = scaleOfRow(k, xs, "i", p.d, p.eps);
      k.loop("p", 0, p.d, 128, () => {
        const v = k.load("v", 1, 128, xs, { at: ["i", "p"], cols: 1, colLimit: p.d });
        const g = k.load("g", 1, 128, gain, { at: ["p"], cols: 0, colLimit: p.d });
        quantiseBlock(k, k.map("n", f.mul(f.mul(v, by), g)), codes, scales, "i", "p", p.d, p.ue8m0 === true);
      });
    },
  });
}

export interface QuantizeProblem {
  d: number;
  xStride: number;
  ue8m0: boolean;
  act?: "bf16";
}

export function quantize(p: QuantizeProblem): Kernel {
  return kernel({
    name: `quantize_${p.d}${p.ue8m0 ? "_ue8m0" : ""}`,
    summary: "Quantise rows to e4m3 with one scale per 128 columns.",
    params: { x: rows(p.d, p.xStride, p.act), codes: { dtype: "e4m3", shape: ["m", p.d], access: "out" }, scales: { dtype: "f32", shape: ["m", Math.ceil(p.d / 128)], access: "out" } },
    dims: ["m"],
    body(k, { x: xs, codes, scales }) {
      k.grid({ i: ["m", 1], p: [p.d, 128] });
      quantiseBlock(k, k.load("v", 1, 128, xs, { at: ["i", "p"], cols: 1, colLimit: p.d }), codes, scales, "i", "p", p.d, p.ue8m0);
    },
  });
}

/** silu(gate) * up of columns p.. of row i; x holds gate and up side by side. */
function gated(k: Body, xs: BufferParam, n: number, width: number, p: Index): Tile {
  const gate = k.load("gate", 1, width, xs, { at: ["i", 0, p], cols: 2, colLimit: n });
  const up = k.load("up", 1, width, xs, { at: ["i", 1, p], cols: 2, colLimit: n });
  return k.map("act", f.mul(silu(gate), up));
}

const silu = (v: Tile): MapExpr => f.div(v, f.add(1, f.exp(f.neg(v))));

export function siluMul(p: { n: number; xStride: number; yStride: number; act?: "bf16" }): Kernel {
  return kernel({
    name: `silu_mul_${p.n}`,
    summary: "silu(gate) * up, on rows that hold both side by side.",
    params: { x: { dtype: p.act ?? "f32", shape: ["m", 2, p.n], strides: [p.xStride, p.n, 1] }, y: { ...rows(p.n, p.yStride, p.act), access: "out" } },
    dims: ["m"],
    body(k, { x: xs, y }) {
      k.grid({ i: ["m", 1], p: [p.n, WIDE] });
      k.store(gated(k, xs, p.n, WIDE, "p"), y, { at: ["i", "p"], cols: 1, colLimit: p.n });
    },
  });
}

export function siluMulQuant(p: { n: number; xStride: number; ue8m0: boolean; act?: "bf16" }): Kernel {
  return kernel({
    name: `silu_mul_quant_${p.n}${p.ue8m0 ? "_ue8m0" : ""}`,
    summary: "silu(gate) * up, quantised as it is made.",
    params: {
      x: { dtype: p.act ?? "f32", shape: ["m", 2, p.n], strides: [p.xStride, p.n, 1] },
      codes: { dtype: "e4m3", shape: ["m", p.n], access: "out" },
      scales: { dtype: "f32", shape: ["m", Math.ceil(p.n / 128)], access: "out" },
    },
    dims: ["m"],
    body(k, { x: xs, codes, scales }) {
      k.grid({ i: ["m", 1], p: [p.n, 128] });
      quantiseBlock(k, gated(k, xs, p.n, 128, "p"), codes, scales, "i", "p", p.n, p.ue8m0);
    },
  });
}

/** add, mul of two tensors, or scale, silu of one; all contiguous, n elements. */
export function flat(p: { op: "add" | "mul" | "scale" | "silu"; by?: number; act?: "bf16" }): Kernel {
  const two = p.op === "add" || p.op === "mul";
  const vector = { dtype: p.act ?? "f32", shape: ["n"] } as const;
  const body = (k: Body, a: BufferParam, b: BufferParam | null, y: BufferParam): void => {
    k.grid({ j: ["n", WIDE] });
    const at = { at: ["j"], cols: 0, colLimit: "n" } as const;
    const u = k.load("u", 1, WIDE, a, at);
    const e = p.op === "silu" ? silu(u) : p.op === "scale" ? f.mul(u, p.by!) : p.op === "add" ? f.add(u, k.load("w", 1, WIDE, b!, at)) : f.mul(u, k.load("w", 1, WIDE, b!, at));
    k.store(k.map("v", e), y, at);
  };
  const name = p.op;
  const summary = `${p.op === "add" ? "Sum" : p.op === "mul" ? "Product" : p.op === "scale" ? "Multiple" : "silu"} of every element.`;
  return two
    ? kernel({ name, summary, params: { a: vector, b: vector, y: { ...vector, access: "out" } }, dims: ["n"], body: (k, { a, b, y }) => body(k, a, b, y) })
    : kernel({ name, summary, params: { a: vector, y: { ...vector, access: "out" } }, dims: ["n"], body: (k, { a, y }) => body(k, a, null, y) });
}

export function addBias(p: RowsProblem & { bias: "f32" | "bf16" }): Kernel {
  return kernel({
    name: `add_bias_${p.d}`,
    summary: "Add one vector to every row.",
    params: { x: rows(p.d, p.xStride, p.act), bias: { dtype: p.bias, shape: [p.d] }, y: { ...rows(p.d, p.yStride, p.act), access: "out" } },
    dims: ["m"],
    body(k, { x: xs, bias, y }) {
      k.grid({ i: ["m", 1], p: [p.d, WIDE] });
      const v = k.load("v", 1, WIDE, xs, { at: ["i", "p"], cols: 1, colLimit: p.d });
      const b = k.load("b", 1, WIDE, bias, { at: ["p"], cols: 0, colLimit: p.d });
      k.store(k.map("s", f.add(v, b)), y, { at: ["i", "p"], cols: 1, colLimit: p.d });
    },
  });
}

/** Column of the first maximum; blocks of 512 columns in order, so a tie keeps the earlier one. NaN and infinity count as more than any number, and are said by -1 - column. */
export function argmax(p: { d: number; xStride: number }): Kernel {
  const LARGEST = 3.4028234663852886e38;
  return kernel({
    name: `argmax_${p.d}`,
    summary: "Column of the first maximum of every row; -1 - column of the first NaN or infinity where there is one.",
    params: { x: rows(p.d, p.xStride), y: { dtype: "i32", shape: ["m"], access: "out" } },
    dims: ["m"],
    body(k, { x: xs, y }) {
      k.grid({ i: ["m", 1] });
      const best = k.fill("best", 1, 1, -LARGEST);
      const at = k.fill("at", 1, 1, 0, "i32");
      k.loop("p", 0, p.d, WIDE, () => {
        const x = k.load("x", 1, WIDE, xs, { at: ["i", "p"], cols: 1, colLimit: p.d }, -LARGEST);
        const v = k.map("v", f.select(f.le(f.abs(x), LARGEST), x, Infinity));
        const top = k.reduce("top", v, "max", "cols");
        const first = k.reduce("first", v, "argmax", "cols");
        k.set(at, f.select(f.lt(best, top), f.add(first, f.index("p")), at));
        k.set(best, f.max(best, top));
      });
      k.store(k.map("answer", f.select(f.le(best, LARGEST), at, f.sub(-1, at)), "i32"), y, { at: ["i"] });
    },
  });
}

export const rows = (d: number, stride: number, act?: "bf16"): { dtype: "f32" | "bf16"; shape: readonly [string, number]; strides: readonly [number, number] } => ({
  dtype: act ?? "f32", shape: ["m", d], strides: [stride, 1] });
