// The router in standard operators: scores, the best groups, the best experts, their weights.
import { route } from "../../ir/ops/index.ts";
import { as, dimsOf, type Lower } from "./lowering.ts";
import { fixed } from "../../ir/types.ts";
import { elem } from "./proto.ts";
import type { Scope } from "./scope.ts";

/** The k largest along the last axis, the lower index first where values are equal. */
function topK(s: Scope, x: string, k: number, word: string, largest = 1): { values: string; indices: string } {
  const [values, indices] = [s.name(`${word}_values`), s.name(word)];
  s.node("TopK", [x, s.ints([k])], { axis: -1, largest, sorted: 1 }, [values, indices]);
  return { values, indices };
}

/** Scores of experts outside the best groups become -inf, not 0: with negative biased scores a zero would win. */
function withinGroups(s: Scope, choice: string, experts: number, groups: number, kept: number, method: string): string {
  const width = experts / groups;
  const byGroup = s.op("Reshape", [choice, s.ints([-1, groups, width])], {}, "by_group");
  // V3 ranks a group by the sum of its two best, V2 by its best.
  const best = topK(s, byGroup, method === "noaux_tc" ? Math.min(2, width) : 1, "best").values;
  const rank = s.op("ReduceSum", [best, s.ints([-1])], { keepdims: 0 }, "rank");
  const chosen = topK(s, rank, kept, "groups").indices;
  const none = s.op("Mul", [rank, s.floats(0)], {}, "none");
  const ones = s.op("Add", [s.op("Cast", [s.op("Mul", [chosen, s.ints(0)])], { to: elem.FLOAT }), s.floats(1)], {}, "ones");
  const marks = s.op("ScatterElements", [none, chosen, ones], { axis: 1 }, "marks");
  const keep = s.op("Unsqueeze", [s.op("Cast", [marks], { to: elem.BOOL }), s.ints([2])], {}, "keep");
  return s.op("Reshape", [s.op("Where", [keep, byGroup, s.floats(-Infinity)]), s.ints([-1, experts])], {}, "within_groups");
}

/** Experts behind the routed ones that every token visits, with weight 1. */
function withShared(s: Scope, indices: string, weights: string, experts: number, shared: number): [string, string] {
  const rows = s.op("Slice", [s.op("Shape", [indices]), s.ints([0]), s.ints([1])], {}, "rows");
  const shape = s.op("Concat", [rows, s.ints([shared])], { axis: 0 });
  const every = s.op("Expand", [s.ints(Array.from({ length: shared }, (_, i) => experts + i)), shape], {}, "shared");
  const one = s.op("Expand", [s.floats(1), shape], {}, "ones");
  return [s.op("Concat", [indices, every], { axis: 1 }, "indices"), s.op("Concat", [weights, one], { axis: 1 }, "weights")];
}

export const routed: Lower = (at, n, [logits, bias]) => {
  if (!route.made(n)) throw new TypeError("no route");
  const { s } = at;
  const { scoring, method, groups, kept, topk, normalise, factor, shared } = n.attrs;
  const experts = fixed(dimsOf(n.operands[0])[1]);
  const x = as(at, logits, elem.FLOAT);
  const scores = scoring === "sigmoid" ? s.op("Sigmoid", [x], {}, "scores") : s.op("Softmax", [x], { axis: -1 }, "scores");
  let choice = bias ? s.op("Add", [scores, as(at, bias, elem.FLOAT)], {}, "choice") : scores;
  if (method !== "greedy" && groups > 1) choice = withinGroups(s, choice, experts, groups, kept, method);
  // Slots are in ascending order of experts.
  const chosen = topK(s, topK(s, choice, topk, "experts").indices, topk, "order", 0).values;
  let weights = s.op("GatherElements", [scores, chosen], { axis: 1 }, "weights");
  if (normalise) {
    const sum = s.op("ReduceSum", [weights, s.ints([1])], { keepdims: 1 }, "sum");
    weights = s.op("Div", [weights, s.op("Add", [sum, s.floats(1e-20)])], {}, "weights");
  }
  if (factor !== 1) weights = s.op("Mul", [weights, s.floats(factor)], {}, "weights");
  const [indices, all] = shared ? withShared(s, chosen, weights, experts, shared) : [chosen, weights];
  return [
    { name: indices, elem: elem.INT64 },
    { name: all, elem: elem.FLOAT },
  ];
};
