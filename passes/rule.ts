// A rule is an equation between two ordinary builder expressions. Holes are typed values; `from` builds the pattern,
// `to` the replacement. A rule is its own unit test: give its letters sizes, fill its holes, interpret both sides.
import { DiagnosticError } from "../ir/diagnostic.ts";
import { deepFreeze } from "../ir/freeze.ts";
import { Graph, Value, type Node } from "../ir/graph.ts";
import { param } from "../ir/ops/index.ts";
import { bindings, instantiate, parsePattern } from "../ir/signature.ts";
import { cacheType, type Dim } from "../ir/types.ts";
import type { AttrValue } from "../ir/attr.ts";
import { ruleShape } from "./diagnostics.ts";
import {
  inOrder,
  inWords,
  isMadeAs,
  mismatch,
  others,
  unlikeSize,
  untiedLetter,
  type Found,
  type Match,
  type Missed,
  type Pattern,
  type Roots,
  type SiteContext,
  type Ties,
} from "./match.ts";

export type { Found, Missed, Roots, SiteContext } from "./match.ts";

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
  /**
   * A value; or several by name, of which the right side gives the same ones. The first root that holds the most of the others
   * is where
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
  /**
   * What stands in the place of the pattern's root that is worth better words than "there is X where Y is looked for", or null.
   */
  otherwise?: (v: Value) => { declined: string } | { unmatched: string } | null;
  /** The value that the ledger calls the site by, where it is not the root. */
  site?: (root: Value) => Value;
  /** A rule of less, which says why neither is there: of this one nothing is said but that it fired. */
  widens?: Rule;
  /**
   * Sides agree only up to the rounding of this format, and exactly where nothing is rounded. Codes that are the same need no
   * `within`.
   */
  within?: "e4m3";
  /** Says so when the function computed changes. */
  changes?: Change;
  /** What is looked for, in words, where a pass matches the equation itself: its left side is then no pattern. */
  looks?: string;
  /**
   * Sizes of letters for the self-test, where the default will not do. Others are tried, too, where the left side has a meaning
   * there.
   */
  sizes?: Readonly<Record<string, number>>;
  /**
   * Holes that are each rank's own, where the equation is one over ranks: both sides run on 2, 3 and 4 of them (an attribute `parts` says
   * how many), and every rank has to get the same from either.
   */
  ownByRank?: readonly string[];
  /**
   * Letters that other letters and attributes decide: ({ T, k }) => ({ r: T * k }). Held in every proof, and asked for at every
   * site.
   */
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

/** What a guard may ask. */
export interface MatchContext extends SiteContext {
  /** The node whose value would be replaced; of several, that of the root where the rule is looked for. */
  root: Node;
}

/** An equation between two graphs, as `rule` declares it. */
export interface Rule {
  readonly name: string;
  readonly vars: Readonly<Record<string, string>>;
  readonly attrs: Readonly<Record<string, AttrValue>>;
  readonly within?: "e4m3";
  readonly changes?: Change;
  readonly sizes?: Readonly<Record<string, number>>;
  readonly ties?: Ties;
  readonly ownByRank?: readonly string[];
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

/** What the functions of a rule are given. */
type Given<V, A> = Holes<V> & AttrHoles<A>;
type Types = Readonly<Record<string, ReturnType<typeof parsePattern>>>;

/** The left side over symbolic holes; a mistyped pattern fails here, with the op's own message. */
function patternOf<V extends Record<string, string>, A extends Record<string, AttrValue>>(
  name: string,
  spec: RuleSpec<V, A>,
  types: Types,
): Pattern {
  const graph = new Graph();
  const holes = new Map<Node, string>();
  const values: Record<string, unknown> = {};
  for (const [k, p] of Object.entries(types)) {
    const v = param(graph, k, p.kind === "cache" ? cacheType(0, "f32") : instantiate(p, bindings()));
    holes.set(v.node, k);
    values[k] = v;
  }
  for (const k of Object.keys(spec.attrs ?? {})) values[k] = `?${k}`;
  try {
    return { roots: inOrder(rootsOf(spec.from(values as Given<V, A>))), holes };
  } catch (e) {
    throw e instanceof DiagnosticError ? new DiagnosticError([ruleShape({ rule: name }), ...e.diagnostics]) : e;
  }
}

/** What a whole match comes to: the site, or the reason of a guard. */
function judge<V extends Record<string, string>, A extends Record<string, AttrValue>>(
  { unless, ties, when, to }: RuleSpec<V, A>,
  { roots: patterns }: Pattern,
  m: Match,
  cx: SiteContext,
): Found | Missed {
  const values = { ...m.values, ...m.attrs } as Given<V, A>;
  const left = unless?.(values, m.bound.dims);
  if (left) return { declined: left };
  const untied = unlikeSize(m) ?? (ties && untiedLetter(ties, m));
  if (untied) return { unmatched: untied };
  const roots = Object.fromEntries(patterns.map(([k, p]) => [k, m.at.get(p.node)!.results[p.index]]));
  const refused = when?.(values, { ...cx, root: [...m.at.values()][0] });
  if (refused) return { refused };
  const build = (): Roots => rootsOf(to(values, m.bound.dims));
  return { roots, matched: [...m.at.values()], holes: Object.values(m.values), build };
}

/** Declares a rule; the name is a short sentence without its subject. */
export function rule<const V extends Record<string, string>, const A extends Record<string, AttrValue> = {}>(
  name: string,
  spec: RuleSpec<V, A>,
): Rule {
  const types = Object.fromEntries(Object.entries(spec.vars).map(([k, t]) => [k, parsePattern(t)]));
  let built: Pattern | undefined;
  const pattern = (): Pattern => (built ??= patternOf(name, spec, types));
  const begins = (v: Value): boolean => isMadeAs(pattern().roots[0][1], v) || (spec.otherwise?.(v) ?? null) !== null;

  return deepFreeze({
    name,
    several: () => pattern().roots.length > 1,
    lookedFor: () => spec.looks ?? inWords(pattern()),
    // What is kept is a copy: the author's record stays writable, and this one does not.
    vars: { ...spec.vars },
    attrs: { ...spec.attrs },
    within: spec.within,
    changes: spec.changes,
    sizes: spec.sizes,
    ties: spec.ties,
    ...(spec.ownByRank ? { ownByRank: [...spec.ownByRank] } : {}),
    ...(spec.widens ? { widens: spec.widens } : {}),
    guard(holes, attrs, from) {
      if (!spec.when) return null;
      const [{ node: root }] = inOrder(from).map(([, v]) => v);
      return spec.when({ ...holes, ...attrs } as Given<V, A>, { uses: () => 1, readers: () => [], root, assume: {} });
    },
    left: (holes, attrs) => rootsOf(spec.from({ ...holes, ...attrs } as Given<V, A>)),
    sides(holes, attrs, sizes) {
      const v = { ...holes, ...attrs } as Given<V, A>;
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
      return others(roots.slice(1), first, { holes, types, cx, judge: (m) => judge(spec, pattern(), m, cx) });
    },
  });
}

/** A side as roots. */
const rootsOf = (side: Value | Roots): Roots => (side instanceof Value ? { y: side } : side);
