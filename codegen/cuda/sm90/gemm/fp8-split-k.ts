// The FP8 block GEMM when rows of x are few: weights on wgmma's 64-row side, tokens on the narrow one. Time is the time to read
// w and to get going, so a block is small enough for two on a multiprocessor: the next kernel's blocks fetch weights while this
// one's finish. k is cut over a cluster where tiles are few; each sends the others their shares of the sums (cluster-sums.ts).
import type { Gpu } from "../../../../ir/machine.ts";
import type { KernelText } from "../../../../ir/kernel/catalogue.ts";
import { add, ceildiv } from "../../../../ir/size.ts";
import { cudaKernel, input, output, tensorMap } from "../../text/kernel.ts";
import { indented, lines } from "../../text/lines.ts";
import { ringBase } from "../../text/ring.ts";
import { addSums, finishTile, storeEight, type Sums } from "./cluster-sums.ts";
import {
  gemmHeader,
  scheduleName,
  sharedBytes,
  STEP,
  splitKPromotion,
  type GemmProblem,
  type SplitKSchedule,
} from "./fp8-schedule.ts";
import { loadScales, scaledUnits } from "./fp8-two-rings.ts";
import { denseRows, expertRuns, type BlockRows } from "./split-k-rows.ts";
import { initRings, produceTokens, produceWeights, type TwoRings } from "./two-rings.ts";

const sums: Sums = {
  width: "8",
  bytes: "32",
  columns: "ROWS",
  add: "add8",
  summary: "Eight neighbouring sums",
  wide: true,
};

/** A kernel's parts. */
interface Variant {
  problem: GemmProblem & { experts?: number };
  schedule: SplitKSchedule;
  rows: BlockRows;
  rings: TwoRings;
  /** Threads that multiply. */
  math: number;
  /** Units between two drains of the tensor cores. */
  chain: number;
  /**
   * 128 tokens in two sets of sums: more registers than an equal share, so the copying warps, a whole warpgroup then, give up theirs.
   */
  registersMove: boolean;
  cluster: boolean;
}

function variantOf(problem: Variant["problem"], schedule: SplitKSchedule): Variant {
  const rows = problem.experts ? expertRuns(problem.experts) : denseRows;
  const chain = splitKPromotion(schedule, problem.k);
  return {
    problem,
    schedule,
    rows,
    rings: { step: 128, units: "end - begin", unit: (u) => `(begin + ${u})`, prefetched: "ahead", wRow: rows.wRow },
    math: (schedule.rows / 64) * schedule.kGroups * 128,
    chain,
    registersMove: chain > 1 && schedule.tokens === 128,
    cluster: schedule.split > 1,
  };
}

/** Constants and device functions. */
const definitions = ({ problem: { n, k }, schedule: s, rows, math, chain, cluster }: Variant): string =>
  lines(
    `constexpr int N = ${n}, STEPS = ${Math.ceil(k / STEP)};       // columns of y; steps of 128 columns of k
constexpr int ROWS = ${s.rows}, TOKENS = ${s.tokens};      // a tile: rows of w by rows of x
// A ring stage holds K_GROUPS steps, each for its own warpgroups.
constexpr int K_GROUPS = ${s.kGroups}, UNITS = (STEPS + K_GROUPS - 1) / K_GROUPS;
constexpr int SPLIT = ${s.split};                  // blocks that share the k of a tile
constexpr int MAX_STEPS = (UNITS + SPLIT - 1) / SPLIT * K_GROUPS;  // steps a block may have
constexpr int PROMOTION = ${chain};                  // units between two drains of the tensor cores
constexpr int MATH = ${math};                  // threads that multiply; a warp more copies w, another x
constexpr int STAGES = ${s.stages}, X_STAGES = ${s.xStages};    // weights come from afar and need the longer ring
constexpr int W_BYTES = ROWS * 128, X_BYTES = TOKENS * 128;
constexpr int SUMS = TOKENS / 2;                // sums a thread holds
constexpr int X_PITCH = TOKENS + 2, PITCH = ROWS + 4;  // floats a step of x's scales, a token of sums: padded against bank conflicts`,
    cluster &&
      "constexpr int SLOT = (ROWS * TOKENS / 8 + SPLIT - 1) / SPLIT * 32;  // bytes of sums from another block: a share of the tile",
    rows.definitions,
    addSums(sums),
  );

/** Where the barriers lie, with what others send in front of them. */
const barriersAt = (cluster: boolean): string =>
  cluster
    ? "inbox = (w_scales + MAX_STEPS * 4 + 15) & ~15u, inbox_full = inbox + (SPLIT - 1) * SLOT, full = inbox_full + 8"
    : "full = (w_scales + MAX_STEPS * 4 + 7) & ~7u";

/** Addresses, barriers, the first weights, the block's rows. */
const prologue = ({ rows, rings, cluster }: Variant): string =>
  lines(
    `  extern __shared__ u8 raw[];
  ${ringBase}
  const u32 x_ring = ring + STAGES * K_GROUPS * W_BYTES, x_scales = x_ring + X_STAGES * K_GROUPS * X_BYTES,
      w_scales = x_scales + MAX_STEPS * X_PITCH * 4;
  const u32 ${barriersAt(cluster)}, empty = full + 8 * STAGES, x_full = empty + 8 * STAGES, x_empty = x_full + 8 * X_STAGES;
  // One value a warp: descriptors need no vector registers.
  const int warp = __shfl_sync(~0u, threadIdx.x / 32, 0), lane = threadIdx.x % 32;
  const int rank = blockIdx.x, column0 = blockIdx.${rows.columnAxis} * ROWS;
${rows.place}
  const int begin = rank * UNITS / SPLIT, end = (rank + 1) * UNITS / SPLIT, ahead = min(STAGES, end - begin);

  if (threadIdx.x == MATH) {
${initRings}`,
    cluster && "    mbarrier_init(inbox_full, 1);",
    "    fence_mbarrier_init();",
    rows.prefetch(rings),
    "  }",
    rows.find,
    "  __syncthreads();\n  release_next();",
    cluster && "  cluster_arrive_relaxed();  // whoever has seen all blocks do so may send to them",
    rows.enter,
  );

/** A thread for the weights, one for the tokens. */
const producers = ({ rows, rings, registersMove }: Variant): string =>
  lines(
    "\n  if (warp >= MATH / 32) {",
    registersMove && "    setmaxnreg_dec<40>();",
    `    if (warp == MATH / 32 && lane == 0) {
${indented(produceWeights(rings, rows.firstUnit, "if (u >= STAGES) "))}
    }
    if (warp == MATH / 32 + 1 && lane == 0) {
${indented(produceTokens(rings))}
    }
    __syncwarp();`,
  );

/** The columns of a product are tokens: each pair of registers has its own two scales. */
const accumulate = `        // Columns of the product are tokens: each pair of registers has its own two scales.
#pragma unroll
        for (int j = 0; j < TOKENS / 8; j++) {
          const float2 x_now = ld_shared_v2_f32(x_scales + (p * X_PITCH + j * 8 + lane % 4 * 2) * 4);
#pragma unroll
          for (int v = 4 * j; v < 4 * j + 4; v++) sum[v] = fmaf(part[i & 1][v], (v & 1 ? x_now.y : x_now.x) * w_now, sum[v]);
        }`;

/** Math warpgroups: 64 rows of w each, of one step of every stage; sums go where the ring was. */
const consumer = ({ schedule: { tokens }, rows, rings, chain, registersMove }: Variant): string =>
  lines(
    "  } else {",
    registersMove && "    setmaxnreg_inc<232>();",
    `    const int warpgroup = warp / 4, part_rows = warpgroup % (ROWS / 64), k_group = warpgroup / (ROWS / 64), warp_row = warp % 4;
    // Scales of all the block's steps at once, without passing through registers; past the ends any finite scale will do.
    const int first = begin * K_GROUPS, count = (end - begin) * K_GROUPS;`,
    loadScales(
      "count",
      "first + p",
      `cp_async_4(w_scales + p * 4, w_scale + ${rows.wScaleRow} * STEPS + min(first + p, STEPS - 1));`,
    ),
    "",
    scaledUnits({
      units: rings.units,
      chain,
      multiply: `          const u32 w_tile = ring + (stage * K_GROUPS + k_group) * W_BYTES + part_rows * 8192,
              x_tile = x_ring + (x_stage * K_GROUPS + k_group) * X_BYTES;
          wgmma_m64n${tokens}k128_e4m3(part[(i + 1) & 1], descriptor_k_major(w_tile), descriptor_k_major(x_tile));`,
      scales: "        const float w_now = ld_shared_f32(w_scales + (part_rows / 2 * MAX_STEPS + p) * 4);",
      accumulate,
    }),
    `    const u32 sums = ring + k_group * (TOKENS * PITCH * 4) + (part_rows * 64 + warp_row * 16 + lane / 4) * 4;
#pragma unroll
    for (int j = 0; j < TOKENS / 8; j++)
#pragma unroll
      for (int i = 0; i < 4; i++)
        st_shared_f32(sums + ((j * 8 + lane % 4 * 2 + i % 2) * PITCH + i / 2 * 8) * 4, sum[4 * j + i]);
  }`,
  );

/** By the warps that multiplied, once all have met. */
const epilogue = ({ cluster }: Variant): string =>
  lines(
    `  __syncthreads();

  // Output: 8 columns of a token a thread, added up over steps and blocks in their order, 16 bytes a store. The warps that copied
  // leave it to the others, for racecheck does not see them pass the barrier above.`,
    finishTile(sums, cluster, storeEight("N")),
  );

/** A plain product, or with `experts` a product for every run of rows between two offsets, each by its own n x k matrix. */
export function splitK(problem: Variant["problem"], schedule: SplitKSchedule, machine: Gpu): KernelText {
  const { n, k, experts } = problem;
  const { rows, tokens, split, blocksPerSm } = schedule;
  const v = variantOf(problem, schedule);
  const [op, count] = experts ? [`grouped_gemm_${experts}x`, "r"] : ["block_gemm_", "m"];
  const columns = Math.ceil(n / rows);
  return cudaKernel({
    name: `${op}${n}x${k}_${scheduleName(schedule)}`,
    header: gemmHeader(problem, schedule, machine),
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
        ? [split, columns, add({ op: "min", of: ["r", experts] }, { op: "div", of: ["r", tokens] })]
        : [split, ceildiv("m", tokens), columns],
      block: v.math + (v.registersMove ? 128 : 64),
      sharedBytes: sharedBytes(schedule, k),
      pdl: true,
      blocksPerSM: blocksPerSm,
      ...(experts ? {} : { early: ["w", "w_scale"] }),
      ...(v.cluster ? { cluster: [split, 1, 1] as [number, number, number] } : {}),
    },
    definitions: definitions(v),
    body: lines(prologue(v), producers(v), consumer(v), epilogue(v)),
  });
}
