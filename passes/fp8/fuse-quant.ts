// Quantisation at the end of the kernel that makes the row, so that the row is not written and read in between.
import {
  canonicalSpec,
  einsum,
  einsumQuant,
  fixed,
  gatedQuant,
  mapExperts,
  mapSequences,
  normQuant,
  quantize,
  reshape,
  rmsNorm,
  type Node,
} from "../../ir/index.ts";
import { asTensor, type Dim } from "../../ir/types.ts";
import type { Body } from "../contract.ts";
import { fusion } from "../fusion.ts";
import { gatedLayers } from "../moe/pack-gate-up.ts";
import { pass } from "../pass.ts";
import { ofSum } from "../residual/add-norm.ts";
import { rule } from "../rule.ts";

/** quantize(norm x): only where nothing else reads the normalised row. */
const fuseNormQuant = fusion("quantise while normalising", normQuant, {
  when: (_, cx) => (cx.uses(cx.root.operands[0]) > 1 ? "the normalised row is read elsewhere too (the router)" : null),
});

/** quantize(act(gate) * up). */
const fuseGatedQuant = fusion("quantise while gating", gatedQuant);

/** Two axes side by side as one; in the pattern of a rule a letter of its own. */
const beside = (a: Dim, b: Dim, letter: string): Dim => (typeof a === "number" && typeof b === "number" ? a * b : `?${letter}`);

/** quantize(einsum(p, W), heads side by side) = einsum_quant(p, W) */
const fuseHeadsQuant = rule("quantise the heads' outputs as they are made", {
  vars: { p: "[t, h, r] a", w: "[h, v, r] w" },
  attrs: { scale: "f32" },
  from({ p, w, scale }) {
    const y = einsum("thr,hvr->thv", p, w);
    const [t, h, v] = asTensor(y.type).dims;
    return quantize({ x: reshape({ x: y, dims: [t, beside(h, v, "n")] }), scale });
  },
  to: ({ p, w, scale }) => einsumQuant({ a: p, b: w, spec: canonicalSpec("thr,hvr->thv"), scale }),
  when: (_, { uses, root: { operands } }) =>
    uses(operands[0]) > 1 || uses(operands[0].node.operands[0]) > 1 ? "the heads' outputs are read elsewhere too" : null,
  unless: (_, { v }) =>
    fixed(v) % 128 === 0
      ? null
      : `a scale serves 128 columns, and those of a head are ${v}: heads would have to wait for each other`,
  ties: ({ h, v }) => ({ n: h * v }),
});

const isQuantised = (b: Body): boolean => b.all(quantize).length > 0;

/** Norms that are read quantised only. */
const quantisedNorms = (b: Body): Node[] => b.all(rmsNorm).filter((n) => b.readers(n).every(quantize.made) && !b.gives(n));

export const fuseQuant = pass({
  name: "fuse-quant",
  summary: "Quantise activations in the kernel that makes them.",
  rules: [fuseNormQuant, fuseGatedQuant, fuseHeadsQuant],
  promises: [
    {
      rules: [fuseHeadsQuant.name],
      before: (b) => (isQuantised(b) ? b.all(mapSequences).length : 0),
      // Absorbed, the last product of attention is one for all sequences once attention is one op.
      after: (sites, ran) => (sites > 0 && ran.pass("fuse-attention") ? ran.fired("absorb W_uv into the output") : 0),
    },
    {
      rules: [fuseNormQuant.name],
      before: (b) => quantisedNorms(b).length,
      // A sum's norm is taken by add-norm.
      after: (_, ran, b) =>
        quantisedNorms(b).filter((n) => !ofSum(n) || !ran.pass("add-norm")).length -
        ran.fired("normalise and quantise inside the block GEMM"),
    },
    {
      rules: [fuseGatedQuant.name],
      before: (b) => (isQuantised(b) ? gatedLayers(b) + b.all(mapExperts).length : 0),
      // Rows are gated in one op only once gate and up are packed.
      after: (sites, ran, b) =>
        ran.pass("pack-gate-up", "fp8-block-gemm")
          ? sites -
            ran.fired("shared expert as a routed one") -
            (ran.pass("moe-dispatch", "quantise-once") ? 0 : b.all(mapExperts).length)
          : 0,
    },
  ],
});
