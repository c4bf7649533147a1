// Random bf16 operands for device checks: one pool of values fills buffers of any size, so that the host knows every element by
// its index and keeps no copy.
import type { Cuda } from "../../runtime/devices/cuda/index.ts";
import { xorshift } from "../../runtime/xorshift.ts";

export const next = xorshift();

/** bf16 values in (-1, 1), as bits and as numbers; a prime count, so that rows of any width differ. */
export const POOL = 4_194_301;
const bits = new Uint16Array(POOL);
export const values = new Float32Array(POOL);
const words = new Uint32Array(values.buffer);
for (let i = 0; i < POOL; i++) {
  values[i] = ((next() / 2 ** 31 - 1) * 1.7 * (next() >>> 30 ? 0.6 : 1.6)) / 1.5;
  bits[i] = words[i] >>> 16;
  words[i] = bits[i] << 16;
}
export const poolBytes = new Uint8Array(bits.buffer);

/** Device memory filled with the pool, over and over. */
export function put(cuda: Cuda, bytes: number): number {
  const at = cuda.alloc(bytes);
  for (let done = 0; done < bytes; done += poolBytes.length)
    cuda.upload(at + done, poolBytes.subarray(0, Math.min(poolBytes.length, bytes - done)));
  return at;
}

/** The bf16 at an index of downloaded bits, as a number. */
export function bf16At(data: Uint16Array, i: number): number {
  word[0] = data[i] << 16;
  return float[0];
}
const word = new Uint32Array(1);
const float = new Float32Array(word.buffer);

export const median = (v: number[]): number => v.sort((x, y) => x - y)[v.length >> 1];
