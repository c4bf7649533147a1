// Kernels that treat every row alike: norms, quantisation, the first maximum.
import { f, kernel, x, type Body } from "../../ir/kernel/build.ts";
import type { BufferParam, Index, Kernel, Tile } from "../../ir/kernel/stmt.ts";
import { family, one, refuse, strided } from "../family.ts";
import { act, asRows, float, num } from "../layouts.ts";
import { when } from "../text.ts";

/** Columns that a row's maximum is looked for at once. */
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
export function quantiseBlock(
  k: Body,
  v: Tile,
  codes: BufferParam,
  scales: BufferParam,
  i: Index,
  p: Index,
  d: number,
  ue8m0: boolean,
): void {
  const amax = k.reduce("amax", k.map("size", f.abs(v)), "max", "cols");
  const plain = f.div(f.max(amax, Math.fround(1e-4)), 448);
  const s = k.map("s", ue8m0 ? f.pow2ceil(plain) : plain);
  k.store(k.map("code", f.div(v, s)), codes, { at: [i, p], cols: 1, colLimit: d });
  k.store(s, scales, { at: [i, x.div(p, 128)] });
}

/** y = x / rms(x) * gain */
function rmsNorm(p: NormProblem): Kernel {
  return kernel({
    name: `rms_norm_${p.d}`,
    summary: "Divide each row by its root mean square, then scale by the gain.",
    params: {
      x: rows(p.d, p.xStride, p.act),
      gain: { dtype: p.gain, shape: [p.d] },
      y: { ...rows(p.d, p.yStride, p.act), access: "out" },
    },
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

export const rmsNormFamily = family({
  name: "rms_norm",
  serves: ["rms_norm"],
  match({ ins, outs, attrs }) {
    if (ins.length < 2) return refuse("it scales by a gain, and there is none");
    const [xs, y] = [asRows(ins[0]), asRows(outs[0])];
    if (!xs || !y) return strided;
    const problem = {
      d: num(ins[0].shape.at(-1)),
      xStride: xs.stride,
      yStride: y.stride,
      eps: num(attrs.eps),
      gain: float(ins[1]),
      ...act(ins[0]),
    };
    return one(problem, [{ in: 0 }, { in: 1 }, { out: 0 }], [xs.rows]);
  },
  kernel: rmsNorm,
});

export type PlainNormProblem = Omit<NormProblem, "gain" | "ue8m0">;

/** y = x / rms(x) */
function plainNorm(p: PlainNormProblem): Kernel {
  return kernel({
    name: `rms_norm_plain_${p.d}`,
    summary: "Divide each row by its root mean square.",
    params: { x: rows(p.d, p.xStride, p.act), y: { ...rows(p.d, p.yStride, p.act), access: "out" } },
    dims: ["m"],
    body(k, { x: xs, y }) {
      k.grid({ i: ["m", 1] });
      const by = scaleOfRow(k, xs, "i", p.d, p.eps);
      k.loop("p", 0, p.d, 128, () => {
        const v = k.load("v", 1, 128, xs, { at: ["i", "p"], cols: 1, colLimit: p.d });
        k.store(k.map("n", f.mul(v, by)), y, { at: ["i", "p"], cols: 1, colLimit: p.d });
      });
    },
  });
}

export const plainNormFamily = family({
  name: "rms_norm_plain",
  serves: ["rms_norm"],
  match({ ins, outs, attrs }) {
    if (ins.length > 1) return refuse("it has no gain, and there is one");
    const [xs, y] = [asRows(ins[0]), asRows(outs[0])];
    if (!xs || !y) return strided;
    const problem = { d: num(ins[0].shape.at(-1)), xStride: xs.stride, yStride: y.stride, eps: num(attrs.eps), ...act(ins[0]) };
    return one(problem, [{ in: 0 }, { out: 0 }], [xs.rows]);
  },
  kernel: plainNorm,
});

/** rms_norm, then 1x128 quantise; the normalised row is never written. */
function normQuant(p: NormProblem): Kernel {
  return kernel({
    name: `norm_quant_${p.d}${when(p.ue8m0, "_ue8m0")}`,
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
      const by = k.of("rms_norm", () => scaleOfRow(k, xs, "i", p.d, p.eps));
      k.loop("p", 0, p.d, 128, () => {
        const n = k.of("rms_norm", () => {
          const v = k.load("v", 1, 128, xs, { at: ["i", "p"], cols: 1, colLimit: p.d });
          const g = k.load("g", 1, 128, gain, { at: ["p"], cols: 0, colLimit: p.d });
          return k.map("n", f.mul(f.mul(v, by), g));
        });
        k.of("quantize", () => quantiseBlock(k, n, codes, scales, "i", "p", p.d, p.ue8m0 === true));
      });
    },
  });
}

export const normQuantFamily = family({
  name: "norm_quant",
  serves: ["norm_quant"],
  match({ ins, attrs }) {
    const xs = asRows(ins[0]);
    if (!xs) return strided;
    const problem = {
      d: num(ins[0].shape.at(-1)),
      xStride: xs.stride,
      yStride: 0,
      eps: num(attrs.eps),
      gain: float(ins[1]),
      ue8m0: attrs.scale === "ue8m0",
      ...act(ins[0]),
    };
    return one(problem, [{ in: 0 }, { in: 1 }, { out: 0 }, { out: 0, part: "scales" }], [xs.rows]);
  },
  kernel: normQuant,
});

export interface QuantizeProblem {
  d: number;
  xStride: number;
  ue8m0: boolean;
  act?: "bf16";
}

function quantize(p: QuantizeProblem): Kernel {
  return kernel({
    name: `quantize_${p.d}${when(p.ue8m0, "_ue8m0")}`,
    summary: "Quantise rows to e4m3 with one scale per 128 columns.",
    params: {
      x: rows(p.d, p.xStride, p.act),
      codes: { dtype: "e4m3", shape: ["m", p.d], access: "out" },
      scales: { dtype: "f32", shape: ["m", Math.ceil(p.d / 128)], access: "out" },
    },
    dims: ["m"],
    body(k, { x: xs, codes, scales }) {
      k.grid({ i: ["m", 1], p: [p.d, 128] });
      quantiseBlock(
        k,
        k.load("v", 1, 128, xs, { at: ["i", "p"], cols: 1, colLimit: p.d }),
        codes,
        scales,
        "i",
        "p",
        p.d,
        p.ue8m0,
      );
    },
  });
}

export const quantizeFamily = family({
  name: "quantize",
  serves: ["quantize"],
  match({ ins, attrs }) {
    const xs = asRows(ins[0]);
    if (!xs) return strided;
    const problem = { d: num(ins[0].shape.at(-1)), xStride: xs.stride, ue8m0: attrs.scale === "ue8m0", ...act(ins[0]) };
    return one(problem, [{ in: 0 }, { out: 0 }, { out: 0, part: "scales" }], [xs.rows]);
  },
  kernel: quantize,
});

/**
 * Column of the first maximum; blocks of 512 columns in order, so a tie keeps the earlier one. NaN and infinity count as more than any
 * number, and are said by -1 - column.
 */
function argmax(p: { d: number; xStride: number }): Kernel {
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

export const argmaxFamily = family({
  name: "argmax",
  serves: ["argmax"],
  match({ ins }) {
    const xs = asRows(ins[0]);
    return xs ? one({ d: num(ins[0].shape[1]), xStride: xs.stride }, [{ in: 0 }, { out: 0 }], [xs.rows]) : strided;
  },
  kernel: argmax,
});

export const rows = (
  d: number,
  stride: number,
  act?: "bf16",
): { dtype: "f32" | "bf16"; shape: readonly [string, number]; strides: readonly [number, number] } => ({
  dtype: act ?? "f32",
  shape: ["m", d],
  strides: [stride, 1],
});
