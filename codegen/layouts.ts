// How operands lie in memory, as families and natives ask: rows at one stride, packed, static sizes; and the dtype of activations.
import type { View } from "../ir/kernel/catalogue.ts";
import { mul, type Size } from "../ir/size.ts";

/** Rows of a tensor whose leading axes fold into one: [.., d] with one stride between rows. Null when they do not. */
export function asRows(v: View, trailing = 1): { rows: Size; stride: number } | null {
  const lead = v.shape.length - trailing;
  if (v.strides.at(-1) !== 1) return null;
  if (lead === 0) return { rows: 1, stride: 0 };
  for (let i = 0; i + 1 < lead; i++)
    if (JSON.stringify(v.strides[i]) !== JSON.stringify(mul(v.strides[i + 1], v.shape[i + 1]))) return null;
  const stride = v.strides[lead - 1];
  return typeof stride === "number" ? { rows: mul(...v.shape.slice(0, lead)), stride } : null;
}

/** The number of elements of a view. */
export const elements = (v: View): Size => mul(...v.shape);
/** Whether the elements of a view lie one after another. */
export const isPacked = (v: Pick<View, "shape" | "strides">): boolean => {
  let n: Size = 1;
  for (let i = v.shape.length - 1; i >= 0; i--) {
    if (v.shape[i] !== 1 && JSON.stringify(v.strides[i]) !== JSON.stringify(n)) return false;
    n = mul(n, v.shape[i]);
  }
  return true;
};
/** A size or an attribute that is a number when kernels are chosen. */
export const num = (v: unknown): number => {
  if (typeof v !== "number") throw new RangeError(`expected a static size, got ${JSON.stringify(v)}`);
  return v;
};

/** The dtype of an operand that has no codes. */
export const float = ({ dtype }: View): "f32" | "bf16" => {
  if (dtype !== "f32" && dtype !== "bf16") throw new RangeError(`expected f32 or bf16, got ${dtype}`);
  return dtype;
};
/** The dtype of an operand that may have codes. */
export const floatOrCodes = (v: View): "f32" | "bf16" | "e4m3" => (v.dtype === "e4m3" ? v.dtype : float(v));

/** The dtype of an activation in a problem: named only where it is not f32. */
export const act = (v: View): { act?: "bf16" } => (v.dtype === "bf16" ? { act: "bf16" } : {});
/** The same for a result with a dtype of its own. */
export const result = (v: View): { y?: "bf16" } => (v.dtype === "bf16" ? { y: "bf16" } : {});

/** Collects the sizes of a problem that are known at run time only: each is a named dim, equal ones share a name. */
export function runTimeSizes(): { dims: string[]; values: Size[]; dim(name: string, v: Size): number | string } {
  const names = new Map<string, string>();
  const [dims, values]: [string[], Size[]] = [[], []];
  const dim = (name: string, v: Size): number | string => {
    if (typeof v === "number") return v;
    const key = JSON.stringify(v);
    const known = names.get(key);
    if (known !== undefined) return known;
    names.set(key, name);
    dims.push(name);
    values.push(v);
    return name;
  };
  return { dims, values, dim };
}
