// FP8 products of many rows for sm_90a: x on wgmma's 64-row side, tiles of 128 x 128, a persistent block per multiprocessor.
// Prints the dense product (rows 0 .. m of one matrix) and the grouped one (rows between offsets, a matrix each).
import type { Gpu } from "../../../../ir/machine.ts";
import type { KernelText } from "../../../../ir/kernel/catalogue.ts";
import { mul } from "../../../../ir/size.ts";
import {
  persistentPromotion,
  gemmHeader,
  scheduleName,
  sharedBytes,
  STEP,
  type GemmProblem,
  type PersistentSchedule,
} from "./fp8-schedule.ts";
import { cudaKernel, input, output, tensorMap } from "../../text/kernel.ts";

/** One matrix: tiles run down GROUP row tiles before the next column. */
const locateDense = `// Tiles run down GROUP row tiles before the next column: one wave reuses a few rows of x and a few of w from L2.
struct Tile { int row, end, column; };
__device__ __forceinline__ Tile locate(int tile, int row_tiles, int m) {
  const int first = tile / (GROUP * COLUMN_TILES) * GROUP, height = min(GROUP, row_tiles - first), within = tile % (GROUP * COLUMN_TILES);
  return {(first + within % height) * ROWS, m, within / height};
}
`;

/** A matrix an expert: the same within an expert, whose tiles follow those of the experts before it. */
const locateGrouped = (
  experts: number,
): string => `// Row tiles before each expert, by one warp, ${Math.ceil(experts / 32)} experts a lane.
__device__ __forceinline__ void count_tiles(const int* __restrict__ offsets, int* before, int lane) {
  int carry = 0;
#pragma unroll
  for (int e = lane; e - lane <= EXPERTS; e += 32) {
    const int tiles = (offsets[min(e + 1, EXPERTS)] - offsets[min(e, EXPERTS)] + ROWS - 1) / ROWS;
    const int sum = warp_running_sum(tiles);
    if (e <= EXPERTS) before[e] = carry + sum - tiles;
    carry += __shfl_sync(~0u, sum, 31);
  }
}

// Tiles run expert by expert, and within one down GROUP row tiles before the next column. A role's tiles only grow, so the
// search for the expert goes on where it was.
struct Tile { int row, end, column; };
__device__ __forceinline__ Tile locate(int tile, const int* before, const int* __restrict__ offsets, int& expert) {
  while (tile >= before[expert + 1] * COLUMN_TILES) expert++;
  const int start = offsets[expert], row_tiles = before[expert + 1] - before[expert], at = tile - before[expert] * COLUMN_TILES;
  const int first = at / (GROUP * COLUMN_TILES) * GROUP, height = min(GROUP, row_tiles - first), within = at % (GROUP * COLUMN_TILES);
  return {start + (first + within % height) * ROWS, offsets[expert + 1], within / height};
}
`;

/** Turns of a block when the tiles of the last wave are cut: whole tiles, then a part of one. */
const findTurn = `// The turn-th piece of work of this block: a whole tile, or at last the steps begin .. end of one that blocks share.
__device__ __forceinline__ void find_turn(int turn, int whole, int parts, int& tile, int& begin, int& end) {
  const bool shared = turn == whole;
  tile = turn * gridDim.x + (shared ? blockIdx.x / parts : blockIdx.x);
  const int part = shared ? blockIdx.x % parts : 0, of = shared ? parts : 1;
  begin = part * CHAINS / of * CHAIN;
  end = (part + 1) * CHAINS / of * CHAIN;
}
`;

const TURNS = `  // What the last wave leaves over goes to as many blocks as there are for each tile.
  const int blocks = gridDim.x, whole = tiles / blocks, left = tiles % blocks, parts = left ? min(blocks / left, CHAINS) : 1;
  const int turns = whole + ((int)blockIdx.x < left * parts);
`;

/** Adds up a tile whose k was cut, in the order of its parts: same bits every run. */
const SHARED_TILE = `      if (end - begin < ROUNDED) {
        // A shared tile: all blocks leave their sums in memory (L2), meet, and each finishes a share of the columns.
        const int part = blockIdx.x % parts, first = blockIdx.x - part;
        float4* sums = (float4*)workspace;
        int* counter = (int*)(sums + blocks * 4096) + blockIdx.x / parts;
#pragma unroll
        for (int i = 0; i < 16; i++) sums[(blockIdx.x * 16 + i) * 256 + threadIdx.x] = make_float4(sum[4 * i], sum[4 * i + 1], sum[4 * i + 2], sum[4 * i + 3]);
        __threadfence();
        bar_sync(3, 256);
        if (threadIdx.x == 0) {
          atomicAdd(counter, 1);
          while (ld_acquire_s32(counter) < parts) { }
        }
        bar_sync(3, 256);
        for (int chunk = part * 16 / parts; chunk < (part + 1) * 16 / parts; chunk++) {
          float4 v = make_float4(0.f, 0.f, 0.f, 0.f);
          for (int s = 0; s < parts; s++) {
            const float4 more = ld_global_cg_v4_f32(sums + ((first + s) * 16 + chunk) * 256 + threadIdx.x);
            v.x += more.x; v.y += more.y; v.z += more.z; v.w += more.w;
          }
          const int row = row0 + slab * 16 + lane / 4, at_column = column * COLUMNS + chunk * 8 + lane % 4 * 2;
          if (at_column < N) {
            if (row < m) *(u32*)(y + (long long)row * N + at_column) = pack_bf16(v.x, v.y);
            if (row + 8 < m) *(u32*)(y + (long long)(row + 8) * N + at_column) = pack_bf16(v.z, v.w);
          }
        }
        // The last to have read makes the counter ready for the next launch.
        bar_sync(3, 256);
        if (threadIdx.x == 0 && atomicAdd(counter, 1) == 2 * parts - 1) *counter = 0;
        continue;
      }
`;

export function persistent(
  { n, k, experts }: GemmProblem & { experts?: number },
  schedule: PersistentSchedule,
  machine: Gpu,
): KernelText {
  const { stages, group, multicast, tail } = schedule;
  const name = `${experts ? `grouped_gemm_${experts}x` : "block_gemm_"}${n}x${k}_${scheduleName(schedule)}`;
  const steps = Math.ceil(k / STEP);
  const chain = persistentPromotion(k);
  const padded = Math.ceil(steps / chain) * chain;
  const pair = multicast === "x";
  const cut = tail === "stream-k";
  const count = experts ? "r" : "m";
  const eachTile = cut
    ? "for (int turn = 0, tile, begin, end; turn < turns; turn++) {\n      find_turn(turn, whole, parts, tile, begin, end);"
    : "for (int tile = first_tile; tile < tiles; tile += stride) {";
  const step = padded === steps ? "p + i + 1" : "min(p + i + 1, STEPS - 1)";
  const located = (indent: string): string =>
    [
      experts ? "const Tile at = locate(tile, before, offsets, expert);" : "const Tile at = locate(tile, row_tiles, m);",
      pair ? "const int column = at.column * 2 + rank;" : "const int column = at.column;",
    ]
      .map((l) => indent + l)
      .join("\n");
  const copyW = (to: string, barrier: string, p: string): string =>
    `tma_load_2d(${to}, &w_map, ${barrier}, ${p} * 128, ${experts ? "expert * N + " : ""}column * COLUMNS);`;
  const copyX = pair
    ? "tma_load_2d_multicast(to + rank * (X_BYTES / 2), &x_map, barrier, p * 128, at.row + rank * (ROWS / 2), 3);  // this block's half, to both"
    : "tma_load_2d(to, &x_map, barrier, p * 128, at.row);";
  const definitions = `${experts || pair || cut ? `constexpr int N = ${n};                    // columns of y\n` : ""}constexpr int STEPS = ${steps};                    // of 128 columns of k
constexpr int ROWS = 128, COLUMNS = 128;      // a block's tile of y, 64 rows to each of two math warpgroups
constexpr int COLUMN_TILES = ${Math.ceil(n / (pair ? 256 : 128))}, GROUP = ${group};${pair ? "  // columns of tiles, two to a pair of blocks" : ""}
constexpr int STAGES = ${stages}, X_BYTES = ROWS * 128, STAGE = X_BYTES + COLUMNS * 128;
constexpr int CHAIN = ${chain}, ROUNDED = ${padded};  // steps between two drains of the tensor cores; all steps${padded === steps ? "" : ", the last ones of zeros"}
${cut ? "constexpr int CHAINS = ROUNDED / CHAIN;\n" : ""}${experts ? `constexpr int EXPERTS = ${experts};\n` : ""}
${experts ? locateGrouped(experts) : locateDense}${cut ? findTurn : ""}`;
  const body = `  extern __shared__ u8 raw[];
  const u32 ring = (shared_address(raw) + 1023) & ~1023u;  // the swizzle repeats every 1024 bytes
  const u32 staging = ring + STAGES * STAGE, full = staging + 2 * 16384, empty = full + 8 * STAGES;
  const int warp = __shfl_sync(~0u, threadIdx.x / 32, 0), lane = threadIdx.x % 32;  // one value a warp: descriptors need no vector registers
${pair ? "  const int rank = cluster_rank();\n" : ""}${cut ? "" : `  const int first_tile = ${pair ? "blockIdx.x / 2, stride = gridDim.x / 2" : "blockIdx.x, stride = gridDim.x"};\n`}
  if (threadIdx.x == 0) {
    for (int s = 0; s < STAGES; s++) {
      mbarrier_init(full + 8 * s, 1);
      mbarrier_init(empty + 8 * s, ${pair ? 16 : 8});  // one arrival a math warp${pair ? ", of both blocks" : ""}
    }
    fence_mbarrier_init();
  }
${
  experts
    ? `  __shared__ int before[EXPERTS + 1];
  if (warp == 0) {
    await_previous();  // the router may just have written them
    count_tiles(offsets, before, lane);
  }
  ${pair ? "cluster_sync();  // the other block's copies name these barriers\n  " : ""}__syncthreads();
  release_next();
  const int tiles = before[EXPERTS] * COLUMN_TILES;
  int expert = 0;
`
    : `  ${pair ? "cluster_sync();  // the other block's copies name these barriers" : "__syncthreads();"}
  release_next();
  const int row_tiles = (m + ROWS - 1) / ROWS, tiles = row_tiles * COLUMN_TILES;
${cut ? TURNS : ""}`
}
  if (warp >= 8) {
    // Producer: one thread keeps the ring full; its registers go to the math warpgroups.
    setmaxnreg_dec<40>();
    if (warp == 8 && lane == 0) {
      int stage = 0; u32 phase = 0;
      ${eachTile}
${located("        ")}
        int fetched = 0;
        if (${cut ? "turn == 0" : "tile == first_tile"}) {
          // Weights do not wait for the kernel before; the first ring of them is under way while it still runs.
          fetched = min(STAGES, ${cut ? "end - begin" : "ROUNDED"});
          for (int i = 0; i < fetched; i++) {
            mbarrier_arrive_expect_tx(full + 8 * i, STAGE);
            ${copyW("ring + i * STAGE + X_BYTES", "full + 8 * i", cut ? "(begin + i)" : "i")}
          }
          await_previous();
        }
        for (int p = ${cut ? "begin" : "0"}; p < ${cut ? "end" : "ROUNDED"}; p++) {
          const u32 to = ring + stage * STAGE, barrier = full + 8 * stage;
          if (p >= ${cut ? "begin + fetched" : "fetched"}) {
            mbarrier_wait(empty + 8 * stage, phase ^ 1);
            mbarrier_arrive_expect_tx(barrier, STAGE);
            ${copyW("to + X_BYTES", "barrier", "p")}
          }
          ${copyX}
          if (++stage == STAGES) { stage = 0; phase ^= 1; }
        }
      }
    }
${pair ? "    __syncwarp();\n" : ""}  } else {
    // Math: two warpgroups, one above the other on the rows of a tile.
    setmaxnreg_inc<232>();
    await_previous();
    const int team = warp / 4, slab = warp % 4;
    const u32 out = staging + team * 16384;
    int stage = 0, ahead = 0; u32 phase = 0;  // the stage being added up, and the one being multiplied
    ${eachTile}
${located("      ")}
      const int row0 = at.row + team * 64;
      // Past the edges any scale will do: the codes there are zeros, or their sums go nowhere. The index only has to stay inside.
      const float* w_scales = w_scale + ${experts ? "(expert * (N / 128) + column)" : pair ? "min(column, (N - 1) / 128)" : "column"} * STEPS;
      const float* upper_scales = x_scale + (long long)min(row0 + slab * 16 + lane / 4, at.end - 1) * STEPS;
      const float* lower_scales = x_scale + (long long)min(row0 + slab * 16 + lane / 4 + 8, at.end - 1) * STEPS;
      float sum[64];
#pragma unroll
      for (int i = 0; i < 64; i++) sum[i] = 0.f;

      for (int p = ${cut ? "begin" : "0"}; p < ${cut ? "end" : "ROUNDED"}; p += CHAIN) {
        // Two sets of partial sums: while one is scaled and added, the product of the next step runs. The compiler keeps track of
        // products in flight only where it sees all of them, hence chains.
        float part[2][64], w_ahead = 0.f, upper_ahead = 0.f, lower_ahead = 0.f;
#pragma unroll
        for (int i = -1; i < CHAIN; i++) {
          const float w_now = w_ahead;
          float upper = upper_ahead, lower = lower_ahead;
          // Scales come a step before they are needed: one in eight is not in L1.
          if (i + 1 < CHAIN) w_ahead = ld_global_nc_f32(w_scales + ${step}), upper_ahead = ld_global_nc_f32(upper_scales + ${step}), lower_ahead = ld_global_nc_f32(lower_scales + ${step});
          if (i + 1 < CHAIN) {
            mbarrier_wait(full + 8 * ahead, phase);
            const u32 from = ring + ahead * STAGE;
            wgmma_m64n128k128_e4m3(part[(i + 1) & 1], descriptor_k_major(from + team * (X_BYTES / 2)), descriptor_k_major(from + X_BYTES));
            if (++ahead == STAGES) { ahead = 0; phase ^= 1; }
          }
          if (i < 0) continue;
          if (i + 1 < CHAIN) wgmma_wait_group<1>(part[i & 1]);
          else wgmma_wait_group<0>(part[i & 1]);
          // The stage is read: hand it back before the arithmetic.
          ${pair ? "if (lane < 2) mbarrier_arrive_cluster(empty + 8 * stage, lane);" : "if (lane == 0) mbarrier_arrive(empty + 8 * stage);"}
          if (++stage == STAGES) stage = 0;
          upper *= w_now; lower *= w_now;
#pragma unroll
          for (int j = 0; j < 64; j++) sum[j] = fmaf(part[i & 1][j], j & 2 ? lower : upper, sum[j]);
        }
      }

${cut ? SHARED_TILE : ""}      // Output: 64 x 128 bf16 through shared memory; TMA writes whole lines and clips the edges of y.
      if (threadIdx.x % 128 == 0) tma_store_wait_read<0>();  // the last tile has left the staging
      bar_sync(1 + team, 128);
#pragma unroll
      for (int c = 0; c < 16; c += 2) {  // two 8-column chunks a store, in TMA's 128-byte swizzle
        const int row = slab * 16 + lane % 16, chunk = c % 8 + lane / 16;
        const float* v = sum + c * 4;
        stmatrix_x4(out + c / 8 * 8192 + row * 128 + ((chunk ^ (row % 8)) * 16),
            pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]), pack_bf16(v[4], v[5]), pack_bf16(v[6], v[7]));
      }
      fence_proxy_async();
      bar_sync(1 + team, 128);
${
  experts
    ? `      if (row0 + 64 > at.end) {
        // The next expert's rows are not ours to write: what there is, 16 bytes a thread.
        for (int c = threadIdx.x % 128; c < 64 * 16; c += 128) {
          const int row = c / 16, chunk = c % 8, half = c % 16 / 8;
          if (row0 + row < at.end)
            *(uint4*)(y + (long long)(row0 + row) * N + column * COLUMNS + c % 16 * 8) = ld_shared_v4_u32(out + half * 8192 + row * 128 + ((chunk ^ (row % 8)) * 16));
        }
      } else `
    : "      "
}if (threadIdx.x % 128 == 0) {
        tma_store_2d(&y_map, out, column * COLUMNS, row0);
        tma_store_2d(&y_map, out + 8192, column * COLUMNS + 64, row0);
        tma_store_commit();
      }
    }
    if (threadIdx.x % 128 == 0) tma_store_wait();
  }
${pair ? "  __syncwarp();\n  cluster_sync_relaxed();  // neither leaves while the other may still write to it\n" : ""}`;
  return cudaKernel({
    name,
    header: gemmHeader({ n, k, experts }, schedule, machine),
    params: [
      tensorMap("x_map", { of: "x", dtype: "e4m3", dims: [k, count], strides: [k], box: [128, pair ? 64 : 128] }),
      tensorMap("w_map", { of: "w", dtype: "e4m3", dims: [k, (experts ?? 1) * n], strides: [k], box: [128, 128] }),
      tensorMap("y_map", { of: "y", dtype: "bf16", dims: [n, count], strides: [2 * n], box: [64, 64] }),
      input("x_scale", "f32"),
      input("w_scale", "f32"),
      ...(experts ? [input("offsets", "i32")] : []),
      ...(experts || cut ? [output("y", "bf16")] : []),
    ],
    dims: [count],
    ...(cut ? { workspace: { type: "float", bytes: mul("SMs", 65536 + 4) } } : {}),
    launch: {
      grid: ["SMs", 1, 1],
      block: 384,
      sharedBytes: sharedBytes(schedule, k),
      pdl: true,
      blocksPerSM: 1,
      ...(experts ? {} : { early: ["w"] }),
      ...(pair ? { cluster: [2, 1, 1] as [number, number, number] } : {}),
    },
    definitions,
    body,
  });
}
