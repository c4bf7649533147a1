// How operands lie in memory, as the choosers of kernels ask: rows at one stride, packed, static sizes; and the dtype of activations.
import type { Arg, Chosen, Problem, View } from "../ir/kernel/catalogue.ts";
import { mul, type Size } from "../ir/size.ts";

/** Rows of a tensor whose leading axes fold into one: [.., d] with one stride between rows. Null when they do not. */
export function asRows(v: View, trailing = 1): { rows: Size; stride: number } | null {
  const lead = v.shape.length - trailing;
  if (v.strides.at(-1) !== 1) return null;
  if (lead === 0) return { rows: 1, stride: 0 };
  for (let i = 0; i + 1 < lead; i++) if (JSON.stringify(v.strides[i]) !== JSON.stringify(mul(v.strides[i + 1], v.shape[i + 1]))) return null;
  const stride = v.strides[lead - 1];
  return typeof stride === "number" ? { rows: mul(...v.shape.slice(0, lead)), stride } : null;
}

export const elements = (v: View): Size => mul(...v.shape);
export const isPacked = (v: View): boolean => {
  let n: Size = 1;
  for (let i = v.shape.length - 1; i >= 0; i--) {
    if (v.shape[i] !== 1 && JSON.stringify(v.strides[i]) !== JSON.stringify(n)) return false;
    n = mul(n, v.shape[i]);
  }
  return true;
};
export const num = (s: Size | undefined): number => {
  if (typeof s !== "number") throw new RangeError(`expected a static size, got ${JSON.stringify(s)}`);
  return s;
};
export const one = (family: string, problem: Problem, args: Arg[], dims: Size[]): Chosen[] => [{ family, problem, args, dims }];
export const refuse = (reason: string): { reason: string } => ({ reason });
export const strided = refuse("the rows of an operand do not lie at one stride");

/** The dtype of an activation in a problem: named only where it is not f32, so that f32 kernels keep their problems, names and bytes. */
export const act = (v: View): { act?: "bf16" } => (v.dtype === "bf16" ? { act: "bf16" } : {});
/** The same for a result with a dtype of its own. */
export const result = (v: View): { y?: "bf16" } => (v.dtype === "bf16" ? { y: "bf16" } : {});
