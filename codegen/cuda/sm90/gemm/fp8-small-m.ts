// The FP8 block GEMM when tokens fill wgmma's 64-row side and a matrix has few tiles: a block takes all tokens of a tile and so few
// columns that every multiprocessor has some, over all of k. Nothing is added up across blocks, which costs 3 us, and a block
// takes half of a multiprocessor: the next kernel's weights are under way while this one finishes.
import type { Gpu } from "../../../../ir/machine.ts";
import type { KernelText } from "../../../../ir/kernel/catalogue.ts";
import { ceildiv } from "../../../../ir/size.ts";
import { cudaKernel, input, output, tensorMap } from "../../text/kernel.ts";
import { lines } from "../../text/lines.ts";
import { ringBase } from "../../text/ring.ts";
import { storeEight } from "./cluster-sums.ts";
import {
  gemmHeader,
  scheduleName,
  sharedBytes,
  smallMPromotion,
  STEP,
  type GemmProblem,
  type SmallMSchedule,
} from "./fp8-schedule.ts";
import { loadScales, scaledUnits } from "./fp8-two-rings.ts";
import { initRings, keepSums, prefetchWeights, producers, type TwoRings } from "./two-rings.ts";

const rings: TwoRings = { step: 128, units: "UNITS", unit: (u) => u, prefetched: "min(STAGES, UNITS)", wRow: "column0" };

/** Which scales of w the columns of a tile have: those of one block of 128 rows of w, or of two, as text. */
interface ColumnScales {
  rows: 1 | 2;
  fetch: string;
  /** Columns before the second block. */
  cut: string;
  read: string;
  scale(x: string): string;
}

const oneScale: ColumnScales = {
  rows: 1,
  fetch: "cp_async_4(w_scales + p * 4, w_scale + min(column0 / 128, (N - 1) / 128) * STEPS + min(p, STEPS - 1));",
  cut: "",
  read: "const float w_low = ld_shared_f32(w_scales + p * 4);",
  scale: (x) => `${x} * w_low`,
};

/** Tiles that begin inside a block of 128 may end in the next one. */
const twoScales: ColumnScales = {
  rows: 2,
  fetch: `for (int r = 0; r < 2; r++)
          cp_async_4(w_scales + (r * UNITS * K_GROUPS + p) * 4,
              w_scale + min(column0 / 128 + r, (N - 1) / 128) * STEPS + min(p, STEPS - 1));`,
  cut: "    const int cut = 128 - column0 % 128;  // columns before the next block of scales\n",
  read: "const float w_low = ld_shared_f32(w_scales + p * 4), w_high = ld_shared_f32(w_scales + (UNITS * K_GROUPS + p) * 4);",
  scale: (x) => `j * 8 < cut ? ${x} * w_low : ${x} * w_high`,
};

/** Constants. */
const definitions = ({ n, k }: GemmProblem, s: SmallMSchedule, math: number): string =>
  `constexpr int N = ${n}, STEPS = ${Math.ceil(k / STEP)};       // columns of y; steps of 128 columns of k
constexpr int TOKENS = ${s.tokens}, COLUMNS = ${s.columns};  // a tile: rows of x by rows of w
// A ring stage holds K_GROUPS steps, each for its own warpgroups.
constexpr int K_GROUPS = ${s.kGroups}, UNITS = (STEPS + K_GROUPS - 1) / K_GROUPS;
constexpr int PROMOTION = ${smallMPromotion(s, k)};                  // units between two drains of the tensor cores
constexpr int MATH = ${math};  // threads that multiply; a warp more copies w, another x
constexpr int STAGES = ${s.stages}, X_STAGES = ${s.xStages};
constexpr int W_BYTES = COLUMNS * 128, X_BYTES = TOKENS * 128;
constexpr int SUMS = COLUMNS / 2;               // sums a thread holds
constexpr int X_PITCH = TOKENS + 2, PITCH = COLUMNS + 8;  // floats a step of x's scales, a token of sums: padded against bank conflicts`;

/** Addresses, barriers, the first weights. */
const prologue = ({ rows }: ColumnScales): string => `  extern __shared__ u8 raw[];
  ${ringBase}
  const u32 x_ring = ring + STAGES * K_GROUPS * W_BYTES, x_scales = x_ring + X_STAGES * K_GROUPS * X_BYTES,
      w_scales = x_scales + UNITS * K_GROUPS * X_PITCH * 4;
  const u32 full = (w_scales + ${rows} * UNITS * K_GROUPS * 4 + 7) & ~7u, empty = full + 8 * STAGES,
      x_full = empty + 8 * STAGES, x_empty = x_full + 8 * X_STAGES;
  // One value a warp: descriptors need no vector registers.
  const int warp = __shfl_sync(~0u, threadIdx.x / 32, 0), lane = threadIdx.x % 32;
  const int token0 = blockIdx.y * TOKENS, column0 = blockIdx.x * COLUMNS;

  if (threadIdx.x == MATH) {
${initRings}
    fence_mbarrier_init();
${prefetchWeights(rings)}
  }
  __syncthreads();
  release_next();`;

/** Math warpgroups: 64 tokens each, of one step of every stage; sums go where the rings were. */
const consumer = (scales: ColumnScales, columns: number, chain: number): string =>
  lines(
    `  if (warp < MATH / 32) {
    const int warpgroup = warp / 4, part_rows = warpgroup % (TOKENS / 64), k_group = warpgroup / (TOKENS / 64),
        row = part_rows * 64 + warp % 4 * 16 + lane / 4;
    // Scales of all steps at once, without passing through registers; past the ends any finite scale will do.`,
    loadScales("UNITS * K_GROUPS", "p", scales.fetch),
    scales.cut,
    scaledUnits({
      units: rings.units,
      chain,
      multiply: `          const u32 w_tile = ring + (stage * K_GROUPS + k_group) * W_BYTES,
              x_tile = x_ring + (x_stage * K_GROUPS + k_group) * X_BYTES + part_rows * 8192;
          wgmma_m64n${columns}k128_e4m3(part[(i + 1) & 1], descriptor_k_major(x_tile), descriptor_k_major(w_tile));`,
      scales: `        ${scales.read}
        const float upper = ld_shared_f32(x_scales + (p * X_PITCH + row) * 4),
            lower = ld_shared_f32(x_scales + (p * X_PITCH + row + 8) * 4);`,
      handBack: "        // The stages are read: hand them back before the arithmetic.",
      accumulate: `#pragma unroll
        for (int j = 0; j < COLUMNS / 8; j++) {
          const float above = ${scales.scale("upper")}, below = ${scales.scale("lower")};
          sum[4 * j] = fmaf(part[i & 1][4 * j], above, sum[4 * j]);
          sum[4 * j + 1] = fmaf(part[i & 1][4 * j + 1], above, sum[4 * j + 1]);
          sum[4 * j + 2] = fmaf(part[i & 1][4 * j + 2], below, sum[4 * j + 2]);
          sum[4 * j + 3] = fmaf(part[i & 1][4 * j + 3], below, sum[4 * j + 3]);
        }`,
    }),
    keepSums,
    "  }",
  );

/** By the warps that multiplied, once all have met. */
const epilogue = `  __syncthreads();

  // Output: 8 columns of a token a thread, added up over steps in their order, 16 bytes a store, by the warps that multiplied.
  const int chunks = min(TOKENS, m - token0) * (COLUMNS / 8);
  for (int c = threadIdx.x < MATH ? threadIdx.x : chunks; c < chunks; c += MATH) {
    const int token = c / (COLUMNS / 8), column = c % (COLUMNS / 8) * 8;
    if (column0 + column >= N) continue;
    float v[8] = {};
#pragma unroll
    for (int d = 0; d < K_GROUPS; d++) {
      const u32 from = ring + (d * TOKENS * PITCH + token * PITCH + column) * 4;
      const float4 a = ld_shared_v4_f32(from), b = ld_shared_v4_f32(from + 16);
      v[0] += a.x; v[1] += a.y; v[2] += a.z; v[3] += a.w; v[4] += b.x; v[5] += b.y; v[6] += b.z; v[7] += b.w;
    }
${storeEight("N")}
  }`;

/** Prints the kernel of one problem. */
export function smallM({ n, k }: GemmProblem, schedule: SmallMSchedule, machine: Gpu): KernelText {
  const { tokens, columns, kGroups, blocksPerSm } = schedule;
  const math = (tokens / 64) * kGroups * 128;
  const scales = 128 % columns === 0 ? oneScale : twoScales;
  return cudaKernel({
    name: `block_gemm_${n}x${k}_${scheduleName(schedule)}`,
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
    definitions: definitions({ n, k }, schedule, math),
    body: lines(prologue(scales), producers(rings, "STAGES"), consumer(scales, columns, smallMPromotion(schedule, k)), epilogue),
  });
}
