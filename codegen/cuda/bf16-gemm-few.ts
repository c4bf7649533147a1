// The bf16 GEMM of tens of rows: weights on wgmma's 64-row side, tokens on the narrow one. Time is the time to read w, so every
// multiprocessor streams an equal share of all (tile, step) units, wherever tiles begin and end; a tile that several blocks share
// is added up, in block order, by whichever of them finishes last. Same bits every run.
import type { KernelText } from "../../ir/kernel/catalogue.ts";
import { add, ceildiv, mul } from "../../ir/size.ts";
import { bf16Header, bf16Name, sharedBytes, STEP, type FewBf16 } from "../schedules/sm90-bf16-gemm.ts";
import type { StreamProblem } from "../schedules/sm90-stream.ts";
import { bf16Wgmma } from "./bf16-fragments.ts";
import { fragments, header } from "./fragments.ts";

export function fewBf16(p: StreamProblem, s: FewBf16): KernelText {
  const { n, k } = p;
  const { tokens, stages } = s;
  const name = `linear_${n}x${k}_${p.y}_${bf16Name(s)}`;
  const columnTiles = Math.ceil(n / 128);
  const staged = p.y === "bf16" && p.yStride % 8 === 0 && n % 8 === 0;
  const source = `${header(bf16Header(p, s))}
${fragments(["types", "barriers", "dependent", "load", "bf16", "gather"], 0)}
${bf16Wgmma(tokens)}
constexpr int N = ${n}, STEPS = ${Math.ceil(k / STEP)};             // columns of y; steps of 64 columns of k
constexpr int TOKENS = ${tokens}, ROWS = 128;        // a tile: rows of x by rows of w
constexpr int COLUMN_TILES = ${columnTiles};
constexpr int STAGES = ${stages}, W_BYTES = ROWS * 128, STAGE = W_BYTES + TOKENS * 128;
constexpr int HELD = TOKENS / 2;                // sums a thread holds
${staged ? "constexpr int PITCH = ROWS * 2 + 16;            // a token's row in the output staging, padded against bank conflicts\n" : ""}
extern "C" __global__ void __launch_bounds__(288, ${tokens < 64 ? 2 : 1})
${name}(const __grid_constant__ TensorMap x_map, const __grid_constant__ TensorMap w_map, ${p.y === "f32" ? "float" : "u16"}* __restrict__ y, int m, float* __restrict__ workspace) {
  extern __shared__ u8 raw[];
  const u32 ring = (shared_address(raw) + 1023) & ~1023u;  // the swizzle repeats every 1024 bytes
  const u32 staging = ring + STAGES * STAGE, full = staging + ${staged ? "TOKENS * PITCH" : "0"}, empty = full + 8 * STAGES;
  __shared__ int arrived;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;

  // Every block takes the same number of units, give or take one.
  const int token_tiles = (m + TOKENS - 1) / TOKENS, units = COLUMN_TILES * token_tiles * STEPS;
  const int blocks = min((int)gridDim.x, units);
  if ((int)blockIdx.x >= blocks) return;
  const int begin = (int)((long long)blockIdx.x * units / blocks), end = (int)((long long)(blockIdx.x + 1) * units / blocks);

  if (threadIdx.x == 0) {
    for (int i = 0; i < STAGES; i++) {
      barrier_init(full + 8 * i, 1);
      barrier_init(empty + 8 * i, 8);  // one arrival a math warp
    }
    barrier_init_done();
  }
  __syncthreads();
  release_next();

  if (warp == 8) {
    if (lane == 0) {
      // One thread keeps the ring full. Weights do not wait for the kernel before; the first ring of them is under way while it runs.
      const int ahead = min(STAGES, end - begin);
      for (int i = 0; i < ahead; i++) {
        barrier_expect(full + 8 * i, STAGE);
        copy_in(ring + i * STAGE, &w_map, full + 8 * i, (begin + i) % STEPS * 64, (begin + i) / STEPS / token_tiles * ROWS);
      }
      await_previous();
      for (int i = 0; i < ahead; i++)
        copy_in(ring + i * STAGE + W_BYTES, &x_map, full + 8 * i, (begin + i) % STEPS * 64, (begin + i) / STEPS % token_tiles * TOKENS);
      int stage = ahead % STAGES; u32 phase = ahead / STAGES;
      for (int u = begin + ahead; u < end; u++) {
        const int tile = u / STEPS, p = u % STEPS;
        barrier_wait(empty + 8 * stage, phase ^ 1);
        barrier_expect(full + 8 * stage, STAGE);
        copy_in(ring + stage * STAGE, &w_map, full + 8 * stage, p * 64, tile / token_tiles * ROWS);
        copy_in(ring + stage * STAGE + W_BYTES, &x_map, full + 8 * stage, p * 64, tile % token_tiles * TOKENS);
        if (++stage == STAGES) { stage = 0; phase ^= 1; }
      }
    }
    return;
  }

  await_previous();  // the workspace and y may still be in use
  const int team = warp / 4, slab = warp % 4;
  int stage = 0; u32 phase = 0;
  for (int u = begin; u < end;) {
    const int tile = u / STEPS, from = u % STEPS, to = min(STEPS, from + end - u);
    const int column0 = tile / token_tiles * ROWS, token0 = tile % token_tiles * TOKENS;
    float sum[HELD];
    int before = 0;
    for (int p = from; p < to; p++) {
      barrier_wait(full + 8 * stage, phase);
      const u32 w_tile = ring + stage * STAGE;
      product_64(sum, tile_descriptor(w_tile + team * 8192), tile_descriptor(w_tile + W_BYTES), p != from);
      wgmma_wait<1>(sum);
      if (p > from && lane == 0) barrier_arrive(empty + 8 * before);  // the step before has been read
      before = stage;
      if (++stage == STAGES) { stage = 0; phase ^= 1; }
    }
    wgmma_wait<0>(sum);
    if (lane == 0) barrier_arrive(empty + 8 * before);
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

    const int row = team * 64 + slab * 16 + lane / 4;
${staged ? `    // Output: the product is [rows of w, tokens]; turned over in shared memory, then 16 bytes of one token a thread.
    group_sync(1, 256);
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
      if (token < m && column < N) *(uint4*)(y + (long long)token * ${p.yStride} + column) = load_shared16(staging + c / 16 * PITCH + c % 16 * 16);
    }` : `    // Output from registers: eight lanes write columns side by side.
#pragma unroll
    for (int i = 0; i < HELD; i++) {
      const int token = token0 + i / 4 * 8 + lane % 4 * 2 + i % 2, column = column0 + row + i / 2 % 2 * 8;
      if (token < m && column < N) y[(long long)token * ${p.yStride} + column] = ${p.y === "f32" ? "sum[i]" : "(u16)pack_bf16(sum[i], 0.f)"};
    }`}
  }
}
`;
  return {
    name, language: "cuda", source,
    params: [
      { kind: "tensormap", name: "x_map", of: "x", dtype: "bf16", dims: [k, "m"], strides: [2 * p.xStride], box: [64, tokens], swizzle: 128 },
      { kind: "tensormap", name: "w_map", of: "w", dtype: "bf16", dims: [k, n], strides: [2 * k], box: [64, 128], swizzle: 128 },
      { kind: "buffer", name: "y", dtype: p.y, access: "out" },
    ],
    dims: ["m"],
    launch: { grid: ["SMs", 1, 1], block: 288, sharedBytes: sharedBytes(s), pdl: true },
    workspaceBytes: add(mul("SMs", 2 * 256 * (tokens / 2) * 4), mul(4 * columnTiles, ceildiv("m", tokens))),
  };
}
