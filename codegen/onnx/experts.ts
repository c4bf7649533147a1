// Experts in ONNX, which has no operator for them: functions of ai.dsc whose bodies loop over the experts that were chosen.
import { captures, type Node, type Value } from "../../ir/graph.ts";
import { gatherRows, mapExperts, sortExperts } from "../../ir/ops/index.ts";
import { sizeAt } from "./functions.ts";
import { as, dtypeAt, full, given, movable, type Emitted, type Lower, type Lowering } from "./lowering.ts";
import { elem } from "./proto.ts";
import { routed } from "./route.ts";
import { Scope } from "./scope.ts";
import { when } from "../text.ts";

/** Names of a value as operands of a function: codes and scales are two. */
const namesOf = (v: Emitted): string[] => (v.scales === undefined ? [v.name] : [v.name, v.scales]);

/** A function of its own for every region: the region is one expert. */
const mapped: Lower = (at, n, ins) => {
  if (!mapExperts.made(n)) throw new TypeError("no map_experts");
  const outer = captures(n.region!);
  const operands = [...ins, ...outer.map((v) => at.value(v))].map((v) => movable(at, v));
  const words = operands.map((_, i) => ["indices", "weights", "x", "w_gate", "w_up", "w_down"][i] ?? `operand_${i}`);
  const params = operands.flatMap((v, i) => (v.scales === undefined ? [words[i]] : [words[i], `${words[i]}_scales`]));
  const doc = "The sum over a token's experts of weight * expert(token): a run of the loop for every expert that was chosen.";
  const kinds = operands.map((v) => `${v.elem}${when(v.scales, "s")}`).join();
  const name = at.functions.own("Experts", n, kinds, doc, params, (s, named) => {
    // The same values inside the function, under the names of its operands.
    let next = 0;
    const inside = operands.map(({ elem, scales }): Emitted => ({
      name: named[next++],
      elem,
      ...(scales === undefined ? {} : { scales: named[next++] }),
    }));
    return [overExperts({ ...at, s }, n, inside, new Map(outer.map((v, i) => [v, inside[ins.length + i]])))];
  });
  const [y] = at.s.call(name, operands.flatMap(namesOf), ["experts"]);
  return [given(at, n, y, elem.FLOAT)];
};

/** Rows of tokens that chose an expert, through its region, weighted, onto the sums so far. */
function overExperts(at: Lowering, n: Node, inside: readonly Emitted[], captured: ReadonlyMap<Value, Emitted>): string {
  const { s } = at;
  const [indices, weights, x, ...stacked] = inside.slice(0, n.operands.length);
  const chosen = s.name("chosen");
  s.node("Unique", [s.op("Reshape", [indices.name, s.ints([-1])])], { sorted: 1 }, [chosen]);
  const tokens = sizeAt(s, s.op("Shape", [x.name]), 0);
  const width = s.ints(widthOf(n));
  const none = s.op("ConstantOfShape", [s.op("Concat", [unsqueezed(s, tokens), unsqueezed(s, width)], { axis: 0 })], {}, "none");
  return s.loop(s.op("Size", [chosen]), none, 2, (l, i, before) => {
    const e = l.op("Gather", [chosen, i], {}, "e");
    const hits = l.op("NonZero", [l.op("Equal", [indices.name, e])], {}, "hits");
    const mine = l.op("Gather", [hits, s.ints(0)], {}, "mine");
    const [y] = at.region(n, [taken(l, x, mine), ...stacked.map((w) => taken(l, w, e))], l, captured);
    const weight = l.op("GatherND", [weights.name, l.op("Transpose", [hits], { perm: [1, 0] })], {}, "weight");
    const weighed = l.op("Mul", [l.cast(y.name, y.elem, elem.FLOAT), l.op("Unsqueeze", [weight, s.ints([1])])], {}, "weighed");
    const sum = l.op("Add", [l.op("Gather", [before, mine]), weighed], {}, "sum");
    return l.op("ScatterND", [before, l.op("Unsqueeze", [mine, s.ints([1])]), sum], {}, "after");
  });
}

const unsqueezed = (s: Scope, scalar: string): string => s.op("Unsqueeze", [scalar, s.ints([0])], {}, "list");

function widthOf(n: Node): number {
  const t = n.results[0].type;
  if (t.kind !== "tensor" || typeof t.dims[1] !== "number") throw new TypeError("an expert's result has no fixed width");
  return t.dims[1];
}

const sorted: Lower = (at, n, [indices]) => {
  if (!sortExperts.made(n)) throw new TypeError("no sort_experts");
  const names = at.s.call(
    at.functions.use("SortExperts"),
    [indices.name, at.s.ints(n.attrs.experts)],
    ["order", "offsets", "places"],
  );
  return names.map((name) => ({ name, elem: elem.INT64 }));
};

/** Entries of the first axis, codes and scales alike. */
const taken = (s: Scope, x: Emitted, index: string): Emitted => ({
  name: s.op("Gather", [x.name, index], {}, "taken"),
  elem: x.elem,
  ...(x.scales === undefined ? {} : { scales: s.op("Gather", [x.scales, index], {}, "taken_scales") }),
});

const gathered: Lower = (at, n, [x, order]) => {
  if (!gatherRows.made(n)) throw new TypeError("no gather_rows");
  const tokens = at.s.op("Div", [order.name, at.s.ints(n.attrs.per)], {}, "tokens");
  return [taken(at.s, movable(at, x), tokens)];
};

const groupedLinear: Lower = (at, n, [x, w, offsets]) => {
  const rows = full(at, x, dtypeAt(n, 0));
  const name = at.functions.use(w.scales === undefined ? "GroupedLinear" : "GroupedBlockLinear");
  const [y] = at.s.call(name, [rows.name, ...namesOf(w), offsets.name], ["grouped"]);
  return [given(at, n, y, elem.FLOAT)];
};

const combined: Lower = (at, n, [ys, places, weights]) => {
  const operands = [as(at, ys, elem.FLOAT), places.name, weights.name];
  const [y] = at.s.call(at.functions.use("Combine"), operands, ["combined"]);
  return [given(at, n, y, elem.FLOAT)];
};

export const expertOps: Readonly<Record<string, Lower>> = {
  route: routed,
  map_experts: mapped,
  sort_experts: sorted,
  gather_rows: gathered,
  grouped_linear: groupedLinear,
  combine: combined,
};
