// Embedding and linear layers. Weights are stored [out, in]: y = x wᵀ. Leading axes of a weight are parts
// (gate and up packed), each with scale blocks of its own.
import { attr } from "../attr.ts";
import { op, type Extents } from "../op.ts";
import { tensorOf, type Tensor } from "../interpret.ts";
import { dequantized } from "./quant.ts";
import { isScaled } from "../dtype.ts";
import { tensor, type DType, type Type } from "../types.ts";

export const embed = op("embed", {
  summary: "Rows of a table, by token id.",
  ins: { ids: "[T] i32", table: "[v, d] w" },
  attrs: { dtype: attr.word(["f32", "bf16"], "f32") },
  traits: { reads: { table: "tokens" } },
  infer: (types, attrs, b): Type => tensor([b.dims.T, b.dims.d], attrs.dtype),
  reference({ ids, table }) {
    const d = table.shape[1];
    const out = new Float64Array(ids.data.length * d);
    ids.data.forEach((id, t) => out.set(table.data.subarray(id * d, (id + 1) * d), t * d));
    return tensorOf([ids.data.length, d], out);
  },
});

/** x [rows, k] by w [parts x n, k], summed in float64. */
function matmul(x: Float64Array, w: Float64Array, k: number): Float64Array {
  const rows = x.length / k;
  const n = w.length / k;
  const out = new Float64Array(rows * n);
  for (let r = 0; r < rows; r++)
    for (let j = 0; j < n; j++) {
      let sum = 0;
      for (let i = 0, a = r * k, b = j * k; i < k; i++) sum += x[a + i] * w[b + i];
      out[r * n + j] = sum;
    }
  return out;
}

const linearFlops = (z: Extents): number => 2 * z.rows * z.weights;

export const linear = op("linear", {
  summary: "y = x wᵀ.",
  ins: { x: "[..b, k] a", w: "[..p, n, k] w" },
  // The router's logits are f32 whatever the activations are.
  attrs: { dtype: attr.word(["same", "f32"], "same") },
  traits: { rowwise: true, sums: "k" },
  check: (b) => (isScaled(b.dtypes.a) || isScaled(b.dtypes.w) ? "scaled operands belong to block_linear" : null),
  infer: (types, { dtype }, b): Type => tensor([...b.rests.b, ...b.rests.p, b.dims.n], dtype === "same" ? b.dtypes.a : dtype),
  flops: linearFlops,
  reference: ({ x, w }) =>
    tensorOf([...x.shape.slice(0, -1), ...w.shape.slice(0, -1)], matmul(x.data, w.data, x.shape.at(-1)!), x.dtype),
});

/** One op for dequantize + linear: the scales are applied once per 128 columns, in f32. */
export const blockLinear = op("block_linear", {
  summary: "y = x wᵀ with block-scaled weights; x may be quantised in blocks of 1x128.",
  ins: { x: "[..b, k] a", w: "[..p, n, k] e4m3/128x128" },
  attrs: { dtype: attr.word(["f32", "bf16"], "f32") },
  traits: { rowwise: true, sums: "k" },
  infer: (types, attrs, b): Type => tensor([...b.rests.b, ...b.rests.p, b.dims.n], attrs.dtype),
  flops: linearFlops,
  reference: ({ x, w }, { dtype }) =>
    tensorOf([...x.shape.slice(0, -1), ...w.shape.slice(0, -1)], matmul(dequantized(x), dequantized(w), x.shape.at(-1)!), dtype),
});

/** Rows offsets[e] .. offsets[e+1] of x meet matrix e of w. w may be f32, bf16 or block-scaled. */
export const groupedLinear = op("grouped_linear", {
  summary: "Rows sorted by expert, each group by its own matrix.",
  ins: { x: "[r, k] a", w: "[e, ..p, n, k] w", offsets: "[f] i32" },
  attrs: { dtype: attr.word(["f32", "bf16"], "f32") },
  traits: { reads: { w: "experts" }, sums: "k" },
  infer: (types, attrs, b): Type => tensor([b.dims.r, ...b.rests.p, b.dims.n], attrs.dtype),
  flops: (z) => (2 * z.rows * z.weights) / z.of.e,
  reference: ({ x, w, offsets }, { dtype }) => groupedMatmul(x, w, offsets, dtype),
});

function groupedMatmul(x: Tensor, w: Tensor, offsets: Tensor, dtype: DType): Tensor {
  const k = x.shape.at(-1)!;
  const experts = w.shape[0];
  const per = w.data.length / experts;
  const [xs, ws] = [dequantized(x), dequantized(w)];
  const n = per / k;
  const out = new Float64Array((x.data.length / k) * n);
  for (let e = 0; e < experts; e++) {
    const [from, to] = [offsets.data[e], offsets.data[e + 1]];
    out.set(matmul(xs.subarray(from * k, to * k), ws.subarray(e * per, (e + 1) * per), k), from * n);
  }
  return tensorOf([x.shape[0], ...w.shape.slice(1, -1)], out, dtype);
}
