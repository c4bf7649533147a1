// Explicit quantisation. Quantisation is meaning, not optimisation: passes fuse these nodes, none invents or drops one silently.
import { attr } from "../attr.ts";
import { op } from "../op.ts";
import type { Tensor } from "../interpret.ts";
import { quantizeRow } from "../numeric.ts";
import { isScaled } from "../dtype.ts";
import { tensor, type Type } from "../types.ts";

/** Data of a tensor with its scales multiplied in. */
export function dequantized(t: Tensor): Float64Array {
  if (!t.scales) return t.data;
  const k = t.shape.at(-1)!;
  const kb = Math.ceil(k / 128);
  const out = new Float64Array(t.data.length);
  const n = t.shape.at(-2)!;
  const nb = Math.ceil(n / 128);
  for (let row = 0, i = 0; i < out.length; row++) {
    const blocks = t.dtype === "e4m3/1x128" ? row : Math.floor(row / n) * nb + Math.floor((row % n) / 128);
    for (let b = 0; b < kb; b++) {
      const scale = t.scales[blocks * kb + b];
      for (const end = row * k + Math.min(k, (b + 1) * 128); i < end; i++) out[i] = t.data[i] * scale;
    }
  }
  return out;
}

/** Rows to e4m3 codes with a scale per 128 columns: s = max(amax, 1e-4) / 448, rounded up to a power of two for ue8m0. */
export function quantizeRows(x: Tensor, ue8m0: boolean): Tensor {
  const k = x.shape.at(-1)!;
  const rows = x.data.length / k;
  const kb = Math.ceil(k / 128);
  const codes = new Float64Array(x.data.length);
  const scales = new Float64Array(rows * kb);
  for (let r = 0; r < rows; r++) quantizeRow(x.data, r * k, k, ue8m0, codes, r * k, scales, r * kb);
  return { shape: x.shape, dtype: "e4m3/1x128", data: codes, scales };
}

export const quantize = op("quantize", {
  summary: "Dynamic activation quantisation: e4m3 codes and one scale per row and 128 columns.",
  ins: { x: "[..b, k] a" },
  attrs: { scale: attr.word(["f32", "ue8m0"], "f32") },
  traits: { rowwise: true },
  out: "[..b, k] e4m3/1x128",
  flops: (z) => 3 * z.elements,
  reference: ({ x }, { scale }) => quantizeRows(x, scale === "ue8m0"),
});

export const dequantize = op("dequantize", {
  summary: "Codes times scales.",
  ins: { x: "[..b, k] q" },
  attrs: { dtype: attr.word(["f32", "bf16"], "f32") },
  traits: { rowwise: true },
  check: (b) => (isScaled(b.dtypes.q) ? null : `there is nothing to dequantise in ${b.dtypes.q}`),
  infer: (types, attrs, b): Type => tensor([...b.rests.b, b.dims.k], attrs.dtype),
  flops: (z) => z.elements,
  reference: ({ x }, { dtype }) => ({ shape: x.shape, dtype, data: new Float64Array(dequantized(x)) }),
});
