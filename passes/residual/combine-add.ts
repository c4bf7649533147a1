// The end of a layer with experts: their rows, the shared expert's and the residual are added in one visit.
import { combineAdd as combineAddOp, mapExperts } from "../../ir/index.ts";
import { fusion } from "../fusion.ts";
import { pass } from "../pass.ts";
import type { MatchContext } from "../rule.ts";

const ties = ({ T, k }: Readonly<Record<string, number>>): { r: number } => ({ r: T * k });
const sizes = { k: 2 };

/** Only where nothing else reads the partial sum. */
const once = (cx: MatchContext): string | null =>
  cx.uses(cx.root.operands[1]) > 1 ? "the sum of the experts is read elsewhere too" : null;

/** x + (sum of experts + shared) */
const combineShared = fusion("combine onto the residual and the shared expert", combineAddOp, {
  vars: { shared: "[T, d] a" },
  when: (_, cx) => once(cx),
  sizes,
  ties,
});

/** x + sum of experts */
const combineResidual = fusion("combine onto the residual", combineAddOp, { when: (_, cx) => once(cx), sizes, ties });

export const combineAdd = pass({
  name: "combine-add",
  summary: "Add the experts' rows, the shared expert's and the residual in one visit.",
  rules: [combineShared, combineResidual],
  promises: [
    {
      rules: [combineShared.name, combineResidual.name],
      before: (b) => b.all(mapExperts).length,
      after: (sites, ran) => (ran.pass("moe-dispatch") ? sites : 0),
    },
  ],
});
