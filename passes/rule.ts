// A rule is an equation between two ordinary builder expressions. Holes are typed values; `from` builds the pattern,
// `to` the replacement. A rule is its own unit test: give its letters sizes, fill its holes, interpret both sides.
import { DiagnosticError } from "../ir/diagnostic.ts";
import type { Assume } from "../ir/cost.ts";
import { Graph, type Node, type Value } from "../ir/graph.ts";
import { param } from "../ir/ops/index.ts";
import { bindings, instantiate, parsePattern, unify, type Bindings, type Pattern } from "../ir/signature.ts";
import { cacheType, type Dim } from "../ir/types.ts";
import type { AttrValue } from "../ir/attr.ts";
import { ruleShape } from "./diagnostics.ts";

export type Holes<V> = { [K in keyof V]: Value };
export type AttrHoles<A> = { [K in keyof A]: AttrValue };

export interface RuleSpec<V extends Record<string, string>, A extends Record<string, AttrValue>> {
  /** Types of the holes, in the shape language; letters and dtype variables are shared by both sides. */
  vars: V;
  /** Attributes that may have any value: name -> a sample for the self-test. */
  attrs?: A;
  from: (v: Holes<V> & AttrHoles<A>) => Value;
  to: (v: Holes<V> & AttrHoles<A>, sizes: Readonly<Record<string, Dim>>) => Value;
  /** A guard, where types are not enough. Gives a reason to refuse, or null. */
  when?: (v: Holes<V>, cx: MatchContext) => string | null;
  /** Sides agree only up to the rounding of this format. */
  within?: "e4m3";
  /** Says so when the function computed changes, not only its rounding. */
  changes?: string;
  /** What is looked for, in words, where a pass matches the equation itself: its left side is then no pattern. */
  looks?: string;
  /** Sizes of letters for the self-test, where the default will not do. */
  sizes?: Readonly<Record<string, number>>;
}

/** What a guard may ask. */
export interface MatchContext {
  /** How many operands, regions and results read this value. */
  uses(v: Value): number;
  /** The nodes that read it, as they were before this round. */
  readers(v: Value): readonly Node[];
  /** The node whose value would be replaced. */
  root: Node;
  /** The sizes that the function's cost is judged at. */
  assume: Assume;
}

export interface Rule {
  readonly name: string;
  readonly vars: Readonly<Record<string, string>>;
  readonly attrs: Readonly<Record<string, AttrValue>>;
  readonly within?: "e4m3";
  readonly changes?: string;
  readonly sizes?: Readonly<Record<string, number>>;
  /** The pattern in words: "quantize(rms_norm(x, gain))". */
  lookedFor(): string;
  /** Whether a value is made as the pattern's root is: what `apply` asks first, and cheaply. */
  begins(v: Value): boolean;
  /** Both sides built over these holes. */
  sides(holes: Record<string, Value>, attrs: Record<string, AttrValue>, sizes: Record<string, Dim>): { from: Value; to: Value };
  /** The replacement for a value that matches, why a guard refuses, what of the pattern is not there, or null where its root is not. */
  apply(v: Value, cx: Omit<MatchContext, "root">): Found | { refused: string } | { unmatched: string } | null;
}

/** A replacement, and the nodes of the pattern it stands for, root first. */
export interface Found {
  to: Value;
  matched: readonly Node[];
}

/** Declares a rule; the name is a short sentence without its subject. */
export function rule<const V extends Record<string, string>, const A extends Record<string, AttrValue> = {}>(name: string, spec: RuleSpec<V, A>): Rule {
  const patterns = Object.fromEntries(Object.entries(spec.vars).map(([k, t]) => [k, parsePattern(t)]));
  const samples: Record<string, AttrValue> = spec.attrs ?? {};
  let built: { root: Value; holes: Map<Node, string> } | undefined;

  // The pattern is built once, over symbolic holes; a mistyped pattern fails here, with the op's own message.
  const pattern = (): { root: Value; holes: Map<Node, string> } => {
    if (built) return built;
    const graph = new Graph();
    const holes = new Map<Node, string>();
    const values: Record<string, unknown> = {};
    for (const [k, p] of Object.entries(patterns)) {
      const v = param(graph, k, p.kind === "cache" ? cacheType(0, "f32") : instantiate(p, bindings()));
      holes.set(v.node, k);
      values[k] = v;
    }
    for (const k of Object.keys(samples)) values[k] = `?${k}`;
    try {
      return (built = { root: spec.from(values as Holes<V> & AttrHoles<A>), holes });
    } catch (e) {
      throw e instanceof DiagnosticError ? new DiagnosticError([ruleShape(name), ...e.diagnostics]) : e;
    }
  };

  return {
    name,
    lookedFor: () => spec.looks ?? inWords(pattern().root, pattern().holes),
    vars: spec.vars,
    attrs: samples,
    within: spec.within,
    changes: spec.changes,
    sizes: spec.sizes,
    sides(holes, attrs, sizes) {
      const v = { ...holes, ...attrs } as Holes<V> & AttrHoles<A>;
      return { from: spec.from(v), to: spec.to(v, sizes) };
    },
    begins: (v) => begins(pattern().root, v),
    apply(v, cx) {
      const { root, holes } = pattern();
      if (!begins(root, v)) return null;
      const found: Match = { values: {}, attrs: {}, bound: bindings(), nodes: [] };
      const unmatched = mismatch(root, v, holes, patterns, found);
      if (unmatched !== null) return { unmatched };
      const values = found.values as Holes<V>;
      const refused = spec.when?.(values, { ...cx, root: v.node });
      if (refused) return { refused };
      return { to: spec.to({ ...values, ...found.attrs } as Holes<V> & AttrHoles<A>, found.bound.dims), matched: found.nodes };
    },
  };
}

const begins = (root: Value, v: Value): boolean => v.node.op === root.node.op && v.index === root.index;

interface Match {
  values: Record<string, Value>;
  attrs: Record<string, AttrValue>;
  bound: Bindings;
  nodes: Node[];
}

const made = (v: Value): string => (v.node.op.name === "param" ? "a parameter" : v.node.op.name === "weight" ? `@${v.node.attrs.name as string}` : v.node.op.name);

/** Null when the value is the pattern, else the first thing that differs, in words. */
function mismatch(p: Value, v: Value, holes: ReadonlyMap<Node, string>, patterns: Record<string, Pattern>, m: Match): string | null {
  const hole = holes.get(p.node);
  if (hole !== undefined) {
    if (m.values[hole]) return m.values[hole] === v ? null : `${hole} would have to be two values, ${made(m.values[hole])} and ${made(v)}`;
    const problem = unify(patterns[hole], v.type, m.bound, hole);
    if (problem === null) m.values[hole] = v;
    return problem;
  }
  if (p.node.op !== v.node.op) return `there is ${made(v)} where ${p.node.op.name} is looked for`;
  if (p.index !== v.index) return `it is the other result of ${v.node.op.name}`;
  if (p.node.operands.length !== v.node.operands.length) return `${v.node.op.name} has ${v.node.operands.length} operands, ${p.node.operands.length} are looked for`;
  for (const [k, want] of Object.entries(p.node.attrs)) {
    const got = v.node.attrs[k];
    if (typeof want === "string" && want.startsWith("?")) {
      const name = want.slice(1);
      if (m.attrs[name] !== undefined && JSON.stringify(m.attrs[name]) !== JSON.stringify(got)) return `${k} of ${v.node.op.name} is ${JSON.stringify(got)}, elsewhere in the pattern ${JSON.stringify(m.attrs[name])}`;
      m.attrs[name] = got;
    } else if (JSON.stringify(want) !== JSON.stringify(got)) return `${k} of ${v.node.op.name} is ${JSON.stringify(got)}, not ${JSON.stringify(want)}`;
  }
  m.nodes.push(v.node);
  for (const [i, o] of p.node.operands.entries()) {
    const problem = mismatch(o, v.node.operands[i], holes, patterns, m);
    if (problem !== null) return problem;
  }
  return null;
}

/** "add(x, combine(ys, places, weights))", einsums with their letters. */
function inWords(v: Value, holes: ReadonlyMap<Node, string>): string {
  const hole = holes.get(v.node);
  if (hole !== undefined) return hole;
  const spec = v.node.attrs.spec as string | undefined;
  return `${v.node.op.name}(${spec ? `${spec}; ` : ""}${v.node.operands.map((o) => inWords(o, holes)).join(", ")})`;
}
