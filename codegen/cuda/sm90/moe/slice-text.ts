// CUDA text that the two kernels of few tokens through their experts share: slices of weights on their way, rows of x as wgmma reads
// them without a swizzle, and the loop over a ring that multiplies both.
import { tensorMap, type Parameter } from "../../text/kernel.ts";
import { STEP } from "../gemm/fp8-schedule.ts";
import {
  mostRows,
  scalePitch,
  scaleRows,
  scaleSlots,
  slicePromotion,
  sliceLayout,
  type ExpertsProblem,
  type SliceSchedule,
} from "./experts-schedule.ts";

/** Constants of problem and schedule, and where things lie. */
export function sliceConstants(p: ExpertsProblem, s: SliceSchedule, threads: string): string {
  const at = sliceLayout(p, s);
  const rows = scaleRows(p, s);
  return `constexpr int PER = ${p.per};                          // experts a token
constexpr int N = ${p.n}, K = ${p.k}, STEPS = ${p.k / STEP};      // rows and columns of an expert's matrix; steps of 128 columns
constexpr int TOKENS = ${s.tokens}, ROWS = ${mostRows(p, s)};             // tokens at most, and pairs of a token and an expert
// Rows of every matrix that this block owns, as many of each part.
constexpr int PARTS = ${p.parts}, SLICE = ${s.rows}, PART_ROWS = ${s.rows / p.parts};
// A ring stage holds K_GROUPS steps, a warpgroup for each; stages of an expert.
constexpr int K_GROUPS = ${s.kGroups}, UNITS = ${p.k / STEP / s.kGroups};
constexpr int PROMOTION = ${slicePromotion(s, p.k)};                        // stages between two drains of the tensor cores
constexpr int MATH = ${128 * s.kGroups}, ${threads}
constexpr int STAGES = ${s.stages}, STAGE = ${at.stage};
// Blocks of 128 rows that a part meets; experts whose scales are here, and the bytes of one.
constexpr int SCALE_ROWS = ${rows}, SCALE_SLOTS = ${scaleSlots(s, p.k)}, SCALE_BYTES = ${p.parts * rows * (p.k / STEP) * 4};
constexpr int PITCH = 16 * TOKENS, X_STEP = 8 * PITCH;  // bytes to the next 16, and the next 128, columns of x
constexpr int X_PITCH = ${scalePitch(s)};                      // floats of a step's scales of x
constexpr int W_SCALES = ${at.wScales}, X = ${at.x}, X_SCALES = ${at.xScales}, SUMS = ${at.sums}, FULL = ${at.full};  // behind the ring
struct Run { int expert, row, end; };          // the rows of an expert that has some`;
}

/** The rows of a block, of each part, and the first of its rows of scales. */
export const blockRows = `const int row0 = blockIdx.x * PART_ROWS, scale_row0 = min(row0 / 128, N / PARTS / 128 - SCALE_ROWS);`;

/** Weights of one stage: its steps in one box, and with an expert's first stage all the scales of its slice. */
export const fetchStage = `auto fetch = [&](int i, int expert) {
  const u32 barrier = full + 8 * (i % STAGES), scales = ring + W_SCALES + i / UNITS % SCALE_SLOTS * SCALE_BYTES;
  const bool first = i % UNITS == 0;
  mbarrier_arrive_expect_tx(barrier, STAGE + (first ? SCALE_BYTES : 0));
  tma_load_4d(ring + i % STAGES * STAGE, &w_map, barrier, 0, row0, expert * PARTS, i % UNITS * K_GROUPS);
  if (first)
    for (int part = 0; part < PARTS; part++)
      cp_async_bulk(scales + part * (SCALE_BYTES / PARTS),
          w_scale + (i64)((expert * PARTS + part) * (N / PARTS / 128) + scale_row0) * STEPS, SCALE_BYTES / PARTS, barrier);
};`;

/** The producer: all stages from `from` on, of the expert that the stage's visit is to. */
export const producer = (
  from: string,
  expert: string,
): string => `// One thread keeps the weights coming: bytes in flight are what bandwidth needs.
if (lane == 0)
  for (int i = ${from}; i < count * UNITS; i++) {
    if (i >= STAGES) mbarrier_wait(empty + 8 * (i % STAGES), (i / STAGES - 1) & 1);
    fetch(i, ${expert});
  }`;

/** The tensor of slices: columns of a step, rows of a part, parts of all experts, steps. */
export const sliceMap = (p: ExpertsProblem, s: SliceSchedule): Parameter =>
  tensorMap("w_map", {
    of: "w",
    dtype: "e4m3",
    dims: [128, p.n / p.parts, p.experts * p.parts, p.k / 128],
    strides: [p.k, (p.n / p.parts) * p.k, 128],
    box: [128, s.rows / p.parts, p.parts, s.kGroups],
  });

/** What a math thread knows of its place: rows lane / 4 and + 8 of its warp's sixteen, columns 2 (lane % 4) and + 1 of the product. */
export const mathPlace = `const int k_group = warp / 4, slice_row = warp % 4 * 16 + lane / 4, column = lane % 4 * 2;
// Of the slice's rows of scales, parts one after the other; rows past the slice take any.
auto scale_of = [&](int row) {
  return min(row / PART_ROWS, PARTS - 1) * SCALE_ROWS + min((row0 + row % PART_ROWS) / 128 - scale_row0, SCALE_ROWS - 1);
};
const int upper_scale = scale_of(slice_row), lower_scale = scale_of(slice_row + 8);`;

/** The product of one expert's slice by its rows, `visit`-th of the block: four sums a thread. */
export const multiplySlice = `float sum[4] = {};
const u32 scales = ring + W_SCALES + visit % SCALE_SLOTS * SCALE_BYTES;
for (int u = 0; u < UNITS; u += PROMOTION) {
  // Two sets of partial sums: while one is scaled and added, the product of the next stage runs.
  float part[2][4];
#pragma unroll
  for (int c = -1; c < PROMOTION; c++) {
    if (c + 1 < PROMOTION) {
      const int next = visit * UNITS + u + c + 1, stage = next % STAGES;
      mbarrier_wait(full + 8 * stage, next / STAGES & 1);
      wgmma_m64n8k128_e4m3_no_swizzle<PITCH>(part[(c + 1) & 1], descriptor_k_major(ring + stage * STAGE + k_group * SLICE * 128),
          descriptor_no_swizzle<PITCH, 0>(x_tile + ((u + c + 1) * K_GROUPS + k_group) * X_STEP));
    }
    if (c < 0) continue;
    const int step = (u + c) * K_GROUPS + k_group;
    const float upper = ld_shared_f32(scales + (upper_scale * STEPS + step) * 4);
    const float lower = PARTS * SCALE_ROWS > 1 ? ld_shared_f32(scales + (lower_scale * STEPS + step) * 4) : upper;
    const float2 x_now = ld_shared_v2_f32(x_scales + (step * X_PITCH + min(column, X_PITCH - 2)) * 4);
    if (c + 1 < PROMOTION) wgmma_wait_group<1>(part[c & 1]);
    else wgmma_wait_group<0>(part[c & 1]);
    if (lane == 0) mbarrier_arrive(empty + 8 * ((visit * UNITS + u + c) % STAGES));
    sum[0] = fmaf(part[c & 1][0], x_now.x * upper, sum[0]);
    sum[1] = fmaf(part[c & 1][1], x_now.y * upper, sum[1]);
    sum[2] = fmaf(part[c & 1][2], x_now.x * lower, sum[2]);
    sum[3] = fmaf(part[c & 1][3], x_now.y * lower, sum[3]);
  }
}`;
