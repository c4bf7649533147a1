// Root-mean-square normalisation, alone and fused with what follows it.
import { attr } from "../attr.ts";
import { op } from "../op.ts";
import { tensorOf, type Tensor } from "../interpret.ts";
import { quantizeRows } from "./quant.ts";
import { siluMulRows } from "./math.ts";
import { roundTo } from "../numeric.ts";

export function normRows(x: Tensor, gain: Tensor, eps: number): Tensor {
  const d = x.shape.at(-1)!;
  const out = new Float64Array(x.data.length);
  for (let r = 0; r < x.data.length; r += d) {
    let squares = 0;
    for (let i = 0; i < d; i++) squares += x.data[r + i] ** 2;
    const by = 1 / Math.sqrt(squares / d + eps);
    for (let i = 0; i < d; i++) out[r + i] = x.data[r + i] * by * gain.data[i];
  }
  return tensorOf(x.shape, out, x.dtype);
}

export const rmsNorm = op("rms_norm", {
  summary: "Divide each row by its root mean square, then scale by a learned gain.",
  ins: { x: "[..b, d] a", gain: "[d] w" },
  attrs: { eps: attr.f32(1e-6) },
  traits: { rowwise: true },
  out: "[..b, d] a",
  flops: (z) => 4 * z.elements,
  reference: ({ x, gain }, { eps }) => normRows(x, gain, eps),
});

export const normQuant = op("norm_quant", {
  summary: "rms_norm, then quantize, without writing the row in between.",
  ins: { x: "[..b, d] a", gain: "[d] w" },
  attrs: { eps: attr.f32(1e-6), scale: attr.word(["f32", "ue8m0"], "f32") },
  out: "[..b, d] e4m3/1x128",
  flops: (z) => 7 * z.elements,
  reference: ({ x, gain }, { eps, scale }, env) => quantizeRows(roundLike(normRows(x, gain, eps), x, env.mode), scale === "ue8m0"),
});

/** The sum of a residual connection as it is stored, and its normalised row: what every one of the three below begins with. */
function addNormRows(a: Tensor, b: Tensor, gain: Tensor, eps: number, mode: "real" | "typed"): { sum: Tensor; y: Tensor } {
  const sum = roundLike(tensorOf(a.shape, a.data.map((v, i) => v + b.data[i]), a.dtype), a, mode);
  return { sum, y: roundLike(normRows(sum, gain, eps), a, mode) };
}

export const addNorm = op("add_norm", {
  summary: "Sum of a residual connection, and its rms_norm: the row is read once.",
  ins: { a: "[..b, d] a", b: "[..b, d] a", gain: "[d] w" },
  attrs: { eps: attr.f32(1e-6) },
  outs: { sum: "[..b, d] a", y: "[..b, d] a" },
  flops: (z) => 5 * z.elements,
  reference: ({ a, b, gain }, { eps }, env) => addNormRows(a, b, gain, eps, env.mode),
});

export const addNormQuant = op("add_norm_quant", {
  summary: "Sum of a residual connection, and its rms_norm quantised; the normalised row is not written.",
  ins: { a: "[..b, d] a", b: "[..b, d] a", gain: "[d] w" },
  attrs: { eps: attr.f32(1e-6), scale: attr.word(["f32", "ue8m0"], "f32") },
  outs: { sum: "[..b, d] a", codes: "[..b, d] e4m3/1x128" },
  flops: (z) => 8 * z.elements,
  reference({ a, b, gain }, { eps, scale }, env) {
    const { sum, y } = addNormRows(a, b, gain, eps, env.mode);
    return { sum, codes: quantizeRows(y, scale === "ue8m0") };
  },
});

/** A layer with experts needs the row twice: the router reads it as it is, the experts read its codes. */
export const addNormBoth = op("add_norm_both", {
  summary: "Sum of a residual connection, and its rms_norm both as it is and quantised.",
  ins: { a: "[..b, d] a", b: "[..b, d] a", gain: "[d] w" },
  attrs: { eps: attr.f32(1e-6), scale: attr.word(["f32", "ue8m0"], "f32") },
  outs: { sum: "[..b, d] a", y: "[..b, d] a", codes: "[..b, d] e4m3/1x128" },
  flops: (z) => 8 * z.elements,
  reference({ a, b, gain }, { eps, scale }, env) {
    const { sum, y } = addNormRows(a, b, gain, eps, env.mode);
    return { sum, y, codes: quantizeRows(y, scale === "ue8m0") };
  },
});

export const siluMulQuant = op("silu_mul_quant", {
  summary: "silu_mul, then quantize.",
  ins: { x: "[..b, 2, n] a" },
  attrs: { scale: attr.word(["f32", "ue8m0"], "f32") },
  out: "[..b, n] e4m3/1x128",
  flops: (z) => 6 * z.elements,
  reference: ({ x }, { scale }, env) => quantizeRows(roundLike(siluMulRows(x), x, env.mode), scale === "ue8m0"),
});

// A fused op rounds where its parts did, so that fusing changes no code.
function roundLike(y: Tensor, x: Tensor, mode: "real" | "typed"): Tensor {
  if (mode === "typed") roundTo(y.data, x.dtype);
  return y;
}
