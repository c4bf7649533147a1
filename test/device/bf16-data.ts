// Operands of bf16 products on the card and their exact values: pools of random numbers, repeated through a buffer, so that the
// reference knows every element without keeping it.
import type { Cuda } from "../../runtime/devices/cuda/index.ts";
import { h200 } from "../../codegen/cuda/arch/h200.ts";
import { xorshift } from "../../runtime/xorshift.ts";

/** A prime length, so that rows of any width differ. */
const POOL = 4_194_301;
const bits = new Uint16Array(POOL);
const exact = new Float64Array(POOL);
const singles = new Float32Array(POOL);
const next = xorshift();
const word = new Uint32Array(1);
const real = new Float32Array(word.buffer);
for (let i = 0; i < POOL; i++) {
  real[0] = next() / 2 ** 31 - 1;
  singles[i] = real[0];
  bits[i] = word[0] >>> 16;
  word[0] = bits[i] << 16;
  exact[i] = real[0];
}

/** Value of element i of a buffer of either type. */
export const valueAt = (type: "bf16" | "f32", i: number): number => (type === "bf16" ? exact : singles)[i % POOL];

/** A buffer of `count` random elements. */
export function put(cuda: Cuda, type: "bf16" | "f32", count: number): number {
  const pool = type === "bf16" ? new Uint8Array(bits.buffer) : new Uint8Array(singles.buffer);
  const bytes = count * (type === "bf16" ? 2 : 4);
  const at = cuda.alloc(Math.max(bytes, 16));
  for (let done = 0; done < bytes; done += pool.length)
    cuda.upload(at + done, pool.subarray(0, Math.min(pool.length, bytes - done)));
  return at;
}

/** Elements of a downloaded buffer as numbers. */
export function numbers(type: "bf16" | "f32", raw: Uint8Array<ArrayBuffer>): Float32Array {
  if (type === "f32") return new Float32Array(raw.buffer);
  return new Float32Array(Uint32Array.from(new Uint16Array(raw.buffer), (b) => b << 16).buffer);
}

/** Sampled places of an m x n result: corners, edges of tiles, and random ones. */
export function samples(m: number, n: number, more = 150): [number, number][] {
  const edge = (size: number): number[] => [
    ...new Set([0, 1, 7, 15, 16, 63, 64, 127, 128, size - 129, size - 17, size - 2, size - 1].filter((i) => i >= 0 && i < size)),
  ];
  const out: [number, number][] = [];
  for (const r of edge(m)) for (const c of edge(n)) out.push([r, c]);
  for (let i = 0; i < more; i++) out.push([next() % m, next() % n]);
  return out;
}

export const median = (v: number[]): number => v.sort((a, b) => a - b)[v.length >> 1];

/** Read-only bandwidth of an H200, bytes a microsecond. */
export const BANDWIDTH = h200.bandwidth / 1e6;
