// Root-mean-square normalisation.
import { attr } from "../attr.ts";
import { op } from "../op.ts";
import { tensorOf, type Tensor } from "../interpret.ts";

function normRows(x: Tensor, gain: Tensor | undefined, eps: number): Tensor {
  const d = x.shape.at(-1)!;
  const out = new Float64Array(x.data.length);
  for (let r = 0; r < x.data.length; r += d) {
    let squares = 0;
    for (let i = 0; i < d; i++) squares += x.data[r + i] ** 2;
    const by = 1 / Math.sqrt(squares / d + eps);
    for (let i = 0; i < d; i++) out[r + i] = x.data[r + i] * by * (gain?.data[i] ?? 1);
  }
  return tensorOf(x.shape, out, x.dtype);
}

export const rmsNorm = op("rms_norm", {
  summary: "Divide each row by its root mean square, then scale by a learned gain where there is one.",
  ins: { x: "[..b, d] a", "gain?": "[d] w" },
  attrs: { eps: attr.f32(1e-6) },
  traits: { rowwise: true, whole: "d" },
  out: "[..b, d] a",
  flops: (z) => 4 * z.elements,
  reference: ({ x, gain }, { eps }) => normRows(x, gain, eps),
});
