// Buffers of a trial as bytes, wherever a kernel runs: every one in its place among guards, so that writing beside a result is
// seen, and results read back and held to what they should be, element by element.
import type { Arg, Chosen } from "../../ir/kernel/catalogue.ts";
import { e4m3Code, e4m3Values } from "../../ir/numeric.ts";
import { evaluate, type Size } from "../../ir/size.ts";
import type { Held, Trial } from "./trial.ts";
import { scalesOf } from "./trial.ts";

type Stored = "f32" | "bf16" | "e4m3" | "i32";
const bytesOf: Readonly<Record<Stored, number>> = { f32: 4, bf16: 2, e4m3: 1, i32: 4 };

/** Bytes around a buffer that no kernel may touch. */
export const GUARD = 256;
/** What memory begins as: NaN as f32, bf16 and e4m3, -1 as i32. */
export const BLANK = 0xff;

/** A buffer of a trial: its bytes as they should be before the first launch, and which elements are a result's. */
export interface Bytes {
  name: string;
  data: Uint8Array<ArrayBuffer>;
  result?: { held: Held; scales: boolean };
}

/** The buffers that launches of a trial bind, in the order of each launch's arguments. */
export function buffersOf(trial: Trial, launches: readonly Chosen[]): { all: Bytes[]; bound: Bytes[][] } | { reason: string } {
  const known = new Map<string, Bytes>();
  const bound: Bytes[][] = [];
  for (const { args } of launches) {
    const list: Bytes[] = [];
    for (const a of args) {
      if ("batch" in a || "cache" in a) return { reason: "it reads the sequences of a step or a cache, which a case has not" };
      const key = JSON.stringify("scratch" in a ? a.scratch : a);
      const buffer = known.get(key) ?? made(trial, a);
      known.set(key, buffer);
      list.push(buffer);
    }
    bound.push(list);
  }
  return { all: [...known.values()], bound };
}

function made(trial: Trial, a: Exclude<Arg, { batch: unknown } | { cache: unknown }>): Bytes {
  if ("scratch" in a) {
    const count = a.shape.map((s) => sizeOf(s)).reduce((x, y) => x * y, 1);
    return { name: a.scratch, data: new Uint8Array(count * bytesOf[a.dtype]).fill(BLANK) };
  }
  const given = "in" in a;
  const held = given ? trial.ins[a.in] : trial.outs[a.out];
  const scales = a.part === "scales";
  const data = encoded(held, scales, given);
  return { name: scales ? `the scales of ${held.key}` : held.key, data, ...(given ? {} : { result: { held, scales } }) };
}

/** A size that a trial has no symbols for. */
export const sizeOf = (s: Size): number => evaluate(s, {});

/** Places of elements, in order, in elements from the beginning. */
function placesOf(shape: readonly number[], strides: readonly number[]): number[] {
  let places = [0];
  for (const [axis, n] of shape.entries())
    places = places.flatMap((at) => Array.from({ length: n }, (_, i) => at + i * strides[axis]));
  return places;
}

/** Where the elements of a buffer lie, what they are, and how they are stored. */
function laid({ view, tensor }: Held, scales: boolean): { places: number[]; values: Float64Array; dtype: Stored } {
  if (scales) {
    const count = scalesOf(view).reduce((x, y) => x * y, 1);
    return { places: Array.from({ length: count }, (_, i) => i), values: tensor.scales!, dtype: "f32" };
  }
  return { places: placesOf(view.shape.map(sizeOf), view.strides.map(sizeOf)), values: tensor.data, dtype: view.dtype };
}

function encoded(held: Held, scales: boolean, given: boolean): Uint8Array<ArrayBuffer> {
  const { places, values, dtype } = laid(held, scales);
  const width = bytesOf[dtype];
  const data = new Uint8Array((places.length ? Math.max(...places) + 1 : 0) * width).fill(BLANK);
  const view = new DataView(data.buffer);
  if (given) places.forEach((at, i) => write(view, dtype, at * width, values[i]));
  return data;
}

function write(view: DataView, dtype: Stored, at: number, x: number): void {
  if (dtype === "f32") view.setFloat32(at, x, true);
  else if (dtype === "bf16") view.setUint16(at, new Uint32Array(Float32Array.of(x).buffer)[0] >>> 16, true);
  else if (dtype === "e4m3") view.setUint8(at, e4m3Code(x));
  else view.setInt32(at, x, true);
}

function read(view: DataView, dtype: Stored, at: number): number {
  if (dtype === "f32") return view.getFloat32(at, true);
  if (dtype === "e4m3") return e4m3Values[view.getUint8(at)];
  if (dtype === "i32") return view.getInt32(at, true);
  return new Float32Array(Uint32Array.of(view.getUint16(at, true) << 16).buffer)[0];
}

/** How far results are from what they should be: null where none is too far, else the first element that is, in words. */
export function unlike(all: readonly { bytes: Bytes; after: Uint8Array }[], { within, ins }: Trial): string | null {
  // Rounding of sums is that of the largest number that went in.
  const large = Math.max(1, ...ins.map(({ tensor }) => largestOf(tensor.data)));
  for (const { bytes, after } of all) {
    if (!bytes.result) {
      if (Buffer.compare(bytes.data, after) !== 0 && ins.some((o) => bytes.name === o.key))
        return `it writes into its operand ${bytes.name}`;
      continue;
    }
    const { places, values, dtype } = laid(bytes.result.held, bytes.result.scales);
    const view = new DataView(after.buffer, after.byteOffset, after.byteLength);
    const step = dtype === "bf16" ? 2 ** -8 : dtype === "f32" ? within : 0;
    for (const [i, at] of places.entries()) {
      const [got, want] = [read(view, dtype, at * bytesOf[dtype]), values[i]];
      const near =
        Math.abs(got - want) <= Math.max(step * Math.abs(want), dtype === "f32" || dtype === "bf16" ? within * large : 0);
      if (!near && !(Number.isNaN(got) && Number.isNaN(want)) && got !== want)
        return `element ${i} of ${bytes.name} is ${got}, and its op says ${want}`;
    }
  }
  return null;
}

const largestOf = (data: Float64Array): number => data.reduce((most, v) => Math.max(most, Math.abs(v)), 0);

/** A byte that was written and lies in no buffer, in words; null where there is none. */
export function besides(bytes: Uint8Array, places: readonly (readonly [Bytes, number])[], from: number): string | null {
  let at = from;
  let last = "its scratch";
  for (const [b, begin] of places) {
    for (; at < begin; at++) if (bytes[at] !== BLANK) return `it writes past the end of ${last}`;
    [at, last] = [begin + b.data.length, b.name];
  }
  for (; at < bytes.length; at++) if (bytes[at] !== BLANK) return `it writes past the end of ${last}`;
  return null;
}
