// A rule is an equation between two ordinary builder expressions. Holes are typed values; `from` builds the pattern,
// `to` the replacement. A rule is its own unit test: give its letters sizes, fill its holes, interpret both sides.
import { DiagnosticError } from "../ir/diagnostic.ts";
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
  /** Sizes of letters for the self-test, where the default will not do. */
  sizes?: Readonly<Record<string, number>>;
}

/** What a guard may ask. */
export interface MatchContext {
  /** How many operands, regions and results read this value. */
  uses(v: Value): number;
  /** The node whose value would be replaced. */
  root: Node;
}

export interface Rule {
  readonly name: string;
  readonly vars: Readonly<Record<string, string>>;
  readonly attrs: Readonly<Record<string, AttrValue>>;
  readonly within?: "e4m3";
  readonly changes?: string;
  readonly sizes?: Readonly<Record<string, number>>;
  /** Both sides built over these holes. */
  sides(holes: Record<string, Value>, attrs: Record<string, AttrValue>, sizes: Record<string, Dim>): { from: Value; to: Value };
  /** The replacement for a value that matches, a reason when a guard refuses, or null when the pattern is not there. */
  apply(v: Value, cx: Omit<MatchContext, "root">): Value | { refused: string } | null;
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
    vars: spec.vars,
    attrs: samples,
    within: spec.within,
    changes: spec.changes,
    sizes: spec.sizes,
    sides(holes, attrs, sizes) {
      const v = { ...holes, ...attrs } as Holes<V> & AttrHoles<A>;
      return { from: spec.from(v), to: spec.to(v, sizes) };
    },
    apply(v, cx) {
      const { root, holes } = pattern();
      if (v.node.op !== root.node.op || v.index !== root.index) return null;
      const found: Match = { values: {}, attrs: {}, bound: bindings() };
      if (!matches(root, v, holes, patterns, found)) return null;
      const values = found.values as Holes<V>;
      const refused = spec.when?.(values, { ...cx, root: v.node });
      if (refused) return { refused };
      return spec.to({ ...values, ...found.attrs } as Holes<V> & AttrHoles<A>, found.bound.dims);
    },
  };
}

interface Match {
  values: Record<string, Value>;
  attrs: Record<string, AttrValue>;
  bound: Bindings;
}

function matches(p: Value, v: Value, holes: ReadonlyMap<Node, string>, patterns: Record<string, Pattern>, m: Match): boolean {
  const hole = holes.get(p.node);
  if (hole !== undefined) {
    if (m.values[hole]) return m.values[hole] === v;
    if (unify(patterns[hole], v.type, m.bound, hole) !== null) return false;
    m.values[hole] = v;
    return true;
  }
  if (p.node.op !== v.node.op || p.index !== v.index || p.node.operands.length !== v.node.operands.length) return false;
  for (const [k, want] of Object.entries(p.node.attrs)) {
    const got = v.node.attrs[k];
    if (typeof want === "string" && want.startsWith("?")) {
      const name = want.slice(1);
      if (m.attrs[name] !== undefined && JSON.stringify(m.attrs[name]) !== JSON.stringify(got)) return false;
      m.attrs[name] = got;
    } else if (JSON.stringify(want) !== JSON.stringify(got)) return false;
  }
  return p.node.operands.every((o, i) => matches(o, v.node.operands[i], holes, patterns, m));
}
