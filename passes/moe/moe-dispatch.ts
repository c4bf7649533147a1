// MoE grouped dispatch: "for every expert, its rows through its matrices" becomes sort rows by expert, one grouped GEMM per
// matrix over all experts, weighted combine. The number of launches no longer depends on the number of experts.
import {
  asTensor,
  blockLinear,
  bodyOf,
  captures,
  combine,
  dequantize,
  fixed,
  gatherRows,
  groupedLinear,
  linear,
  make,
  mapExperts,
  sortExperts,
  type Func,
  type Graph,
  type Node,
  type Value,
} from "../../ir/index.ts";
import { pass, type Cx } from "../pass.ts";
import { rebuild } from "../rewrite.ts";

const sorted = "sort, group, combine";

export const moeDispatch = pass({
  name: "moe-dispatch",
  summary: "Sort rows by expert and multiply all experts in one grouped GEMM per matrix.",
  steps: { [sorted]: "a map_experts region" },
  run: (f: Func, cx: Cx): Func =>
    rebuild(f, cx.module.graph, (values, original) => {
      const node = values[0].node;
      if (node.op.traits.region !== "experts") return undefined;
      const out = dispatched(node, cx.module.graph);
      if (typeof out === "string") {
        cx.refused(sorted, out, original.results[0]);
        return undefined;
      }
      cx.fired(sorted, { at: original.results[0] });
      return [out];
    }),
  promises: [{ rules: [sorted], before: (b) => b.all(mapExperts).length }],
});

/** The explicit form of one map_experts, or why it has none. */
function dispatched(node: Node, graph: Graph): Value | string {
  const [indices, weights, x, ...stacked] = node.operands;
  const region = node.region!;
  const outer = new Set(captures(region));
  const experts = fixed(asTensor(stacked[0].type).dims[0]);
  const per = fixed(asTensor(indices.type).dims[1]);
  const { order, offsets, places } = sortExperts({ indices, experts });
  graph.name(order, "order");
  graph.name(offsets, "offsets");
  graph.name(places, "places");
  // Region values over m rows stand for all sorted rows at once; parameters of one expert for their stack.
  const rows = new Map<Value, Value>([[region.params[0], graph.name(gatherRows({ x, order, per }), "xs")]]);
  const stacks = new Map<Value, Value>(region.params.slice(1).map((p, i) => [p, stacked[i]]));
  for (const n of bodyOf(region)) {
    if (dequantize.made(n) && stacks.has(n.operands[0])) {
      stacks.set(n.results[0], dequantize({ x: stacks.get(n.operands[0])!, dtype: n.attrs.dtype }));
      continue;
    }
    const meetsExpert = n.operands.findIndex((o) => stacks.has(o));
    const build = (): readonly Value[] | string => {
      if (meetsExpert < 0)
        return make(
          n.op,
          n.operands.map((o) => rows.get(o) ?? o),
          n.attrs,
        );
      if ((!linear.made(n) && !blockLinear.made(n)) || meetsExpert !== 1) return `${n.op.name} has no grouped form`;
      const { dtype } = asTensor(n.results[0].type);
      return [groupedLinear({ x: rows.get(n.operands[0])!, w: stacks.get(n.operands[1])!, offsets, dtype })];
    };
    if (!n.operands.every((o) => rows.has(o) || stacks.has(o) || outer.has(o)))
      return "a value of the region comes from neither its rows nor its expert";
    const made = graph.from(graph.originsOf(n), build);
    if (typeof made === "string") return made;
    for (const [i, r] of n.results.entries()) {
      rows.set(r, made[i]);
      const name = graph.nameOf(r);
      if (name) graph.name(made[i], name);
    }
  }
  return combine({ ys: rows.get(region.results[0])!, places, weights });
}
