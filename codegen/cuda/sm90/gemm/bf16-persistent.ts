// The bf16 GEMM of many rows for sm_90a: y [m, n] = x [m, k] times w [n, k]^T, f32 sums. Tensor cores set the time, so two blocks of
// a cluster share what they read: row tiles above each other, half of the column tile's weights fetched by each and sent to both.
// Any m; refuses rows of x or w that are no multiple of 16 bytes. Tens of rows go to bf16-small-m.ts.
import type { Gpu } from "../../../../ir/machine.ts";
import { DiagnosticError } from "../../../../ir/diagnostic.ts";
import type { KernelText } from "../../../../ir/kernel/catalogue.ts";
import {
  bf16Header,
  bf16Name,
  boxes,
  illegal,
  sharedBytes,
  STEP,
  type Bf16Schedule,
  type Bf16SumProblem,
  type PersistentBf16,
} from "./bf16-schedule.ts";
import type { Bf16Problem } from "./register-schedule.ts";
import { smallMBf16 } from "./bf16-small-m.ts";
import { illegalSchedule } from "../diagnostics.ts";
import { cudaKernel, output, tensorMap, type Parameter } from "../../text/kernel.ts";
import { lines } from "../../text/lines.ts";
import { ringBase } from "../../text/ring.ts";

/** Prints the kernel of one problem under one legal schedule. */
export function bf16Gemm(p: Bf16SumProblem, s: Bf16Schedule, machine: Gpu): KernelText {
  const reason = illegal(s, p, machine);
  if (reason !== null)
    throw new DiagnosticError(illegalSchedule({ op: "linear", problem: { ...p }, schedule: { ...s }, reason }));
  return s.form === "persistent" ? persistent(p, s, machine) : smallMBf16(p, s, machine);
}

/** Constants, and the tile scheduler. */
const definitions = (
  { n, k }: Bf16Problem,
  { columns, stages, group }: PersistentBf16,
): string => `constexpr int STEPS = ${Math.ceil(k / STEP)};                    // of 64 columns of k
constexpr int ROWS = 128, COLUMNS = ${columns};      // a block's tile of y; a cluster's is twice as high
constexpr int COLUMN_TILES = ${Math.ceil(n / columns)}, GROUP = ${group};
constexpr int STAGES = ${stages}, X_BYTES = ROWS * 128, W_HALF = COLUMNS * 64, STAGE = X_BYTES + 2 * W_HALF;

// Tiles run down GROUP row pairs before the next column: one wave reuses a few rows of x and a few of w from L2.
__device__ __forceinline__ void locate(int tile, int row_tiles, int& row_tile, int& column_tile) {
  int first = tile / (GROUP * COLUMN_TILES) * GROUP, height = min(GROUP, row_tiles - first), within = tile % (GROUP * COLUMN_TILES);
  row_tile = first + within % height;
  column_tile = within / height;
}`;

/** Addresses, barriers, tiles. */
const prologue = (s: PersistentBf16): string => `  extern __shared__ u8 raw[];
  ${ringBase}
  const u32 staging = ring + STAGES * STAGE, full = staging + ${2 * boxes(s)} * 8192, empty = full + 8 * STAGES;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, rank = cluster_rank();
  const int row_tiles = (m + 2 * ROWS - 1) / (2 * ROWS), tiles = row_tiles * COLUMN_TILES;

  if (threadIdx.x == 0) {
    for (int i = 0; i < STAGES; i++) {
      mbarrier_init(full + 8 * i, 1);
      mbarrier_init(empty + 8 * i, 16);  // one arrival a math warp of either block: what is sent to both must be free in both
    }
    fence_mbarrier_init();
  }
  cluster_sync();
  release_next();
`;

/** One thread: its rows of x, and half of the columns' weights for both blocks. */
const producer = `  if (warp >= 8) {
    // Producer: one thread keeps the ring full; its registers go to the math warpgroups.
    setmaxnreg_dec<40>();
    if (warp == 8 && lane == 0) {
      int stage = 0; u32 phase = 0;
      for (int tile = blockIdx.x / 2; tile < tiles; tile += gridDim.x / 2) {
        int row_tile, column_tile, fetched = 0;
        locate(tile, row_tiles, row_tile, column_tile);
        const int row0 = (row_tile * 2 + rank) * ROWS, column0 = column_tile * COLUMNS + rank * (COLUMNS / 2);
        if (tile == (int)blockIdx.x / 2) {
          // Weights do not wait for the kernel before; the first ring of them is under way while it still runs.
          fetched = min(STAGES, STEPS);
          for (int i = 0; i < fetched; i++) {
            mbarrier_arrive_expect_tx(full + 8 * i, STAGE);
            tma_load_2d_multicast(ring + i * STAGE + X_BYTES + rank * W_HALF, &w_map, full + 8 * i, i * 64, column0, 3);
          }
          await_previous();
        }
        for (int p = 0; p < STEPS; p++) {
          const u32 x_tile = ring + stage * STAGE, barrier = full + 8 * stage;
          if (p >= fetched) {
            mbarrier_wait(empty + 8 * stage, phase ^ 1);
            mbarrier_arrive_expect_tx(barrier, STAGE);
            tma_load_2d_multicast(x_tile + X_BYTES + rank * W_HALF, &w_map, barrier, p * 64, column0, 3);
          }
          tma_load_2d(x_tile, &x_map, barrier, p * 64, row0);
          if (++stage == STAGES) { stage = 0; phase ^= 1; }
        }
      }
    }`;

/** Two warpgroups: sums of a tile, which stay in the tensor cores' registers over all of k. */
const consumer = (columns: number, output: OutputOf): string =>
  lines(
    `  } else {
    // Math: two warpgroups, 64 rows each.
    setmaxnreg_inc<232>();
    await_previous();
    const int warpgroup = warp / 4, warp_row = warp % 4;`,
    output.staging,
    `    int stage = 0; u32 phase = 0;
    for (int tile = blockIdx.x / 2; tile < tiles; tile += gridDim.x / 2) {
      int row_tile, column_tile;
      locate(tile, row_tiles, row_tile, column_tile);
      const int row0 = (row_tile * 2 + rank) * ROWS + warpgroup * 64;
      float sum[COLUMNS / 2];
      int before = 0;
      for (int p = 0; p < STEPS; p++) {
        mbarrier_wait(full + 8 * stage, phase);
        wgmma_m64n${columns}k64_bf16(sum, descriptor_k_major(ring + stage * STAGE + warpgroup * 8192),
            descriptor_k_major(ring + stage * STAGE + X_BYTES), p != 0);
        // The step before has been read: hand its stage back, to both blocks, while this one multiplies.
        wgmma_wait_group<1>(sum);
        if (p > 0 && lane < 2) mbarrier_arrive_cluster(empty + 8 * before, lane);
        before = stage;
        if (++stage == STAGES) { stage = 0; phase ^= 1; }
      }
      wgmma_wait_group<0>(sum);
      if (lane < 2) mbarrier_arrive_cluster(empty + 8 * before, lane);

${output.store}
    }`,
    output.end,
    `  }
  __syncwarp();    // the producer's lane comes late, and a barrier of the cluster wants whole warps
  cluster_sync();  // the other block may still send into this one's shared memory`,
  );

/** How a tile's sums get to y. */
interface OutputOf {
  staging: string | null;
  store: string;
  end: string | null;
  param: Parameter;
}

/** By TMA where rows of y start at multiples of 16 bytes, else from registers. */
const outputOf = (p: Bf16Problem, s: PersistentBf16): OutputOf =>
  p.y === "bf16" && p.yStride % 8 === 0
    ? {
        staging: `    const u32 out = staging + warpgroup * ${boxes(s) * 8192};`,
        store: tmaStore(boxes(s)),
        end: "    if (threadIdx.x % 128 == 0) tma_store_wait();",
        param: tensorMap("y_map", { of: "y", dtype: "bf16", dims: [p.n, "m"], strides: [2 * p.yStride], box: [64, 64] }),
      }
    : { staging: null, store: storeRegisters(p), end: null, param: output("y", p.y) };

function persistent(p: Bf16Problem, s: PersistentBf16, machine: Gpu): KernelText {
  const { n, k } = p;
  const out = outputOf(p, s);
  return cudaKernel({
    name: `linear_${n}x${k}_${p.y}_${bf16Name(s)}`,
    header: bf16Header(p, s, machine),
    params: [
      tensorMap("x_map", { of: "x", dtype: "bf16", dims: [k, "m"], strides: [2 * p.xStride], box: [64, 128] }),
      tensorMap("w_map", { of: "w", dtype: "bf16", dims: [k, n], strides: [2 * k], box: [64, s.columns / 2] }),
      out.param,
    ],
    dims: ["m"],
    launch: {
      grid: ["SMs", 1, 1],
      block: 384,
      sharedBytes: sharedBytes(s),
      cluster: [2, 1, 1],
      pdl: true,
      early: ["w"],
      blocksPerSM: 1,
    },
    definitions: definitions(p, s),
    body: lines(prologue(s), producer, consumer(s.columns, out)),
  });
}

const tmaStore = (
  boxes: number,
): string => `      // Output: 64 x 64 bf16 at a time through shared memory; TMA writes whole lines and clips both edges.
#pragma unroll
      for (int b = 0; b < COLUMNS / 64; b++) {
        if (threadIdx.x % 128 == 0) tma_store_wait_read<${boxes - 1}>();  // what was in this staging has left it
        bar_sync(1 + warpgroup, 128);
#pragma unroll
        for (int c = 0; c < 8; c += 2) {  // two 8-column chunks a store, in TMA's 128-byte swizzle
          const int row = warp_row * 16 + lane % 16, chunk = c + lane / 16;
          const float* v = sum + b * 32 + c * 4;
          stmatrix_x4(out + b % ${boxes} * 8192 + row * 128 + ((chunk ^ (row % 8)) * 16),
              pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]), pack_bf16(v[4], v[5]), pack_bf16(v[6], v[7]));
        }
        fence_proxy_async();
        bar_sync(1 + warpgroup, 128);
        if (threadIdx.x % 128 == 0) {
          tma_store_2d(&y_map, out + b % ${boxes} * 8192, column_tile * COLUMNS + b * 64, row0);
          tma_store_commit();
        }
      }`;

/** Both columns of a lane's pair where they are one word of y, else one after another. */
const storePair = (p: Bf16Problem): string => {
  const at = `y + (long long)row * ${p.yStride} + column`;
  const f32 = p.y === "f32";
  if (p.yStride % 2 === 0 && p.n % 2 === 0) {
    const pair = f32 ? `*(float2*)(${at}) = make_float2(low, high);` : `*(u32*)(${at}) = pack_bf16(low, high);`;
    return `        if (row < m && column < ${p.n}) ${pair}`;
  }
  const one = (v: string): string => (f32 ? v : `(u16)pack_bf16(${v}, 0.f)`);
  return `        if (row < m && column < ${p.n}) *(${at}) = ${one("low")};
        if (row < m && column + 1 < ${p.n}) *(${at} + 1) = ${one("high")};`;
};

const storeRegisters = (
  p: Bf16Problem,
): string => `      // Output from registers: rows of y do not start at multiples of 16 bytes, or are f32.
      // Four lanes write one row's columns side by side.
#pragma unroll
      for (int i = 0; i < COLUMNS / 2; i += 2) {
        const int row = row0 + warp_row * 16 + lane / 4 + i / 2 % 2 * 8, column = column_tile * COLUMNS + i / 4 * 8 + lane % 4 * 2;
        const float low = sum[i], high = sum[i + 1];
${storePair(p)}
      }`;
