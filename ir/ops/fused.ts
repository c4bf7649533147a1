// Products with their neighbours: the norm or the gate that makes their rows, the residual sum that their result goes into. With few
// rows each neighbour is a launch of its own that moves next to nothing. A fused op rounds where its parts did, so no bit changes.
import { attr } from "../attr.ts";
import { op, type Extents } from "../op.ts";
import { tensorOf, type Tensor } from "../interpret.ts";
import { roundTo } from "../numeric.ts";
import { isScaled } from "../dtype.ts";
import { tensor, type DType, type Type } from "../types.ts";
import { matmul } from "./dense.ts";
import { siluMulRows } from "./math.ts";
import { normRows } from "./norm.ts";
import { dequantized, quantizeRows } from "./quant.ts";

const productFlops = (z: Extents): number => 2 * z.rows * z.weights;

const product = (x: Tensor, w: Tensor): Tensor => tensorOf([...x.shape.slice(0, -1), ...w.shape.slice(0, -1)], matmul(x.data, w.data, x.shape.at(-1)!), x.dtype);

/** As it would have been stored. */
function stored(x: Tensor, mode: "real" | "typed"): Tensor {
  if (mode === "typed") roundTo(x.data, x.dtype);
  return x;
}

const onto = (y: Tensor, residual: Tensor): Tensor => ({ ...y, data: y.data.map((v, i) => v + residual.data[i]) });

export const normLinear = op("norm_linear", {
  summary: "y = rms_norm(x) wᵀ; the normalised row is not written.",
  ins: { x: "[..b, k] a", w: "[..p, n, k] w", gain: "[k] g" },
  attrs: { eps: attr.f32(1e-6), dtype: attr.word(["same", "f32"], "same") },
  check: (b) => (isScaled(b.dtypes.a) || isScaled(b.dtypes.w) ? "scaled operands are no operands of norm_linear" : null),
  infer: (types, { dtype }, b): Type => tensor([...b.rests.b, ...b.rests.p, b.dims.n], dtype === "same" ? b.dtypes.a : dtype),
  flops: productFlops,
  reference: ({ x, w, gain }, { eps }, env) => product(stored(normRows(x, gain, eps), env.mode), w),
});

export const linearAdd = op("linear_add", {
  summary: "residual + x wᵀ.",
  ins: { x: "[..b, k] a", w: "[n, k] w", residual: "[..b, n] a" },
  out: "[..b, n] a",
  flops: productFlops,
  reference: ({ x, w, residual }, _, env) => onto(stored(product(x, w), env.mode), residual),
});

export const siluLinearAdd = op("silu_linear_add", {
  summary: "residual + (silu(gate) * up) wᵀ, gate and up side by side in x; the row between is not written.",
  ins: { x: "[..b, 2, k] a", w: "[n, k] w", residual: "[..b, n] a" },
  out: "[..b, n] a",
  flops: productFlops,
  reference: ({ x, w, residual }, _, env) => onto(stored(product(stored(siluMulRows(x), env.mode), w), env.mode), residual),
});

/** The product of codes, in the dtype it is stored in. */
const blockProduct = (x: Tensor, w: Tensor, dtype: DType, mode: "real" | "typed"): Tensor =>
  stored(tensorOf([...x.shape.slice(0, -1), ...w.shape.slice(0, -1)], matmul(dequantized(x), dequantized(w), x.shape.at(-1)!), dtype), mode);

export const normBlockLinear = op("norm_block_linear", {
  summary: "y = quantize(rms_norm(x)) wᵀ with block-scaled weights; neither the normalised row nor its codes are written.",
  ins: { x: "[..b, k] a", w: "[..p, n, k] e4m3/128x128", gain: "[k] g" },
  attrs: { eps: attr.f32(1e-6), scale: attr.word(["f32", "ue8m0"], "f32"), dtype: attr.word(["f32", "bf16"], "f32") },
  infer: (types, { dtype }, b): Type => tensor([...b.rests.b, ...b.rests.p, b.dims.n], dtype),
  flops: productFlops,
  reference: ({ x, w, gain }, { eps, scale, dtype }, env) => blockProduct(quantizeRows(stored(normRows(x, gain, eps), env.mode), scale === "ue8m0"), w, dtype, env.mode),
});

export const blockLinearAdd = op("block_linear_add", {
  summary: "residual + x wᵀ with block-scaled weights.",
  ins: { x: "[..b, k] e4m3/1x128", w: "[n, k] e4m3/128x128", residual: "[..b, n] a" },
  out: "[..b, n] a",
  flops: productFlops,
  reference: ({ x, w, residual }, _, env) => onto(blockProduct(x, w, residual.dtype, env.mode), residual),
});
