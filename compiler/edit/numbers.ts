// Values that a kernel is tried with: a function of a buffer's number and an element's place in it, exact in the buffer's
// dtype. The reproducers of `dsc kernel --export` have the same function in their own languages, so that they hold no inputs.
import type { View } from "../../ir/kernel/catalogue.ts";
import { e4m3Values } from "../../ir/numeric.ts";

export type Stored = View["dtype"];

/** 32 bits that look random, of a buffer's number and a place in it. */
export function bitsOf(buffer: number, at: number): number {
  let x = (Math.imul(buffer + 1, 0x9e3779b9) + at) >>> 0;
  x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
  x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
  return (x ^ (x >>> 16)) >>> 0;
}

/** The code of an e4m3 value of at most 30. */
export const e4m3Of = (bits: number): number => (bits & 0x80) | ((bits & 0x7f) % 0x60);

/** The value of an element: in [-1, 1) for f32 and bf16, a code's for e4m3. */
export function valueOf(dtype: Stored, buffer: number, at: number): number {
  const bits = bitsOf(buffer, at);
  if (dtype === "f32") return (bits >>> 8) / 2 ** 23 - 1;
  if (dtype === "bf16") return ((bits & 0xff) - 128) / 128;
  return dtype === "e4m3" ? e4m3Values[e4m3Of(bits)] : 0;
}

/** A scale of a block of codes: positive, a power of two where the format has those alone. */
export const scaleOf = (buffer: number, at: number): number => {
  const bits = bitsOf(buffer, at);
  return (1 + (bits & 7) / 8) / 32;
};
