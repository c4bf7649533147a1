// The gate of a feed-forward layer: act(gate) * up. Which activation, and whether both sides are clamped, are attributes
// (ir/activation.ts).
import { gatedValue, gating, gatingFlops, type Gating } from "../activation.ts";
import { op } from "../op.ts";
import { tensorOf, type Tensor } from "../interpret.ts";

const check = (_: unknown, { limit }: Gating): string | null =>
  limit < 0 ? `limit is ${limit}: it is positive, or 0 for none` : null;

export const gated = op("gated", {
  summary: "act(gate) * up, element by element; with a limit, act(min(gate, limit)) * clamp(up, -limit, limit).",
  ins: { gate: "[..b] a", up: "[..b] a" },
  attrs: gating,
  check,
  out: "[..b] a",
  flops: (z, by) => gatingFlops(by) * z.elements,
  reference: ({ gate, up }, by) => ({ ...gate, data: gate.data.map((g, i) => gatedValue(g, up.data[i], by)) }),
});

/** Gate and up side by side, as one product gives them: x[.., 0, :] is the gate, x[.., 1, :] the up projection. */
export const gatedPair = op("gated_pair", {
  summary: "gated, of rows that hold gate and up side by side.",
  ins: { x: "[..b, 2, n] a" },
  attrs: gating,
  check,
  out: "[..b, n] a",
  flops: (z, by) => gatingFlops(by) * (z.elements / 2),
  reference: ({ x }, by) => pairs(x, by),
});

function pairs(x: Tensor, by: Gating): Tensor {
  const n = x.shape.at(-1)!;
  const out = new Float64Array(x.data.length / 2);
  for (let i = 0; i < out.length; i++) {
    const gate = i + Math.floor(i / n) * n;
    out[i] = gatedValue(x.data[gate], x.data[gate + n], by);
  }
  return tensorOf([...x.shape.slice(0, -2), n], out, x.dtype);
}
