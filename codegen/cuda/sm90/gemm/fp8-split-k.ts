// The FP8 block GEMM when rows of x are few: weights on wgmma's 64-row side, tokens on the narrow one. Time is the time to read
// w and to get going, so a block is small enough for two on a multiprocessor: the next kernel's blocks fetch weights while this
// one's finish. k is cut over a cluster where tiles are few; each sends the others their shares of the sums: added in rank order, same bits every run.
import type { Gpu } from "../../../../ir/machine.ts";
import type { KernelText } from "../../../../ir/kernel/catalogue.ts";
import { add, ceildiv } from "../../../../ir/size.ts";
import {
  gemmHeader,
  scheduleName,
  sharedBytes,
  STEP,
  splitKPromotion,
  type GemmProblem,
  type SplitKSchedule,
} from "./fp8-schedule.ts";
import { cudaKernel, input, output, tensorMap } from "../../text/kernel.ts";
import { initRings } from "./two-rings.ts";

/** The run of rows a block works on: found on the device, so that shapes do not depend on what the router chose. */
const findRun = (experts: number): string => `
// The want-th run of at most TOKENS rows that share an expert. A warp scans the offsets, ${Math.ceil(experts / 32)} experts a lane.
struct Run { int expert, row, end; };
__device__ __forceinline__ Run find_run(const int* __restrict__ offsets, int want, int lane) {
  Run mine = {-1, 0, 0};
  int carry = 0;
#pragma unroll
  for (int e = lane; e - lane < EXPERTS; e += 32) {
    const int from = offsets[min(e, EXPERTS)], to = offsets[min(e + 1, EXPERTS)], runs = (to - from + TOKENS - 1) / TOKENS;
    const int sum = warp_running_sum(runs);
    const int nth = want - (carry + sum - runs);
    if (nth >= 0 && nth < runs) mine = {e, from + nth * TOKENS, to};
    carry += __shfl_sync(~0u, sum, 31);
  }
  const u32 found = __ballot_sync(~0u, mine.expert >= 0);
  if (found == 0) return mine;
  const int from = __ffs(found) - 1;
  return {__shfl_sync(~0u, mine.expert, from), __shfl_sync(~0u, mine.row, from), __shfl_sync(~0u, mine.end, from)};
}
`;

/** Sums of other blocks' shares go to them; each owns a run of chunks. */
const SEND = `  // Each block finishes a share of the tile. It is sent the others' sums of it, which its barrier counts: no fence, and no block
  // waits for another to leave.
  const int share = (chunks + SPLIT - 1) / SPLIT, first_chunk = rank * share, last_chunk = min(chunks, first_chunk + share);
  cluster_wait();
  if (threadIdx.x == 0) mbarrier_arrive_expect_tx(inbox_full, max(0, last_chunk - first_chunk) * 32 * (SPLIT - 1));
  for (int c = threadIdx.x < MATH ? threadIdx.x : chunks; c < chunks; c += MATH) {
    const int owner = c / share;
    if (owner == rank) continue;
    float v[8] = {};
    add_own(v, ring + (c / (ROWS / 8) * PITCH + c % (ROWS / 8) * 8) * 4);
    const u32 to = inbox + (rank - (rank > owner)) * SLOT + (c - owner * share) * 32;
    st_async_v4_f32(to, owner, inbox_full, make_float4(v[0], v[1], v[2], v[3]));
    st_async_v4_f32(to + 16, owner, inbox_full, make_float4(v[4], v[5], v[6], v[7]));
  }
  mbarrier_wait(inbox_full, 0);
`;

/** A plain product, or with `experts` a product for every run of rows between two offsets, each by its own n x k matrix. */
export function splitK(
  { n, k, experts }: GemmProblem & { experts?: number },
  schedule: SplitKSchedule,
  machine: Gpu,
): KernelText {
  const { rows, tokens, kGroups, split, stages, xStages, blocksPerSm } = schedule;
  const name = experts
    ? `grouped_gemm_${experts}x${n}x${k}_${scheduleName(schedule)}`
    : `block_gemm_${n}x${k}_${scheduleName(schedule)}`;
  const math = (rows / 64) * kGroups * 128;
  const chain = splitKPromotion(schedule, k);
  // 128 tokens in two sets of sums: more registers than an equal share, so the copying warps, a whole warpgroup then, give up theirs.
  const moved = chain > 1 && tokens === 128;
  const threads = math + (moved ? 128 : 64);
  const cluster = split > 1;
  const count = experts ? "r" : "m";
  const definitions = `constexpr int N = ${n}, STEPS = ${Math.ceil(k / STEP)};       // columns of y; steps of 128 columns of k
constexpr int ROWS = ${rows}, TOKENS = ${tokens};      // a tile: rows of w by rows of x
constexpr int DEEP = ${kGroups}, UNITS = (STEPS + DEEP - 1) / DEEP;  // a ring stage holds DEEP steps, each for its own warpgroups
constexpr int SPLIT = ${split};                  // blocks that share the k of a tile
constexpr int MOST = (UNITS + SPLIT - 1) / SPLIT * DEEP;  // steps a block may have
constexpr int CHAIN = ${chain};                  // units between two drains of the tensor cores
constexpr int MATH = ${math};                  // threads that multiply; a warp more copies w, another x
constexpr int STAGES = ${stages}, X_STAGES = ${xStages};    // weights come from afar and need the longer ring
constexpr int W_BYTES = ROWS * 128, X_BYTES = TOKENS * 128;
constexpr int HELD = TOKENS / 2;                // sums a thread holds
constexpr int X_PITCH = TOKENS + 2, PITCH = ROWS + 4;  // floats a step of x's scales, a token of sums: padded against bank conflicts
${cluster ? "constexpr int SLOT = (ROWS * TOKENS / 8 + SPLIT - 1) / SPLIT * 32;  // bytes of sums that another block sends: this block's share of the tile\n" : ""}${experts ? `constexpr int EXPERTS = ${experts};\n${findRun(experts)}` : ""}
// Eight neighbouring sums; those of all steps of a stage.
__device__ __forceinline__ void add8(float (&v)[8], u32 from) {
  const float4 a = ld_shared_v4_f32(from), b = ld_shared_v4_f32(from + 16);
  v[0] += a.x; v[1] += a.y; v[2] += a.z; v[3] += a.w; v[4] += b.x; v[5] += b.y; v[6] += b.z; v[7] += b.w;
}
__device__ __forceinline__ void add_own(float (&v)[8], u32 from) {
#pragma unroll
  for (int d = 0; d < DEEP; d++) add8(v, from + d * (TOKENS * PITCH * 4));
}`;
  const body = `  extern __shared__ u8 raw[];
  const u32 ring = (shared_address(raw) + 1023) & ~1023u;  // the swizzle repeats every 1024 bytes
  const u32 x_ring = ring + STAGES * DEEP * W_BYTES, x_scales = x_ring + X_STAGES * DEEP * X_BYTES, w_scales = x_scales + MOST * X_PITCH * 4;
  const u32 ${cluster ? `inbox = (w_scales + ${rows > 128 ? `${Math.ceil(rows / 128)} * ` : ""}MOST * 4 + 15) & ~15u, inbox_full = inbox + (SPLIT - 1) * SLOT, full = inbox_full + 8` : `full = (w_scales + ${rows > 128 ? `${Math.ceil(rows / 128)} * ` : ""}MOST * 4 + 7) & ~7u`}, empty = full + 8 * STAGES, x_full = empty + 8 * STAGES, x_empty = x_full + 8 * X_STAGES;
  const int warp = __shfl_sync(~0u, threadIdx.x / 32, 0), lane = threadIdx.x % 32;  // one value a warp: descriptors need no vector registers
  const int rank = blockIdx.x, column0 = blockIdx.${experts ? "y" : "z"} * ROWS;
${experts ? "  __shared__ Run run;\n" : "  const int token0 = blockIdx.y * TOKENS;\n"}  const int begin = rank * UNITS / SPLIT, end = (rank + 1) * UNITS / SPLIT, ahead = min(STAGES, end - begin);

  if (threadIdx.x == MATH) {
${initRings}${cluster ? "    mbarrier_init(inbox_full, 1);\n" : ""}    fence_mbarrier_init();${
    experts
      ? ""
      : `
    // Weights do not wait for the kernel before: a ring of them is under way while it still runs.
    for (int i = 0; i < ahead; i++) {
      mbarrier_arrive_expect_tx(full + 8 * i, DEEP * W_BYTES);
      for (int d = 0; d < DEEP; d++) tma_load_2d(ring + (i * DEEP + d) * W_BYTES, &w_map, full + 8 * i, ((begin + i) * DEEP + d) * 128, column0);
    }`
  }
  }
${
  experts
    ? `  if (warp == MATH / 32) {
    await_previous();  // offsets say which weights
    const Run mine = find_run(offsets, blockIdx.z, lane);
    if (lane == 0) run = mine;
  }
`
    : ""
}  __syncthreads();
  release_next();
${cluster ? "  cluster_arrive_relaxed();  // whoever has seen all blocks do so may send to them\n" : ""}${
    experts
      ? `  if (run.expert < 0) return;  // fewer runs than there could be
  const int token0 = run.row, m = run.end, w_row0 = run.expert * N + column0;
`
      : ""
  }
  if (warp >= MATH / 32) {
${moved ? "    setmaxnreg_dec<40>();\n" : ""}    if (warp == MATH / 32 && lane == 0) {
      // One thread keeps the weights coming: bytes in flight are what bandwidth needs.
      for (int u = ${experts ? "0" : "ahead"}; u < end - begin; u++) {
        const int stage = u % STAGES;
        if (u >= STAGES) mbarrier_wait(empty + 8 * stage, (u / STAGES - 1) & 1);
        mbarrier_arrive_expect_tx(full + 8 * stage, DEEP * W_BYTES);
        for (int d = 0; d < DEEP; d++) tma_load_2d(ring + (stage * DEEP + d) * W_BYTES, &w_map, full + 8 * stage, ((begin + u) * DEEP + d) * 128, ${experts ? "w_row0" : "column0"});
      }
    }
    if (warp == MATH / 32 + 1 && lane == 0) {
      await_previous();
      for (int u = 0; u < end - begin; u++) {
        const int stage = u % X_STAGES;
        if (u >= X_STAGES) mbarrier_wait(x_empty + 8 * stage, (u / X_STAGES - 1) & 1);
        mbarrier_arrive_expect_tx(x_full + 8 * stage, DEEP * X_BYTES);
        for (int d = 0; d < DEEP; d++) tma_load_2d(x_ring + (stage * DEEP + d) * X_BYTES, &x_map, x_full + 8 * stage, ((begin + u) * DEEP + d) * 128, token0);
      }
    }
    __syncwarp();
  } else {
${moved ? "    setmaxnreg_inc<232>();\n" : ""}    const int team = warp / 4, part_rows = team % (ROWS / 64), deep = team / (ROWS / 64), slab = warp % 4;
    // Scales of all the block's steps at once, without passing through registers; past the ends any finite scale will do.
    const int first = begin * DEEP, count = (end - begin) * DEEP;
    for (int p = threadIdx.x; p < count; p += MATH)
      ${rows > 128 ? `for (int r = 0; r < ${Math.ceil(rows / 128)}; r++) ` : ""}cp_async_4(w_scales + ${rows > 128 ? "(r * MOST + p)" : "p"} * 4, w_scale + ${experts ? `(long long)(run.expert * (N / 128) + column0 / 128${rows > 128 ? " + r" : ""})` : `min(column0 / 128${rows > 128 ? " + r" : ""}, (N - 1) / 128)`} * STEPS + min(first + p, STEPS - 1));
    await_previous();
    for (int t = warp; t < TOKENS; t += MATH / 32)
      for (int p = lane; p < count; p += 32)
        cp_async_4(x_scales + (p * X_PITCH + t) * 4, x_scale + min(token0 + t, m - 1) * STEPS + min(first + p, STEPS - 1));
    cp_async_wait_all();
    bar_sync(1, MATH);

    float sum[HELD];
#pragma unroll
    for (int i = 0; i < HELD; i++) sum[i] = 0.f;
    int stage = 0, x_stage = 0, read = 0, x_read = 0;  // places in the rings of the unit that is multiplied next, and of the one handed back
    u32 phase = 0, x_phase = 0;
    for (int u = 0; u < end - begin; u += CHAIN) {
      ${chain > 1 ? "// Two sets of partial sums: while one is scaled and added, the product of the next unit runs." : "// A unit is scaled and added before the next is multiplied: registers hold one set of partial sums."}
      float part[${chain > 1 ? 2 : 1}][HELD];
#pragma unroll
      for (int i = -1; i < CHAIN; i++) {
        if (i + 1 < CHAIN) {
          mbarrier_wait(full + 8 * stage, phase);
          mbarrier_wait(x_full + 8 * x_stage, x_phase);
          const u32 w_tile = ring + (stage * DEEP + deep) * W_BYTES + part_rows * 8192, x_tile = x_ring + (x_stage * DEEP + deep) * X_BYTES;
          wgmma_m64n${tokens}k128_e4m3(part[(i + 1) & 1], descriptor_k_major(w_tile), descriptor_k_major(x_tile));
          if (++stage == STAGES) { stage = 0; phase ^= 1; }
          if (++x_stage == X_STAGES) { x_stage = 0; x_phase ^= 1; }
        }
        if (i < 0) continue;
        const int p = (u + i) * DEEP + deep;
        const float w_now = ld_shared_f32(w_scales + (part_rows / 2 * MOST + p) * 4);
        if (i + 1 < CHAIN) wgmma_wait_group<1>(part[i & 1]);
        else wgmma_wait_group<0>(part[i & 1]);
        if (lane == 0) { mbarrier_arrive(empty + 8 * read); mbarrier_arrive(x_empty + 8 * x_read); }
        if (++read == STAGES) read = 0;
        if (++x_read == X_STAGES) x_read = 0;
        // Columns of the product are tokens: each pair of registers has its own two scales.
#pragma unroll
        for (int j = 0; j < TOKENS / 8; j++) {
          const float2 x_now = ld_shared_v2_f32(x_scales + (p * X_PITCH + j * 8 + lane % 4 * 2) * 4);
#pragma unroll
          for (int v = 4 * j; v < 4 * j + 4; v++) sum[v] = fmaf(part[i & 1][v], (v & 1 ? x_now.y : x_now.x) * w_now, sum[v]);
        }
      }
    }

    // The ring has been read and nothing more is coming: it now takes the sums, a token a row.
    bar_sync(1, MATH);
    const u32 sums = ring + deep * (TOKENS * PITCH * 4) + (part_rows * 64 + slab * 16 + lane / 4) * 4;
#pragma unroll
    for (int j = 0; j < TOKENS / 8; j++)
#pragma unroll
      for (int i = 0; i < 4; i++)
        st_shared_f32(sums + ((j * 8 + lane % 4 * 2 + i % 2) * PITCH + i / 2 * 8) * 4, sum[4 * j + i]);
  }
  __syncthreads();

  // Output: 8 columns of a token a thread, added up over steps and blocks in their order, 16 bytes a store. The warps that copied
  // leave it to the others, for racecheck does not see them pass the barrier above.
  const int chunks = min(TOKENS, m - token0) * (ROWS / 8);
${cluster ? SEND : ""}  for (int c = threadIdx.x < MATH ? ${cluster ? "first_chunk + threadIdx.x : last_chunk; c < last_chunk" : "threadIdx.x : chunks; c < chunks"}; c += MATH) {
    const int token = c / (ROWS / 8), column = c % (ROWS / 8) * 8;
    if (column0 + column >= N) continue;
    float v[8] = {};
${
  cluster
    ? `    for (int s = 0; s < SPLIT; s++) {
      // A block's own steps are added up first, as the others' were: who owns a chunk, which follows m, changes no bit.
      float part[8] = {};
      if (s == rank) add_own(part, ring + (token * PITCH + column) * 4);
      else add8(part, inbox + (s - (s > rank)) * SLOT + (c - first_chunk) * 32);
#pragma unroll
      for (int i = 0; i < 8; i++) v[i] += part[i];
    }`
    : "    add_own(v, ring + (token * PITCH + column) * 4);"
}
    st_global_v4_u32(y + (long long)(token0 + token) * N + column0 + column, pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]), pack_bf16(v[4], v[5]), pack_bf16(v[6], v[7]));
  }`;
  return cudaKernel({
    name,
    header: gemmHeader({ n, k, experts }, schedule, machine),
    params: [
      tensorMap("x_map", { of: "x", dtype: "e4m3", dims: [k, count], strides: [k], box: [128, tokens] }),
      tensorMap("w_map", { of: "w", dtype: "e4m3", dims: [k, (experts ?? 1) * n], strides: [k], box: [128, rows] }),
      input("x_scale", "f32"),
      input("w_scale", "f32"),
      ...(experts ? [input("offsets", "i32")] : []),
      output("y", "bf16"),
    ],
    dims: [count],
    launch: {
      // Runs of an expert: at most one that is not full. Blocks past the last find nothing and leave.
      grid: experts
        ? [split, Math.ceil(n / rows), add({ op: "min", of: ["r", experts] }, { op: "div", of: ["r", tokens] })]
        : [split, ceildiv("m", tokens), Math.ceil(n / rows)],
      block: threads,
      sharedBytes: sharedBytes(schedule, k),
      pdl: true,
      blocksPerSM: blocksPerSm,
      ...(experts ? {} : { early: ["w", "w_scale"] }),
      ...(cluster ? { cluster: [split, 1, 1] as [number, number, number] } : {}),
    },
    definitions,
    body,
  });
}
