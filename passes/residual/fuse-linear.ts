// Products of few rows take their neighbours in: the norm or the gate that makes their rows, the residual sum that takes their result.
// Each of them is a launch that moves next to nothing, between launches that read weights at full bandwidth. Runs before add-norm,
// which joins a sum and a norm where no product can have them.
import {
  add,
  gatedLinearAdd,
  isWeight,
  linear,
  linearAdd,
  mapExperts,
  normLinear,
  rmsNorm,
  type Node,
  type Value,
} from "../../ir/index.ts";
import { asTensor } from "../../ir/types.ts";
import type { Body } from "../contract.ts";
import { scaledLinears } from "../fp8/fp8-block-gemm.ts";
import { fusion } from "../fusion.ts";
import { gatedLayers } from "../moe/pack-gate-up.ts";
import { pass } from "../pass.ts";
import type { MatchContext } from "../rule.ts";
import { FEW, tooMany } from "./few.ts";

function kept(x: Value, w: Value, inner: Value, cx: MatchContext): string | null {
  if (asTensor(x.type).dtype !== "bf16" || asTensor(w.type).dtype !== "bf16") return "only products of bf16 have such a kernel";
  if (!isWeight(w)) return "the matrix is no stored weight";
  if (cx.uses(inner) > 1) return `what ${inner.node.op.name} gives is read elsewhere too`;
  return tooMany(x, cx.assume);
}

/** residual + (x Wᵀ) */
const addInside = fusion("add the residual inside the product", linearAdd, {
  when: ({ x, w }, cx) => kept(x, w, cx.root.operands[1], cx),
});

/** residual + (gated_pair(x) Wᵀ) */
const gateInside = fusion("gate inside the product", gatedLinearAdd, {
  when: ({ x, w }, cx) => kept(x, w, cx.root.operands[0], cx),
});

/** rms_norm(x) Wᵀ */
const normInside = fusion("normalise inside the product", normLinear, {
  when: ({ x, w }, cx) => kept(x, w, cx.root.operands[0], cx),
});

const takesFew = (b: Body): boolean => b.act === "bf16" && b.rows <= FEW && scaledLinears(b) === 0;

/** A product of a stored matrix of bf16. */
const isProduct = (n: Node): boolean =>
  linear.made(n) && isWeight(n.operands[1]) && asTensor(n.operands[1].type).dtype === "bf16";

/** Sums of a row and such a product, not those of experts. */
const residuals = (b: Body): number =>
  b.all(add).filter((n) => isProduct(n.operands[1].node) && !mapExperts.made(n.operands[0].node)).length;

/** Norms that only such products read. */
const productNorms = (b: Body): number => b.all(rmsNorm).filter((n) => !b.gives(n) && b.readers(n).every(isProduct)).length;

export const fuseLinear = pass({
  name: "fuse-linear",
  summary: "Norm, gate and residual sum inside the products of few rows, in place of launches of their own.",
  rules: [addInside, gateInside, normInside],
  promises: [
    {
      rules: [addInside.name],
      before: (b) => (takesFew(b) ? residuals(b) : 0),
    },
    {
      rules: [gateInside.name],
      before: (b) => (takesFew(b) && b.all(mapExperts).length === 0 && residuals(b) > 0 ? gatedLayers(b) : 0),
      after: (sites, ran) => (ran.pass("pack-gate-up") ? sites : 0),
    },
    {
      rules: [normInside.name],
      before: (b) => (takesFew(b) && b.all(mapExperts).length === 0 ? productNorms(b) : 0),
      // Norms that several matrices read are read by one product once these are joined.
      after: (sites, ran) => (ran.pass("pack-gate-up", "join-latents") ? sites : 0),
    },
  ],
});
