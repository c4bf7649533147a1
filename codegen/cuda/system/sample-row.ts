// Device functions of dsc_sample (sample.ts) over the ids of a row: their order, what they weigh, sums over the blocks that
// share it.
import { POWERS } from "../../../ir/system.ts";

/** Keys order as the values do, -0 as 0. */
export const keysText = `\
// Keys order as the values do, -0 as 0. What is no number has the key ALL, above all others.
__device__ __forceinline__ u32 key_of(float v) {
  const u32 bits = __float_as_uint(__fadd_rn(v, 0.f));
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
__device__ __forceinline__ float value_of(u32 key) { return __uint_as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key); }`;

const horner = POWERS.slice(1)
  .map((c) => `  p = __dadd_rn(__dmul_rn(p, f), ${Number.isInteger(c) ? c.toFixed(1) : String(c)});`)
  .join("\n");

export const weightText = `\
// 2^31 2^((l - most) scale), rounded. No operation is fused: JavaScript has none that are.
__device__ __forceinline__ u32 weight_of(float l, float most, double scale) {
  const double z = __dmul_rn(__dsub_rn((double)l, (double)most), scale);
  if (!(z > -33.0)) return 0;
  const double n = floor(__dadd_rn(z, 0.5)), f = __dsub_rn(z, n);
  double p = ${POWERS[0]};
${horner}
  return (u32)floor(__dadd_rn(__dmul_rn(p, __hiloint2double((1023 + 31 + (int)n) << 20, 0)), 0.5));
}`;

export const philoxText = `\
// Word 0 of Philox4x32-10: key = seed, counter = (position, sequence, 0, 0).
__device__ __forceinline__ u32 philox(u32 position, u32 sequence, u32 low, u32 high) {
  u32 c0 = position, c1 = sequence, c2 = 0, c3 = 0;
  for (int round = 0; round < 10; round++) {
    const u64 a = (u64)0xd2511f53u * c0, b = (u64)0xcd9e8d57u * c2;
    c0 = (u32)(b >> 32) ^ c1 ^ low; c1 = (u32)b; c2 = (u32)(a >> 32) ^ c3 ^ high; c3 = (u32)a;
    low += 0x9e3779b9u; high += 0xbb67ae85u;
  }
  return c0;
}`;

export const largestText = `\
__device__ __forceinline__ u32 largest_of_warp(u32 v) {
  for (int apart = 16; apart > 0; apart /= 2) { const u32 other = __shfl_xor_sync(ALL, v, apart); v = other > v ? other : v; }
  return v;
}`;

export const sumsText = `\
// What lies before each warp of the cluster, and in all: of sums[], by one warp, because 32 of them would queue for shared memory.
// The block's own sums only where a sum is of the whole cluster already.
template <bool CLUSTER> __device__ __forceinline__ void add_warps(Shared& s) {
  if (threadIdx.x < 32) {
    const int lane = threadIdx.x, rank = CLUSTER ? (int)row_rank() : 0;
    u64 earlier = 0, all = 0;  // of other blocks
    if (CLUSTER)
      for (int w = lane; w < BLOCKS * WARPS; w += 32) {
        const u64 v = w / WARPS == rank ? 0 : *at_row_rank(&s.sums[w % WARPS], (u32)(w / WARPS));
        all += v;
        if (w / WARPS < rank) earlier += v;
      }
    if (CLUSTER && BLOCKS > 1) { earlier = warp_reduce_sum(earlier); all = warp_reduce_sum(all); }
    const u64 own = lane < WARPS ? s.sums[lane] : 0, run = warp_running_sum(own);
    if (lane < WARPS) s.before[lane] = earlier + run - own;
    if (lane == 31) s.total = all + run;
  }
  __syncthreads();
}`;

export const locateText = `\
// The first id whose running sum of values, ids ascending through the cluster, exceeds target(sum of all): to the one lane that
// holds it; -1 to every other. total: the sum of all.
template <class Value, class Target>
__device__ __forceinline__ int locate(Shared& s, int count, u64& total, Value value, Target target) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int end = min(count, (warp + 1) * RUN);
  u64 own = 0;
  for (int i = warp * RUN + lane; i < end; i += 32) own += value(i);
  own = warp_reduce_sum(own);
  if (lane == 0) s.sums[warp] = own;
  row_sync();
  add_warps<true>(s);
  u64 before = s.before[warp];
  total = s.total;
  const u64 goal = target(total);
  if (goal < before || goal >= before + own) return -1;
  for (int from = warp * RUN; from < end; from += 32) {
    const u64 sum = before + warp_running_sum(from + lane < end ? value(from + lane) : 0);
    const u32 past = __ballot_sync(ALL, sum > goal);
    if (past) return lane == __ffs((int)past) - 1 ? from + lane : -1;
    before = __shfl_sync(ALL, sum, 31);
  }
  return -1;
}`;
