// A rule is its own test: its letters get small sizes, its holes values, both sides are interpreted in float64 and compared
// element
// by element, at every trial of trials.ts. Every built-in rule is tried in the tests, every rule of a plug-in before it runs.
import type { AttrValue } from "../ir/attr.ts";
import { DiagnosticError } from "../ir/diagnostic.ts";
import { interpret, interpretRanks, printType, type Tensor } from "../ir/index.ts";
import { LATENT } from "../ir/types.ts";
import { withoutRounding } from "../ir/numeric.ts";
import { dequantized } from "../ir/ops/quant.ts";
import { instanceOf, sideOf, type Instance } from "./instance.ts";
import type { Roots, Rule } from "./rule.ts";
import { kindOf, trialsOf, type Trial } from "./trials.ts";

/** Where two sides of a rule differ, or why they cannot be compared. */
export interface Counterexample {
  seed: number;
  /** "x [3, 4] f32", "eps = 0.7". */
  holes: string[];
  problem: string;
}

/** Null when both sides agree at every trial of this seed. */
export function disagreement(rule: Rule, seed: number): Counterexample | null {
  const declared = Object.entries(rule.vars).map(([k, t]) => `${k} ${t}`);
  const bad = badBound(rule);
  if (bad !== null) return { seed, holes: declared, problem: bad };
  let sample: Instance;
  try {
    sample = instanceOf(rule, 0);
  } catch (e) {
    return { seed, holes: declared, problem: wordsOf(e) };
  }
  const taken = rule.guard(sample.holes, sample.attrs, sample.from) === null;
  /** Attributes that had a value other than the sample, somewhere the left side has a meaning. */
  const varied = new Set<string>();
  for (const trial of trialsOf(rule, seed)) {
    const { instance, problem } = tried(rule, seed, trial);
    if (problem === OUTSIDE) continue;
    // What the guard refuses, where it takes the sample, is no site of the rule.
    if (!trial.sample && instance && taken && rule.guard(instance.holes, instance.attrs, instance.from) !== null) continue;
    if (trial.attr !== undefined) varied.add(trial.attr);
    if (problem === null) continue;
    return { seed, holes: instance ? describe(instance, trial) : declared, problem };
  }
  for (const [name, value] of Object.entries(rule.attrs))
    if (!varied.has(name)) return { seed, holes: describe(sample, {}), problem: unvaried(name, value, sample) };
  return null;
}

/** The first counterexample of a few seeds, or null. */
export function counterexample(rule: Rule, seeds = 3): Counterexample | null {
  for (let seed = 1; seed <= seeds; seed++) {
    const found = disagreement(rule, seed);
    if (found) return found;
  }
  return null;
}

/** A trial at which the left side has no meaning: nothing is asked of the right side. */
const OUTSIDE = Symbol("outside");

function tried(rule: Rule, seed: number, trial: Trial): { instance?: Instance; problem: string | null | typeof OUTSIDE } {
  let instance: Instance;
  try {
    instance = instanceOf(rule, seed, {}, trial);
  } catch (e) {
    // Where the left side cannot be built the rule never applies; where only the right side cannot, it fails at its site.
    return { problem: trial.sample || leftBuilds(rule, trial) ? wordsOf(e) : OUTSIDE };
  }
  const unlike = unlikeRoots(instance, trial);
  if (unlike !== null) return { instance, problem: unlike };
  let from: Values;
  try {
    from = valuesOf(instance, "from");
  } catch (e) {
    return { instance, problem: trial.sample ? wordsOf(e) : OUTSIDE };
  }
  try {
    for (const [root, value] of Object.entries(from)) {
      const at = flat(value).findIndex((v) => !Number.isFinite(v));
      if (at >= 0)
        return {
          instance,
          problem: trial.sample ? `element ${at} of the left side${of(from, root)} is ${flat(value)[at]}` : OUTSIDE,
        };
    }
    return { instance, problem: compared(rule, instance, from) };
  } catch (e) {
    return { instance, problem: wordsOf(e) };
  }
}

/** " of sum", where a side has several roots. */
const of = (all: object, root: string): string => (Object.keys(all).length > 1 ? ` of ${root}` : "");

/** Where the sides have other roots, or roots of other types. */
function unlikeRoots({ from, to }: Instance, trial: Trial): string | null | typeof OUTSIDE {
  const names = Object.keys(from);
  const other = names.find((k) => !Object.hasOwn(to, k)) ?? Object.keys(to).find((k) => !Object.hasOwn(from, k));
  if (other !== undefined) return `${other} is a result of one side alone`;
  for (const root of names) {
    const types = [from, to].map((side) => printType(side[root].type));
    if (types[0] === types[1]) continue;
    // A left side that gives f32 whatever its rows are says nothing of other rows: where types differ is an error at the site
    // (DSC3006).
    if (trial.dtypes && !trial.attr && types[0].endsWith(" f32")) return OUTSIDE;
    return `the left side${of(from, root)} is ${types[0]}, the right side ${types[1]}`;
  }
  return null;
}

function leftBuilds(rule: Rule, trial: Trial): boolean {
  try {
    // The right side is built from the same holes: the left one stands in for it.
    const twice = (left: Roots): ReturnType<Rule["sides"]> => ({ from: left, to: left });
    instanceOf({ ...rule, sides: (holes, attrs) => twice(rule.left(holes, attrs)) }, 0, {}, trial);
    return true;
  } catch {
    return false;
  }
}

/** Both sides of an instance, by what the rule promises: the same, the same up to rounding, or changed within a bound. */
function compared(rule: Rule, i: Instance, from: Values): string | null {
  const to = valuesOf(i, "to");
  const { changes, within } = rule;
  const exactly = (share: number): string | null =>
    withoutRounding(() => eachRoot(valuesOf(i, "from"), valuesOf(i, "to"), (a, b) => apart(a, b, share)));
  if (changes) {
    const infinite = eachRoot(from, to, (_, b) => {
      const at = flat(b).findIndex((v) => !Number.isFinite(v));
      return at >= 0 ? `the right side is not finite: element ${at} is ${flat(b)[at]}` : null;
    });
    return infinite ?? exactly(changes.within);
  }
  if (!within) return eachRoot(from, to, (a, b) => apart(a, b, 0));
  return exactly(0) ?? eachRoot(from, to, aStepApart);
}

/** The first root of which something is said, with its name where there are several. */
function eachRoot(from: Values, to: Values, say: (a: Tensor, b: Tensor) => string | null): string | null {
  for (const [root, value] of Object.entries(from)) {
    const said = say(value, to[root]);
    if (said !== null) return Object.keys(from).length > 1 ? `${root}: ${said}` : said;
  }
  return null;
}

/**
 * Where two values are further apart than float64 sums in another order are, and than `within` of their row's largest. Codes
 * and scales have to be the same.
 */
function apart(a: Tensor, b: Tensor, within: number): string | null {
  const exact = a.scales !== undefined || b.scales !== undefined;
  const [x, y] = [flat({ ...a, scales: undefined }), flat({ ...b, scales: undefined })];
  if (x.length !== y.length) return `the left side has ${x.length} elements, the right side ${y.length}`;
  const largest = largestOf(x);
  const width = Math.max(1, a.rows ? x.length : (a.shape.at(-1) ?? 1));
  for (let row = 0; row < x.length; row += width) {
    const most = largestOf(x.slice(row, row + width));
    const allowed = exact && within === 0 && a.scales?.some((s) => s !== 1) ? 0 : (1e-9 + within) * most + 1e-12 * largest;
    for (let j = row; j < Math.min(x.length, row + width); j++)
      if (!(Math.abs(x[j] - y[j]) <= allowed)) return differs("element", j, x[j], y[j]);
  }
  const [s, t] = [a.scales ?? [], b.scales ?? []];
  for (let j = 0; j < s.length; j++) if (!(Math.abs(s[j] - t[j]) <= within * s[j])) return differs("scale", j, s[j], t[j]);
  return s.length === t.length ? null : `the left side has ${s.length} scales, the right side ${t.length}`;
}

/** Where two quantised values are more than one step of e4m3 apart, of each element's own value. */
function aStepApart(a: Tensor, b: Tensor): string | null {
  const [s, t] = [a.scales ?? [], b.scales ?? []];
  for (let j = 0; j < s.length; j++) if (!(Math.abs(s[j] - t[j]) <= 1e-6 * s[j])) return differs("scale", j, s[j], t[j]);
  const [x, y] = [a.scales ? dequantized(a) : flat(a), b.scales ? dequantized(b) : flat(b)];
  const largest = largestOf(x);
  for (let j = 0; j < x.length; j++) {
    // Without scales of its own, a value was made of codes: the least step is that of the largest.
    const scale = a.scales ? scaleOf(a, j) : largest / 448;
    if (!(Math.abs(x[j] - y[j]) <= 2 ** -3 * Math.abs(x[j]) + 2 ** -9 * scale)) return differs("element", j, x[j], y[j]);
  }
  return null;
}

const differs = (what: string, at: number, a: number, b: number): string =>
  `${what} ${at} is ${a} on the left and ${b} on the right`;

const largestOf = (x: ArrayLike<number>): number => {
  let most = 0;
  for (let i = 0; i < x.length; i++) most = Math.max(most, Math.abs(x[i]));
  return most;
};

function scaleOf(t: Tensor, element: number): number {
  const k = t.shape.at(-1)!;
  return t.scales![Math.floor(element / k) * Math.ceil(k / 128) + Math.floor((element % k) / 128)] ?? 0;
}

/** Values of the roots of a side, by name. */
type Values = Readonly<Record<string, Tensor>>;

function valuesOf(i: Instance, side: "from" | "to"): Values {
  if (i.ranks) return valuesOfRanks(i, i.ranks, side);
  const caches = { [LATENT]: i.caches.map((layer) => layer.map((rows) => rows.slice())) };
  return interpret({ funcs: new Map(), weights: new Map() }, sideOf(i, side), { values: i.values, batch: i.batch, caches });
}

/** The same over ranks: roots of each of them. */
function valuesOfRanks(i: Instance, ranks: readonly Record<string, Tensor>[], side: "from" | "to"): Values {
  const [module, func] = [{ funcs: new Map(), weights: new Map() }, sideOf(i, side)];
  const results = interpretRanks(ranks.map((values) => ({ module, func, inputs: { values, batch: i.batch } })));
  return Object.fromEntries(results.flatMap((r, n) => Object.entries(r).map(([root, t]) => [`${root} of rank ${n}`, t])));
}

const flat = (
  t: Tensor,
): ArrayLike<number> & { findIndex(f: (v: number) => boolean): number; slice(a: number, b: number): ArrayLike<number> } =>
  t.rows ? t.rows.flatMap((x) => [...x]) : t.scales ? [...t.data, ...t.scales] : t.data;

/** A bound of a change that is none. */
function badBound(rule: Rule): string | null {
  if (rule.within !== undefined && rule.within !== "e4m3")
    return `within is ${JSON.stringify(rule.within)}; it is "e4m3", or left out`;
  const c: unknown = rule.changes;
  if (c === undefined) return null;
  const { why, within } = (typeof c === "object" && c !== null ? c : {}) as { why?: unknown; within?: unknown };
  if (typeof why !== "string" || typeof within !== "number")
    return "changes has no bound: it is { why, within }, within being the share of a row's largest value that a change may be";
  return within >= 0 && within < 1 ? null : `changes has within ${within}; a bound is at least 0 and less than 1`;
}

const unvaried = (name: string, value: AttrValue, sample: Instance): string =>
  kindOf(name, sample) === undefined
    ? `attribute ${name} is of no op of the left side, so that no site says what it is`
    : `attribute ${name} could be given no value but ${JSON.stringify(value)}: write it into both sides, or let ties say ` +
      "what sizes go with it";

const describe = (i: Instance, trial: Trial): string[] => [
  ...Object.entries(i.holes).map(([k, v]) => `${k} ${printType(v.type)}`),
  ...Object.entries(trial.attrs ?? {}).map(([k, v]) => `${k} = ${JSON.stringify(v)}`),
];

/** What building or evaluating a side failed with. */
function wordsOf(e: unknown): string {
  if (e instanceof DiagnosticError) return e.diagnostics[0].title;
  if (e instanceof Error && !("code" in e)) return `evaluating it failed: ${e.message}`;
  throw e;
}
