// Causal attention of one sequence over expanded heads for sm_90a: 128 query rows of one head a block, the rotary key shared by
// all heads. Two warpgroups take turns on the tensor cores: while one computes products, the other computes its softmax.
// Guarantees: any t from 1 and s from t; strided operands; the same bits every run.
import { floorText, type Gpu } from "../../../../ir/machine.ts";
import { DiagnosticError } from "../../../../ir/diagnostic.ts";
import type { KernelText } from "../../../../ir/kernel/catalogue.ts";
import { ceildiv, mul } from "../../../../ir/size.ts";
import type { AttendProblem } from "../../../kernels/attention.ts";
import { illegalPrefill, prefillSharedBytes, PREFILL } from "./schedule.ts";
import { illegalSchedule } from "../diagnostics.ts";
import { cudaKernel, tensorMap, type Parameter } from "../../text/kernel.ts";

/** Prints the kernel of one problem. */
export function mlaPrefill(p: AttendProblem, machine: Gpu): KernelText {
  const reason = illegalPrefill(p);
  if (reason !== null) throw new DiagnosticError(illegalSchedule("attend", p, PREFILL, reason));
  const { heads, n, d, v } = p;
  const name = `attend_${heads}x${n}_${d}_${v}_q${PREFILL.rows}k${PREFILL.keys}`;
  const definitions = `constexpr int HEADS = ${heads}, ROWS = 128, KEYS = 128, STAGES = ${PREFILL.stages};
constexpr int CHUNK = 128 * 128;                    // 128 rows by 64 lanes
constexpr int QUERY = ${(n + d) / 64} * CHUNK, K_STAGE = QUERY, V_STAGE = ${v / 64} * CHUNK;
constexpr float SCALE = ${(p.scale * Math.LOG2E).toPrecision(9)}f;            // of scores, for exp2
constexpr float LEAST = -1e30f;                     // below any score, yet finite: a row may see nothing of a tile

__device__ __forceinline__ void score(float (&scores)[64], u64 q_tile, u64 k_tile) {
  wgmma_fence();
#pragma unroll
  for (int k = 0; k < ${(n + d) / 16}; k++)
    wgmma_m64n128k16_bf16(scores, q_tile + k / 4 * (CHUNK / 16) + k % 4 * 2, k_tile + k / 4 * (CHUNK / 16) + k % 4 * 2, k > 0);
  wgmma_commit_group();
}
__device__ __forceinline__ void mix(float (&acc)[64], const u32 (&weights)[8][4], u64 v_tile) {
  wgmma_fence();
#pragma unroll
  for (int k = 0; k < KEYS / 16; k++) wgmma_m64n128k16_bf16_areg_bmn(acc, weights[k], v_tile + k * (16 * 128 / 16), 1);
  wgmma_commit_group();
}
// Scores become exponentials under the running maximum; earlier sums shrink by \`less\`. A lane holds columns 2 (lane % 4) of
// every 8, of its upper row and the one 8 below; four lanes hold a row. \`seen\` is the last column its upper row sees.
__device__ __forceinline__ void exponents(float (&x)[64], float (&top)[2], float (&sum)[2], float (&less)[2], int seen, int lane) {
  if (__any_sync(~0u, seen < KEYS - 1)) {
#pragma unroll
    for (int i = 0; i < 64; i++) if (i / 4 * 8 + lane % 4 * 2 + i % 2 > seen + i / 2 % 2 * 8) x[i] = minus_infinity();
  }
#pragma unroll
  for (int h = 0; h < 2; h++) {
    float most = x[2 * h];
#pragma unroll
    for (int i = 1; i < 32; i++) most = fmaxf(most, x[i / 2 * 4 + 2 * h + i % 2]);
    most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
    most = fmaxf(top[h], SCALE * fmaxf(most, __shfl_xor_sync(~0u, most, 2)));
    less[h] = ex2_approx(top[h] - most);
    top[h] = most;
    float add = 0.f;
#pragma unroll
    for (int i = 0; i < 32; i++) {
      float& v = x[i / 2 * 4 + 2 * h + i % 2];
      v = ex2_approx(fmaf(v, SCALE, -most));
      add += v;
    }
    sum[h] = fmaf(sum[h], less[h], add);
  }
}
// Sums of a product lie in registers as wgmma wants its first operand: scores become weights lane by lane.
__device__ __forceinline__ void pack(u32 (&weights)[8][4], const float (&x)[64]) {
#pragma unroll
  for (int i = 0; i < 32; i++) weights[i / 4][i % 4] = pack_bf16(x[i * 2], x[i * 2 + 1]);
}`;
  const body = `  extern __shared__ u8 raw[];
  __shared__ u64 barriers[4 * STAGES + 1];
  const u32 query = (shared_address(raw) + 1023) & ~1023u, k_ring = query + QUERY, v_ring = k_ring + STAGES * K_STAGE;
  const u32 k_full = shared_address(barriers), k_empty = k_full + 8 * STAGES, v_full = k_empty + 8 * STAGES, v_empty = v_full + 8 * STAGES, q_full = v_empty + 8 * STAGES;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;

  // Some heads at a time, so that L2 keeps their keys and values for all rows; of those the longest rows first.
  const int row_tiles = (t + ROWS - 1) / ROWS, group = max(1, min(HEADS, (32 << 20) / (s * ${2 * (n + v)})));
  const int first_head = blockIdx.x / (row_tiles * group) * group, width = min(group, HEADS - first_head), within = blockIdx.x - first_head * row_tiles;
  const int head = first_head + within % width, row0 = (row_tiles - 1 - within / width) * ROWS;
  const int past = s - t, tiles = (min(s, past + row0 + ROWS) + KEYS - 1) / KEYS;

  if (threadIdx.x == 0) {
    for (int i = 0; i < STAGES; i++) {
      mbarrier_init(k_full + 8 * i, 1);
      mbarrier_init(k_empty + 8 * i, 8);  // one arrival a math warp
      mbarrier_init(v_full + 8 * i, 1);
      mbarrier_init(v_empty + 8 * i, 8);
    }
    mbarrier_init(q_full, 1);
    fence_mbarrier_init();
  }
  __syncthreads();
  release_next();

  if (warp >= 8) {
    // Producer: one thread; keys come backwards from the diagonal, each ahead of its values.
    setmaxnreg_dec<40>();
    if (warp == 8 && lane == 0) {
      await_previous();
      mbarrier_arrive_expect_tx(q_full, QUERY);
      for (int c = 0; c < ${n / 64}; c++) tma_load_3d(query + c * CHUNK, &q_map, q_full, c * 64, head, row0);
      tma_load_3d(query + ${n / 64} * CHUNK, &qp_map, q_full, 0, head, row0);
      int stage = 0; u32 phase = 0;
      for (int j = tiles - 1; j >= 0; j--) {
        const u32 k_tile = k_ring + stage * K_STAGE, v_tile = v_ring + stage * V_STAGE;
        mbarrier_wait(k_empty + 8 * stage, phase ^ 1);
        mbarrier_arrive_expect_tx(k_full + 8 * stage, K_STAGE);
        for (int c = 0; c < ${n / 64}; c++) tma_load_3d(k_tile + c * CHUNK, &k_map, k_full + 8 * stage, c * 64, head, j * KEYS);
        tma_load_2d(k_tile + ${n / 64} * CHUNK, &kp_map, k_full + 8 * stage, 0, j * KEYS);
        mbarrier_wait(v_empty + 8 * stage, phase ^ 1);
        mbarrier_arrive_expect_tx(v_full + 8 * stage, V_STAGE);
        for (int c = 0; c < ${v / 64}; c++) tma_load_3d(v_tile + c * CHUNK, &v_map, v_full + 8 * stage, c * 64, head, j * KEYS);
        if (++stage == STAGES) { stage = 0; phase ^= 1; }
      }
    }
  } else {
    setmaxnreg_inc<232>();
    const int team = warp / 4, slab = warp % 4;
    const int row = past + row0 + team * 64 + slab * 16 + lane / 4;  // the last key that this lane's upper row sees; the lower sees 8 more
    const u64 q_tile = descriptor_k_major(query + team * 64 * 128);
    float scores[64], acc[64], less[2], top[2] = {LEAST, LEAST}, sum[2] = {0.f, 0.f};
    u32 weights[KEYS / 16][4];
    int stage = 0, v_stage = 0; u32 phase = 0, v_phase = 0;
#pragma unroll
    for (int i = 0; i < 64; i++) acc[i] = 0.f;

    // Products in this warpgroup's turn: the scores of a tile, and behind them the mix of the tile before.
    mbarrier_wait(q_full, 0);
    if (team == 1) bar_arrive(2, 256);  // the upper rows begin
    mbarrier_wait(k_full, 0);
    bar_sync(2 + team, 256);
    score(scores, q_tile, descriptor_k_major(k_ring));
    if (team == 0 || tiles > 1) bar_arrive(3 - team, 256);
    wgmma_wait_group<0>(scores);
    if (lane == 0) mbarrier_arrive(k_empty);
    exponents(scores, top, sum, less, row - (tiles - 1) * KEYS, lane);
    pack(weights, scores);

    for (int j = tiles - 2; j >= 0; j--) {
      if (++stage == STAGES) { stage = 0; phase ^= 1; }
      mbarrier_wait(k_full + 8 * stage, phase);
      bar_sync(2 + team, 256);
      score(scores, q_tile, descriptor_k_major(k_ring + stage * K_STAGE));
      mbarrier_wait(v_full + 8 * v_stage, v_phase);
      mix(acc, weights, descriptor_mn_major<CHUNK>(v_ring + v_stage * V_STAGE));
      if (team == 0 || j > 0) bar_arrive(3 - team, 256);
      wgmma_wait_group<1>(scores);
      if (lane == 0) mbarrier_arrive(k_empty + 8 * stage);
      // The weights in flight are still read; the new ones wait in the registers of their scores.
      exponents(scores, top, sum, less, row - j * KEYS, lane);
      wgmma_wait_group<0>(acc);
      if (lane == 0) mbarrier_arrive(v_empty + 8 * v_stage);
      if (++v_stage == STAGES) { v_stage = 0; v_phase ^= 1; }
#pragma unroll
      for (int i = 0; i < 64; i++) acc[i] *= less[i / 2 % 2];
      pack(weights, scores);
    }
    mbarrier_wait(v_full + 8 * v_stage, v_phase);
    mix(acc, weights, descriptor_mn_major<CHUNK>(v_ring + v_stage * V_STAGE));
    wgmma_wait_group<0>(acc);

    // Output: 64 x ${v} bf16 where this warpgroup's queries were; TMA writes whole lines and clips the last rows.
    const u32 out = query + team * 64 * 128;
#pragma unroll
    for (int h = 0; h < 2; h++) {
      sum[h] += __shfl_xor_sync(~0u, sum[h], 1);
      sum[h] += __shfl_xor_sync(~0u, sum[h], 2);
      sum[h] = 1.f / sum[h];
    }
#pragma unroll
    for (int c = 0; c < 16; c += 2) {
      const int at = slab * 16 + lane % 16, chunk = c % 8 + lane / 16;
      const float* x = acc + c * 4;
      stmatrix_x4(out + c / 8 * CHUNK + at * 128 + ((chunk ^ (at % 8)) * 16), pack_bf16(x[0] * sum[0], x[1] * sum[0]),
          pack_bf16(x[2] * sum[1], x[3] * sum[1]), pack_bf16(x[4] * sum[0], x[5] * sum[0]), pack_bf16(x[6] * sum[1], x[7] * sum[1]));
    }
    fence_proxy_async();
    bar_sync(4 + team, 128);
    if (threadIdx.x % 128 == 0 && row0 + team * 64 < t) {
      for (int c = 0; c < ${v / 64}; c++) tma_store_3d(&y_map, out + c * CHUNK, c * 64, head, row0 + team * 64);
      tma_store_commit();
      tma_store_wait();
    }
  }`;
  const rows = (
    key: string,
    of: string,
    width: number,
    [row, step]: readonly [number, number],
    length: string,
    box: number,
  ): Parameter =>
    tensorMap(`${key}_map`, { of, dtype: "bf16", dims: [width, heads, length], strides: [2 * step, 2 * row], box: [64, 1, box] });
  return cudaKernel({
    name,
    header: [
      `attend: y [t, ${heads}, ${v}] bf16 = softmax((q k^T + qp kp^T) * ${p.scale.toPrecision(6)}) v, causal; q [t, ${heads}, ${n}], k [s, ${heads}, ${n}], kp [s, ${d}] for all heads`,
      `schedule ${JSON.stringify(PREFILL)}`,
      floorText(machine, { computes: [`${2 * heads * (n + d + v)} operations a pair of a row and a key it sees`, "bf16"] }),
    ],
    params: [
      rows("q", "q", n, p.q, "t", PREFILL.rows),
      rows("qp", "qp", d, p.qp, "t", PREFILL.rows),
      rows("k", "keys", n, p.k, "s", PREFILL.keys),
      tensorMap("kp_map", { of: "kp", dtype: "bf16", dims: [d, "s"], strides: [2 * p.kp], box: [64, PREFILL.keys] }),
      rows("v", "values", v, p.vStrides, "s", PREFILL.keys),
      rows("y", "y", v, p.y, "t", 64),
    ],
    dims: ["t", "s"],
    launch: {
      grid: [mul(heads, ceildiv("t", PREFILL.rows)), 1, 1],
      block: 384,
      sharedBytes: prefillSharedBytes(p),
      pdl: true,
      blocksPerSM: 1,
    },
    definitions,
    body,
  });
}
