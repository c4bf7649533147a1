// The bf16 GEMM of tens of rows: tokens fill wgmma's 64-row side, a block takes few columns, so that every multiprocessor has a
// tile; where there are fewer tiles still, k is cut over a cluster, each sends the others their shares of the sums: added in rank
// order, same bits every run. A block takes half of a multiprocessor: the next kernel's weights are under way while this one finishes.
import type { Gpu } from "../../../../ir/machine.ts";
import type { KernelText } from "../../../../ir/kernel/catalogue.ts";
import { ceildiv } from "../../../../ir/size.ts";
import { bf16Header, bf16Name, sharedBytes, STEP, type SmallMBf16 } from "./bf16-schedule.ts";
import type { Bf16Problem } from "./register-schedule.ts";
import { cudaKernel, output, tensorMap } from "../../text/kernel.ts";
import { initRings, keepSums } from "./two-rings.ts";

/** Sums of other blocks' shares go to them; each owns a run of chunks. */
const SEND = (
  wide: boolean,
): string => `  // Each block finishes a share of the tile. It is sent the others' sums of it, which its barrier counts: no fence, and no block
  // waits for another to leave.
  const int share = (chunks + SPLIT - 1) / SPLIT, first_chunk = rank * share, last_chunk = min(chunks, first_chunk + share);
  cluster_wait();
  if (threadIdx.x == 0) mbarrier_arrive_expect_tx(inbox_full, max(0, last_chunk - first_chunk) * (WIDTH * 4) * (SPLIT - 1));
  for (int c = threadIdx.x < MATH ? threadIdx.x : chunks; c < chunks; c += MATH) {
    const int owner = c / share;
    if (owner == rank) continue;
    float v[WIDTH] = {};
    add_own(v, ring + (c / (COLUMNS / WIDTH) * PITCH + c % (COLUMNS / WIDTH) * WIDTH) * 4);
    const u32 to = inbox + (rank - (rank > owner)) * SLOT + (c - owner * share) * (WIDTH * 4);
    st_async_v4_f32(to, owner, inbox_full, make_float4(v[0], v[1], v[2], v[3]));
${wide ? "    st_async_v4_f32(to + 16, owner, inbox_full, make_float4(v[4], v[5], v[6], v[7]));\n" : ""}  }
  mbarrier_wait(inbox_full, 0);
`;

export function smallMBf16(p: Bf16Problem, s: SmallMBf16, machine: Gpu): KernelText {
  const { n, k } = p;
  const { tokens, columns, kGroups, split, stages, xStages, blocksPerSm } = s;
  const name = `linear_${n}x${k}_${p.y}_${bf16Name(s)}`;
  const math = (tokens / 64) * kGroups * 128;
  const cluster = split > 1;
  // Words of 16 bytes need rows that begin at multiples of them.
  const wide = p.y === "bf16" && p.yStride % 8 === 0 && n % 8 === 0;
  const width = wide ? 8 : 4;
  const stored = (v: string): string => (p.y === "f32" ? v : `(u16)pack_bf16(${v}, 0.f)`);
  const definitions = `constexpr int N = ${n}, STEPS = ${Math.ceil(k / STEP)};       // columns of y; steps of 64 columns of k
constexpr int TOKENS = ${tokens}, COLUMNS = ${columns};  // a tile: rows of x by rows of w
constexpr int DEEP = ${kGroups}, UNITS = (STEPS + DEEP - 1) / DEEP;  // a ring stage holds DEEP steps, each for its own warpgroups
constexpr int SPLIT = ${split};                  // blocks that share the k of a tile
constexpr int MATH = ${math};  // threads that multiply; a warp more copies w, another x
constexpr int STAGES = ${stages}, X_STAGES = ${xStages};
constexpr int W_BYTES = COLUMNS * 128, X_BYTES = TOKENS * 128;
constexpr int HELD = COLUMNS / 2;               // sums a thread holds
constexpr int PITCH = COLUMNS + 8;              // floats a token of sums: padded against bank conflicts
constexpr int WIDTH = ${width};                   // columns of y a thread writes at once
${cluster ? "constexpr int SLOT = (COLUMNS * TOKENS / WIDTH + SPLIT - 1) / SPLIT * WIDTH * 4;  // bytes of sums that another block sends: this block's share of the tile\n" : ""}
// Neighbouring sums; those of all steps of a stage.
__device__ __forceinline__ void add(float (&v)[WIDTH], u32 from) {
  const float4 a = ld_shared_v4_f32(from)${wide ? ", b = ld_shared_v4_f32(from + 16)" : ""};
  v[0] += a.x; v[1] += a.y; v[2] += a.z; v[3] += a.w;${wide ? " v[4] += b.x; v[5] += b.y; v[6] += b.z; v[7] += b.w;" : ""}
}
__device__ __forceinline__ void add_own(float (&v)[WIDTH], u32 from) {
#pragma unroll
  for (int d = 0; d < DEEP; d++) add(v, from + d * (TOKENS * PITCH * 4));
}`;
  const body = `  extern __shared__ u8 raw[];
  const u32 ring = (shared_address(raw) + 1023) & ~1023u;  // the swizzle repeats every 1024 bytes
  const u32 x_ring = ring + STAGES * DEEP * W_BYTES${cluster ? ", inbox = x_ring + X_STAGES * DEEP * X_BYTES, inbox_full = inbox + (SPLIT - 1) * SLOT, full = inbox_full + 8" : ", full = x_ring + X_STAGES * DEEP * X_BYTES"}, empty = full + 8 * STAGES, x_full = empty + 8 * STAGES, x_empty = x_full + 8 * X_STAGES;
  const int warp = __shfl_sync(~0u, threadIdx.x / 32, 0), lane = threadIdx.x % 32;  // one value a warp: descriptors need no vector registers
  const int rank = blockIdx.x, column0 = blockIdx.y * COLUMNS, token0 = blockIdx.z * TOKENS;
  const int begin = rank * UNITS / SPLIT, end = (rank + 1) * UNITS / SPLIT, ahead = min(STAGES, end - begin);

  if (threadIdx.x == MATH) {
${initRings}${cluster ? "    mbarrier_init(inbox_full, 1);\n" : ""}    fence_mbarrier_init();
    // Weights do not wait for the kernel before: a ring of them is under way while it still runs.
    for (int i = 0; i < ahead; i++) {
      mbarrier_arrive_expect_tx(full + 8 * i, DEEP * W_BYTES);
      for (int d = 0; d < DEEP; d++) tma_load_2d(ring + (i * DEEP + d) * W_BYTES, &w_map, full + 8 * i, ((begin + i) * DEEP + d) * 64, column0);
    }
  }
  __syncthreads();
  release_next();
${cluster ? "  cluster_arrive_relaxed();  // whoever has seen all blocks do so may send to them\n" : ""}
  if (warp == MATH / 32 && lane == 0) {
    // One thread keeps the weights coming: bytes in flight are what bandwidth needs.
    for (int u = ahead; u < end - begin; u++) {
      const int stage = u % STAGES;
      mbarrier_wait(empty + 8 * stage, (u / STAGES - 1) & 1);
      mbarrier_arrive_expect_tx(full + 8 * stage, DEEP * W_BYTES);
      for (int d = 0; d < DEEP; d++) tma_load_2d(ring + (stage * DEEP + d) * W_BYTES, &w_map, full + 8 * stage, ((begin + u) * DEEP + d) * 64, column0);
    }
  } else if (warp == MATH / 32 + 1 && lane == 0) {
    await_previous();
    for (int u = 0; u < end - begin; u++) {
      const int stage = u % X_STAGES;
      if (u >= X_STAGES) mbarrier_wait(x_empty + 8 * stage, (u / X_STAGES - 1) & 1);
      mbarrier_arrive_expect_tx(x_full + 8 * stage, DEEP * X_BYTES);
      for (int d = 0; d < DEEP; d++) tma_load_2d(x_ring + (stage * DEEP + d) * X_BYTES, &x_map, x_full + 8 * stage, ((begin + u) * DEEP + d) * 64, token0);
    }
  }
  if (warp < MATH / 32) {
    const int team = warp / 4, part_rows = team % (TOKENS / 64), deep = team / (TOKENS / 64), row = part_rows * 64 + warp % 4 * 16 + lane / 4;
    float sum[HELD];
    int stage = 0, x_stage = 0, before = 0, x_before = 0;  // places in the rings of this unit and of the one before
    u32 phase = 0, x_phase = 0;
    for (int u = 0; u < end - begin; u++) {
      mbarrier_wait(full + 8 * stage, phase);
      mbarrier_wait(x_full + 8 * x_stage, x_phase);
      wgmma_m64n${columns}k64_bf16(sum, descriptor_k_major(x_ring + (x_stage * DEEP + deep) * X_BYTES + part_rows * 8192), descriptor_k_major(ring + (stage * DEEP + deep) * W_BYTES), u > 0);
      wgmma_wait_group_n${columns}<1>(sum);
      // The unit before has been read: hand its stages back while this one multiplies.
      if (u > 0 && lane == 0) { mbarrier_arrive(empty + 8 * before); mbarrier_arrive(x_empty + 8 * x_before); }
      before = stage; x_before = x_stage;
      if (++stage == STAGES) { stage = 0; phase ^= 1; }
      if (++x_stage == X_STAGES) { x_stage = 0; x_phase ^= 1; }
    }
    wgmma_wait_group_n${columns}<0>(sum);

    // The rings have been read and nothing more is coming: they now take the sums, a token a row.
    await_previous();  // y may still be in use
    bar_sync(1, MATH);
${keepSums}  }
  __syncthreads();

  // Output: WIDTH columns of a token a thread, added up over steps and blocks in their order.
  const int chunks = min(TOKENS, m - token0) * (COLUMNS / WIDTH);
${cluster ? SEND(wide) : ""}  for (int c = threadIdx.x < MATH ? ${cluster ? "first_chunk + threadIdx.x : last_chunk; c < last_chunk" : "threadIdx.x : chunks; c < chunks"}; c += MATH) {
    const int token = c / (COLUMNS / WIDTH), column = c % (COLUMNS / WIDTH) * WIDTH;
    if (column0 + column >= N) continue;
    float v[WIDTH] = {};
${
  cluster
    ? `    for (int s = 0; s < SPLIT; s++) {
      // A block's own steps are added up first, as the others' were: who owns a chunk, which follows m, changes no bit.
      float part[WIDTH] = {};
      if (s == rank) add_own(part, ring + (token * PITCH + column) * 4);
      else add(part, inbox + (s - (s > rank)) * SLOT + (c - first_chunk) * (WIDTH * 4));
#pragma unroll
      for (int i = 0; i < WIDTH; i++) v[i] += part[i];
    }`
    : "    add_own(v, ring + (token * PITCH + column) * 4);"
}
${
  wide
    ? `    st_global_v4_u32(y + (long long)(token0 + token) * ${p.yStride} + column0 + column, pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]), pack_bf16(v[4], v[5]), pack_bf16(v[6], v[7]));`
    : `    for (int i = 0; i < WIDTH; i++)
      if (column0 + column + i < N) y[(long long)(token0 + token) * ${p.yStride} + column0 + column + i] = ${stored("v[i]")};`
}
  }`;
  return cudaKernel({
    name,
    header: bf16Header(p, s, machine),
    params: [
      tensorMap("x_map", { of: "x", dtype: "bf16", dims: [k, "m"], strides: [2 * p.xStride], box: [64, tokens] }),
      tensorMap("w_map", { of: "w", dtype: "bf16", dims: [k, n], strides: [2 * k], box: [64, columns] }),
      output("y", p.y),
    ],
    dims: ["m"],
    launch: {
      grid: [split, Math.ceil(n / columns), ceildiv("m", tokens)],
      block: math + 64,
      sharedBytes: sharedBytes(s),
      pdl: true,
      early: ["w"],
      blocksPerSM: blocksPerSm,
      ...(cluster ? { cluster: [split, 1, 1] as [number, number, number] } : {}),
    },
    definitions,
    body,
  });
}
