// Matching the left side of a rule: its first root against a value, operands down, then roots that lie apart among the readers
// of what
// they have in common with it. What differs first is said in words.
import { isHole, type AttrValue } from "../ir/attr.ts";
import type { Assume } from "../ir/cost.ts";
import { topological, type Node, type Value } from "../ir/graph.ts";
import { unify, type Bindings, type Pattern as TypePattern } from "../ir/signature.ts";
import { partsOf, type Dim } from "../ir/types.ts";

/** Results of a side by name: "y" alone, unless the equation has several. */
export type Roots = Readonly<Record<string, Value>>;

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
export interface Pattern {
  /** The roots, that where the rule is looked for first. */
  roots: readonly (readonly [name: string, value: Value])[];
  holes: Map<Node, string>;
}

/** The root that holds the most of the others first. */
export function inOrder(roots: Roots): Pattern["roots"] {
  const list = Object.entries(roots);
  const held = (v: Value): number => {
    const nodes = new Set(topological([v]));
    return list.filter(([, other]) => nodes.has(other.node)).length;
  };
  const first = list.reduce((best, entry) => (held(entry[1]) > held(best[1]) ? entry : best));
  return [first, ...list.filter((entry) => entry !== first)];
}

/** What is asked of a pattern whose first root has matched. */
export interface Search {
  holes: ReadonlyMap<Node, string>;
  types: Record<string, TypePattern>;
  cx: SiteContext;
  judge: (m: Match) => Found | Missed;
}

/**
 * Matches the roots that are left: one within another is known; one apart is looked for among the readers of what it has in
 * common with those.
 */
export function others(roots: Pattern["roots"], m: Match, s: Search): Found | Missed {
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
export function unlikeSize({ bound, attrs }: Match): string | null {
  const unlike = Object.entries(attrs).find(([k, v]) => k in bound.dims && bound.dims[k] !== v);
  return unlike ? `${unlike[0]} is ${bound.dims[unlike[0]]}, and an attribute says ${JSON.stringify(unlike[1])}` : null;
}

/** A letter that is not what others make it, in words, or null. Symbols stand for numbers of their own. */
export function untiedLetter(ties: Ties, { bound, attrs }: Match): string | null {
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

export const isMadeAs = (root: Value, v: Value): boolean => v.node.op === root.node.op && v.index === root.index;

export interface Match {
  values: Record<string, Value>;
  attrs: Record<string, AttrValue>;
  bound: Bindings;
  /** Nodes by those of the pattern, the root's first. */
  at: Map<Node, Node>;
}

const made = (v: Value): string =>
  v.node.leaf?.kind === "param" ? "a parameter" : v.node.leaf ? `@${v.node.leaf.name}` : v.node.op.name;

/** Null when the value is the pattern, else the first thing that differs, in words. */
export function mismatch(
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
  if (isHole(want)) {
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
export function inWords({ roots, holes }: Pattern): string {
  const values = roots.map(([, v]) => v);
  const outer = values.filter((v) => !values.some((o) => o !== v && o.node !== v.node && topological([o]).includes(v.node)));
  return outer.map((v) => wordOf(v, holes)).join(" and ");
}

/** "add(x, combine(ys, places, weights))", einsums with their letters. */
function wordOf(v: Value, holes: ReadonlyMap<Node, string>): string {
  const hole = holes.get(v.node);
  if (hole !== undefined) return hole;
  const { spec } = v.node.attrs;
  const operands = v.node.operands.map((o) => wordOf(o, holes)).join(", ");
  return `${v.node.op.name}(${typeof spec === "string" ? `${spec}; ` : ""}${operands})`;
}
