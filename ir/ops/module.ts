// Leaves and calls: what only the interpreter and the planner give meaning.
import { attr, type AttrValue } from "../attr.ts";
import { type Func, type Graph, type Node, type Role, type Value, type WeightDecl } from "../graph.ts";
import { deepFreeze } from "../freeze.ts";
import type { Op } from "../op.ts";
import { bindings } from "../signature.ts";
import type { Traits } from "../traits.ts";
import type { Type } from "../types.ts";

const byGraph = (name: string, summary: string, attrs: Op["attrs"], traits: Traits, ins: readonly string[] = []): Op =>
  deepFreeze({
    name,
    summary,
    ins,
    outs: ["out"],
    attrs,
    traits,
    signature: { ins: {}, outs: {} },
    infer: () => "is made by the graph, not by inference",
    bind: () => bindings(),
  });

/** The op of a weight's leaf. */
export const weightOp: Op = byGraph("weight", "A weight, by symbol: printed @name.", { name: attr.word() }, { leaf: "weight" });
/** The op of a parameter. */
export const paramOp: Op = byGraph(
  "param",
  "A parameter of a function or region.",
  { name: attr.word(), role: attr.word() },
  { leaf: "param" },
);
/** The op of a call: another function of the module. */
export const callOp: Op = byGraph(
  "call",
  "Another function of the module, for one layer's weights and cache.",
  { func: attr.word(), layer: attr.int(-1) },
  { call: true },
  ["...args"],
);

/** The leaf that reads a declared weight. */
export function weight(g: Graph, decl: WeightDecl): Value {
  const v = g.name(g.node(weightOp, [], { name: decl.name }, [decl.type]).results[0], "@" + decl.name);
  return decl.sizes ? g.sized(v, decl.sizes) : v;
}

/** A fresh parameter; with a role, one that the step brings along with its batch. */
export const param = (g: Graph, name: string, type: Type, role?: Role): Value =>
  g.name(g.node(paramOp, [], { name, ...(role ? { role } : {}) }, [type], { fresh: true }).results[0], name);

/** A call of `func`; results by name. `layer` selects weights and cache, -1 keeps the caller's. */
export function call(g: Graph, func: Func, args: readonly Value[], layer = -1): Record<string, Value> {
  const attrs: Record<string, AttrValue> = { func: func.name, layer };
  const node = g.node(
    callOp,
    args,
    attrs,
    func.results.map((r) => r.value.type),
  );
  return Object.fromEntries(func.results.map((r, i) => [r.name, node.results[i]]));
}

/** The function that a node calls, and for which layer; undefined for a node that is no call. */
export const callOf = (n: Node): { func: string; layer: number } | undefined =>
  n.op === callOp ? { func: String(n.attrs.func), layer: Number(n.attrs.layer) } : undefined;
