// The end of a layer with experts: their rows, the shared expert's and the residual are added in one visit.
import { add, combine, combineAdd as combineAddOp } from "../../ir/index.ts";
import { inEach } from "../contract.ts";
import { pass } from "../pass.ts";
import { rule, type MatchContext } from "../rule.ts";

const vars = { ys: "[r, d] a", places: "[r] i32", weights: "[T, k] f32", x: "[T, d] a" } as const;
const ties = ({ T, k }: Readonly<Record<string, number>>): { r: number } => ({ r: T * k });
const sizes = { k: 2 };

/** Only where nothing else reads the partial sum. */
const once = (cx: MatchContext): string | null => (cx.uses(cx.root.operands[1]) > 1 ? "the sum of the experts is read elsewhere too" : null);

/** x + (sum of experts + shared) */
export const combineShared = rule("combine onto the residual and the shared expert", {
  vars: { ...vars, shared: "[T, d] a" },
  from: ({ ys, places, weights, x, shared }) => add({ a: x, b: add({ a: combine({ ys, places, weights }), b: shared }) }),
  to: ({ ys, places, weights, x, shared }) => combineAddOp({ ys, places, weights, x, shared }),
  when: (_, cx) => once(cx),
  sizes,
  ties,
});

/** x + sum of experts */
export const combineResidual = rule("combine onto the residual", {
  vars,
  from: ({ ys, places, weights, x }) => add({ a: x, b: combine({ ys, places, weights }) }),
  to: ({ ys, places, weights, x }) => combineAddOp({ ys, places, weights, x }),
  when: (_, cx) => once(cx),
  sizes,
  ties,
});

export const combineAdd = pass({
  name: "combine-add",
  summary: "Add the experts' rows, the shared expert's and the residual in one visit.",
  rules: [combineShared, combineResidual],
  expect: ({ bodies, ran }) => inEach(bodies, [combineShared.name, combineResidual.name], (b) => (ran.has("moe-dispatch") ? b.experts : 0)),
});
