// A rule with numbers for its letters: both sides over the same holes, and values to fill them with. Holes of whole numbers get
// what the op that reads them can take; holes of rows also get what makes near-equations fail: zeros, ties, large, small,
// negative.
import type { AttrValue } from "../ir/attr.ts";
import { Graph, topological, type Func, type Value } from "../ir/graph.ts";
import {
  asTensor,
  batchType,
  cacheType,
  fixed,
  gatherRows,
  isDType,
  keyOf,
  param,
  printFunc,
  sortExperts,
  tensor,
  tensorOf,
  type Batch,
  type Dim,
  type DType,
  type Tensor,
} from "../ir/index.ts";
import { e4m3Values } from "../ir/numeric.ts";
import { quantizeRows } from "../ir/ops/quant.ts";
import { parsePattern } from "../ir/signature.ts";
import type { Roots, Rule } from "./rule.ts";

/** Letters of the self-test; a rule's own `sizes` come first, anything else is 3. */
const letters: Readonly<Record<string, number>> = {
  t: 3,
  s: 5,
  h: 2,
  n: 4,
  r: 6,
  v: 3,
  d: 4,
  k: 9,
  T: 3,
  m: 4,
  w: 5,
  p: 8,
  e: 2,
  f: 3,
};

/** How holes are filled: numbers in [-1, 1), or rows of every awkward kind. */
export type Filling = "plain" | "hard";

/** What an instance may be asked to have otherwise than by default. */
export interface Setup {
  sizes?: Readonly<Record<string, number>>;
  /** Axes that `..b` stands for; one of the size of T unless said. */
  rest?: readonly number[];
  attrs?: Readonly<Record<string, AttrValue>>;
  /** Dtypes of dtype variables; f32 unless said. */
  dtypes?: Readonly<Record<string, DType>>;
  filling?: Filling;
}

/** A side of a rule built at sizes: its graph, its parameters, its results. */
export interface Instance {
  graph: Graph;
  holes: Record<string, Value>;
  attrs: Record<string, AttrValue>;
  values: Record<string, Tensor>;
  /** Of an equation over ranks: the values of each. */
  ranks?: readonly Record<string, Tensor>[];
  batch: Batch;
  /** Rows that were cached before, by sequence. */
  caches: Float64Array[][];
  from: Roots;
  to: Roots;
}

/** Numbers in [-1, 1), the same for the same seed. */
export function random(seed: number): () => number {
  let x = seed * 2654435761 + 1;
  return () => {
    x = (Math.imul(x, 1664525) + 1013904223) | 0;
    return (x >>> 8) / 2 ** 23 - 1;
  };
}

/** The size of every letter: as asked, else the rule's own, else the default; then those that others decide. */
export function sizesOf(rule: Rule, setup: Setup = {}): Record<string, number> {
  const own = (name: string): number => setup.sizes?.[name] ?? rule.sizes?.[name] ?? letters[name] ?? 3;
  const patterns = Object.values(rule.vars).map(parsePattern);
  const names = patterns.flatMap((p) =>
    p.kind === "tensor" ? p.dims.flatMap((d) => (d.name === undefined ? [] : [d.name])) : [],
  );
  const cached = patterns.some((p) => p.kind === "cache");
  const all = Object.fromEntries([...new Set([...names, "T", ...(cached ? ["r", "d"] : [])])].map((n) => [n, own(n)]));
  // A sequence has at least as many cached rows as it has new ones.
  if (all.s !== undefined && all.t !== undefined && all.s < all.t) all.s = all.t;
  if (!("B" in (setup.sizes ?? {}))) all.B = batchOf(all.T).lengths.length;
  const numbers = Object.fromEntries(
    Object.entries({ ...rule.attrs, ...setup.attrs }).filter((e): e is [string, number] => typeof e[1] === "number"),
  );
  return { ...all, ...rule.ties?.({ ...numbers, ...all }) };
}

/** Rows of one sequence or two, the first of which has rows in the cache already. */
const batchOf = (rows: number): Batch => {
  const starts = rows < 2 ? [0, rows] : [0, Math.floor(rows / 2), rows];
  const lengths = starts.slice(1).map((end, b) => end - starts[b] + (b === 0 ? 2 : 0));
  return { starts, lengths, ids: Array.from({ length: rows }, () => 0) };
};

/** Both sides of a rule at given sizes, holes filled from a seed; seed 0 leaves them empty, where only shapes matter. */
export function instanceOf(rule: Rule, seed: number, sizes: Readonly<Record<string, number>> = {}, setup: Setup = {}): Instance {
  const asked = { ...setup, sizes: { ...setup.sizes, ...sizes } };
  const size = sizesOf(rule, asked);
  const odd = Object.entries(size).find(([, n]) => !Number.isInteger(n) || n < 0);
  if (odd) throw new RangeError(`${odd[0]} is ${odd[1]}, which is no size`);
  const graph = new Graph();
  const holes: Record<string, Value> = {};
  const bound: Record<string, Dim> = {};
  for (const [k, text] of Object.entries(rule.vars)) {
    const p = parsePattern(text);
    if (p.kind !== "tensor") {
      holes[k] = param(graph, k, p.kind === "batch" ? batchType : cacheType((size.r ?? 3) + (size.d ?? 3), "f32"));
      continue;
    }
    const dims = p.dims.flatMap((d) => (d.rest !== undefined ? (setup.rest ?? [size.T]) : [d.size ?? size[d.name!]]));
    for (const d of p.dims) if (d.name) bound[d.name] = size[d.name];
    holes[k] = param(graph, k, tensor(dims, isDType(p.dtype) ? p.dtype : (setup.dtypes?.[p.dtype] ?? "f32")));
  }
  const attrs = { ...rule.attrs, ...setup.attrs };
  const built = {
    graph,
    holes,
    attrs,
    values: {} as Record<string, Tensor>,
    batch: batchOf(size.T),
    caches: [] as Float64Array[][],
    ...rule.sides(holes, attrs, bound),
  };
  if (seed !== 0 && rule.ownByRank) return { ...built, ranks: ranksOf(built, rule.ownByRank, seed, setup.filling ?? "plain") };
  if (seed !== 0) fill(built, random(seed), setup.filling ?? "plain", (size.r ?? 3) + (size.d ?? 3));
  return built;
}

/** Values of every rank: own holes are filled for each, the others once. */
function ranksOf(i: Instance, own: readonly string[], seed: number, filling: Filling): Record<string, Tensor>[] {
  const n = typeof i.attrs.parts === "number" ? Math.max(1, i.attrs.parts) : 2 + (seed % 3);
  const all = Array.from({ length: n }, (_, rank) => {
    fill(i, random(seed + 1000 * rank), filling, 0);
    return { ...i.values };
  });
  return all.map((values) => Object.fromEntries(Object.entries(values).map(([k, v]) => [k, own.includes(k) ? v : all[0][k]])));
}

function fill(i: Instance, next: () => number, filling: Filling, cacheWidth: number): void {
  for (const [k, v] of Object.entries(i.holes)) {
    if (v.type.kind !== "tensor") continue;
    const dims = v.type.dims.map(fixed);
    i.values[k] = v.type.dtype === "i32" ? whole(v, i, next) : filled(dims, v.type.dtype, next, filling);
  }
  const before = i.batch.lengths.map((n, b) => n - (i.batch.starts[b + 1] - i.batch.starts[b]));
  i.caches = [before.map((n) => Float64Array.from({ length: n * cacheWidth }, next))];
}

/** Values of a tensor of these axes: plain, or rows of every awkward kind. */
export function filled(dims: number[], dtype: DType, next: () => number, filling: Filling): Tensor {
  const count = dims.reduce((a, b) => a * b, 1);
  const rows =
    filling === "plain" ? Float64Array.from({ length: count }, next) : hardRows(count, dims.length > 1 ? dims.at(-1)! : 1, next);
  if (dtype === "e4m3/1x128") return quantizeRows(tensorOf(dims, rows), false);
  if (dtype !== "e4m3/128x128") return tensorOf(dims, rows, dtype);
  const blocks = dims.slice(0, -2).reduce((a, b) => a * b, 1) * Math.ceil(dims.at(-2)! / 128) * Math.ceil(dims.at(-1)! / 128);
  const code = (): number => Math.sign(next() || 1) * e4m3Values[Math.floor(((next() + 1) / 2) * 0x7f)];
  const data = Float64Array.from({ length: count }, (_, j) => (filling === "hard" && rows[j] === 0 ? 0 : code()));
  return {
    shape: dims,
    dtype,
    data,
    scales: Float64Array.from(
      { length: blocks },
      () => (1 + next() / 4) * (filling === "hard" ? 2 ** Math.round(4 * next()) : 1),
    ),
  };
}

/** Rows of zeros, of one repeated value, large, small, negative, with zeros and ties among them, and plain ones. */
function hardRows(count: number, width: number, next: () => number): Float64Array {
  const kinds: ((row: number) => number)[] = [
    () => next(),
    () => 0,
    (row) => row,
    () => 300 * next(),
    () => 1e-3 * next(),
    () => -Math.abs(next()),
    () => [0, -1.5, 2, 0.5, 0.5, next()][Math.floor((next() + 1) * 3)],
  ];
  const out = new Float64Array(count);
  for (let at = 0; at < count; at += Math.max(1, width)) {
    const [row, kind] = [next(), kinds[Math.floor(((next() + 1) / 2) * kinds.length)]];
    for (let j = at; j < Math.min(count, at + width); j++) out[j] = kind(row);
  }
  return out;
}

/** Whole numbers that the op reading this hole can take: places, offsets, choices of experts, ids. */
function whole(hole: Value, i: Instance, next: () => number): Tensor {
  const dims = asTensor(hole.type).dims.map(fixed);
  const count = dims.reduce((a, b) => a * b, 1);
  const below = (n: number): number => Math.min(n - 1, Math.floor(((next() + 1) / 2) * n));
  const shuffled = (n: number): number[] => {
    const list = Array.from({ length: n }, (_, j) => j);
    for (let j = n - 1; j > 0; j--) {
      const other = below(j + 1);
      [list[j], list[other]] = [list[other], list[j]];
    }
    return list;
  };
  const { key, node } = readerOf(hole, i) ?? { key: "", node: undefined };
  const rowsOf = (operand: number): number =>
    node?.operands[operand]?.type.kind === "tensor" ? fixed(asTensor(node.operands[operand].type).dims[0]) : count;
  if (key === "offsets") {
    const ends = Array.from({ length: Math.max(0, count - 2) }, () => below(rowsOf(0) + 1)).sort((a, b) => a - b);
    return tensorOf(dims, [0, ...ends, rowsOf(0)].slice(0, count), "i32");
  }
  if (key === "indices") {
    const stacked = node!.operands.find((o) => o.type.kind === "tensor" && o.type.dims.length >= 3);
    const experts = sortExperts.made(node) ? node.attrs.experts : stacked ? fixed(asTensor(stacked.type).dims[0]) : 3;
    return tensorOf(
      dims,
      Array.from({ length: dims[0] }, () => shuffled(Math.max(experts, dims[1])).slice(0, dims[1])).flat(),
      "i32",
    );
  }
  if (key === "ids")
    return tensorOf(
      dims,
      Array.from({ length: count }, () => below(rowsOf(1))),
      "i32",
    );
  const most = key === "order" && gatherRows.made(node) ? rowsOf(0) * node.attrs.per : count;
  return tensorOf(dims, most < count ? Array.from({ length: count }, () => below(most)) : shuffled(most).slice(0, count), "i32");
}

/** The first op that reads a hole, and the name its declaration has for that operand. */
function readerOf(hole: Value, i: Instance): { key: string; node: Value["node"] } | undefined {
  for (const node of topological(valuesOf(i))) {
    const at = node.operands.indexOf(hole);
    if (at >= 0) return { key: keyOf(node.op.ins[Math.min(at, node.op.ins.length - 1)]), node };
  }
  return undefined;
}

/** The roots of both sides, the left ones first. */
export const valuesOf = (i: Instance): Value[] => [...Object.values(i.from), ...Object.values(i.to)];

/** One side of an instance as a function. */
export const sideOf = (i: Instance, side: "from" | "to"): Func => ({
  name: side,
  params: Object.entries(i.holes).map(([name, value]) => ({ name, value })),
  results: Object.entries(i[side]).map(([name, value]) => ({ name, value })),
  assume: {},
});

/** A side of a rule as text, for people. */
export const printSide = (i: Instance, side: "from" | "to"): string => printFunc(sideOf(i, side));
