// FP8 products of many rows for sm_90a: x on wgmma's 64-row side, tiles of 128 or 192 rows by 128, a persistent block per multiprocessor.
// Prints the dense product (rows 0 .. m of one matrix) and the grouped one (rows between offsets, a matrix each), by roles: a
// scheduler (persistent-tiles.ts), one thread that produces, two or three warpgroups that multiply, and their epilogue (fp8-epilogue.ts).
import type { Gpu } from "../../../../ir/machine.ts";
import type { KernelText } from "../../../../ir/kernel/catalogue.ts";
import { mul } from "../../../../ir/size.ts";
import { cudaKernel, input, output, tensorMap } from "../../text/kernel.ts";
import { lines } from "../../text/lines.ts";
import { when } from "../../../text.ts";
import { ringBase } from "../../text/ring.ts";
import { groupedStore, sharedTile, stageTile, tmaStore } from "./fp8-epilogue.ts";
import {
  persistentPromotion,
  persistentRows,
  gemmHeader,
  scheduleName,
  sharedBytes,
  STEP,
  type GemmProblem,
  type PersistentSchedule,
} from "./fp8-schedule.ts";
import { alone, pair, type Cluster } from "./persistent-cluster.ts";
import { densePairTiles, denseTiles, groupedTiles, streamKTiles, type TileScheduler } from "./persistent-tiles.ts";

/** A kernel's parts. */
interface Variant {
  problem: GemmProblem & { experts?: number };
  schedule: PersistentSchedule;
  cluster: Cluster;
  tiles: TileScheduler;
  streamK: boolean;
  /** Rows of a tile; threads that multiply, two a row. */
  rows: number;
  math: number;
  form: Form;
  /** Steps of k; those between two drains of the tensor cores; whole runs of these. */
  steps: number;
  chain: number;
  padded: number;
}

function variantOf(problem: Variant["problem"], schedule: PersistentSchedule): Variant {
  const [cluster, streamK] = [schedule.multicast === "x" ? pair : alone, schedule.tail === "stream-k"];
  const dense = streamK ? streamKTiles : cluster === pair ? densePairTiles : denseTiles;
  const steps = Math.ceil(problem.k / STEP);
  const rows = persistentRows(schedule);
  const form = formOf(problem, schedule);
  const chain = form === serial ? 1 : persistentPromotion(schedule, problem.k);
  return {
    rows,
    math: 2 * rows,
    form,
    problem,
    schedule,
    cluster,
    tiles: problem.experts ? groupedTiles(problem.experts) : dense,
    streamK,
    steps,
    chain,
    padded: Math.ceil(steps / chain) * chain,
  };
}

/** What follows from how many warpgroups multiply. */
interface Form {
  inWords: string;
  /** Of a thread that multiplies, and of one that copies. */
  registers: { math: number; copies: number };
  /** Places in the ring. */
  places: string;
  /** The products of a tile. */
  loop(v: Variant): string;
}

const PLACES = "int stage = 0, ahead = 0; u32 phase = 0;  // the stage being added up, and the one being multiplied";

/** A step multiplies while the one before is scaled and added. */
const whole: Form = { inWords: "two", registers: { math: 232, copies: 40 }, places: PLACES, loop: (v) => mainLoop(v) };

/** Half of a step's columns multiply while the other half is scaled and added. */
const halves: Form = { inWords: "three", registers: { math: 160, copies: 32 }, places: PLACES, loop: (v) => halvesLoop(v) };

/** A step is added while other warpgroups multiply: the faster form for experts, whose weights come from memory. */
const serial: Form = { ...halves, places: "int stage = 0; u32 phase = 0;", loop: (v) => serialLoop(v) };

const formOf = ({ experts }: Variant["problem"], { rows }: PersistentSchedule): Form =>
  rows ? (experts ? serial : halves) : whole;

/** Constants and device functions. */
function definitions({ problem: { n, experts }, schedule: { stages, group }, cluster, tiles, streamK, ...v }: Variant): string {
  const ragged = v.padded === v.steps ? "" : ", the last ones of zeros";
  const chains = v.form !== serial;
  const promotion = when(chains, `PROMOTION = ${v.chain}, `);
  const drained = when(chains, "steps between two drains of the tensor cores; ");
  const readsN = experts !== undefined || cluster === pair || streamK;
  return lines(
    readsN && `constexpr int N = ${n};                    // columns of y`,
    `constexpr int STEPS = ${v.steps};                    // of 128 columns of k
constexpr int ROWS = ${v.rows}, COLUMNS = 128;      // a block's tile of y, 64 rows to each of ${v.form.inWords} math warpgroups
constexpr int COLUMN_TILES = ${Math.ceil(n / (cluster.blocks * 128))}, GROUP = ${group};${cluster.columnTiles}
constexpr int STAGES = ${stages}, X_BYTES = ROWS * 128, STAGE = X_BYTES + COLUMNS * 128;
constexpr int ${promotion}PADDED_STEPS = ${v.padded};  // ${drained}all steps${ragged}`,
    tiles.definitions,
  );
}

/** Addresses, barriers, tiles. */
const prologue = ({ cluster, tiles, math }: Variant): string =>
  lines(
    `  extern __shared__ u8 raw[];
  ${ringBase}
  const u32 staging = ring + STAGES * STAGE, full = staging + ${math / 128} * 16384, empty = full + 8 * STAGES;
  // One value a warp: descriptors need no vector registers.
  const int warp = __shfl_sync(~0u, threadIdx.x / 32, 0), lane = threadIdx.x % 32;`,
    cluster.rank,
    tiles.strided && cluster.stride,
    `
  if (threadIdx.x == 0) {
    for (int s = 0; s < STAGES; s++) {
      mbarrier_init(full + 8 * s, 1);
      mbarrier_init(empty + 8 * s, ${cluster.arrivals(math / 32)}
    }
    fence_mbarrier_init();
  }`,
    tiles.start(cluster.sync),
  );

/** One thread: a stage of x and w at a time, weights of the first ring before the kernel before has ended. */
function producer({ cluster, math, form, tiles: { loop, locate, isFirst, steps, wRow } }: Variant): string {
  const loadW = (to: string, barrier: string, step: string): string =>
    `tma_load_2d(${to}, &w_map, ${barrier}, ${step} * 128, ${wRow}column * COLUMNS);`;
  return lines(
    `
  if (warp >= ${math / 32}) {
    // Producer: one thread keeps the ring full; its registers go to the math warpgroups.
    setmaxnreg_dec<${form.registers.copies}>();
    if (warp == ${math / 32} && lane == 0) {
      int stage = 0; u32 phase = 0;
      ${loop}
        ${locate}
        ${cluster.column}
        int fetched = 0;
        if (${isFirst}) {
          // Weights do not wait for the kernel before; the first ring of them is under way while it still runs.
          fetched = min(STAGES, ${steps.count});
          for (int i = 0; i < fetched; i++) {
            mbarrier_arrive_expect_tx(full + 8 * i, STAGE);
            ${loadW("ring + i * STAGE + X_BYTES", "full + 8 * i", steps.prefetched)}
          }
          await_previous();
        }
        for (int p = ${steps.begin}; p < ${steps.end}; p++) {
          const u32 to = ring + stage * STAGE, barrier = full + 8 * stage;
          if (p >= ${steps.afterPrefetched}) {
            mbarrier_wait(empty + 8 * stage, phase ^ 1);
            mbarrier_arrive_expect_tx(barrier, STAGE);
            ${loadW("to + X_BYTES", "barrier", "p")}
          }
          ${cluster.loadX}
          if (++stage == STAGES) { stage = 0; phase ^= 1; }
        }
      }
    }`,
    cluster.producerEnd,
  );
}

/** Two warpgroups: sums of a tile, each step of k scaled in f32; what follows a tile is the epilogue's. */
function consumer(v: Variant): string {
  const { loop, locate, wScaleRow } = v.tiles;
  return lines(
    `  } else {
    // Math: ${v.form.inWords} warpgroups, one above the other on the rows of a tile.
    setmaxnreg_inc<${v.form.registers.math}>();
    await_previous();
    const int warpgroup = warp / 4, warp_row = warp % 4;
    const u32 out = staging + warpgroup * 16384;
    ${v.form.places}
    ${loop}
      ${locate}
      ${v.cluster.column}
      const int row0 = at.row + warpgroup * 64;
      // Past the edges any scale will do: the codes there are zeros, or their sums go nowhere. The index only has to stay inside.
      const float* w_scales = w_scale + ${wScaleRow} * STEPS;
      const float* upper_scales = x_scale + (long long)min(row0 + warp_row * 16 + lane / 4, at.end - 1) * STEPS;
      const float* lower_scales = x_scale + (long long)min(row0 + warp_row * 16 + lane / 4 + 8, at.end - 1) * STEPS;
      float sum[64];
#pragma unroll
      for (int i = 0; i < 64; i++) sum[i] = 0.f;
`,
    v.form.loop(v),
    "",
    v.streamK && sharedTile(v.math),
    stageTile,
    v.problem.experts ? groupedStore : tmaStore,
    "    }\n    if (threadIdx.x % 128 == 0) tma_store_wait();\n  }",
    v.cluster.end,
  );
}

function mainLoop({ cluster, tiles: { steps }, ...v }: Variant): string {
  const next = v.padded === v.steps ? "p + i + 1" : "min(p + i + 1, STEPS - 1)";
  return `      for (int p = ${steps.begin}; p < ${steps.end}; p += PROMOTION) {
        // Two sets of partial sums: while one is scaled and added, the product of the next step runs. The compiler keeps track of
        // products in flight only where it sees all of them, hence chains.
        float part[2][64], w_ahead = 0.f, upper_ahead = 0.f, lower_ahead = 0.f;
#pragma unroll
        for (int i = -1; i < PROMOTION; i++) {
          const float w_now = w_ahead;
          float upper = upper_ahead, lower = lower_ahead;
          // Scales come a step before they are needed: one in eight is not in L1.
          if (i + 1 < PROMOTION)
            w_ahead = ld_global_nc_f32(w_scales + ${next}), upper_ahead = ld_global_nc_f32(upper_scales + ${next}),
                lower_ahead = ld_global_nc_f32(lower_scales + ${next});
          if (i + 1 < PROMOTION) {
            mbarrier_wait(full + 8 * ahead, phase);
            const u32 from = ring + ahead * STAGE;
            wgmma_m64n128k128_e4m3(part[(i + 1) & 1], descriptor_k_major(from + warpgroup * (X_BYTES / 2)),
                descriptor_k_major(from + X_BYTES));
            if (++ahead == STAGES) { ahead = 0; phase ^= 1; }
          }
          if (i < 0) continue;
          if (i + 1 < PROMOTION) wgmma_wait_group<1>(part[i & 1]);
          else wgmma_wait_group<0>(part[i & 1]);
          // The stage is read: hand it back before the arithmetic.
          ${cluster.handBack}
          if (++stage == STAGES) stage = 0;
          upper *= w_now; lower *= w_now;
#pragma unroll
          for (int j = 0; j < 64; j++) sum[j] = fmaf(part[i & 1][j], j & 2 ? lower : upper, sum[j]);
        }
      }`;
}

/** The same in halves of a tile's columns. */
function halvesLoop({ cluster, tiles: { steps }, ...v }: Variant): string {
  const next = v.padded === v.steps ? "p + i / 2" : "min(p + i / 2, STEPS - 1)";
  return `      for (int p = ${steps.begin}; p < ${steps.end}; p += PROMOTION) {
        // Halves of a step's columns take turns: while one is scaled and added, the product of the other runs. Registers hold no more.
        float part[2][32], upper = 0.f, lower = 0.f;
#pragma unroll
        for (int i = 0; i <= 2 * PROMOTION; i++) {
          if (i < 2 * PROMOTION) {
            if (i % 2 == 0) mbarrier_wait(full + 8 * ahead, phase);
            else {
              const float w_now = ld_global_nc_f32(w_scales + ${next});
              upper = ld_global_nc_f32(upper_scales + ${next}) * w_now;
              lower = ld_global_nc_f32(lower_scales + ${next}) * w_now;
            }
            const u32 from = ring + ahead * STAGE;
            wgmma_m64n64k128_e4m3(part[i & 1], descriptor_k_major(from + warpgroup * 8192),
                descriptor_k_major(from + X_BYTES + i % 2 * 8192));
            if (i % 2 == 1 && ++ahead == STAGES) { ahead = 0; phase ^= 1; }
          }
          if (i == 0) continue;
          if (i < 2 * PROMOTION) wgmma_wait_group<1>(part[(i - 1) & 1]);
          else wgmma_wait_group<0>(part[(i - 1) & 1]);
          if (i % 2 == 0) {
            // Both halves are read: hand the stage back before the arithmetic.
            ${cluster.handBack}
            if (++stage == STAGES) stage = 0;
          }
#pragma unroll
          for (int j = 0; j < 32; j++)
            sum[(i - 1) % 2 * 32 + j] = fmaf(part[(i - 1) & 1][j], j & 2 ? lower : upper, sum[(i - 1) % 2 * 32 + j]);
        }
      }`;
}

const serialLoop = ({
  cluster,
  tiles: { steps },
}: Variant): string => `      for (int p = ${steps.begin}; p < ${steps.end}; p++) {
        const float w_now = ld_global_nc_f32(w_scales + p), upper = ld_global_nc_f32(upper_scales + p),
            lower = ld_global_nc_f32(lower_scales + p);
        mbarrier_wait(full + 8 * stage, phase);
        const u32 from = ring + stage * STAGE;
        float part[64];
        wgmma_m64n128k128_e4m3(part, descriptor_k_major(from + warpgroup * 8192), descriptor_k_major(from + X_BYTES));
        wgmma_wait_group<0>(part);
        // The stage is read: hand it back before the arithmetic.
        ${cluster.handBack}
        if (++stage == STAGES) { stage = 0; phase ^= 1; }
#pragma unroll
        for (int j = 0; j < 64; j++) sum[j] = fmaf(part[j], (j & 2 ? lower : upper) * w_now, sum[j]);
      }`;

export function persistent(problem: Variant["problem"], schedule: PersistentSchedule, machine: Gpu): KernelText {
  const { n, k, experts } = problem;
  const v = variantOf(problem, schedule);
  const [op, count] = experts ? [`grouped_gemm_${experts}x`, "r"] : ["block_gemm_", "m"];
  const { blocks } = v.cluster;
  return cudaKernel({
    name: `${op}${n}x${k}_${scheduleName(schedule)}`,
    header: gemmHeader(problem, schedule, machine),
    params: [
      tensorMap("x_map", { of: "x", dtype: "e4m3", dims: [k, count], strides: [k], box: [128, v.rows / blocks] }),
      tensorMap("w_map", { of: "w", dtype: "e4m3", dims: [k, (experts ?? 1) * n], strides: [k], box: [128, 128] }),
      tensorMap("y_map", { of: "y", dtype: "bf16", dims: [n, count], strides: [2 * n], box: [64, 64] }),
      input("x_scale", "f32"),
      input("w_scale", "f32"),
      ...(experts ? [input("offsets", "i32")] : []),
      ...(experts || v.streamK ? [output("y", "bf16")] : []),
    ],
    dims: [count],
    ...(v.streamK ? { workspace: { type: "float", bytes: mul("SMs", v.rows * 512 + 4) } } : {}),
    launch: {
      grid: ["SMs", 1, 1],
      block: v.math + 128,
      sharedBytes: sharedBytes(schedule, k),
      pdl: true,
      blocksPerSM: 1,
      ...(experts ? {} : { early: ["w"] }),
      ...(blocks > 1 ? { cluster: [blocks, 1, 1] as [number, number, number] } : {}),
    },
    definitions: definitions(v),
    body: lines(prologue(v), producer(v), consumer(v)),
  });
}
