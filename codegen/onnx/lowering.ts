// What the lowering of an op is given and gives: values as they are named in an ONNX graph, and the scope that their nodes go to.
import { formats } from "../../ir/dtype.ts";
import type { Node, Value } from "../../ir/graph.ts";
import { asTensor, type Dim, type DType } from "../../ir/types.ts";
import type { Functions } from "./functions.ts";
import { DOMAIN, elem, type Elem } from "./proto.ts";
import type { Scope } from "./scope.ts";

/** A value of the graph in ONNX: its name and element type. A scaled tensor is two, its codes and their scales in f32. */
export interface Emitted {
  name: string;
  elem: Elem;
  scales?: string;
  /** Of a rotary table: cosines and sines of the rows' positions, [1, T, d / 2] in f32. */
  rotary?: { cos: string; sin: string };
}

/** What all values of a model may ask for. */
export interface Step {
  /** Absolute positions of the new rows, [T]. */
  positions: string;
  /** Which cached rows a new row may see, [T, S + T]. */
  mask: string;
}

/** Where an op is lowered. */
export interface Lowering {
  s: Scope;
  functions: Functions;
  step: Step;
  /** Every product, norm and sum in f32, for runtimes without kernels for bf16. */
  portable: boolean;
  /** Values of a region at a node: what its parameters are, and the scope its nodes go to. */
  region(n: Node, params: readonly Emitted[], within: Scope, captured?: ReadonlyMap<Value, Emitted>): Emitted[];
  /** A value of the function around a region. */
  value(v: Value): Emitted;
}

/** Gives the results of a node, in order. */
export type Lower = (at: Lowering, n: Node, ins: readonly Emitted[]) => Emitted[];

/** The element type that a value is computed and passed on in; whole numbers are 64 bits wide, as ONNX's own indices are. */
export function elemOf({ portable }: Lowering, dtype: DType): Elem {
  if (formats[dtype].scaled || dtype === "f32") return elem.FLOAT;
  if (dtype === "i32") return elem.INT64;
  return portable ? elem.FLOAT : elem.BFLOAT16;
}

export const resultElem = (at: Lowering, n: Node, i = 0): Elem => elemOf(at, asTensor(n.results[i].type).dtype);

/** A value as another element type. */
export const as = ({ s }: Lowering, v: Emitted, to: Elem): string => s.cast(v.name, v.elem, to);

/** One result, computed in f32 or in the type it has. */
export const given = (at: Lowering, n: Node, name: string, computed = resultElem(at, n), i = 0): Emitted => {
  const to = resultElem(at, n, i);
  return { name: at.s.cast(name, computed, to), elem: to };
};

/** A scaled tensor with its scales multiplied in, in f32; any other as it is. */
export function full(at: Lowering, v: Emitted, dtype: DType): Emitted {
  const { scaled } = formats[dtype];
  if (!scaled) return v;
  const { s, functions } = at;
  const name = functions.use(scaled.block === "1x128" ? "DequantizeRows" : "DequantizeBlocks");
  const made = s.once(`full ${v.name}`, () => s.node(name, [v.name, v.scales!], {}, [s.reserve(`${v.name}.full`)], DOMAIN)[0]);
  return { name: made, elem: elem.FLOAT };
}

/** Sizes for Reshape: the one that is no number is what is left over. */
export const sizes = (dims: readonly Dim[]): number[] => dims.map((d) => (typeof d === "number" ? d : -1));

/** The dims of an operand that is a tensor. */
export const dimsOf = (v: Value): readonly Dim[] => asTensor(v.type).dims;
export const dtypeAt = (n: Node, i: number): DType => asTensor(n.operands[i].type).dtype;

/** Codes as f16, which holds every one of them: Concat and Gather take no FP8. */
export const movable = (at: Lowering, v: Emitted): Emitted =>
  v.elem === elem.FLOAT8E4M3FN ? { ...v, name: as(at, v, elem.FLOAT16), elem: elem.FLOAT16 } : v;

/** Values one after another along an axis, in the element type of all, or in f32 where they differ. */
export function joined(at: Lowering, parts: readonly Emitted[], axis: number, word: string): Emitted {
  const moved = parts.map((p) => movable(at, p));
  const to = moved.every((p) => p.elem === moved[0].elem) ? moved[0].elem : elem.FLOAT;
  const names = moved.map((p) => as(at, p, to));
  return { name: names.length === 1 ? names[0] : at.s.op("Concat", names, { axis }, word), elem: to };
}
