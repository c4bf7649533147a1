// A rule is an equation between two ordinary builder expressions. Holes are typed values; `from` builds the pattern,
// `to` the replacement. A rule is its own unit test: give its letters sizes, fill its holes, interpret both sides.
import { DiagnosticError } from "../ir/diagnostic.ts";
import type { Assume } from "../ir/cost.ts";
import { deepFreeze } from "../ir/freeze.ts";
import { Graph, topological, Value, type Node } from "../ir/graph.ts";
import { param } from "../ir/ops/index.ts";
import { bindings, instantiate, parsePattern, unify, type Bindings, type Pattern as TypePattern } from "../ir/signature.ts";
import { cacheType, partsOf, type Dim } from "../ir/types.ts";
import type { AttrValue } from "../ir/attr.ts";
import { ruleShape } from "./diagnostics.ts";

export type Holes<V> = { [K in keyof V]: Value };
/** Attributes by name, of the kind that their samples are. In the pattern itself they are holes: the words "?name". */
export type AttrHoles<A> = {
  [K in keyof A]: A[K] extends number ? number : A[K] extends boolean ? boolean : A[K] extends string ? string : AttrValue;
};

/** Results of a side by name: "y" alone, unless the equation has several. */
export type Roots = Readonly<Record<string, Value>>;

export interface RuleSpec<V extends Record<string, string>, A extends Record<string, AttrValue>> {
  /** Types of the holes, in the shape language; letters and dtype variables are shared by both sides. */
  vars: V;
  /** Attributes that may have any value: name -> a sample for the self-test. */
  attrs?: A;
  /**
   * A value; or several by name, of which the right side gives the same ones. The first root that holds the most of the others is where
   * the rule is looked for; one apart from it has to read what it reads.
   */
  from: (v: Holes<V> & AttrHoles<A>) => Value | Roots;
  to: (v: Holes<V> & AttrHoles<A>, sizes: Readonly<Record<string, Dim>>) => Value | Roots;
  /** A guard, where types are not enough. Gives a reason to refuse, or null. */
  when?: (v: Holes<V> & AttrHoles<A>, cx: MatchContext) => string | null;
  /** Why the whole pattern is left as it is, or null: leaving it is cheaper, asked for or required. */
  unless?: (v: Holes<V> & AttrHoles<A>, sizes: Readonly<Record<string, Dim>>) => string | null;
  /** Which values are looked at, where the root's op does not say it. */
  among?: (v: Value, cx: SiteContext) => boolean;
  /** What stands in the place of the pattern's root that is worth better words than "there is X where Y is looked for", or null. */
  otherwise?: (v: Value) => { declined: string } | { unmatched: string } | null;
  /** The value that the ledger calls the site by, where it is not the root. */
  site?: (root: Value) => Value;
  /** A rule of less, which says why neither is there: of this one nothing is said but that it fired. */
  widens?: Rule;
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

/**
 * How a function changes: the sentence that reports say, and how far the right side may be from the left side without
 * quantisation, as a share of a row's largest value.
 */
export interface Change {
  why: string;
  within: number;
}

export type Ties = (z: Readonly<Record<string, number>>) => Readonly<Record<string, number>>;

/** What may be asked of a function around a site. */
export interface SiteContext {
  /** How many operands, regions and results read this value. */
  uses(v: Value): number;
  /** The nodes that read it, as they were before this round. */
  readers(v: Value): readonly Node[];
  /** The sizes that the function's cost is judged at. */
  assume: Assume;
}

/** What a guard may ask. */
export interface MatchContext extends SiteContext {
  /** The node whose value would be replaced; of several, that of the root where the rule is looked for. */
  root: Node;
}

export interface Rule {
  readonly name: string;
  readonly vars: Readonly<Record<string, string>>;
  readonly attrs: Readonly<Record<string, AttrValue>>;
  readonly within?: "e4m3";
  readonly changes?: Change;
  readonly sizes?: Readonly<Record<string, number>>;
  readonly ties?: Ties;
  readonly widens?: Rule;
  /** Whether the equation has several roots: they are replaced together (passes/replace-roots.ts). */
  several(): boolean;
  /** The pattern in words: "quantize(rms_norm(x, gain))". */
  lookedFor(): string;
  /** Whether a value is made as the pattern's root is: what `match` asks first, and cheaply. */
  begins(v: Value): boolean;
  /** The value that the ledger calls the site of a root by. */
  site(root: Value): Value;
  /** What the guard says of these holes and attributes, each value read once: a reason to refuse, or null. */
  guard(holes: Record<string, Value>, attrs: Record<string, AttrValue>, from: Roots): string | null;
  /** The left side over these holes: there may be a meaning of it where the right side has none. */
  left(holes: Record<string, Value>, attrs: Record<string, AttrValue>): Roots;
  /** Both sides built over these holes. */
  sides(holes: Record<string, Value>, attrs: Record<string, AttrValue>, sizes: Record<string, Dim>): { from: Roots; to: Roots };
  /** What would be replaced at a value that matches, or why nothing is; null where the value is no candidate. */
  match(v: Value, cx: SiteContext): Found | Missed | null;
}

/** A site of the whole pattern. */
export interface Found {
  /** The values that would be replaced, by the names of the roots. */
  roots: Roots;
  /** The nodes of the pattern, the root's first. */
  matched: readonly Node[];
  /** The values of the holes. */
  holes: readonly Value[];
  /** Builds the right side. */
  build(): Roots;
}

/** Why a candidate is left: a guard refuses it, it is the pattern and stays, or something of the pattern is not there. */
export type Missed = { refused: string } | { declined: string } | { unmatched: string };

/** The left side over symbolic holes. */
interface Pattern {
  /** The roots, that where the rule is looked for first. */
  roots: readonly (readonly [name: string, value: Value])[];
  holes: Map<Node, string>;
}

/** Declares a rule; the name is a short sentence without its subject. */
export function rule<const V extends Record<string, string>, const A extends Record<string, AttrValue> = {}>(
  name: string,
  spec: RuleSpec<V, A>,
): Rule {
  type Given = Holes<V> & AttrHoles<A>;
  const types = Object.fromEntries(Object.entries(spec.vars).map(([k, t]) => [k, parsePattern(t)]));
  // What is kept is a copy: the author's record stays writable, and this one does not.
  const samples: Record<string, AttrValue> = { ...spec.attrs };
  let built: Pattern | undefined;

  // The pattern is built once, over symbolic holes; a mistyped pattern fails here, with the op's own message.
  const pattern = (): Pattern => {
    if (built) return built;
    const graph = new Graph();
    const holes = new Map<Node, string>();
    const values: Record<string, unknown> = {};
    for (const [k, p] of Object.entries(types)) {
      const v = param(graph, k, p.kind === "cache" ? cacheType(0, "f32") : instantiate(p, bindings()));
      holes.set(v.node, k);
      values[k] = v;
    }
    for (const k of Object.keys(samples)) values[k] = `?${k}`;
    try {
      return (built = { roots: inOrder(rootsOf(spec.from(values as Given))), holes });
    } catch (e) {
      throw e instanceof DiagnosticError ? new DiagnosticError([ruleShape(name), ...e.diagnostics]) : e;
    }
  };

  const begins = (v: Value): boolean => isMadeAs(pattern().roots[0][1], v) || (spec.otherwise?.(v) ?? null) !== null;

  /** What a whole match says: the reason of a guard, or the site. */
  const judged = (m: Match, cx: SiteContext): Found | Missed => {
    const values = { ...m.values, ...m.attrs } as Given;
    const left = spec.unless?.(values, m.bound.dims);
    if (left) return { declined: left };
    const untied = unlikeSize(m) ?? (spec.ties && untiedLetter(spec.ties, m));
    if (untied) return { unmatched: untied };
    const roots = Object.fromEntries(pattern().roots.map(([k, p]) => [k, m.at.get(p.node)!.results[p.index]]));
    const refused = spec.when?.(values, { ...cx, root: [...m.at.values()][0] });
    if (refused) return { refused };
    const build = (): Roots => rootsOf(spec.to(values, m.bound.dims));
    return { roots, matched: [...m.at.values()], holes: Object.values(m.values), build };
  };

  return deepFreeze({
    name,
    several: () => pattern().roots.length > 1,
    lookedFor: () => spec.looks ?? inWords(pattern()),
    vars: { ...spec.vars },
    attrs: samples,
    within: spec.within,
    changes: spec.changes,
    sizes: spec.sizes,
    ties: spec.ties,
    ...(spec.widens ? { widens: spec.widens } : {}),
    guard(holes, attrs, from) {
      if (!spec.when) return null;
      const [{ node: root }] = inOrder(from).map(([, v]) => v);
      return spec.when({ ...holes, ...attrs } as Given, { uses: () => 1, readers: () => [], root, assume: {} });
    },
    left: (holes, attrs) => rootsOf(spec.from({ ...holes, ...attrs } as Given)),
    sides(holes, attrs, sizes) {
      const v = { ...holes, ...attrs } as Given;
      return { from: rootsOf(spec.from(v)), to: rootsOf(spec.to(v, sizes)) };
    },
    begins,
    site: (root) => spec.site?.(root) ?? root,
    match(v, cx) {
      if (!begins(v)) return null;
      const { roots, holes } = pattern();
      const other = spec.otherwise?.(v);
      if (other) return other;
      if (spec.among && !spec.among(v, cx)) return null;
      const first: Match = { values: {}, attrs: {}, bound: bindings(), at: new Map() };
      const unmatched = mismatch(roots[0][1], v, holes, types, first);
      if (unmatched !== null) return { unmatched };
      return others(roots.slice(1), first, { holes, types, cx, judge: (m) => judged(m, cx) });
    },
  });
}

/** A side as roots. */
const rootsOf = (side: Value | Roots): Roots => (side instanceof Value ? { y: side } : side);

/** The root that holds the most of the others first. */
function inOrder(roots: Roots): Pattern["roots"] {
  const list = Object.entries(roots);
  const held = (v: Value): number => {
    const nodes = new Set(topological([v]));
    return list.filter(([, other]) => nodes.has(other.node)).length;
  };
  const first = list.reduce((best, entry) => (held(entry[1]) > held(best[1]) ? entry : best));
  return [first, ...list.filter((entry) => entry !== first)];
}

/** What is asked of a pattern whose first root has matched. */
interface Search {
  holes: ReadonlyMap<Node, string>;
  types: Record<string, TypePattern>;
  cx: SiteContext;
  judge: (m: Match) => Found | Missed;
}

/**
 * Matches the roots that are left: one within another is known; one apart is looked for among the readers of what it has in
 * common with those.
 */
function others(roots: Pattern["roots"], m: Match, s: Search): Found | Missed {
  const [next, ...rest] = roots;
  if (!next) return s.judge(m);
  const [, p] = next;
  if (m.at.has(p.node)) return others(rest, m, s);
  const shared = p.node.operands.find((o) => valueAt(o, m, s.holes));
  const read = shared && valueAt(shared, m, s.holes)!;
  const taken = new Set(m.at.values());
  const candidates = (read ? s.cx.readers(read) : []).filter((n) => n.op === p.node.op && !taken.has(n));
  let missed: Missed | undefined;
  for (const n of new Set(candidates)) {
    const one: Match = {
      values: { ...m.values },
      attrs: { ...m.attrs },
      bound: copied(m.bound),
      at: new Map(m.at),
    };
    const unmatched = mismatch(p, n.results[p.index], s.holes, s.types, one);
    const found: Found | Missed = unmatched === null ? others(rest, one, s) : { unmatched };
    if ("roots" in found) return found;
    missed ??= found;
  }
  return missed ?? { unmatched: `no other ${p.node.op.name} reads ${shared ? wordOf(shared, s.holes) : "what it does"}` };
}

/** The value that a pattern's value has been matched with, or undefined. */
const valueAt = (p: Value, m: Match, holes: ReadonlyMap<Node, string>): Value | undefined => {
  const hole = holes.get(p.node);
  return hole !== undefined ? m.values[hole] : m.at.get(p.node)?.results[p.index];
};

const copied = (b: Bindings): Bindings => ({
  dims: { ...b.dims },
  rests: { ...b.rests },
  dtypes: { ...b.dtypes },
  by: { ...b.by },
});

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

const isMadeAs = (root: Value, v: Value): boolean => v.node.op === root.node.op && v.index === root.index;

interface Match {
  values: Record<string, Value>;
  attrs: Record<string, AttrValue>;
  bound: Bindings;
  /** Nodes by those of the pattern, the root's first. */
  at: Map<Node, Node>;
}

const made = (v: Value): string =>
  v.node.leaf?.kind === "param" ? "a parameter" : v.node.leaf ? `@${v.node.leaf.name}` : v.node.op.name;

/** Null when the value is the pattern, else the first thing that differs, in words. */
function mismatch(
  p: Value,
  v: Value,
  holes: ReadonlyMap<Node, string>,
  types: Record<string, TypePattern>,
  m: Match,
): string | null {
  const hole = holes.get(p.node);
  if (hole !== undefined) {
    if (m.values[hole])
      return m.values[hole] === v ? null : `${hole} would have to be two values, ${made(m.values[hole])} and ${made(v)}`;
    const problem = unify(types[hole], v.type, m.bound, hole);
    if (problem === null) m.values[hole] = v;
    return problem;
  }
  if (p.node.op !== v.node.op) return `there is ${made(v)} where ${p.node.op.name} is looked for`;
  if (p.index !== v.index) return `it is the other result of ${v.node.op.name}`;
  const before = m.at.get(p.node);
  if (before) return before === v.node ? null : `${p.node.op.name} would have to be two nodes`;
  if (p.node.operands.length !== v.node.operands.length)
    return `${v.node.op.name} has ${v.node.operands.length} operands, ${p.node.operands.length} are looked for`;
  for (const [k, want] of Object.entries(p.node.attrs)) {
    const problem = unlikeAttr(k, want, v.node, m);
    if (problem !== null) return problem;
  }
  m.at.set(p.node, v.node);
  for (const [i, o] of p.node.operands.entries()) {
    const problem = mismatch(o, v.node.operands[i], holes, types, m);
    if (problem !== null) return problem;
  }
  return null;
}

/** Null where an attribute of a node is the pattern's: the same, a hole, or a list of sizes with letters in it. */
function unlikeAttr(k: string, want: AttrValue, { op, attrs }: Node, m: Match): string | null {
  const got = attrs[k];
  if (typeof want === "string" && want.startsWith("?")) {
    const name = want.slice(1);
    if (m.attrs[name] !== undefined && JSON.stringify(m.attrs[name]) !== JSON.stringify(got))
      return `${k} of ${op.name} is ${JSON.stringify(got)}, elsewhere in the pattern ${JSON.stringify(m.attrs[name])}`;
    m.attrs[name] = got;
    return null;
  }
  const unlike = `${k} of ${op.name} is ${JSON.stringify(got)}, not ${JSON.stringify(want)}`;
  if (!Array.isArray(want) || !Array.isArray(got)) return JSON.stringify(want) === JSON.stringify(got) ? null : unlike;
  if (want.length !== got.length) return unlike;
  for (const [i, w] of want.entries()) {
    const letter = typeof w === "string" ? w.replace("?", "") : undefined;
    if (letter === undefined ? w !== got[i] : (m.bound.dims[letter] ?? got[i]) !== got[i]) return unlike;
    if (letter !== undefined) [m.bound.dims[letter], m.bound.by[letter]] = [got[i], k];
  }
  return null;
}

/** "rms_norm(add(a, b), gain)", and roots that are not within others beside it. */
function inWords({ roots, holes }: Pattern): string {
  const values = roots.map(([, v]) => v);
  const outer = values.filter((v) => !values.some((o) => o !== v && o.node !== v.node && topological([o]).includes(v.node)));
  return outer.map((v) => wordOf(v, holes)).join(" and ");
}

/** "add(x, combine(ys, places, weights))", einsums with their letters. */
function wordOf(v: Value, holes: ReadonlyMap<Node, string>): string {
  const hole = holes.get(v.node);
  if (hole !== undefined) return hole;
  const { spec } = v.node.attrs;
  return `${v.node.op.name}(${typeof spec === "string" ? `${spec}; ` : ""}${v.node.operands.map((o) => wordOf(o, holes)).join(", ")})`;
}
