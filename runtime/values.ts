// Inputs and results of a call: where they lie in the session's block, and their way to and from typed arrays.
import type { ArgPlan } from "../ir/artifact.ts";
import type { Dims } from "../ir/size.ts";
import { evaluate } from "../ir/size.ts";
import type { Device } from "./device.ts";
import * as diagnostics from "./diagnostics.ts";

/** A named result. Its values are fetched when they are asked for; bf16 ones are widened. */
export interface Tensor {
  shape: number[];
  readonly data: Float32Array | Int32Array;
}

/** An input or result at a byte of the session's block. */
export interface Placed {
  arg: ArgPlan;
  shape: number[];
  count: number;
  at: number;
}

/** Bytes of an element. */
export const bytesOf: Readonly<Record<ArgPlan["dtype"], number>> = { f32: 4, bf16: 2, i32: 4 };

/**
 * Gives every value a place from `take` at these dims, and its shape at those shown: rows that fill a batch up lie last and
 * are not seen.
 */
export function layOut(args: readonly ArgPlan[], dims: Dims, take: (bytes: number) => number, shown: Dims = dims): Placed[] {
  const shapeOf = (arg: ArgPlan, at: Dims): number[] => arg.shape.map((s) => evaluate(s, at));
  const count = (shape: readonly number[]): number => shape.reduce((x, y) => x * y, 1);
  return args.map((arg) => {
    const shape = shapeOf(arg, shown);
    return { arg, shape, count: count(shape), at: take(count(shapeOf(arg, dims)) * bytesOf[arg.dtype]) };
  });
}

/** Copies an input in, rounding to bf16 where the plan holds bf16. */
export function writeValue(device: Device, { arg, count, at }: Placed, base: number, value: Float32Array | undefined): void {
  if (!value) throw diagnostics.brokenManifest({ why: `an entry takes ${arg.name}, which a session does not give` });
  if (value.length !== count)
    throw diagnostics.misuse({ what: `${arg.name} has ${value.length} values; the rows need ${count}` });
  if (arg.dtype === "f32") device.write(base + at, bytesIn(value));
  else if (arg.dtype === "bf16") {
    const bits = new Uint32Array(value.buffer, value.byteOffset, count);
    device.write(base + at, bytesIn(Uint16Array.from(bits, (b) => (b + 0x7fff + ((b >>> 16) & 1)) >>> 16)));
  } else device.write(base + at, bytesIn(Int32Array.from(value)));
}

/** The bytes of a typed array. */
export const bytesIn = (a: Float32Array | Int32Array | Uint16Array): Uint8Array =>
  new Uint8Array(a.buffer, a.byteOffset, a.byteLength);

/** `count` values of a result from its element `from` on. */
function fetch(device: Device, dtype: ArgPlan["dtype"], at: number, from: number, count: number): Float32Array | Int32Array {
  const bytes = device.read(at + from * bytesOf[dtype], count * bytesOf[dtype]);
  if (dtype === "f32") return new Float32Array(bytes.buffer, bytes.byteOffset, count);
  if (dtype === "i32") return new Int32Array(bytes.buffer, bytes.byteOffset, count);
  return new Float32Array(Uint32Array.from(new Uint16Array(bytes.buffer, bytes.byteOffset, count), (b) => b << 16).buffer);
}

/** A result that is fetched once, when its data is first looked at; `current` throws when it is no longer there. */
export function readValue(device: Device, { arg, shape, count, at }: Placed, base: number, current: () => void): Tensor {
  let data: Float32Array | Int32Array | undefined;
  return {
    shape,
    get data() {
      if (!data) current();
      return (data ??= fetch(device, arg.dtype, base + at, 0, count));
    },
  };
}

/** Some rows of a result [rows, ..]; only they are fetched. */
export function readRows(
  device: Device,
  { arg, shape, at }: Placed,
  base: number,
  from: number,
  rows = 1,
): Float32Array | Int32Array {
  const width = shape.slice(1).reduce((x, y) => x * y, 1);
  return fetch(device, arg.dtype, base + at, from * width, rows * width);
}
