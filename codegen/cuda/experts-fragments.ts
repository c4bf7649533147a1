// CUDA text that the two kernels of few tokens through their experts share: which experts have rows, slices of weights on their way,
// rows of x as wgmma reads them without a swizzle, and the loop over a ring that multiplies both.
import { STEP } from "../schedules/sm90-gemm.ts";
import { mostRows, scalePitch, scaleRows, scaleSlots, sliceChain, sliceLayout, type ExpertsProblem, type SliceSchedule } from "../schedules/sm90-experts.ts";

export const expertsFragments = `
// A box of a three-dimensional tensor: 128 columns, a slice of rows, some steps side by side in memory and one behind the other here.
__device__ __forceinline__ void copy_box(u32 to, const TensorMap* map, u32 barrier, int column, int row, int step) {
  asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], [%2];"
               :: "r"(to), "l"(map), "r"(barrier), "r"(column), "r"(row), "r"(step) : "memory");
}
// Bytes in a row, multiples of 16.
__device__ __forceinline__ void copy_bytes(u32 to, const void* from, u32 bytes, u32 barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];"
               :: "r"(to), "l"(from), "r"(bytes), "r"(barrier) : "memory");
}
// From L2: nothing of what an earlier kernel wrote may come from what this multiprocessor still holds.
__device__ __forceinline__ int load_fresh(const int* p) {
  int v; asm volatile("ld.relaxed.gpu.global.s32 %0, [%1];" : "=r"(v) : "l"(p) : "memory"); return v;
}
__device__ __forceinline__ void store_shared16(u32 to, uint4 v) {
  asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" :: "r"(to), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w) : "memory");
}
__device__ __forceinline__ void store_shared_word(u32 to, u32 v) { asm volatile("st.shared.u32 [%0], %1;" :: "r"(to), "r"(v) : "memory"); }
// Ordinary stores to shared memory become visible to the tensor cores.
__device__ __forceinline__ void fence_async() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
// 16 bytes of each token side by side, no swizzle: the next 16 columns of all tokens are PITCH bytes further. wgmma reads eight tokens;
// where there are fewer, the others are what lies behind, and their columns of the product are not looked at.
template <int PITCH> __device__ __forceinline__ u64 rows_descriptor(u32 address) { return (u64)((address & 0x3FFFF) >> 4) | ((u64)(PITCH / 16) << 16); }
// One step of 128 columns, as product_128: x moves on by two times 16 columns.
template <int PITCH> __device__ __forceinline__ void product_rows(float (&part)[4], u64 w, u64 x) {
  wgmma_fence();
  wgmma_64x8x32<0>(part, w, x);
  wgmma_64x8x32<1>(part, w + 2, x + 2 * (PITCH / 16));
  wgmma_64x8x32<1>(part, w + 4, x + 4 * (PITCH / 16));
  wgmma_64x8x32<1>(part, w + 6, x + 6 * (PITCH / 16));
  wgmma_commit();
}
`;

/** Constants of problem and schedule, and where things lie. */
export function sliceConstants(p: ExpertsProblem, s: SliceSchedule, threads: string): string {
  const at = sliceLayout(p, s);
  const rows = scaleRows(s);
  return `constexpr int EXPERTS = ${p.experts}, PER = ${p.per};             // experts; experts a token
constexpr int N = ${p.n}, K = ${p.k}, STEPS = ${p.k / STEP};      // rows and columns of an expert's matrix; steps of 128 columns
constexpr int TOKENS = ${s.tokens}, ROWS = ${mostRows(p, s)};             // tokens at most, and pairs of a token and an expert
constexpr int SLICE = ${s.rows};                       // rows of every matrix that this block owns
constexpr int DEEP = ${s.deep}, UNITS = ${p.k / STEP / s.deep};              // a ring stage holds DEEP steps, a warpgroup for each; stages of an expert
constexpr int CHAIN = ${sliceChain(s, p.k)};                        // stages between two drains of the tensor cores
constexpr int MATH = ${128 * s.deep}, ${threads}
constexpr int STAGES = ${s.stages}, STAGE = ${at.stage};
constexpr int SCALE_ROWS = ${rows}, SCALE_SLOTS = ${scaleSlots(s, p.k)}, SCALE_BYTES = ${rows * (p.k / STEP) * 4};  // blocks of 128 rows that a slice meets; experts whose scales are here
constexpr int PITCH = 16 * TOKENS, X_STEP = 8 * PITCH;  // bytes to the next 16, and the next 128, columns of x
constexpr int X_PITCH = ${scalePitch(s)};                      // floats of a step's scales of x
constexpr int W_SCALES = ${at.wScales}, X = ${at.x}, X_SCALES = ${at.xScales}, SUMS = ${at.sums}, FULL = ${at.full};  // behind the ring
struct Run { int expert, row, end; };          // the rows of an expert that has some
`;
}

/** Which experts have rows. */
export const findRuns = `
// The experts that have rows, in their order; a thread looks at one. All threads of the block; how many there are.
__device__ __forceinline__ int find_runs(const int* offsets, Run* runs, int* busy_of) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  int found = 0;
  for (int e0 = 0; e0 < EXPERTS; e0 += THREADS) {
    const int e = e0 + threadIdx.x;
    const int row = load_fresh(offsets + min(e, EXPERTS)), end = load_fresh(offsets + min(e + 1, EXPERTS));
    const u32 busy = __ballot_sync(~0u, end > row);
    if (lane == 0) busy_of[warp] = __popc(busy);
    __syncthreads();
    int at = found + __popc(busy & ((1u << lane) - 1));
#pragma unroll
    for (int w = 0; w < THREADS / 32; w++) {
      at += w < warp ? busy_of[w] : 0;
      found += busy_of[w];
    }
    if (end > row) runs[at] = {e, row, end};
    __syncthreads();
  }
  return found;
}
`;

/** Weights of one stage: its steps in one box, and with an expert's first stage all the scales of its slice. */
export const fetchStage = `  auto fetch = [&](int i, int expert) {
    const u32 barrier = full + 8 * (i % STAGES);
    const bool first = i % UNITS == 0;
    barrier_expect(barrier, STAGE + (first ? SCALE_BYTES : 0));
    copy_box(ring + i % STAGES * STAGE, &w_map, barrier, 0, expert * N + row0, i % UNITS * DEEP);
    if (first) copy_bytes(ring + W_SCALES + i / UNITS % SCALE_SLOTS * SCALE_BYTES, w_scale + (i64)(expert * (N / 128) + scale_row0) * STEPS, SCALE_BYTES, barrier);
  };
`;

/** The product of one expert's slice by its rows, \`visit\`-th of the block: four sums a thread. */
export const multiplySlice = `      float sum[4] = {};
      const u32 scales = ring + W_SCALES + visit % SCALE_SLOTS * SCALE_BYTES;
      for (int u = 0; u < UNITS; u += CHAIN) {
        // Two sets of partial sums: while one is scaled and added, the product of the next stage runs.
        float part[2][4];
#pragma unroll
        for (int c = -1; c < CHAIN; c++) {
          if (c + 1 < CHAIN) {
            const int next = visit * UNITS + u + c + 1, stage = next % STAGES;
            barrier_wait(full + 8 * stage, next / STAGES & 1);
            product_rows<PITCH>(part[(c + 1) & 1], tile_descriptor(ring + stage * STAGE + deep * SLICE * 128), rows_descriptor<PITCH>(x_tile + ((u + c + 1) * DEEP + deep) * X_STEP));
          }
          if (c < 0) continue;
          const int step = (u + c) * DEEP + deep;
          const float upper = load_shared(scales + (upper_scale * STEPS + step) * 4), lower = SCALE_ROWS > 1 ? load_shared(scales + (lower_scale * STEPS + step) * 4) : upper;
          const float2 x_now = load_shared_pair(x_scales + (step * X_PITCH + min(column, X_PITCH - 2)) * 4);
          if (c + 1 < CHAIN) wgmma_wait<1>(part[c & 1]);
          else wgmma_wait<0>(part[c & 1]);
          if (lane == 0) barrier_arrive(empty + 8 * ((visit * UNITS + u + c) % STAGES));
          sum[0] = fmaf(part[c & 1][0], x_now.x * upper, sum[0]);
          sum[1] = fmaf(part[c & 1][1], x_now.y * upper, sum[1]);
          sum[2] = fmaf(part[c & 1][2], x_now.x * lower, sum[2]);
          sum[3] = fmaf(part[c & 1][3], x_now.y * lower, sum[3]);
        }
      }
`;

/** What a math thread knows of its place: rows lane / 4 and + 8 of its warp's sixteen, columns 2 (lane % 4) and + 1 of the product. */
export const mathPlace = `    const int deep = warp / 4, slice_row = warp % 4 * 16 + lane / 4, column = lane % 4 * 2;
    const int upper_scale = min((row0 + slice_row) / 128 - scale_row0, SCALE_ROWS - 1), lower_scale = min((row0 + slice_row + 8) / 128 - scale_row0, SCALE_ROWS - 1);
`;
