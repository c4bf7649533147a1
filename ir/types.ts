// Types of values: tensors with symbolic sizes, the batch table, the paged latent cache.
// A scaled tensor ("e4m3/1x128") is one value that carries its scales: no pass can separate a block from its scale.

import { DiagnosticError } from "./diagnostic.ts";
import { unknownSize } from "./diagnostics.ts";
import { isDType, type DType } from "./dtype.ts";
import type { MeshAxis } from "./mesh.ts";

export { dtypes, isScaled, type DType } from "./dtype.ts";

/** A size: a number, a symbol ("T"), a multiple of a symbol ("8T"), or a number divided over an axis of the mesh ("16384/tp"). */
export type Dim = number | string;

/** Axes of a tensor at most: every layout has one loop an axis, and no model comes near. */
export const MOST_AXES = 16;

/** Axes, each a number or a symbol (`T`, `8T`), and a dtype. */
export interface TensorType {
  kind: "tensor";
  dims: readonly Dim[];
  dtype: DType;
  /** What the ranks of an axis hold, where it is not the same bits or parts of one tensor. */
  across?: Across;
}
/** "+": the value is the sum of what the ranks hold. "per": every rank has a value of its own. */
export interface Across {
  kind: "+" | "per";
  axis: MeshAxis;
}
/** Row starts, lengths, positions and the page table of all sequences of a step. */
export interface BatchType {
  kind: "batch";
}
/** One layer's cached rows of `width` lanes, paged; a state value: append takes one and gives one. A layer has one of each name. */
export interface CacheType {
  kind: "cache";
  /** Which of the layer's caches: LATENT is that of latents and shared keys. */
  name: string;
  width: number;
  dtype: DType;
}
/** The type of a value: a tensor, the batch, or a cache. */
export type Type = TensorType | BatchType | CacheType;

/** The type of a tensor: axes and dtype, and what ranks hold of it where that is not all alike. */
export const tensor = (dims: readonly Dim[], dtype: DType, across?: Across): TensorType =>
  across ? { kind: "tensor", dims, dtype, across } : { kind: "tensor", dims, dtype };
/** The type of the table of rows, lengths and pages of a step. */
export const batchType: BatchType = { kind: "batch" };
/** The cache of latents and shared keys, which every layer has: r + d lanes. Texts leave its name out. */
export const LATENT = "latent";

/** The type of a cache of rows so wide, by name where a layer has several. */
export const cacheType = (width: number, dtype: DType, name = LATENT): CacheType => ({ kind: "cache", name, width, dtype });

/** "8T" as its parts: { times: 8, symbol: "T" }; numbers have an empty symbol. "64/tp" is { times: 64, symbol: "", over: "tp" }. */
export function partsOf(d: Dim): { times: number; symbol: string; over?: MeshAxis } {
  if (typeof d === "number") return { times: d, symbol: "" };
  const divided = DIVIDED.exec(d);
  if (divided) return { times: Number(divided[1]), symbol: "", over: divided[2] as MeshAxis };
  const m = /^(\d*)(.+)$/.exec(d)!;
  return { times: m[1] === "" ? 1 : Number(m[1]), symbol: m[2] };
}

const DIVIDED = /^(\d+)\/(tp|ep|etp)$/;

/** The axis of the mesh that a size is divided over. */
export const overOf = (d: Dim): MeshAxis | undefined => (typeof d === "string" ? partsOf(d).over : undefined);

/** A size divided over an axis of the mesh. */
export const dividedDim = (size: number, axis: MeshAxis): Dim => `${size}/${axis}`;

/** Whether a value is not the same bits on every rank: an axis is divided, or the ranks hold parts of a sum. */
export const isPlaced = (t: Type): boolean =>
  t.kind === "tensor" && (t.across !== undefined || t.dims.some((d) => overOf(d) !== undefined));

/** Whether a value is a size: a whole number, a symbol, or a multiple of one. "?k" stands for any, in the pattern of a rule. */
export const isDim = (d: unknown): d is Dim =>
  typeof d === "number"
    ? Number.isSafeInteger(d) && d >= 0
    : typeof d === "string" && (DIVIDED.test(d) || /^(?:[1-9]\d{0,8})?[A-Za-z_]\w*$/.test(d) || d.startsWith("?"));

/** The first axis of a tensor whose size is no number, nor one divided over ranks; a weight has none. */
export const openAxis = (t: TensorType): string | undefined =>
  t.dims.find((d): d is string => typeof d === "string" && overOf(d) === undefined);

/** k copies of a size: times(T, 8) = 8T. */
export function times(d: Dim, k: number): Dim {
  const p = partsOf(d);
  const n = p.times * k;
  if (p.over) return dividedDim(n, p.over);
  return p.symbol === "" ? n : n === 1 ? p.symbol : `${n}${p.symbol}`;
}

/** Product of sizes with at most one symbol; undefined when two symbols meet. */
export function product(dims: readonly Dim[]): Dim | undefined {
  let total: Dim = 1;
  for (const d of dims) {
    const a = partsOf(total);
    const b = partsOf(d);
    if (a.symbol !== "" && b.symbol !== "") return undefined;
    if (a.over || b.over) {
      // A divided size is one of several factors: of numbers, or of one symbol, which then has none beside it.
      if ((a.over && b.over) || a.symbol !== "" || b.symbol !== "") return undefined;
      total = dividedDim(a.times * b.times, (a.over ?? b.over)!);
      continue;
    }
    total = times(a.symbol === "" ? (b.symbol === "" ? 1 : b.symbol) : a.symbol, a.times * b.times);
  }
  return total;
}

/** The number behind a size when symbols have values. */
export function sizeOf(d: Dim, values: Readonly<Record<string, number>>): number {
  const p = partsOf(d);
  if (p.over) return p.times / sizeOf(p.over, values);
  if (p.symbol === "") return p.times;
  const v = values[p.symbol];
  if (v === undefined) throw new DiagnosticError(unknownSize({ symbol: p.symbol }));
  return p.times * v;
}

/** Whether two types are the same. */
export function sameType(a: Type, b: Type): boolean {
  return printType(a) === printType(b);
}

/** "[T, 7168] bf16", "[T, 16384/tp] bf16", "[T, 7168] f32 + tp", "batch", "cache [S, 576] f32", "cache index [S, 128] f32". */
export function printType(t: Type): string {
  switch (t.kind) {
    case "tensor":
      return `[${t.dims.join(", ")}] ${t.dtype}${t.across ? ` ${t.across.kind} ${t.across.axis}` : ""}`;
    case "batch":
      return "batch";
    case "cache":
      return `cache ${t.name === LATENT ? "" : `${t.name} `}[S, ${t.width}] ${t.dtype}`;
  }
}

/** Reads what `printType` wrote; undefined when it is not a type. */
export function parseType(text: string): Type | undefined {
  const s = text.trim();
  if (s === "batch") return batchType;
  const c = /^cache (?:([a-z]\w*) )?\[S, (\d+)\] (\S+)$/.exec(s);
  if (c) return isDType(c[3]) ? cacheType(Number(c[2]), c[3], c[1]) : undefined;
  const m = /^\[([^\]]*)\] (\S+)(?: (\+|per) (tp|ep|etp))?$/.exec(s);
  if (!m || !isDType(m[2])) return undefined;
  const dims = m[1].trim() === "" ? [] : m[1].split(",").map((d) => d.trim());
  const sizes = dims.map((d) => (/^\d+$/.test(d) ? Number(d) : d));
  const across = m[3] ? ({ kind: m[3], axis: m[4] } as Across) : undefined;
  return sizes.every(isDim) ? tensor(sizes, m[2], across) : undefined;
}

/** A size that is a number; a symbol there is a fault of the caller, who knows that none can be. */
export function fixed(d: unknown): number {
  if (typeof d !== "number") throw new TypeError(`expected a size that is a number, got ${JSON.stringify(d)}`);
  return d;
}

/** The tensor type of a value that must be one. */
export function asTensor(t: Type): TensorType {
  if (t.kind !== "tensor") throw new TypeError(`expected a tensor, got ${printType(t)}`);
  return t;
}
