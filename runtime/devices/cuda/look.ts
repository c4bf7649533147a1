// Stored values that are no numbers, looked for where they lie once everything is loaded: threads that read have no time to spare,
// and an H200 reads its memory at up to 4.5 TB/s (R1's first 15 layers, 140 GB: at least 31 ms).
import type { StoredPart } from "../../device.ts";
import { maskOf } from "../../finite.ts";
import type { LaunchText } from "./kernel.ts";

const BLOCK = 256;
/** Pieces of 16 bytes that a thread reads. */
const EACH = 8;
/** Bytes of one launch, so that its counts are small. */
const PIECE = 1 << 30;

export const lookSource = `// Whether so many bytes hold NaN or infinity: one added to an exponent whose bits are all set carries out of it; see finite.ts.
typedef unsigned int u32;

constexpr int BLOCK = ${BLOCK}, EACH = ${EACH};  // threads of a block, pieces of 16 bytes of a thread

// What lies after the last byte is whatever was there before: none of it counts.
__device__ __forceinline__ u32 kept(u32 word, int bytes) { return bytes >= 4 ? word : bytes <= 0 ? 0 : word & ((1u << 8 * bytes) - 1); }

extern "C" __global__ void __launch_bounds__(BLOCK)
dsc_look(const void* __restrict__ from, int* found, int bytes, int exponent, int one, int carry) {
  u32 any = 0;
#pragma unroll
  for (int e = 0; e < EACH; e++) {
    const int at = (blockIdx.x * EACH + e) * BLOCK + threadIdx.x, left = bytes - 16 * at;
    if (left <= 0) break;
    const uint4 v = ((const uint4*)from)[at];
    any |= ((kept(v.x, left) & (u32)exponent) + (u32)one) | ((kept(v.y, left - 4) & (u32)exponent) + (u32)one);
    any |= ((kept(v.z, left - 8) & (u32)exponent) + (u32)one) | ((kept(v.w, left - 12) & (u32)exponent) + (u32)one);
  }
  if (any & (u32)carry) *found = 1;
}
`;

export const lookText: LaunchText = {
  name: "dsc_look",
  params: [
    { kind: "buffer", name: "from", dtype: "f32", access: "in" },
    { kind: "buffer", name: "found", dtype: "i32", access: "out" },
    ...(["bytes", "exponent", "one", "carry"] as const).map((name) => ({ kind: "scalar", name, dtype: "i32" }) as const),
  ],
  dims: [],
  launch: { grid: [{ op: "ceildiv", of: ["bytes", 16 * BLOCK * EACH] }, 1, 1], block: BLOCK, sharedBytes: 0 },
};

/** The launches that look at a part: where they begin, and their scalars. */
export function lookLaunches({ at, bytes, dtype }: StoredPart): { at: number; scalars: Record<string, number> }[] {
  const { exponent, one, carry } = maskOf(dtype)!;
  return Array.from({ length: Math.ceil(bytes / PIECE) }, (_, i) => ({
    at: at + i * PIECE,
    scalars: { bytes: Math.min(PIECE, bytes - i * PIECE), exponent, one, carry: carry | 0 },
  }));
}
