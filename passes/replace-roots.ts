// Rules with several roots. All roots of a site are matched in the function as it is and replaced together: the new nodes stand
// where the
// first of them stood, so nothing they read may come of a root. What one site takes is no longer another's until the next round.
import { DiagnosticError } from "../ir/diagnostic.ts";
import { bodyOf, isWeight, type Func, type Graph, type Node, type Region, type Value } from "../ir/graph.ts";
import { remade } from "../ir/op.ts";
import { joinOrigins, type Origin } from "../ir/origin.ts";
import { everyNode } from "../ir/print.ts";
import { printType, sameType } from "../ir/types.ts";
import { changeOf } from "./delta.ts";
import { wrongReplacement } from "./diagnostics.ts";
import type { Around, Firing, Left } from "./round.ts";
import type { Found, Roots, Rule } from "./rule.ts";

/** A round: every rule at every value, in the order of rules. */
export function replaceRoots(f: Func, rules: readonly Rule[], around: Around): { func: Func; firings: Firing[]; missed: Left[] } {
  const nodes = everyNode(f);
  const scopes = scopesOf(f);
  const by = new Map<Value, Value>();
  const taken = new Set<Node>();
  const live = new Set(nodes);
  const firings: Firing[] = [];
  const missed: Left[] = [];
  const labelOf = (v: Value): string => around.labels.get(v) ?? v.node.op.name;
  for (const rule of rules)
    for (const v of nodes.flatMap((n) => n.results)) {
      if (taken.has(v.node) || !rule.begins(v)) continue;
      const at = labelOf(rule.site(v));
      around.watch(rule, at);
      const found = rule.match(v, around.cx);
      if (found === null) continue;
      if (!("roots" in found)) {
        if (!rule.widens) missed.push({ rule, at, why: found });
        continue;
      }
      if (found.matched.some((n) => taken.has(n))) continue;
      const illegal = illegality(found, scopes, by);
      if (illegal !== null) {
        missed.push({ rule, at, why: { refused: illegal } });
        continue;
      }
      const to = built(rule, found, at, around);
      const roots = Object.entries(found.roots);
      for (const [k, old] of roots) if (to[k] !== old) by.set(old, to[k]);
      for (const n of found.matched) taken.add(n);
      const { delta, made } = changeOf(
        roots.map(([, old]) => old),
        roots.map(([k]) => to[k]),
        found.matched,
        around.cx.uses,
        (n) => !live.has(n),
        around.assume,
        around.times(v.node),
      );
      for (const n of made) live.add(n);
      firings.push({ rule, at, delta });
    }
  return { func: firings.length ? substituted(f, around.graph, by) : f, firings, missed };
}

/** The right side at a site, with the origins of all that it stands for. */
function built(rule: Rule, found: Found, at: string, { graph, pass }: Around): Roots {
  const origin: Origin[] = [{ kind: "rule", pass, rule: rule.name }];
  const to = graph.from(joinOrigins(...found.matched.map((n) => graph.originsOf(n)), origin), () => found.build());
  for (const [k, old] of Object.entries(found.roots)) {
    const type = to[k] ? printType(to[k].type) : "nothing";
    if (!to[k] || !sameType(to[k].type, old.type))
      throw new DiagnosticError(wrongReplacement({ pass, rule: rule.name, at, got: type, want: printType(old.type) }));
    const name = graph.nameOf(old);
    if (name && !isWeight(to[k])) graph.name(to[k], name);
  }
  return to;
}

/** Why the roots of a site cannot be made in one place, or null: by the function with what was replaced before. */
function illegality(found: Found, scopes: ReadonlyMap<Node, Region | null>, by: ReadonlyMap<Value, Value>): string | null {
  const roots = Object.entries(found.roots);
  if (new Set(found.matched.map((n) => scopes.get(n))).size > 1) return "its nodes lie in different regions";
  // What stands within another root is no matter: it is made with it.
  const nodes = new Map(roots.map(([k, v]) => [v.node, k]));
  const seen = new Set<Node>();
  const open = found.holes.map((v) => (by.get(v) ?? v).node);
  for (let n = open.pop(); n; n = open.pop()) {
    if (seen.has(n)) continue;
    seen.add(n);
    const root = nodes.get(n);
    if (root !== undefined) return `what it reads depends on ${root}, which it would make`;
    for (const v of [...n.operands, ...(n.region?.results ?? [])]) open.push((by.get(v) ?? v).node);
  }
  return null;
}

/** The region that every node of a function lies in; null for the function itself. */
function scopesOf(f: Func): Map<Node, Region | null> {
  const scopes = new Map<Node, Region | null>();
  const regions: Region[] = [];
  for (const n of everyNode(f)) {
    scopes.set(n, null);
    if (n.region) regions.push(n.region);
  }
  // Outer regions come after those within them.
  for (const r of regions.toReversed()) for (const n of bodyOf(r)) scopes.set(n, r);
  return scopes;
}

/** A function with values in place of others, whatever order they stood in. */
function substituted(f: Func, graph: Graph, by: ReadonlyMap<Value, Value>): Func {
  const done = new Map<Value, Value>();
  const now = (v: Value): Value => by.get(v) ?? v;
  const ready = (n: Node): boolean => n.leaf !== undefined || n.results.every((r) => done.has(r));
  const needs = (n: Node): Node[] =>
    [...n.operands, ...(n.region?.results ?? [])].map((v) => now(v).node).filter((x) => !ready(x));
  const get = (v: Value): Value => done.get(now(v)) ?? now(v);
  const open: Node[] = f.results.map((r) => now(r.value).node);
  for (let n = open.at(-1); n; n = open.at(-1)) {
    const missing = ready(n) ? [] : needs(n);
    if (missing.length) {
      open.push(...missing);
      continue;
    }
    open.pop();
    if (ready(n)) continue;
    const operands = n.operands.map(get);
    const results = n.region?.results.map(get);
    const region =
      n.region && results!.some((r, i) => r !== n.region!.results[i]) ? { params: n.region.params, results: results! } : n.region;
    const same = region === n.region && operands.every((o, i) => o === n.operands[i]);
    const out = same ? n.results : graph.from(graph.originsOf(n), () => remade(n, operands, region));
    for (const [i, r] of n.results.entries()) {
      done.set(r, out[i]);
      const name = graph.nameOf(r);
      if (name && out[i] !== r) graph.name(out[i], name);
    }
  }
  return { ...f, results: f.results.map((r) => ({ name: r.name, value: get(r.value) })) };
}
