// What ranks exchange, exchanged otherwise: equations over ranks, each proved on 2, 3 and 4 of them at drawn values. Where the other form
// is not the better one, or nothing runs it, the rule declines with the reason.
import { add, allGather, allReduce, once, quantize, reduceScatter, rmsNorm } from "../../ir/index.ts";
import { pass, type Pass } from "../pass.ts";
import { rule, type Rule } from "../rule.ts";

/** sum(a) + sum(b) = sum(a + b): of shared and routed experts, where each was added up alone. */
export const oneSum: Rule = rule("one sum for two", {
  vars: { a: "[..b] t", b: "[..b] t" },
  ownByRank: ["a", "b"],
  from: ({ a, b }) => add({ a: allReduce({ x: a }), b: allReduce({ x: b }) }),
  to: ({ a, b }) => allReduce({ x: add({ a, b }) }),
});

/** h + sum(y) = sum(h on rank 0 + y): whatever makes y can add the residual. */
export const residualInside: Rule = rule("residual inside the sum", {
  vars: { h: "[..b] t", y: "[..b] t" },
  ownByRank: ["y"],
  from: ({ h, y }) => add({ a: h, b: allReduce({ x: y }) }),
  to: ({ h, y }) => allReduce({ x: add({ a: once({ x: h }), b: y }) }),
  unless: () => "the sum and the norm after the collective are one launch (add-norm); before it the residual is one more",
});

/** norm(h + sum(y)), where every rank normalises its part of the rows: 1 / ranks of the work, for as many bytes. */
export const normOfShare: Rule = rule("normalise a share of the rows", {
  vars: { h: "[T, d] t", y: "[T, d] t", gain: "[d] w" },
  attrs: { parts: 2, eps: 1e-6 },
  ownByRank: ["y"],
  ties: ({ parts }) => ({ T: 2 * Math.max(1, parts) }),
  looks: "rms_norm(add(h, all_reduce(y))) of rows that ranks can share",
  from: ({ h, y, gain, parts, eps }) => {
    const sum = allGather({ x: reduceScatter({ x: y, parts, axis: -2 }), parts, axis: -2 });
    return rmsNorm({ x: add({ a: h, b: sum }), gain, eps });
  },
  to: ({ h, y, gain, parts, eps }) => {
    const mine = reduceScatter({ x: add({ a: once({ x: h }), b: y }), parts, axis: -2 });
    return allGather({ x: rmsNorm({ x: mine, gain, eps }), parts, axis: -2 });
  },
});

/** codes(rows of all ranks) = codes of each rank's rows, gathered: half the bytes of bf16 and a part of the work. */
export const codesOnTheWire: Rule = rule("quantise before gathering", {
  vars: { x: "[T, k] t" },
  attrs: { parts: 2, scale: "f32" },
  ownByRank: ["x"],
  from: ({ x, parts, scale }) => quantize({ x: allGather({ x, parts, axis: -2 }), scale }),
  to: ({ x, parts, scale }) => allGather({ x: quantize({ x, scale }), parts, axis: -2 }),
  unless: () => "no transport carries codes",
});

export const meet: Pass = pass({
  name: "meet",
  summary: "Exchange less where ranks meet: one sum for two; what else could be exchanged otherwise is declined with the reason.",
  rules: [oneSum, residualInside, codesOnTheWire],
  equations: [normOfShare],
  promises: [],
});
