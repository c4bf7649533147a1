// Rebuilding a function: operands first, rules tried at every value, regions included. Origins of what a rule consumed
// are joined to what it made, so that every new node still knows its config keys.
import { slicesOf } from "../ir/cost.ts";
import { bodyOf, isWeight, topological, type Func, type Graph, type Node, type Region, type Value } from "../ir/graph.ts";
import { remade } from "../ir/op.ts";
import { joinOrigins, type Origin } from "../ir/origin.ts";
import { everyNode } from "../ir/print.ts";
import { DiagnosticError } from "../ir/diagnostic.ts";
import { printType, sameType } from "../ir/types.ts";
import { assumed, changeOf } from "./delta.ts";
import { neverSettles, wrongReplacement } from "./diagnostics.ts";
import { labelsOf } from "./site.ts";
import { replaceRoots } from "./replace-roots.ts";
import type { Around, Firing, Left, Watch } from "./round.ts";
import type { Rule } from "./rule.ts";

/** Replaces a rebuilt node's results; undefined keeps it. Operands are already rewritten. */
export type Replace = (rebuilt: readonly Value[], original: Node) => readonly Value[] | undefined;

/** A new function with `replace` applied at every node, innermost first. */
export function rebuild(f: Func, graph: Graph, replace: Replace): Func {
  const done = new Map<Value, Value>();
  const visit = (nodes: readonly Node[]): void => {
    for (const n of nodes) {
      if (n.leaf || (n.results.length > 0 && done.has(n.results[0]))) continue;
      const operands = n.operands.map((o) => done.get(o) ?? o);
      let region: Region | undefined;
      if (n.region) {
        visit(bodyOf(n.region));
        region = { params: n.region.params, results: n.region.results.map((r) => done.get(r) ?? r) };
        if (region.results.every((r, i) => r === n.region!.results[i])) region = n.region;
      }
      const same = operands.every((o, i) => o === n.operands[i]) && region === n.region;
      const rebuilt = same ? n.results : graph.from(graph.originsOf(n), () => remade(n, operands, region));
      const out = replace(rebuilt, n) ?? rebuilt;
      for (const [i, r] of n.results.entries()) {
        done.set(r, out[i]);
        const name = graph.nameOf(r);
        if (name && out[i] !== r && !isWeight(out[i])) graph.name(out[i], name);
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

/** The nodes that read each value of a function. */
export function readersOf(f: Func): Map<Value, Node[]> {
  const readers = new Map<Value, Node[]>();
  for (const n of everyNode(f)) for (const o of n.operands) readers.set(o, [...(readers.get(o) ?? []), n]);
  return readers;
}

export interface Rewritten {
  func: Func;
  firings: Firing[];
  /** Candidates that were left, where the rewriting ended. */
  missed: Left[];
  fired(rule: Rule): number;
}

/** Rounds of rewriting one function; rules that still fire then do not end. */
const MOST_ROUNDS = 16;

/** Applies rules everywhere until none fires; gives the function and a line for every rule at every candidate. */
export function rewrite(f: Func, graph: Graph, rules: readonly Rule[], pass: string, watch: Watch = () => undefined): Rewritten {
  const firings: Firing[] = [];
  let func = f;
  for (let round = 0; ; round++) {
    const around = aroundOf(func, f, graph, pass, watch);
    // Building a pattern runs code of the rule's author: it is told where.
    if (round === 0) for (const r of rules) around.watch(r, [...around.labels.values()][0] ?? f.name);
    const together = round === 0 && around.labels.size === 0 ? [] : rules.filter((r) => r.several());
    const apart = rules.filter((r) => !together.includes(r));
    const ones = replaceValues(func, apart, around);
    const more = together.length
      ? replaceRoots(ones.func, together, ones.firings.length ? aroundOf(ones.func, f, graph, pass, watch) : around)
      : ones;
    const fired = more === ones ? ones.firings : [...ones.firings, ...more.firings];
    firings.push(...fired);
    if (fired.length === 0) {
      const missed = more === ones ? ones.missed : [...ones.missed, ...more.missed];
      return { func, firings, missed, fired: (rule) => firings.filter((x) => x.rule === rule).length };
    }
    func = more.func;
    if (round + 1 === MOST_ROUNDS)
      throw new DiagnosticError(
        neverSettles({ pass, rule: firings.at(-1)!.rule.name, site: `${f.name}/${firings.at(-1)!.at}`, rounds: MOST_ROUNDS }),
      );
  }
}

/** What rules are tried in: `func`, that is `f` after some rounds. */
function aroundOf(func: Func, f: Func, graph: Graph, pass: string, watch: Watch): Around {
  const [counts, readers] = [usesOf(func), readersOf(func)];
  const assume = assumed(f);
  return {
    graph,
    pass,
    cx: { uses: (v) => counts.get(v) ?? 1, readers: (v) => readers.get(v) ?? [], assume },
    counts,
    assume,
    labels: labelsOf(func),
    times: slicesOf(func, { experts: func.assume.E ?? 1, sequences: func.assume.B ?? 1 }),
    watch,
  };
}

/** A round of rules with one root: every value, operands first, by the first rule that takes it. */
function replaceValues(f: Func, rules: readonly Rule[], around: Around): { func: Func; firings: Firing[]; missed: Left[] } {
  const { graph, pass, counts, assume } = around;
  const firings: Firing[] = [];
  const missed: Left[] = [];
  const origins = rules.map((r): Origin[] => [{ kind: "rule", pass, rule: r.name }]);
  // What the function holds: a node made earlier, for a graph it is no longer part of, is new to it all the same.
  const live = new Set<Node>(everyNode(f));
  // Rebuilt values are new: their uses are those of the values they stand for.
  const stands = new Map<Value, Value>();
  const stood = (v: Value): Value => stands.get(v) ?? v;
  const cx = { uses: (v: Value) => around.cx.uses(stood(v)), readers: (v: Value) => around.cx.readers(stood(v)), assume };
  const func = rebuild(f, graph, (rebuilt, original) => {
    for (const [i, r] of original.results.entries()) stands.set(rebuilt[i], r);
    for (const v of rebuilt) live.add(v.node);
    let changed = false;
    const out = rebuilt.map((v, i) => {
      const at = around.labels.get(original.results[i]) ?? original.op.name;
      for (const [j, rule] of rules.entries()) {
        if (!rule.begins(v)) continue;
        around.watch(rule, at);
        const tried = graph.from(joinOrigins(...matchedOrigins(graph, original), origins[j]), () => {
          const found = rule.match(v, cx);
          return found && "roots" in found ? { found, to: Object.values(found.build())[0] } : found;
        });
        if (tried === null) continue;
        if (!("to" in tried)) {
          if (!rule.widens) missed.push({ rule, at, why: tried });
          continue;
        }
        const { found, to } = tried;
        if (!sameType(to.type, v.type))
          throw new DiagnosticError(
            wrongReplacement({ pass, rule: rule.name, at, got: printType(to.type), want: printType(v.type) }),
          );
        const change = changeOf([v], [to], found.matched, cx.uses, (n) => !live.has(n), assume, around.times(original));
        firings.push({ rule, at, delta: change.delta });
        for (const n of change.made) live.add(n);
        // The next rule sees who still reads what.
        for (const [nodes, by] of [
          [change.gone, -1],
          [change.made, 1],
        ] as const)
          for (const o of nodes.flatMap((n) => n.operands)) counts.set(stood(o), (counts.get(stood(o)) ?? 0) + by);
        stands.set(to, original.results[v.index] ?? v);
        changed = true;
        return to;
      }
      return v;
    });
    return changed ? out : undefined;
  });
  return { func: firings.length ? func : f, firings, missed };
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
