// The FP8 block GEMM when tokens are few: weights on wgmma's 64-row side, tokens on the narrow one. Time is the time to read
// w, so every multiprocessor streams an equal share of all (tile, step) units, wherever tiles begin and end; a tile that
// several blocks share is added up, in block order, by whichever of them finishes last. Same bits every run.
import type { KernelText } from "../../ir/kernel/catalogue.ts";
import { add, ceildiv, mul } from "../../ir/size.ts";
import { gemmHeader, scheduleName, sharedBytes, STEP, type FewSchedule, type GemmProblem } from "../schedules/sm90-gemm.ts";
import { called, fragments, header } from "./fragments.ts";

/** Prints the kernel. y is written through shared memory, 16 bytes a thread. */
export function few({ n, k }: GemmProblem, schedule: FewSchedule): KernelText {
  const { tokens, stages } = schedule;
  const name = `block_gemm_${n}x${k}_${scheduleName(schedule)}`;
  const steps = Math.ceil(k / STEP);
  const columnTiles = Math.ceil(n / 128);
  const body = `constexpr int N = ${n}, STEPS = ${steps};             // columns of y; steps of 128 columns of k
constexpr int TOKENS = ${tokens}, ROWS = 128;        // a tile: rows of x by rows of w
constexpr int COLUMN_TILES = ${columnTiles};
constexpr int STAGES = ${stages}, W_BYTES = ROWS * 128, STAGE = W_BYTES + TOKENS * 128;
constexpr int HELD = TOKENS / 2;                // sums a thread holds
constexpr int PITCH = ROWS * 2 + 16;            // a token's row in the output staging, padded against bank conflicts

extern "C" __global__ void __launch_bounds__(384, 1)
${name}(const __grid_constant__ TensorMap x_map, const __grid_constant__ TensorMap w_map,
    const float* __restrict__ x_scale, const float* __restrict__ w_scale, u16* __restrict__ y, int m, float* __restrict__ workspace) {
  extern __shared__ u8 raw[];
  const u32 ring = (shared_address(raw) + 1023) & ~1023u;  // the swizzle repeats every 1024 bytes
  const u32 scales = ring + STAGES * STAGE, staging = scales + STAGES * TOKENS * 4;
  const u32 full = staging + TOKENS * PITCH, empty = full + 8 * STAGES;
  __shared__ int arrived;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;

  // Every block takes the same number of units, give or take one.
  const int token_tiles = (m + TOKENS - 1) / TOKENS, units = COLUMN_TILES * token_tiles * STEPS;
  const int blocks = min((int)gridDim.x, units);
  if ((int)blockIdx.x >= blocks) return;
  const int begin = (int)((long long)blockIdx.x * units / blocks), end = (int)((long long)(blockIdx.x + 1) * units / blocks);

  if (threadIdx.x == 0) {
    for (int s = 0; s < STAGES; s++) {
      barrier_init(full + 8 * s, 1 + 32);  // the copy engine's bytes, and 32 lanes that fetch scales
      barrier_init(empty + 8 * s, 8);      // one arrival a math warp
    }
    barrier_init_done();
  }
  __syncthreads();
  release_next();

  if (warp >= 8) {
    registers_down<40>();
    int stage = 0; u32 phase = 0;
    if (warp == 8 && lane == 0) {
      // One thread keeps the ring full: most of shared memory is weights in flight, which is what bandwidth needs.
      // Weights do not wait for the kernel before; the first ring of them is under way while it still runs.
      const int ahead = min(STAGES, end - begin);
      for (int i = 0; i < ahead; i++) {
        barrier_expect(full + 8 * i, STAGE);
        copy_in(ring + i * STAGE, &w_map, full + 8 * i, (begin + i) % STEPS * 128, (begin + i) / STEPS / token_tiles * ROWS);
      }
      await_previous();
      for (int i = 0; i < ahead; i++)
        copy_in(ring + i * STAGE + W_BYTES, &x_map, full + 8 * i, (begin + i) % STEPS * 128, (begin + i) / STEPS % token_tiles * TOKENS);
      if (ahead == STAGES) phase = 1;
      for (int u = begin + ahead; u < end; u++) {
        const int tile = u / STEPS, p = u % STEPS;
        barrier_wait(empty + 8 * stage, phase ^ 1);
        barrier_expect(full + 8 * stage, STAGE);
        copy_in(ring + stage * STAGE, &w_map, full + 8 * stage, p * 128, tile / token_tiles * ROWS);
        copy_in(ring + stage * STAGE + W_BYTES, &x_map, full + 8 * stage, p * 128, tile % token_tiles * TOKENS);
        if (++stage == STAGES) { stage = 0; phase ^= 1; }
      }
    } else if (warp == 9) {
      // Scales of the tokens: a column of a row-major array, 4 bytes at a time, asynchronous like the rest.
      await_previous();
      for (int u = begin; u < end; u++) {
        const int token0 = u / STEPS % token_tiles * TOKENS, p = u % STEPS;
        barrier_wait(empty + 8 * stage, phase ^ 1);
        for (int t = lane; t < TOKENS; t += 32)
          copy_word(scales + (stage * TOKENS + t) * 4, x_scale + min(token0 + t, m - 1) * STEPS + p);
        copies_arrive(full + 8 * stage);
        if (++stage == STAGES) { stage = 0; phase ^= 1; }
      }
    }
  } else {
    registers_up<232>();
    await_previous();  // the workspace and y may still be in use
    const int team = warp / 4, slab = warp % 4;
    int stage = 0; u32 phase = 0;
    for (int u = begin; u < end;) {
      const int tile = u / STEPS, from = u % STEPS, to = min(STEPS, from + end - u);
      const int column0 = tile / token_tiles * ROWS, token0 = tile % token_tiles * TOKENS;
      const float* w_scales = w_scale + tile / token_tiles * STEPS;
      float sum[HELD];
#pragma unroll
      for (int i = 0; i < HELD; i++) sum[i] = 0.f;

      for (int p = from; p < to; p++) {
        const float w_now = load_scale(w_scales + p);
        float part[HELD];
        barrier_wait(full + 8 * stage, phase);
        const u32 w_tile = ring + stage * STAGE;
        product_128(part, tile_descriptor(w_tile + team * 8192), tile_descriptor(w_tile + W_BYTES));
        wgmma_wait<0>(part);
        // Columns of the product are tokens: each pair of registers has its own two scales.
#pragma unroll
        for (int j = 0; j < TOKENS / 8; j++) {
          const float2 x_now = load_shared_pair(scales + (stage * TOKENS + j * 8 + lane % 4 * 2) * 4);
          const float even = x_now.x * w_now, odd = x_now.y * w_now;
          sum[4 * j] = fmaf(part[4 * j], even, sum[4 * j]);
          sum[4 * j + 1] = fmaf(part[4 * j + 1], odd, sum[4 * j + 1]);
          sum[4 * j + 2] = fmaf(part[4 * j + 2], even, sum[4 * j + 2]);
          sum[4 * j + 3] = fmaf(part[4 * j + 3], odd, sum[4 * j + 3]);
        }
        __syncwarp();
        if (lane == 0) barrier_arrive(empty + 8 * stage);
        if (++stage == STAGES) { stage = 0; phase ^= 1; }
      }
      u += to - from;

      if (to - from < STEPS) {
        // A shared tile: leave the part in the workspace (L2), and whoever comes last adds all parts.
        float4* slots = (float4*)workspace;
        int* counters = (int*)(workspace + (long long)gridDim.x * 2 * 256 * HELD);
        const int first = ((tile * STEPS + 1) * (long long)blocks - 1) / units, last = ((tile * STEPS + STEPS) * (long long)blocks - 1) / units;
        float4* mine = slots + ((long long)blockIdx.x * 2 + (begin < tile * STEPS)) * 64 * HELD;
#pragma unroll
        for (int i = 0; i < HELD / 4; i++) mine[i * 256 + threadIdx.x] = make_float4(sum[4 * i], sum[4 * i + 1], sum[4 * i + 2], sum[4 * i + 3]);
        __threadfence();
        group_sync(1, 256);
        if (threadIdx.x == 0) arrived = atomicAdd(counters + tile, 1);
        group_sync(1, 256);
        if (arrived != last - first) continue;
        __threadfence();
        if (threadIdx.x == 0) counters[tile] = 0;  // ready for the next launch
#pragma unroll
        for (int i = 0; i < HELD; i++) sum[i] = 0.f;
        for (int b = first; b <= last; b++) {
          const int b_begin = (int)((long long)b * units / blocks);
          const float4* theirs = slots + ((long long)b * 2 + (b_begin < tile * STEPS)) * 64 * HELD;
#pragma unroll
          for (int i = 0; i < HELD / 4; i++) {
            const float4 v = load_partial(theirs + i * 256 + threadIdx.x);
            sum[4 * i] += v.x; sum[4 * i + 1] += v.y; sum[4 * i + 2] += v.z; sum[4 * i + 3] += v.w;
          }
        }
      }

      // Output: the product is [rows of w, tokens]; turned over in shared memory, then 16 bytes of one token a thread.
      group_sync(1, 256);
      const int row = team * 64 + slab * 16 + lane / 4;
#pragma unroll
      for (int j = 0; j < TOKENS / 8; j++) {
        const u32 at = staging + (j * 8 + lane % 4 * 2) * PITCH + row * 2;
        const u32 upper = pack_bf16(sum[4 * j], sum[4 * j + 1]), lower = pack_bf16(sum[4 * j + 2], sum[4 * j + 3]);
        store_shared_half(at, upper); store_shared_half(at + PITCH, upper >> 16);
        store_shared_half(at + 16, lower); store_shared_half(at + PITCH + 16, lower >> 16);
      }
      group_sync(1, 256);
      for (int c = threadIdx.x; c < TOKENS * 16; c += 256) {
        const int token = token0 + c / 16, column = column0 + c % 16 * 8;
        if (token < m && column < N) *(uint4*)(y + (long long)token * N + column) = load_shared16(staging + c / 16 * PITCH + c % 16 * 16);
      }
    }
  }
}
`;
  const source = `${header(gemmHeader({ n, k }, schedule))}
${called(fragments(["types", "barriers", "dependent", "load", "registers", "scales", "bf16", "gather", "async", "wgmma"], tokens), body)}
${body}`;
  return {
    name, language: "cuda", source,
    params: [
      { kind: "tensormap", name: "x_map", of: "x", dtype: "e4m3", dims: [k, "m"], strides: [k], box: [128, tokens], swizzle: 128 },
      { kind: "tensormap", name: "w_map", of: "w", dtype: "e4m3", dims: [k, n], strides: [k], box: [128, 128], swizzle: 128 },
      { kind: "buffer", name: "x_scale", dtype: "f32", access: "in" },
      { kind: "buffer", name: "w_scale", dtype: "f32", access: "in" },
      { kind: "buffer", name: "y", dtype: "bf16", access: "out" },
    ],
    dims: ["m"],
    launch: { grid: ["SMs", 1, 1], block: 384, sharedBytes: sharedBytes(schedule, k), pdl: true },
    workspaceBytes: add(mul("SMs", 2 * 256 * (tokens / 2) * 4), mul(4 * columnTiles, ceildiv("m", tokens))),
  };
}
