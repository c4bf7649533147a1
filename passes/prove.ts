// A rule is its own test: its letters get small sizes, its holes random values, both sides are interpreted in float64 and
// compared. Every built-in rule is tried in the tests, every rule of a plug-in before it runs.
import { DiagnosticError } from "../ir/diagnostic.ts";
import { Graph, type Func, type Value } from "../ir/graph.ts";
import { batchType, cacheType, interpret, param, printFunc, printType, tensor, tensorOf, type Dim, type Tensor } from "../ir/index.ts";
import { e4m3Values } from "../ir/numeric.ts";
import { quantizeRows } from "../ir/ops/quant.ts";
import { parsePattern } from "../ir/signature.ts";
import type { Rule } from "./rule.ts";

/** Letters of the self-test; a rule's own `sizes` come first, anything else is 3. */
const letters: Readonly<Record<string, number>> = { t: 3, s: 5, h: 2, n: 4, r: 6, v: 3, d: 4, k: 9, T: 3, m: 4, w: 5, p: 8, e: 2, f: 3 };

/** Where two sides of a rule differ, or why they cannot be compared. */
export interface Counterexample {
  seed: number;
  /** "x [3, 4] f32". */
  holes: string[];
  problem: string;
}

/** A rule with its letters bound to numbers: both sides over the same holes. */
export interface Instance {
  graph: Graph;
  holes: Record<string, Value>;
  values: Record<string, Tensor>;
  from: Value;
  to: Value;
}

export function random(seed: number): () => number {
  let x = seed * 2654435761 + 1;
  return () => {
    x = (Math.imul(x, 1664525) + 1013904223) | 0;
    return (x >>> 8) / 2 ** 23 - 1;
  };
}

/** Both sides of a rule at given sizes, holes filled from a seed; seed 0 leaves them empty, where only shapes matter. */
export function instanceOf(rule: Rule, seed: number, sizes: Readonly<Record<string, number>> = {}): Instance {
  const next = random(seed);
  const graph = new Graph();
  const size = (name: string): number => sizes[name] ?? rule.sizes?.[name] ?? letters[name] ?? 3;
  const holes: Record<string, Value> = {};
  const values: Record<string, Tensor> = {};
  const bound: Record<string, Dim> = {};
  for (const [k, text] of Object.entries(rule.vars)) {
    const p = parsePattern(text);
    if (p.kind !== "tensor") {
      holes[k] = param(graph, k, p.kind === "batch" ? batchType : cacheType(size("r") + size("d"), "f32"));
      continue;
    }
    const dims = p.dims.flatMap((d) => (d.rest !== undefined ? [size("T")] : [d.size ?? size(d.name!)]));
    for (const d of p.dims) if (d.name) bound[d.name] = size(d.name);
    const dtype = ["i32", "f32", "bf16"].includes(p.dtype) || p.dtype.startsWith("e4m3") ? p.dtype : "f32";
    holes[k] = param(graph, k, tensor(dims, dtype));
    if (seed !== 0) values[k] = filled(k, dims, dtype, next);
  }
  return { graph, holes, values, ...rule.sides(holes, rule.attrs, bound) };
}

function filled(name: string, dims: number[], dtype: string, next: () => number): Tensor {
  const count = dims.reduce((a, b) => a * b, 1);
  if (dtype === "i32") return tensorOf(dims, name === "offsets" ? [0, 2, 4] : Array.from({ length: count }, (_, i) => (i * 5) % count), "i32");
  if (dtype === "e4m3/1x128") return quantizeRows(tensorOf(dims, Array.from({ length: count }, next)), false);
  if (dtype === "e4m3/128x128") {
    const blocks = dims.slice(0, -2).reduce((a, b) => a * b, 1) * Math.ceil(dims.at(-2)! / 128) * Math.ceil(dims.at(-1)! / 128);
    return { shape: dims, dtype, data: Float64Array.from({ length: count }, () => e4m3Values[Math.floor((next() + 1) * 60)]), scales: Float64Array.from({ length: blocks }, () => 1 + next() / 4) };
  }
  return tensorOf(dims, Array.from({ length: count }, next));
}

/** One side of an instance as a function. */
export const sideOf = (i: Instance, side: "from" | "to"): Func => ({
  name: side,
  params: Object.entries(i.holes).map(([name, value]) => ({ name, value })),
  results: [{ name: "y", value: i[side] }],
  assume: {},
});

/** Null when both sides agree on this seed. "within e4m3" allows one step of the format: 2^-3 of the value. */
export function disagreement(rule: Rule, seed: number): Counterexample | null {
  let i: Instance | undefined;
  const say = (problem: string): Counterexample => ({ seed, holes: i ? Object.entries(i.holes).map(([k, v]) => `${k} ${printType(v.type)}`) : Object.entries(rule.vars).map(([k, t]) => `${k} ${t}`), problem });
  try {
    i = instanceOf(rule, seed);
    const types = [i.from, i.to].map((v) => printType(v.type));
    if (types[0] !== types[1]) return say(`the left side is ${types[0]}, the right side ${types[1]}`);
    const [a, b] = (["from", "to"] as const).map((side) => flat(valueOf(i!, side)));
    const scale = Math.max(1, ...a.map(Math.abs));
    const allowed = rule.within === "e4m3" ? 0.13 * scale : 1e-9 * scale;
    const at = a.findIndex((v, j) => !(Math.abs(v - b[j]) <= allowed));
    // What declares a change of the function is only asked for finite numbers.
    if (rule.changes) return b.every(Number.isFinite) ? null : say("the right side is not finite");
    if (a.length === b.length && at < 0) return null;
    return say(`element ${at} is ${a[at]} on the left and ${b[at]} on the right`);
  } catch (e) {
    if (e instanceof DiagnosticError) return say(e.diagnostics[0].title);
    if (e instanceof Error && !("code" in e)) return say(`evaluating it failed: ${e.message}`);
    throw e;
  }
}

function valueOf(i: Instance, side: "from" | "to"): Tensor {
  return interpret({ funcs: new Map(), weights: new Map() }, sideOf(i, side), { values: i.values, batch: { starts: [0, 1, 3], lengths: [1, 2], ids: [0, 0, 0] }, caches: [[new Float64Array(), new Float64Array()]] }).y;
}

const flat = (t: Tensor): number[] => (t.rows ? t.rows.flatMap((x) => [...x]) : [...t.data, ...(t.scales ?? [])]);

/** The first counterexample of a few seeds, or null. */
export function counterexample(rule: Rule, seeds = 3): Counterexample | null {
  for (let seed = 1; seed <= seeds; seed++) {
    const found = disagreement(rule, seed);
    if (found) return found;
  }
  return null;
}

/** A side of a rule as text, for people. */
export const printSide = (i: Instance, side: "from" | "to"): string => printFunc(sideOf(i, side));
