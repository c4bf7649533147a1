// A function made anew with other types: parameters of regions change with what they stand for, and nodes may be given other operands.
// Names and origins go along.
import type { Attrs } from "../../ir/attr.ts";
import { bodyOf, topological, type Func, type Graph, type Node, type Region, type Value } from "../../ir/graph.ts";
import { callOf, param, perExpert, perSequence } from "../../ir/index.ts";
import type { Op } from "../../ir/op.ts";
import { sameType, type Type } from "../../ir/types.ts";

/** What a function is made anew by. */
export interface Remaking {
  /** The weight that stands for one by its name. */
  weight(name: string, was: Value): Value;
  /** The type of a parameter of a function. */
  param(type: Type): Type;
  /** Results of an op over new operands. `inside`: in a region. */
  make(op: Op, operands: readonly Value[], attrs: Attrs, region: Region | undefined, inside: boolean): readonly Value[];
  /** Operands of a region's node and of a call, and results of the function, as they have to be there. */
  given(operands: readonly Value[], n: Node): readonly Value[];
  result(v: Value): Value;
}

export function remakeFunc(f: Func, graph: Graph, by: Remaking): Func {
  const done = new Map<Value, Value>();
  const named = (to: Value, from: Value): void => {
    done.set(from, to);
    const name = graph.nameOf(from);
    if (name !== undefined && to !== from && !to.node.leaf) graph.name(to, name);
  };
  const anew = (p: Value, type: Type): Value => {
    const leaf = p.node.leaf;
    if (sameType(p.type, type) || leaf?.kind !== "param") return p;
    return param(graph, leaf.name, type, leaf.role);
  };
  const params = f.params.map((p) => {
    const value = anew(p.value, by.param(p.value.type));
    done.set(p.value, value);
    return { name: p.name, value };
  });

  const regionOf = (n: Node, region: Region, operands: readonly Value[]): Region => {
    const experts = n.op.traits.region === "experts";
    // Of experts: indices and weights before the rows; of sequences: the batch before what is cut into them.
    const first = experts ? 2 : 1;
    const inner = region.params.map((p, i) => {
      const t = operands[first + i].type;
      const to = anew(p, experts ? perExpert(t, i === 0) : perSequence(t));
      done.set(p, to);
      return to;
    });
    visit(bodyOf(region), true);
    return { params: inner, results: region.results.map((r) => done.get(r) ?? r) };
  };

  const visit = (nodes: readonly Node[], inside: boolean): void => {
    for (const n of nodes) {
      if (n.leaf?.kind === "param" || (n.results.length > 0 && done.has(n.results[0]))) continue;
      if (n.leaf) {
        done.set(n.results[0], by.weight(n.leaf.name, n.results[0]));
        continue;
      }
      graph.from(graph.originsOf(n), () => {
        const before = n.operands.map((o) => done.get(o) ?? o);
        const operands = n.region || callOf(n) ? by.given(before, n) : before;
        const region = n.region && regionOf(n, n.region, operands);
        const results = callOf(n)
          ? graph.node(
              n.op,
              operands,
              n.attrs,
              n.results.map((r) => by.param(r.type)),
            ).results
          : by.make(n.op, operands, n.attrs, region, inside);
        for (const [i, r] of n.results.entries()) named(results[i], r);
      });
    }
  };
  visit(topological(f.results.map((r) => r.value)), false);
  return { ...f, params, results: f.results.map((r) => ({ name: r.name, value: by.result(done.get(r.value) ?? r.value) })) };
}
