// How long a launch takes by itself, and what it computes with meanwhile: random data, for a card that multiplies zeros runs faster.
import type { Param } from "../../../ir/kernel/catalogue.ts";
import type { Cuda, CudaKernel } from "./index.ts";
import { xorshift } from "../../xorshift.ts";

type DType = Extract<Param, { kind: "buffer" }>["dtype"];

export const median = (v: readonly number[]): number => v.toSorted((a, b) => a - b)[v.length >> 1];

/** Microseconds of one launch, weights cold: a graph of launches over buffer sets in turn, each with weights of its own. */
export function launchTime(
  cuda: Cuda,
  kernel: CudaKernel,
  sets: readonly Readonly<Record<string, number>>[],
  dims: Readonly<Record<string, number>>,
): number {
  for (const buffers of sets) cuda.launch(kernel, buffers, dims);
  cuda.synchronize();
  const launches = Math.max(sets.length, 6);
  const graph = cuda.capture(() => {
    for (let i = 0; i < launches; i++) cuda.launch(kernel, sets[i % sets.length], dims);
  });
  graph.time(2);
  const us = median(graph.time(9)) / launches;
  graph.destroy();
  return us;
}

/** Fills fresh device memory from a pool, over and over. */
export function filled(cuda: Cuda, bytes: number, pool: Uint8Array): number {
  const at = cuda.alloc(bytes);
  for (let done = 0; done < bytes; done += pool.length)
    cuda.upload(at + done, pool.subarray(0, Math.min(pool.length, bytes - done)));
  return at;
}

/** A prime number of elements, so that rows of any width differ. */
const POOL = 1_048_573;

/** Random values of a type, small and finite: the same every time. Integers are zeros. */
export function poolOf(dtype: DType): Uint8Array {
  const next = xorshift();
  switch (dtype) {
    case "e4m3":
      return Uint8Array.from({ length: POOL }, () => ((next() & 0x7f) % 0x60) | (next() & 0x80));
    case "bf16":
      return new Uint8Array(Uint16Array.from({ length: POOL }, () => 0x3d00 | (next() & 0x80ff)).buffer);
    case "f32":
      return new Uint8Array(Float32Array.from({ length: POOL }, () => (0.5 + next() / 2 ** 32) / 64).buffer);
    default:
      return new Uint8Array(4 * POOL);
  }
}
