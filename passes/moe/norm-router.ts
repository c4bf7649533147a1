// The norm before a layer's experts is read by the router and by the experts. With few rows both, norm and router, are launches that move
// next to nothing: one op gives the row and the router's logits.
import { isWeight, mapExperts, normLinearBoth, plainExpertsAdd, routePlainExpertsAdd, type Value } from "../../ir/index.ts";
import { scaledLinears } from "../fp8/fp8-block-gemm.ts";
import { fusion } from "../fusion.ts";
import { pass } from "../pass.ts";
import { addNorm } from "../residual/add-norm.ts";
import { FEW, tooMany } from "../residual/few.ts";
import type { SiteContext } from "../rule.ts";

/** Whether a product is of a stored matrix, and experts read the same row, and nothing else does. */
function readWithExperts({ node: { operands } }: Value, { readers, uses }: SiteContext): boolean {
  const beside = readers(operands[0]).some((n) => plainExpertsAdd.made(n) || routePlainExpertsAdd.made(n));
  return isWeight(operands[1]) && uses(operands[0]) === 2 && beside;
}

/** rms_norm(x) and rms_norm(x) Wᵀ */
const normAndRouter = fusion("normalise inside the router", normLinearBoth, {
  vars: { w: "[n, k] w" },
  among: readWithExperts,
  when: ({ x }, cx) => tooMany(x, cx.assume),
});

export const normRouter = pass({
  name: "norm-router",
  summary: "The norm before experts and their router's product in one launch, where rows are few.",
  rules: [normAndRouter],
  promises: [
    {
      rules: [normAndRouter.name],
      before: (b) => (b.act === "bf16" && b.rows <= FEW && scaledLinears(b) === 0 ? b.all(mapExperts).length : 0),
      // A residual sum that no product took in (attention_bias) is one with the norm by then.
      after: (sites, ran) =>
        sites > 0 && ran.pass("experts-add")
          ? ran.fired("experts of few tokens, without scales, in one op") - ran.fired(...addNorm.rules!.map((r) => r.name))
          : 0,
    },
  ],
});
