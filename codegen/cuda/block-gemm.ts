// The FP8 block GEMM for sm_90a: y [m, n] bf16 = x [m, k] times w [n, k]^T, e4m3 codes, a scale per row of x and per
// 128 x 128 block of w every 128 columns. This file prints the tall form (x on wgmma's 64-row side) and hands few rows
// to block-gemm-few.ts. Guarantees: any m from 1; refuses n not a multiple of 8 and k not a multiple of 16.
import { DiagnosticError } from "../../ir/diagnostic.ts";
import type { KernelText } from "../../ir/kernel/catalogue.ts";
import { mul } from "../../ir/size.ts";
import {
  gemmHeader, H200, illegal, scheduleName, sharedBytes, STEP, type GemmProblem, type GemmSchedule, type TallSchedule,
} from "../schedules/sm90-gemm.ts";
import { few } from "./block-gemm-few.ts";
import { illegalSchedule } from "./diagnostics.ts";
import { fragments, header, type Fragment } from "./fragments.ts";

/** Prints the kernel of one problem under one legal schedule. */
export function blockGemm(problem: GemmProblem, schedule: GemmSchedule): KernelText {
  const reason = illegal(schedule, H200, problem);
  if (reason !== null) throw new DiagnosticError(illegalSchedule("block_gemm", problem, schedule, reason));
  return schedule.form === "tall" ? tall(problem, schedule) : few(problem, schedule);
}

function tall({ n, k }: GemmProblem, schedule: TallSchedule): KernelText {
  const { rows, stages, cluster, group } = schedule;
  const name = `block_gemm_${n}x${k}_${scheduleName(schedule)}`;
  const paired = cluster === 2;
  const used: Fragment[] = ["types", "barriers", "load", "store", "wgmma", "registers", "scales", "bf16"];
  if (paired) used.push("cluster", "multicast");
  const source = `${header(gemmHeader({ n, k }, schedule))}
${fragments(used, 128)}
constexpr int STEPS = ${Math.ceil(k / STEP)};                    // of 128 columns of k
constexpr int ROWS = ${rows}, COLUMNS = 128;      // a block's tile of y
constexpr int HALVES = ROWS / 128;            // 64-row products of a math warpgroup
constexpr int COLUMN_TILES = ${Math.ceil(n / 128)}, GROUP = ${group};
constexpr int STAGES = ${stages}, X_BYTES = ROWS * 128, STAGE = X_BYTES + COLUMNS * 128;
${paired ? "constexpr int COLUMN_UNITS = (COLUMN_TILES + 1) / 2;  // a cluster owns two neighbouring column tiles\n" : "constexpr int COLUMN_UNITS = COLUMN_TILES;\n"}
// Tiles run down GROUP row tiles before the next column: one wave reuses a few rows of x and a few of w from L2.
__device__ __forceinline__ void locate(int tile, int row_tiles, int& row_tile, int& column_unit) {
  int first = tile / (GROUP * COLUMN_UNITS) * GROUP, height = min(GROUP, row_tiles - first), within = tile % (GROUP * COLUMN_UNITS);
  row_tile = first + within % height;
  column_unit = within / height;
}

extern "C" __global__ void __launch_bounds__(384, 1)
${name}(const __grid_constant__ TensorMap x_map, const __grid_constant__ TensorMap w_map, const __grid_constant__ TensorMap y_map,
    const float* __restrict__ x_scale, const float* __restrict__ w_scale, int m) {
  extern __shared__ u8 raw[];
  const u32 ring = (shared_address(raw) + 1023) & ~1023u;  // the swizzle repeats every 1024 bytes
  const u32 staging = ring + STAGES * STAGE, full = staging + 2 * 16384, empty = full + 8 * STAGES;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int row_tiles = (m + ROWS - 1) / ROWS, tiles = row_tiles * COLUMN_UNITS;
${paired ? "  const int rank = cluster_rank(), first_tile = blockIdx.x / 2, tile_stride = gridDim.x / 2;" : "  const int first_tile = blockIdx.x, tile_stride = gridDim.x;"}

  if (threadIdx.x == 0) {
    for (int s = 0; s < STAGES; s++) {
      barrier_init(full + 8 * s, 1);
      barrier_init(empty + 8 * s, ${paired ? "16" : "8"});  // one arrival a math warp${paired ? ", of both blocks: the rows of x land in both" : ""}
    }
    barrier_init_done();
  }
  ${paired ? "cluster_sync();  // the neighbour's barriers must exist before a copy signals them" : "__syncthreads();"}

  if (warp >= 8) {
    // Producer: one thread keeps the ring full; its registers go to the math warpgroups.
    registers_down<40>();
    if (warp == 8 && lane == 0) {
      prefetch_map(&x_map); prefetch_map(&w_map); prefetch_map(&y_map);
      int stage = 0; u32 phase = 0;
      for (int tile = first_tile; tile < tiles; tile += tile_stride) {
        int row_tile, column_unit;
        locate(tile, row_tiles, row_tile, column_unit);
        const int row0 = row_tile * ROWS, column0 = ${paired ? "(column_unit * 2 + rank)" : "column_unit"} * COLUMNS;
        for (int p = 0; p < STEPS; p++) {
          const u32 x_tile = ring + stage * STAGE, w_tile = x_tile + X_BYTES, barrier = full + 8 * stage;
          barrier_wait(empty + 8 * stage, phase ^ 1);
          barrier_expect(barrier, STAGE);
${
  paired
    ? `          // Each block fetches half of the rows of x for both: L2 hands out every row once per pair.
          copy_in_all(x_tile + rank * (X_BYTES / 2), &x_map, barrier, p * 128, row0 + rank * (ROWS / 2), 3);`
    : "          copy_in(x_tile, &x_map, barrier, p * 128, row0);"
}
          copy_in(w_tile, &w_map, barrier, p * 128, column0);
          if (++stage == STAGES) { stage = 0; phase ^= 1; }
        }
      }
    }
  } else {
    // Math: while one warpgroup scales, the other keeps the tensor cores busy.
    registers_up<232>();
    const int team = warp / 4, slab = warp % 4;
    const u32 out = staging + team * 16384;
    int stage = 0; u32 phase = 0;
    for (int tile = first_tile; tile < tiles; tile += tile_stride) {
      int row_tile, column_unit;
      locate(tile, row_tiles, row_tile, column_unit);
      const int row0 = row_tile * ROWS + team * (ROWS / 2), column_tile = ${paired ? "column_unit * 2 + rank" : "column_unit"};
      // Past the edges any scale will do: the codes there are zeros. The index only has to stay inside.
      const float* w_scales = w_scale + min(column_tile, COLUMN_TILES - 1) * STEPS;
      int scales_at[HALVES][2];
      float sum[HALVES][64];
#pragma unroll
      for (int h = 0; h < HALVES; h++) {
#pragma unroll
        for (int i = 0; i < 2; i++) scales_at[h][i] = min(row0 + h * 64 + slab * 16 + lane / 4 + i * 8, m - 1) * STEPS;
#pragma unroll
        for (int i = 0; i < 64; i++) sum[h][i] = 0.f;
      }

      for (int p = 0; p < STEPS; p++) {
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
          wgmma_wait(part);
          if (h == HALVES - 1 && lane == 0) {  // the stage is read: hand it back before the arithmetic
            ${paired ? "barrier_arrive_at(empty + 8 * stage, 0); barrier_arrive_at(empty + 8 * stage, 1);" : "barrier_arrive(empty + 8 * stage);"}
          }
          const float top = x_now[h][0] * w_now, bottom = x_now[h][1] * w_now;
#pragma unroll
          for (int i = 0; i < 64; i++) sum[h][i] = fmaf(part[i], i & 2 ? bottom : top, sum[h][i]);
        }
        if (++stage == STAGES) { stage = 0; phase ^= 1; }
      }

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
${paired ? "  __syncwarp();\n  cluster_sync();  // a block may not leave while the neighbour still writes into it\n" : ""}}
`;
  return {
    name, language: "cuda", source,
    params: [
      { kind: "tensormap", name: "x_map", of: "x", dtype: "e4m3", dims: [k, "m"], strides: [k], box: [128, rows / cluster], swizzle: 128 },
      { kind: "tensormap", name: "w_map", of: "w", dtype: "e4m3", dims: [k, n], strides: [k], box: [128, 128], swizzle: 128 },
      { kind: "tensormap", name: "y_map", of: "y", dtype: "bf16", dims: [n, "m"], strides: [2 * n], box: [64, 64], swizzle: 128 },
      { kind: "buffer", name: "x_scale", dtype: "f32", access: "in" },
      { kind: "buffer", name: "w_scale", dtype: "f32", access: "in" },
    ],
    dims: ["m"],
    launch: {
      // Whole clusters only.
      grid: [paired ? mul(2, { op: "div", of: ["SMs", 2] }) : "SMs", 1, 1],
      block: 384,
      sharedBytes: sharedBytes(schedule),
      ...(paired ? { cluster: [2, 1, 1] } : {}),
    },
  };
}
