// Quantisation at the end of the kernel that makes the row, so that the row is not written and read in between.
import { normQuant, quantize, rmsNorm, siluMul, siluMulQuant } from "../../ir/index.ts";
import { inEach } from "../contract.ts";
import { pass } from "../pass.ts";
import { rule } from "../rule.ts";

/** quantize(norm x): only where nothing else reads the normalised row. */
export const fuseNormQuant = rule("quantise while normalising", {
  vars: { x: "[..b, d] a", gain: "[d] w" },
  attrs: { eps: 1e-6, scale: "f32" },
  from: ({ x, gain, eps, scale }) => quantize({ x: rmsNorm({ x, gain, eps }), scale }),
  to: ({ x, gain, eps, scale }) => normQuant({ x, gain, eps, scale }),
  when: (_, cx) => (cx.uses(cx.root.operands[0]) > 1 ? "the normalised row is read elsewhere too (the router)" : null),
  within: "e4m3",
});

/** quantize(silu(gate) * up). */
export const fuseSiluQuant = rule("quantise while gating", {
  vars: { x: "[..b, 2, n] a" },
  attrs: { scale: "f32" },
  from: ({ x, scale }) => quantize({ x: siluMul({ x }), scale }),
  to: ({ x, scale }) => siluMulQuant({ x, scale }),
  within: "e4m3",
});

export const fuseQuant = pass({
  name: "fuse-quant",
  summary: "Quantise activations in the kernel that makes them.",
  rules: [fuseNormQuant, fuseSiluQuant],
  // A sum's norm is taken by add-norm; rows are gated in one op only once gate and up are packed.
  expect: ({ bodies, ran, ledger }) => [
    ...inEach(bodies, [fuseNormQuant.name], (b) => b.quantisedNorms + (ran.has("add-norm") ? 0 : b.quantisedSums)),
    ...inEach(bodies, [fuseSiluQuant.name], (b) =>
      b.quantised && ran.has("pack-gate-up") && ran.has("fp8-block-gemm") ? b.gated - ledger.fired(["shared expert as a routed one"], b.func) + (ran.has("moe-dispatch") && ran.has("quantise-once") ? b.experts : 0) : 0,
    ),
  ],
});
