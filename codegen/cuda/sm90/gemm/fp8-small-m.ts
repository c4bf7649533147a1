// The FP8 block GEMM when tokens fill wgmma's 64-row side and a matrix has few tiles: a block takes all tokens of a tile and so few
// columns that every multiprocessor has some, over all of k. Nothing is added up across blocks, which costs 3 us, and a block
// takes half of a multiprocessor: the next kernel's weights are under way while this one finishes.
import type { Gpu } from "../../../../ir/machine.ts";
import type { KernelText } from "../../../../ir/kernel/catalogue.ts";
import { ceildiv } from "../../../../ir/size.ts";
import {
  gemmHeader,
  scheduleName,
  sharedBytes,
  smallMPromotion,
  STEP,
  type GemmProblem,
  type SmallMSchedule,
} from "./fp8-schedule.ts";
import { cudaKernel, input, output, tensorMap } from "../../text/kernel.ts";
import { initRings, keepSums } from "./two-rings.ts";

/** Prints the kernel of one problem. */
export function smallM({ n, k }: GemmProblem, schedule: SmallMSchedule, machine: Gpu): KernelText {
  const { tokens, columns, kGroups, stages, xStages, blocksPerSm } = schedule;
  const name = `block_gemm_${n}x${k}_${scheduleName(schedule)}`;
  const math = (tokens / 64) * kGroups * 128;
  // Tiles that begin inside a block of 128 may end in the next one: columns then have one of two scales.
  const straddles = 128 % columns !== 0;
  const scaleOf = (x: string): string => (straddles ? `j * 8 < cut ? ${x} * w_low : ${x} * w_high` : `${x} * w_low`);
  const definitions = `constexpr int N = ${n}, STEPS = ${Math.ceil(k / STEP)};       // columns of y; steps of 128 columns of k
constexpr int TOKENS = ${tokens}, COLUMNS = ${columns};  // a tile: rows of x by rows of w
constexpr int DEEP = ${kGroups}, UNITS = (STEPS + DEEP - 1) / DEEP;  // a ring stage holds DEEP steps, each for its own warpgroups
constexpr int CHAIN = ${smallMPromotion(schedule, k)};                  // units between two drains of the tensor cores
constexpr int MATH = ${math};  // threads that multiply; a warp more copies w, another x
constexpr int STAGES = ${stages}, X_STAGES = ${xStages};
constexpr int W_BYTES = COLUMNS * 128, X_BYTES = TOKENS * 128;
constexpr int HELD = COLUMNS / 2;               // sums a thread holds
constexpr int X_PITCH = TOKENS + 2, PITCH = COLUMNS + 8;  // floats a step of x's scales, a token of sums: padded against bank conflicts`;
  const body = `  extern __shared__ u8 raw[];
  const u32 ring = (shared_address(raw) + 1023) & ~1023u;  // the swizzle repeats every 1024 bytes
  const u32 x_ring = ring + STAGES * DEEP * W_BYTES, x_scales = x_ring + X_STAGES * DEEP * X_BYTES, w_scales = x_scales + UNITS * DEEP * X_PITCH * 4;
  const u32 full = (w_scales + ${straddles ? 2 : 1} * UNITS * DEEP * 4 + 7) & ~7u, empty = full + 8 * STAGES, x_full = empty + 8 * STAGES, x_empty = x_full + 8 * X_STAGES;
  const int warp = __shfl_sync(~0u, threadIdx.x / 32, 0), lane = threadIdx.x % 32;  // one value a warp: descriptors need no vector registers
  const int token0 = blockIdx.y * TOKENS, column0 = blockIdx.x * COLUMNS;

  if (threadIdx.x == MATH) {
${initRings}    fence_mbarrier_init();
    // Weights do not wait for the kernel before: a ring of them is under way while it still runs.
    for (int i = 0; i < min(STAGES, UNITS); i++) {
      mbarrier_arrive_expect_tx(full + 8 * i, DEEP * W_BYTES);
      for (int d = 0; d < DEEP; d++) tma_load_2d(ring + (i * DEEP + d) * W_BYTES, &w_map, full + 8 * i, (i * DEEP + d) * 128, column0);
    }
  }
  __syncthreads();
  release_next();

  if (warp == MATH / 32 && lane == 0) {
    // One thread keeps the weights coming: bytes in flight are what bandwidth needs.
    for (int u = STAGES; u < UNITS; u++) {
      const int stage = u % STAGES;
      mbarrier_wait(empty + 8 * stage, (u / STAGES - 1) & 1);
      mbarrier_arrive_expect_tx(full + 8 * stage, DEEP * W_BYTES);
      for (int d = 0; d < DEEP; d++) tma_load_2d(ring + (stage * DEEP + d) * W_BYTES, &w_map, full + 8 * stage, (u * DEEP + d) * 128, column0);
    }
  } else if (warp == MATH / 32 + 1 && lane == 0) {
    await_previous();
    for (int u = 0; u < UNITS; u++) {
      const int stage = u % X_STAGES;
      if (u >= X_STAGES) mbarrier_wait(x_empty + 8 * stage, (u / X_STAGES - 1) & 1);
      mbarrier_arrive_expect_tx(x_full + 8 * stage, DEEP * X_BYTES);
      for (int d = 0; d < DEEP; d++) tma_load_2d(x_ring + (stage * DEEP + d) * X_BYTES, &x_map, x_full + 8 * stage, (u * DEEP + d) * 128, token0);
    }
  }
  if (warp < MATH / 32) {
    const int team = warp / 4, part_rows = team % (TOKENS / 64), deep = team / (TOKENS / 64), row = part_rows * 64 + warp % 4 * 16 + lane / 4;
    // Scales of all steps at once, without passing through registers; past the ends any finite scale will do.
    for (int p = threadIdx.x; p < UNITS * DEEP; p += MATH)
      ${straddles ? "for (int r = 0; r < 2; r++) cp_async_4(w_scales + (r * UNITS * DEEP + p) * 4, w_scale + min(column0 / 128 + r" : "cp_async_4(w_scales + p * 4, w_scale + min(column0 / 128"}, (N - 1) / 128) * STEPS + min(p, STEPS - 1));
    await_previous();
    for (int t = warp; t < TOKENS; t += MATH / 32)
      for (int p = lane; p < UNITS * DEEP; p += 32)
        cp_async_4(x_scales + (p * X_PITCH + t) * 4, x_scale + min(token0 + t, m - 1) * STEPS + min(p, STEPS - 1));
    cp_async_wait_all();
    bar_sync(1, MATH);
${straddles ? "    const int cut = 128 - column0 % 128;  // columns before the next block of scales\n" : ""}
    float sum[HELD];
#pragma unroll
    for (int i = 0; i < HELD; i++) sum[i] = 0.f;
    int stage = 0, x_stage = 0, read = 0, x_read = 0;  // places in the rings of the unit that is multiplied next, and of the one handed back
    u32 phase = 0, x_phase = 0;
    for (int u = 0; u < UNITS; u += CHAIN) {
      ${smallMPromotion(schedule, k) > 1 ? "// Two sets of partial sums: while one is scaled and added, the product of the next unit runs." : "// A unit is scaled and added before the next is multiplied: registers hold one set of partial sums."}
      float part[${smallMPromotion(schedule, k) > 1 ? 2 : 1}][HELD];
#pragma unroll
      for (int i = -1; i < CHAIN; i++) {
        if (i + 1 < CHAIN) {
          mbarrier_wait(full + 8 * stage, phase);
          mbarrier_wait(x_full + 8 * x_stage, x_phase);
          const u32 w_tile = ring + (stage * DEEP + deep) * W_BYTES, x_tile = x_ring + (x_stage * DEEP + deep) * X_BYTES + part_rows * 8192;
          wgmma_m64n${columns}k128_e4m3(part[(i + 1) & 1], descriptor_k_major(x_tile), descriptor_k_major(w_tile));
          if (++stage == STAGES) { stage = 0; phase ^= 1; }
          if (++x_stage == X_STAGES) { x_stage = 0; x_phase ^= 1; }
        }
        if (i < 0) continue;
        const int p = (u + i) * DEEP + deep;
        const float w_low = ld_shared_f32(w_scales + p * 4)${straddles ? ", w_high = ld_shared_f32(w_scales + (UNITS * DEEP + p) * 4)" : ""};
        const float upper = ld_shared_f32(x_scales + (p * X_PITCH + row) * 4), lower = ld_shared_f32(x_scales + (p * X_PITCH + row + 8) * 4);
        if (i + 1 < CHAIN) wgmma_wait_group<1>(part[i & 1]);
        else wgmma_wait_group<0>(part[i & 1]);
        // The stages are read: hand them back before the arithmetic.
        if (lane == 0) { mbarrier_arrive(empty + 8 * read); mbarrier_arrive(x_empty + 8 * x_read); }
        if (++read == STAGES) read = 0;
        if (++x_read == X_STAGES) x_read = 0;
#pragma unroll
        for (int j = 0; j < COLUMNS / 8; j++) {
          const float above = ${scaleOf("upper")}, below = ${scaleOf("lower")};
          sum[4 * j] = fmaf(part[i & 1][4 * j], above, sum[4 * j]);
          sum[4 * j + 1] = fmaf(part[i & 1][4 * j + 1], above, sum[4 * j + 1]);
          sum[4 * j + 2] = fmaf(part[i & 1][4 * j + 2], below, sum[4 * j + 2]);
          sum[4 * j + 3] = fmaf(part[i & 1][4 * j + 3], below, sum[4 * j + 3]);
        }
      }
    }

    // The ring has been read and nothing more is coming: it now takes the sums, a token a row.
    bar_sync(1, MATH);
${keepSums}  }
  __syncthreads();

  // Output: 8 columns of a token a thread, added up over steps in their order, 16 bytes a store, by the warps that multiplied.
  const int chunks = min(TOKENS, m - token0) * (COLUMNS / 8);
  for (int c = threadIdx.x < MATH ? threadIdx.x : chunks; c < chunks; c += MATH) {
    const int token = c / (COLUMNS / 8), column = c % (COLUMNS / 8) * 8;
    if (column0 + column >= N) continue;
    float v[8] = {};
#pragma unroll
    for (int d = 0; d < DEEP; d++) {
      const u32 from = ring + (d * TOKENS * PITCH + token * PITCH + column) * 4;
      const float4 a = ld_shared_v4_f32(from), b = ld_shared_v4_f32(from + 16);
      v[0] += a.x; v[1] += a.y; v[2] += a.z; v[3] += a.w; v[4] += b.x; v[5] += b.y; v[6] += b.z; v[7] += b.w;
    }
    st_global_v4_u32(y + (long long)(token0 + token) * N + column0 + column, pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]), pack_bf16(v[4], v[5]), pack_bf16(v[6], v[7]));
  }`;
  return cudaKernel({
    name,
    header: gemmHeader({ n, k }, schedule, machine),
    params: [
      tensorMap("x_map", { of: "x", dtype: "e4m3", dims: [k, "m"], strides: [k], box: [128, tokens] }),
      tensorMap("w_map", { of: "w", dtype: "e4m3", dims: [k, n], strides: [k], box: [128, columns] }),
      input("x_scale", "f32"),
      input("w_scale", "f32"),
      output("y", "bf16"),
    ],
    dims: ["m"],
    launch: {
      grid: [Math.ceil(n / columns), ceildiv("m", tokens), 1],
      block: math + 64,
      sharedBytes: sharedBytes(schedule, k),
      pdl: true,
      blocksPerSM: blocksPerSm,
      early: ["w", "w_scale"],
    },
    definitions,
    body,
  });
}
