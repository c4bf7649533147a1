// Inputs and results of a call: where they lie in the session's block, and their way to and from typed arrays.
import type { ArgPlan } from "../ir/artifact.ts";
import type { Dims } from "../ir/size.ts";
import { evaluate } from "../ir/size.ts";
import type { CpuDevice } from "./devices/cpu.ts";
import * as diagnostics from "./diagnostics.ts";

/** A named result. bf16 values are widened. */
export interface Tensor {
  shape: number[];
  data: Float32Array | Int32Array;
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

/** Gives every value its shape at these dims and a place from `take`. */
export function layOut(args: readonly ArgPlan[], dims: Dims, take: (bytes: number) => number): Placed[] {
  return args.map((arg) => {
    const shape = arg.shape.map((s) => evaluate(s, dims));
    const count = shape.reduce((x, y) => x * y, 1);
    return { arg, shape, count, at: take(count * bytesOf[arg.dtype]) };
  });
}

/** Copies an input in, rounding to bf16 where the plan holds bf16. */
export function writeValue(device: CpuDevice, { arg, count, at }: Placed, base: number, value: Float32Array | undefined): void {
  if (!value) throw diagnostics.brokenManifest(`an entry takes ${arg.name}, which a session does not give`);
  if (value.length !== count) throw diagnostics.misuse(`${arg.name} has ${value.length} values; the rows need ${count}`);
  if (arg.dtype === "f32") device.f32(base + at, count).set(value);
  else if (arg.dtype === "bf16") {
    const bits = new Uint32Array(value.buffer, value.byteOffset, count);
    const out = new Uint16Array(device.memory.buffer, base + at, count);
    for (let i = 0; i < count; i++) out[i] = (bits[i] + 0x7fff + ((bits[i] >>> 16) & 1)) >>> 16;
  } else device.i32(base + at, count).set(value);
}

/** A view of a result, or a widened copy of a bf16 one. */
export function readValue(device: CpuDevice, { arg, shape, count, at }: Placed, base: number): Tensor {
  if (arg.dtype === "f32") return { shape, data: device.f32(base + at, count) };
  if (arg.dtype === "i32") return { shape, data: device.i32(base + at, count) };
  const bits = Uint32Array.from(new Uint16Array(device.memory.buffer, base + at, count), (b) => b << 16);
  return { shape, data: new Float32Array(bits.buffer) };
}

/** Row of the logits after the last row of the batch's sequence `index`: logits have a row per sequence, or one per row. */
export function logitsOf(taps: Readonly<Record<string, Tensor>>, index: number, starts: readonly number[]): Float32Array {
  const t = taps.logits ?? taps.logits_all;
  if (!t) throw diagnostics.brokenManifest("the entry gives no logits");
  if (index < 0) throw diagnostics.misuse("that sequence had no rows in this call");
  const [rows, vocab] = t.shape;
  const row = rows === starts.length - 1 ? index : starts[index + 1] - 1;
  return (t.data as Float32Array).subarray(row * vocab, (row + 1) * vocab);
}
