// A rule is an equation between two ordinary builder expressions. Holes are typed values; `from` builds the pattern,
// `to` the replacement. A rule is its own unit test: give its letters sizes, fill its holes, interpret both sides.
import { DiagnosticError } from "../ir/diagnostic.ts";
import type { Assume } from "../ir/cost.ts";
import { deepFreeze } from "../ir/freeze.ts";
import { Graph, type Node, type Value } from "../ir/graph.ts";
import { param } from "../ir/ops/index.ts";
import { bindings, instantiate, parsePattern, unify, type Bindings, type Pattern } from "../ir/signature.ts";
import { cacheType, partsOf, type Dim } from "../ir/types.ts";
import type { AttrValue } from "../ir/attr.ts";
import { ruleShape } from "./diagnostics.ts";

export type Holes<V> = { [K in keyof V]: Value };
/** Attributes by name, of the kind that their samples are. In the pattern itself they are holes: the words "?name". */
export type AttrHoles<A> = {
  [K in keyof A]: A[K] extends number ? number : A[K] extends boolean ? boolean : A[K] extends string ? string : AttrValue;
};

export interface RuleSpec<V extends Record<string, string>, A extends Record<string, AttrValue>> {
  /** Types of the holes, in the shape language; letters and dtype variables are shared by both sides. */
  vars: V;
  /** Attributes that may have any value: name -> a sample for the self-test. */
  attrs?: A;
  from: (v: Holes<V> & AttrHoles<A>) => Value;
  to: (v: Holes<V> & AttrHoles<A>, sizes: Readonly<Record<string, Dim>>) => Value;
  /** A guard, where types are not enough. Gives a reason to refuse, or null. */
  when?: (v: Holes<V> & AttrHoles<A>, cx: MatchContext) => string | null;
  /** Sides agree only up to the rounding of this format, and exactly where nothing is rounded. Codes that are the same need no `within`. */
  within?: "e4m3";
  /** Says so when the function computed changes. */
  changes?: Change;
  /** What is looked for, in words, where a pass matches the equation itself: its left side is then no pattern. */
  looks?: string;
  /** Sizes of letters for the self-test, where the default will not do. Others are tried, too, where the left side has a meaning there. */
  sizes?: Readonly<Record<string, number>>;
  /** Letters that other letters and attributes decide: ({ T, k }) => ({ r: T * k }). Held in every proof, and asked for at every site. */
  ties?: Ties;
}

/** How a function changes: the sentence that reports say, and how far the right side may be from the left side without quantisation, as a share of a row's largest value. */
export interface Change {
  why: string;
  within: number;
}

export type Ties = (z: Readonly<Record<string, number>>) => Readonly<Record<string, number>>;

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
  readonly changes?: Change;
  readonly sizes?: Readonly<Record<string, number>>;
  readonly ties?: Ties;
  /** The pattern in words: "quantize(rms_norm(x, gain))". */
  lookedFor(): string;
  /** Whether a value is made as the pattern's root is: what `apply` asks first, and cheaply. */
  begins(v: Value): boolean;
  /** What the guard says of these holes and attributes, each value read once: a reason to refuse, or null. */
  guard(holes: Record<string, Value>, attrs: Record<string, AttrValue>, root: Value): string | null;
  /** The left side over these holes: there may be a meaning of it where the right side has none. */
  left(holes: Record<string, Value>, attrs: Record<string, AttrValue>): Value;
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
export function rule<const V extends Record<string, string>, const A extends Record<string, AttrValue> = {}>(
  name: string,
  spec: RuleSpec<V, A>,
): Rule {
  const patterns = Object.fromEntries(Object.entries(spec.vars).map(([k, t]) => [k, parsePattern(t)]));
  // What is kept is a copy: the author's record stays writable, and this one does not.
  const samples: Record<string, AttrValue> = { ...spec.attrs };
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

  return deepFreeze({
    name,
    lookedFor: () => spec.looks ?? inWords(pattern().root, pattern().holes),
    vars: { ...spec.vars },
    attrs: samples,
    within: spec.within,
    changes: spec.changes,
    sizes: spec.sizes,
    ties: spec.ties,
    guard: (holes, attrs, root) =>
      spec.when?.({ ...holes, ...attrs } as Holes<V> & AttrHoles<A>, {
        uses: () => 1,
        readers: () => [],
        root: root.node,
        assume: {},
      }) ?? null,
    left: (holes, attrs) => spec.from({ ...holes, ...attrs } as Holes<V> & AttrHoles<A>),
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
      const untied = unlikeSize(found) ?? (spec.ties && untiedLetter(spec.ties, found));
      if (untied) return { unmatched: untied };
      const values = { ...found.values, ...found.attrs } as Holes<V> & AttrHoles<A>;
      const refused = spec.when?.(values, { ...cx, root: v.node });
      if (refused) return { refused };
      return { to: spec.to(values, found.bound.dims), matched: found.nodes };
    },
  });
}

/** An attribute that is a size of the pattern (`sizeAttr` in ir/fused.ts) and has another value, in words, or null. */
function unlikeSize({ bound, attrs }: Match): string | null {
  const unlike = Object.entries(attrs).find(([k, v]) => k in bound.dims && bound.dims[k] !== v);
  return unlike ? `${unlike[0]} is ${bound.dims[unlike[0]]}, and an attribute says ${JSON.stringify(unlike[1])}` : null;
}

/** A letter that is not what others make it, in words, or null. Symbols stand for numbers of their own. */
function untiedLetter(ties: Ties, { bound, attrs }: Match): string | null {
  const size = (d: Dim): number => {
    const p = partsOf(d);
    return p.times * (p.symbol === "" ? 1 : 97 + [...p.symbol].reduce((n, c) => n * 31 + c.charCodeAt(0), 0));
  };
  const numbers = Object.fromEntries(Object.entries(attrs).filter((e): e is [string, number] => typeof e[1] === "number"));
  const sizes = Object.fromEntries(Object.entries(bound.dims).map(([k, d]) => [k, size(d)]));
  for (const [k, want] of Object.entries(ties({ ...numbers, ...sizes })))
    if (k in sizes && Number.isFinite(want) && sizes[k] !== want) return `${k} is ${bound.dims[k]}, and other sizes want another`;
  return null;
}

const begins = (root: Value, v: Value): boolean => v.node.op === root.node.op && v.index === root.index;

interface Match {
  values: Record<string, Value>;
  attrs: Record<string, AttrValue>;
  bound: Bindings;
  nodes: Node[];
}

const made = (v: Value): string =>
  v.node.leaf?.kind === "param" ? "a parameter" : v.node.leaf ? `@${v.node.leaf.name}` : v.node.op.name;

/** Null when the value is the pattern, else the first thing that differs, in words. */
function mismatch(
  p: Value,
  v: Value,
  holes: ReadonlyMap<Node, string>,
  patterns: Record<string, Pattern>,
  m: Match,
): string | null {
  const hole = holes.get(p.node);
  if (hole !== undefined) {
    if (m.values[hole])
      return m.values[hole] === v ? null : `${hole} would have to be two values, ${made(m.values[hole])} and ${made(v)}`;
    const problem = unify(patterns[hole], v.type, m.bound, hole);
    if (problem === null) m.values[hole] = v;
    return problem;
  }
  if (p.node.op !== v.node.op) return `there is ${made(v)} where ${p.node.op.name} is looked for`;
  if (p.index !== v.index) return `it is the other result of ${v.node.op.name}`;
  if (p.node.operands.length !== v.node.operands.length)
    return `${v.node.op.name} has ${v.node.operands.length} operands, ${p.node.operands.length} are looked for`;
  for (const [k, want] of Object.entries(p.node.attrs)) {
    const got = v.node.attrs[k];
    if (typeof want === "string" && want.startsWith("?")) {
      const name = want.slice(1);
      if (m.attrs[name] !== undefined && JSON.stringify(m.attrs[name]) !== JSON.stringify(got))
        return `${k} of ${v.node.op.name} is ${JSON.stringify(got)}, elsewhere in the pattern ${JSON.stringify(m.attrs[name])}`;
      m.attrs[name] = got;
    } else if (JSON.stringify(want) !== JSON.stringify(got))
      return `${k} of ${v.node.op.name} is ${JSON.stringify(got)}, not ${JSON.stringify(want)}`;
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
