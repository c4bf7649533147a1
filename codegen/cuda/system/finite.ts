// Stored values that are no numbers, looked for where they lie once everything is loaded: threads that read have no time to
// spare, and an H200 reads its memory at up to 4.5 TB/s (R1's first 15 layers, 140 GB: at least 31 ms).
import type { KernelText } from "../../../ir/kernel/catalogue.ts";
import { ceildiv } from "../../../ir/size.ts";
import { cudaKernel, input, output, scalar } from "../text/kernel.ts";

const BLOCK = 256;
/** Pieces of 16 bytes that a thread reads. */
const EACH = 8;

export const finiteKernel = (): KernelText =>
  cudaKernel({
    name: "dsc_not_finite",
    header: [
      "dsc_not_finite: whether so many bytes hold NaN or infinity: one added to an exponent whose bits are all set carries out of it;",
      "see runtime/finite.ts.",
    ],
    params: [
      input("from", "f32"),
      output("found", "i32", { restrict: false }),
      ...["bytes", "exponent", "one", "carry"].map((name) => scalar(name, "i32")),
    ],
    dims: [],
    launch: { grid: [ceildiv("bytes", 16 * BLOCK * EACH), 1, 1], block: BLOCK, sharedBytes: 0 },
    definitions: `constexpr int BLOCK = ${BLOCK}, EACH_THREAD = ${EACH};  // threads of a block, pieces of 16 bytes of a thread

// What lies after the last byte is whatever was there before: none of it counts.
__device__ __forceinline__ u32 kept(u32 word, int bytes) {
  return bytes >= 4 ? word : bytes <= 0 ? 0 : word & ((1u << 8 * bytes) - 1);
}`,
    body: `
  u32 any = 0;
#pragma unroll
  for (int e = 0; e < EACH_THREAD; e++) {
    const int at = (blockIdx.x * EACH_THREAD + e) * BLOCK + threadIdx.x, left = bytes - 16 * at;
    if (left <= 0) break;
    const uint4 v = ((const uint4*)from)[at];
    any |= ((kept(v.x, left) & (u32)exponent) + (u32)one) | ((kept(v.y, left - 4) & (u32)exponent) + (u32)one);
    any |= ((kept(v.z, left - 8) & (u32)exponent) + (u32)one) | ((kept(v.w, left - 12) & (u32)exponent) + (u32)one);
  }
  if (any & (u32)carry) *found = 1;
`,
  });
