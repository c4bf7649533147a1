// Elementwise ops and einsum.
import { attr, type Attrs } from "../attr.ts";
import { make, op, type Extents } from "../op.ts";
import type { Graph, Value } from "../graph.ts";
import { tensorOf, type Tensor } from "../interpret.ts";
import { fixed, isScaled, tensor, type Dim, type TensorType, type Type } from "../types.ts";

const elements = (z: Extents): number => z.elements;
const map = (x: Tensor, f: (v: number, i: number) => number): Tensor => ({ shape: x.shape, dtype: x.dtype, data: x.data.map(f) });

export const add = op("add", {
  summary: "Sum, element by element.",
  ins: { a: "[..b] a", b: "[..b] a" },
  traits: { linear: true },
  out: "[..b] a",
  flops: elements,
  reference: ({ a, b }) => map(a, (v, i) => v + b.data[i]),
});

export const mul = op("mul", {
  summary: "Product, element by element.",
  ins: { a: "[..b] a", b: "[..b] a" },
  out: "[..b] a",
  flops: elements,
  reference: ({ a, b }) => map(a, (v, i) => v * b.data[i]),
});

export const scale = op("scale", {
  summary: "Multiply by a constant.",
  ins: { x: "[..b] a" },
  attrs: { by: attr.f32() },
  traits: { rowwise: true, linear: true },
  out: "[..b] a",
  flops: elements,
  reference: ({ x }, { by }) => map(x, (v) => v * by),
});

/** The op behind `constant`, which has no operand to take a graph from. */
export const constantOp = op("constant", {
  summary: "A tensor of one number.",
  ins: {},
  attrs: { dims: attr.list(), value: attr.f32(), dtype: attr.word(["f32", "bf16"], "f32") },
  infer: (_, { dims, dtype }): Type => tensor([...dims], dtype),
  reference: (_, { dims, value, dtype }) => {
    const shape = dims.map(fixed);
    return tensorOf(shape, new Float64Array(shape.reduce((a, b) => a * b, 1)).fill(value), dtype);
  },
});

/** A tensor of one number in a graph: `constant(x.node.graph, [7168], 1)`. */
export const constant = (graph: Graph, dims: readonly Dim[], value: number, dtype: "f32" | "bf16" = "f32"): Value =>
  make(constantOp.op, [], { dims, value, dtype }, undefined, graph)[0];

export const addBias = op("add_bias", {
  summary: "Add one vector to every row.",
  ins: { x: "[..b, n] a", bias: "[n] w" },
  traits: { rowwise: true },
  out: "[..b, n] a",
  flops: elements,
  reference: ({ x, bias }) => map(x, (v, i) => v + bias.data[i % bias.data.length]),
});

export const argmax = op("argmax", {
  summary:
    "Column of the first maximum of every row: the greedy choice of a token. Where a value is NaN or infinite, -1 - " +
    "column of the first such one.",
  ins: { x: "[B, V] f32" },
  out: "[B] i32",
  flops: elements,
  reference({ x }) {
    const [rows, width] = x.shape;
    const first = (row: Float64Array): number => {
      const bad = row.findIndex((v) => !Number.isFinite(v));
      return bad < 0 ? row.reduce((best, v, i) => (v > row[best] ? i : best), 0) : -1 - bad;
    };
    return tensorOf(
      [rows],
      Float64Array.from({ length: rows }, (_, r) => first(x.data.subarray(r * width, (r + 1) * width))),
      "i32",
    );
  },
});

/** Letters renamed by order of appearance, so that "thn,shn->ths" and "qhd,khd->qhk" are the same op. */
export function canonicalSpec(spec: string): string {
  const names = new Map<string, string>();
  return spec.replace(/[A-Za-z]/g, (c) => {
    if (!names.has(c)) names.set(c, "abcdefghijklmnopqrstuvwxyz"[names.size]);
    return names.get(c)!;
  });
}

export interface EinsumAxes {
  a: string;
  b: string;
  out: string;
}

/** The axes of an einsum's text, `ab,cb->ac`, or null where it is malformed. */
export function parseSpec(spec: string): EinsumAxes | null {
  const m = /^([a-zA-Z]+),([a-zA-Z]+)->([a-zA-Z]+)$/.exec(spec);
  return m ? { a: m[1], b: m[2], out: m[3] } : null;
}

function letters(spec: string, a: readonly Dim[], b: readonly Dim[]): Map<string, Dim> | string {
  const s = parseSpec(spec);
  if (!s) return `malformed spec ${spec}`;
  if (s.a.length !== a.length || s.b.length !== b.length) return `spec ${spec} does not fit ${a.length} and ${b.length} axes`;
  const sizes = new Map<string, Dim>();
  for (const [word, dims] of [
    [s.a, a],
    [s.b, b],
  ] as const)
    for (const [i, c] of [...word].entries()) {
      const had = sizes.get(c);
      if (had !== undefined && had !== dims[i]) return `axis ${c} of ${spec} is ${had} and ${dims[i]}`;
      sizes.set(c, dims[i]);
    }
  for (const c of s.out) if (!sizes.has(c)) return `axis ${c} of the result is in no operand`;
  return sizes;
}

/** Sizes of the axes that are summed over. */
function summedSizes([a, b]: readonly TensorType[], { spec }: Attrs): Dim[] {
  const s = parseSpec(String(spec))!;
  const kept = (word: string, dims: readonly Dim[]): Dim[] => dims.filter((_, i) => !s.out.includes(word[i]));
  return [...kept(s.a, a.dims), ...kept(s.b, b.dims)];
}

interface Products {
  a: TensorType;
  b: TensorType;
}

/** Every axis once: what the sum of products visits. */
const einsumAxes = ({ a, b }: Products, { spec }: { readonly spec: string }): Dim[] => {
  const sizes = letters(spec, a.dims, b.dims);
  return typeof sizes === "string" ? [] : [...sizes.values()];
};

/** Axes of the result, or why the operands do not fit. */
function einsumDims({ a, b }: Products, spec: string): Dim[] | string {
  if (isScaled(a.dtype) || isScaled(b.dtype)) return "scaled operands must be dequantised first";
  const sizes = letters(spec, a.dims, b.dims);
  return typeof sizes === "string" ? sizes : [...parseSpec(spec)!.out].map((c) => sizes.get(c)!);
}

function einsumOf(a: Tensor, b: Tensor, spec: string): Tensor {
  const s = parseSpec(spec)!;
  const size = new Map<string, number>();
  for (const [i, c] of [...s.a].entries()) size.set(c, a.shape[i]);
  for (const [i, c] of [...s.b].entries()) size.set(c, b.shape[i]);
  const summed = [...size.keys()].filter((c) => !s.out.includes(c));
  const order = [...s.out, ...summed];
  const stride = (word: string): number[] => {
    const by = new Map<string, number>();
    let n = 1;
    for (const c of [...word].reverse()) {
      by.set(c, n);
      n *= size.get(c)!;
    }
    return order.map((c) => by.get(c) ?? 0);
  };
  const [sa, sb] = [stride(s.a), stride(s.b)];
  const shape = [...s.out].map((c) => size.get(c)!);
  const extents = order.map((c) => size.get(c)!);
  const out = new Float64Array(shape.reduce((x, y) => x * y, 1));
  const walk = (axis: number, oa: number, ob: number, oo: number): number => {
    if (axis === order.length) return a.data[oa] * b.data[ob];
    let sum = 0;
    for (let i = 0; i < extents[axis]; i++) {
      const v = walk(axis + 1, oa + i * sa[axis], ob + i * sb[axis], axis < shape.length ? oo * extents[axis] + i : oo);
      if (axis >= shape.length) sum += v;
      else if (axis === shape.length - 1) out[oo * extents[axis] + i] = v;
    }
    return sum;
  };
  walk(0, 0, 0, 0);
  return tensorOf(shape, out, a.dtype);
}

/** The op behind `einsum`, which writes letters in their canonical order. */
export const einsumOp = op("einsum", {
  summary: "Sum of products over named axes; axes are known by order of appearance, letters are for readers.",
  ins: { a: "[..p] a", b: "[..q] w" },
  attrs: { spec: attr.word() },
  // t appears first in a and in the result, and not in b.
  traits: { rowwise: ({ spec }) => /^a[b-z]*,[b-z]+->a[b-z]*$/.test(spec), sums: summedSizes },
  axes: einsumAxes,
  infer(types, { spec }, b): Type | string {
    const dims = einsumDims(types, spec);
    return typeof dims === "string" ? dims : tensor(dims, b.dtypes.a);
  },
  flops: (z) => 2 * z.axes,
  reference: ({ a, b }, { spec }) => einsumOf(a, b, spec),
});
/** einsum("thn,shn->ths", q, k): batched products in the notation of the paper. */
export function einsum(spec: string, a: Value, b: Value): Value {
  return einsumOp({ a, b, spec: canonicalSpec(spec.replaceAll(" ", "")) });
}
