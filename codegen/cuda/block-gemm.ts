// The FP8 block GEMM for sm_90a: y [m, n] bf16 = x [m, k] times w [n, k]^T, e4m3 codes, a scale per row of x and per
// 128 x 128 block of w every 128 columns. This file prints the tall form (x on wgmma's 64-row side) and hands few rows
// to block-gemm-few.ts. Guarantees: any m from 1; refuses n not a multiple of 8 and k not a multiple of 16.
import { DiagnosticError } from "../../ir/diagnostic.ts";
import type { KernelText } from "../../ir/kernel/catalogue.ts";
import {
  gemmHeader, H200, illegal, scheduleName, sharedBytes, STEP, type GemmProblem, type GemmSchedule, type TallSchedule,
} from "../schedules/sm90-gemm.ts";
import { few } from "./block-gemm-few.ts";
import { illegalSchedule } from "./diagnostics.ts";
import { fragments, header } from "./fragments.ts";

/** Prints the kernel of one problem under one legal schedule. */
export function blockGemm(problem: GemmProblem, schedule: GemmSchedule): KernelText {
  const reason = illegal(schedule, H200, problem);
  if (reason !== null) throw new DiagnosticError(illegalSchedule("block_gemm", problem, schedule, reason));
  return schedule.form === "tall" ? tall(problem, schedule) : few(problem, schedule);
}

/** Sums of a warpgroup's 64 or 128 rows, one 64-row product after the other; the other warpgroup computes meanwhile. */
const inTurn = `      for (int p = 0; p < STEPS; p++) {
        float part[64], w_now = load_scale(w_scales + p), x_now[HALVES][2];
#pragma unroll
        for (int h = 0; h < HALVES; h++)
#pragma unroll
          for (int i = 0; i < 2; i++) x_now[h][i] = load_scale(x_scale + scales_at[h][i] + p);
        barrier_wait(full + 8 * stage, phase);
        const u64 x_tile = tile_descriptor(ring + stage * STAGE + team * (X_BYTES / 2)), w_tile = tile_descriptor(ring + stage * STAGE + X_BYTES);
#pragma unroll
        for (int h = 0; h < HALVES; h++) {
          product_128(part, x_tile + h * (64 * 128 / 16), w_tile);
          wgmma_wait<0>(part);
          if (h == HALVES - 1 && lane == 0) barrier_arrive(empty + 8 * stage);  // the stage is read: hand it back before the arithmetic
          const float top = x_now[h][0] * w_now, bottom = x_now[h][1] * w_now;
#pragma unroll
          for (int i = 0; i < 64; i++) sum[h][i] = fmaf(part[i], i & 2 ? bottom : top, sum[h][i]);
        }
        if (++stage == STAGES) { stage = 0; phase ^= 1; }
      }`;

function tall({ n, k }: GemmProblem, schedule: TallSchedule): KernelText {
  const { rows, stages, group } = schedule;
  const name = `block_gemm_${n}x${k}_${scheduleName(schedule)}`;
  const steps = Math.ceil(k / STEP);
  const source = `${header(gemmHeader({ n, k }, schedule))}
${fragments(["types", "barriers", "dependent", "load", "store", "wgmma", "registers", "scales", "bf16"], 128)}
constexpr int STEPS = ${steps};                    // of 128 columns of k
constexpr int ROWS = ${rows}, COLUMNS = 128;      // a block's tile of y
constexpr int HALVES = ROWS / 128;            // 64-row products of a math warpgroup
constexpr int COLUMN_TILES = ${Math.ceil(n / 128)}, GROUP = ${group};
constexpr int STAGES = ${stages}, X_BYTES = ROWS * 128, STAGE = X_BYTES + COLUMNS * 128;

// Tiles run down GROUP row tiles before the next column: one wave reuses a few rows of x and a few of w from L2.
__device__ __forceinline__ void locate(int tile, int row_tiles, int& row_tile, int& column_tile) {
  int first = tile / (GROUP * COLUMN_TILES) * GROUP, height = min(GROUP, row_tiles - first), within = tile % (GROUP * COLUMN_TILES);
  row_tile = first + within % height;
  column_tile = within / height;
}

extern "C" __global__ void __launch_bounds__(384, 1)
${name}(const __grid_constant__ TensorMap x_map, const __grid_constant__ TensorMap w_map, const __grid_constant__ TensorMap y_map,
    const float* __restrict__ x_scale, const float* __restrict__ w_scale, int m) {
  extern __shared__ u8 raw[];
  const u32 ring = (shared_address(raw) + 1023) & ~1023u;  // the swizzle repeats every 1024 bytes
  const u32 staging = ring + STAGES * STAGE, full = staging + 2 * 16384, empty = full + 8 * STAGES;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int row_tiles = (m + ROWS - 1) / ROWS, tiles = row_tiles * COLUMN_TILES;

  if (threadIdx.x == 0) {
    for (int s = 0; s < STAGES; s++) {
      barrier_init(full + 8 * s, 1);
      barrier_init(empty + 8 * s, 8);  // one arrival a math warp
    }
    barrier_init_done();
  }
  __syncthreads();
  release_next();

  if (warp >= 8) {
    // Producer: one thread keeps the ring full; its registers go to the math warpgroups.
    registers_down<40>();
    if (warp == 8 && lane == 0) {
      int stage = 0; u32 phase = 0;
      for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        int row_tile, column_tile, fetched = 0;
        locate(tile, row_tiles, row_tile, column_tile);
        if (tile == (int)blockIdx.x) {
          // Weights do not wait for the kernel before; the first ring of them is under way while it still runs.
          fetched = min(STAGES, STEPS);
          for (int i = 0; i < fetched; i++) {
            barrier_expect(full + 8 * i, STAGE);
            copy_in(ring + i * STAGE + X_BYTES, &w_map, full + 8 * i, i * 128, column_tile * COLUMNS);
          }
          await_previous();
        }
        for (int p = 0; p < STEPS; p++) {
          const u32 x_tile = ring + stage * STAGE, barrier = full + 8 * stage;
          if (p >= fetched) {
            barrier_wait(empty + 8 * stage, phase ^ 1);
            barrier_expect(barrier, STAGE);
            copy_in(x_tile + X_BYTES, &w_map, barrier, p * 128, column_tile * COLUMNS);
          }
          copy_in(x_tile, &x_map, barrier, p * 128, row_tile * ROWS);
          if (++stage == STAGES) { stage = 0; phase ^= 1; }
        }
      }
    }
  } else {
    // Math: two warpgroups side by side on the rows of a tile.
    registers_up<232>();
    await_previous();
    const int team = warp / 4, slab = warp % 4;
    const u32 out = staging + team * 16384;
    int stage = 0; u32 phase = 0;
    for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
      int row_tile, column_tile;
      locate(tile, row_tiles, row_tile, column_tile);
      const int row0 = row_tile * ROWS + team * (ROWS / 2);
      const float* w_scales = w_scale + column_tile * STEPS;
      // Past the edges any scale will do: the codes there are zeros. The index only has to stay inside.
      int scales_at[HALVES][2];
      float sum[HALVES][64];
#pragma unroll
      for (int h = 0; h < HALVES; h++) {
#pragma unroll
        for (int i = 0; i < 2; i++) scales_at[h][i] = min(row0 + h * 64 + slab * 16 + lane / 4 + i * 8, m - 1) * STEPS;
#pragma unroll
        for (int i = 0; i < 64; i++) sum[h][i] = 0.f;
      }

${inTurn}

      // Output: 64 x 128 bf16 through shared memory; the copy engine writes whole lines and clips both edges.
#pragma unroll
      for (int h = 0; h < HALVES; h++) {
        if (threadIdx.x % 128 == 0) copy_out_read();  // the last tile has left the staging
        group_sync(1 + team, 128);
#pragma unroll
        for (int c = 0; c < 16; c += 2) {  // two 8-column chunks a store, in the copy engine's 128-byte swizzle
          const int row = slab * 16 + lane % 16, chunk = c % 8 + lane / 16;
          const float* v = sum[h] + c * 4;
          store_matrices(out + c / 8 * 8192 + row * 128 + ((chunk ^ (row % 8)) * 16),
              pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]), pack_bf16(v[4], v[5]), pack_bf16(v[6], v[7]));
        }
        fence_async();
        group_sync(1 + team, 128);
        if (threadIdx.x % 128 == 0) {
          copy_out(&y_map, out, column_tile * COLUMNS, row0 + h * 64);
          copy_out(&y_map, out + 8192, column_tile * COLUMNS + 64, row0 + h * 64);
          copy_out_commit();
        }
      }
    }
    if (threadIdx.x % 128 == 0) copy_out_wait();
  }
}
`;
  return {
    name, language: "cuda", source,
    params: [
      { kind: "tensormap", name: "x_map", of: "x", dtype: "e4m3", dims: [k, "m"], strides: [k], box: [128, rows], swizzle: 128 },
      { kind: "tensormap", name: "w_map", of: "w", dtype: "e4m3", dims: [k, n], strides: [k], box: [128, 128], swizzle: 128 },
      { kind: "tensormap", name: "y_map", of: "y", dtype: "bf16", dims: [n, "m"], strides: [2 * n], box: [64, 64], swizzle: 128 },
      { kind: "buffer", name: "x_scale", dtype: "f32", access: "in" },
      { kind: "buffer", name: "w_scale", dtype: "f32", access: "in" },
    ],
    dims: ["m"],
    launch: { grid: ["SMs", 1, 1], block: 384, sharedBytes: sharedBytes(schedule), pdl: true },
  };
}
