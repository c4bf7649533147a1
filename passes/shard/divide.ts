// Dividing functions: weights as the table says, every op over what its operands have become, and a collective where an op cannot take
// parts: a sum is added up, a divided axis gathered. Ops say by their signatures what they can take (ir/placement.ts).
import type { Attrs } from "../../ir/attr.ts";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { opMismatch } from "../../ir/diagnostics.ts";
import type { Func, Graph, Node, Region, Value } from "../../ir/graph.ts";
import { allGather, allReduce, callOf, isWeight, make, mapExperts, ownExperts, reshape, type Op } from "../../ir/index.ts";
import { partsAlong, type Mesh } from "../../ir/mesh.ts";
import { described } from "../../ir/op.ts";
import { asTensor, dividedDim, isPlaced, overOf, partsOf, product, type Dim } from "../../ir/types.ts";
import { remakeFunc } from "./remake.ts";

/** Divides one function; `weights` are the divided ones by name. */
export function divideFunc(f: Func, graph: Graph, mesh: Mesh, weights: ReadonlyMap<string, Value>): Func {
  const whole = (v: Value): Value => collected(v, mesh);
  return remakeFunc(f, graph, {
    weight: (name, was) => weights.get(name) ?? was,
    param: (t) => t,
    given: (operands, n) => (callOf(n) ? operands.map(whole) : mapExperts.made(n) ? ownChoice(operands, mesh) : operands),
    result: whole,
    make: (op, operands, attrs, region, inside) => fitted(op, operands, attrs, region, inside ? undefined : whole),
  });
}

/** The value on every rank: a sum added up, a divided axis gathered. */
function collected(v: Value, mesh: Mesh): Value {
  if (v.type.kind !== "tensor" || !isPlaced(v.type)) return v;
  const { across, dims } = v.type;
  if (across?.kind === "+" && across.axis === "tp") return allReduce({ x: v });
  const axis = dims.findIndex((d) => overOf(d) === "tp");
  if (across || axis < 0)
    throw new DiagnosticError(opMismatch({ op: "all_gather", problem: `${described(v)} is over some of the ranks only` }));
  return allGather({ x: v, parts: mesh.tp, axis: axis - dims.length });
}

/** Where experts are divided, the choice as this rank sees it. */
function ownChoice([indices, weights, x, ...stacked]: readonly Value[], mesh: Mesh): Value[] {
  const [first] = asTensor(stacked[0].type).dims;
  const over = overOf(first);
  const rows = collected(x, mesh);
  if (over === undefined) return [indices, weights, rows, ...stacked];
  const experts = partsOf(first).times / partsAlong(mesh, over);
  const own = ownExperts({ indices, weights, experts, width: mesh.tp / partsAlong(mesh, over), over });
  return [own.indices, own.weights, rows, ...stacked];
}

/** An op over operands it can take: as they are, else with sums added up, else with divided axes gathered too. */
function fitted(
  op: Op,
  operands: readonly Value[],
  attrs: Attrs,
  region: Region | undefined,
  whole: ((v: Value) => Value) | undefined,
): readonly Value[] {
  const sums = (v: Value): Value => (v.type.kind === "tensor" && v.type.across?.kind === "+" ? whole!(v) : v);
  const all = (v: Value): Value => (isWeight(v) || (v.type.kind === "tensor" && v.type.across?.kind === "per") ? v : whole!(v));
  const tries = [(v: Value) => v, ...(whole ? [sums, all] : [])];
  let problem = "";
  for (const as of tries) {
    const given = operands.map(as);
    const by = op.name === reshape.op.name ? reshapedTo(given[0], attrs) : attrs;
    const types = op.infer(
      given.map((v) => v.type),
      by,
      region,
    );
    if (typeof types !== "string") return make(op, given, by, region, given[0]?.node.graph);
    problem ||= types;
  }
  throw new DiagnosticError(opMismatch({ op: op.name, problem, operands: operands.map(described) }));
}

/** The sizes that a reshape gives, divided where its operand is: at the axis that as many elements lie before. */
function reshapedTo(x: Value, attrs: Attrs): Attrs {
  const { dims } = asTensor(x.type);
  const at = dims.findIndex((d) => overOf(d) !== undefined);
  if (at < 0) return attrs;
  const before = product(dims.slice(0, at));
  const to = attrs.dims as readonly Dim[];
  const axis = to.findIndex((d, i) => typeof d === "number" && d > 1 && product(to.slice(0, i)) === before);
  if (axis < 0) return attrs;
  return { ...attrs, dims: to.map((d, i) => (i === axis ? dividedDim(Number(d), overOf(dims[at])!) : d)) };
}

/** Collectives of a function, its regions left out: there are none inside. */
export const meetingsOf = (nodes: readonly Node[]): Node[] => nodes.filter((n) => n.op.traits.meets === "exchange");
