// Rebuilding a function: operands first, rules tried at every value, regions included. Origins of what a rule consumed
// are joined to what it made, so that every new node still knows its config keys.
import { bodyOf, topological, type Func, type Graph, type Node, type Region, type Value } from "../ir/graph.ts";
import { make } from "../ir/op.ts";
import { joinOrigins, type Origin } from "../ir/origin.ts";
import { everyNode } from "../ir/print.ts";
import type { Rule } from "./rule.ts";

/** Replaces a rebuilt node's results; undefined keeps it. Operands are already rewritten. */
export type Replace = (rebuilt: readonly Value[], original: Node) => readonly Value[] | undefined;

/** A new function with `replace` applied at every node, innermost first. */
export function rebuild(f: Func, graph: Graph, replace: Replace): Func {
  const done = new Map<Value, Value>();
  const visit = (nodes: readonly Node[]): void => {
    for (const n of nodes) {
      if (n.op.name === "param" || n.op.name === "weight" || done.has(n.results[0] ?? (undefined as unknown as Value))) continue;
      const operands = n.operands.map((o) => done.get(o) ?? o);
      let region: Region | undefined;
      if (n.region) {
        visit(bodyOf(n.region));
        region = { params: n.region.params, results: n.region.results.map((r) => done.get(r) ?? r) };
        if (region.results.every((r, i) => r === n.region!.results[i])) region = n.region;
      }
      const same = operands.every((o, i) => o === n.operands[i]) && region === n.region;
      const rebuilt = same
        ? n.results
        : graph.from(graph.originsOf(n), () => (n.op.name === "call" ? graph.node(n.op, operands, n.attrs, n.results.map((r) => r.type)).results : make(n.op, operands, n.attrs, region, graph)));
      const out = replace(rebuilt, n) ?? rebuilt;
      for (const [i, r] of n.results.entries()) {
        done.set(r, out[i]);
        const name = graph.nameOf(r);
        if (name && out[i] !== r && out[i].node.op.name !== "weight") graph.name(out[i], name);
      }
    }
  };
  visit(topological(f.results.map((r) => r.value)));
  return { ...f, results: f.results.map((r) => ({ name: r.name, value: done.get(r.value) ?? r.value })) };
}

/** How often each value of a function is read by nodes, regions and results. */
export function usesOf(f: Func): Map<Value, number> {
  const uses = new Map<Value, number>();
  const count = (v: Value): void => void uses.set(v, (uses.get(v) ?? 0) + 1);
  for (const n of everyNode(f)) {
    for (const o of n.operands) count(o);
    for (const r of n.region?.results ?? []) count(r);
  }
  for (const r of f.results) count(r.value);
  return uses;
}

export interface Fired {
  rule: Rule;
  count: number;
}

/** Applies rules everywhere until none fires; gives the function, what fired and what guards refused. */
export function rewrite(f: Func, graph: Graph, rules: readonly Rule[], pass: string): { func: Func; fired: Map<Rule, number>; refused: Map<Rule, string> } {
  const fired = new Map<Rule, number>();
  const refused = new Map<Rule, string>();
  let func = f;
  for (let round = 0; round < 16; round++) {
    const before = [...fired.values()].reduce((a, b) => a + b, 0);
    const counts = usesOf(func);
    const old = func;
    // Rebuilt values are new: their uses are those of the values they stand for.
    const stands = new Map<Value, Value>();
    const uses = (v: Value): number => counts.get(stands.get(v) ?? v) ?? 1;
    func = rebuild(func, graph, (rebuilt, original) => {
      for (const [i, r] of original.results.entries()) stands.set(rebuilt[i], r);
      let changed = false;
      const out = rebuilt.map((v) => {
        for (const rule of rules) {
          const origin: Origin[] = [{ kind: "rule", pass, rule: rule.name }];
          const to = graph.from(joinOrigins(...matchedOrigins(graph, original), origin), () => rule.apply(v, { uses }));
          if (to === null) continue;
          if ("refused" in to) {
            refused.set(rule, to.refused);
            continue;
          }
          fired.set(rule, (fired.get(rule) ?? 0) + 1);
          stands.set(to, original.results[v.index] ?? v);
          changed = true;
          return to;
        }
        return v;
      });
      return changed ? out : undefined;
    });
    if ([...fired.values()].reduce((a, b) => a + b, 0) === before) return { func: old, fired, refused };
  }
  return { func, fired, refused };
}

// Patterns are shallow: the root and its operands' operands cover what a rule consumes.
function matchedOrigins(graph: Graph, n: Node): (readonly Origin[])[] {
  const near = new Set<Node>([n]);
  for (const o of n.operands) {
    near.add(o.node);
    for (const p of o.node.operands) near.add(p.node);
  }
  return [...near].map((x) => graph.originsOf(x));
}
