// The multiplying warpgroups of the prefill kernel: two of 64 query rows each, which take turns on the tensor cores.
import type { AttendProblem } from "../../../kernels/attention.ts";
import { indented, lines } from "../../text/lines.ts";
import { nextStage } from "../../text/ring.ts";
import { keyChunk, prefillSchedule } from "./schedule.ts";

/** Their branch of the kernel. */
export const consumer = (p: AttendProblem): string =>
  lines(
    registers(p),
    "",
    firstTile,
    "",
    "for (int j = tiles - 2; j >= 0; j--) {",
    indented(nextTile(p)),
    "}",
    lastMix(p),
    "",
    output(p),
  );

const registers = (p: AttendProblem): string => `setmaxnreg_inc<232>();
const int warpgroup = warp / 4, warp_row = warp % 4;
// The last key that this lane's upper row sees; the lower sees 8 more.
const int row = past + row0 + warpgroup * 64 + warp_row * 16 + lane / 4;
const u64 q_tile = descriptor_k_major(query + warpgroup * 64 * 128);
float scores[${scoresOf(p)}], acc[${p.v / 2}], less[2], top[2] = {LEAST, LEAST}, sum[2] = {0.f, 0.f};
u32 weights[KEYS / 16][4];
int stage = 0, v_stage = 0; u32 phase = 0, v_phase = 0;
#pragma unroll
for (int i = 0; i < ${p.v / 2}; i++) acc[i] = 0.f;`;

const firstTile = `// Products in this warpgroup's turn: the scores of a tile, and behind them the mix of the tile before.
mbarrier_wait(q_full, 0);
if (warpgroup == 1) bar_arrive(2, 256);  // the upper rows begin
mbarrier_wait(k_full, 0);
bar_sync(2 + warpgroup, 256);
score(scores, q_tile, descriptor_k_major(k_ring));
if (warpgroup == 0 || tiles > 1) bar_arrive(3 - warpgroup, 256);
wgmma_wait_group<0>(scores);
if (lane == 0) mbarrier_arrive(k_empty);
exponents(scores, top, sum, less, row - (tiles - 1) * KEYS, lane);
pack(weights, scores);`;

const nextTile = (p: AttendProblem): string => `${nextStage}
mbarrier_wait(k_full + 8 * stage, phase);
bar_sync(2 + warpgroup, 256);
score(scores, q_tile, descriptor_k_major(k_ring + stage * K_STAGE));
mbarrier_wait(v_full + 8 * v_stage, v_phase);
mix(acc, weights, descriptor_mn_major<${keyChunk(p)}>(v_ring + v_stage * V_STAGE));
if (warpgroup == 0 || j > 0) bar_arrive(3 - warpgroup, 256);
wgmma_wait_group<1>(scores);
if (lane == 0) mbarrier_arrive(k_empty + 8 * stage);
// The weights in flight are still read; the new ones wait in the registers of their scores.
exponents(scores, top, sum, less, row - j * KEYS, lane);
wgmma_wait_group<0>(acc);
if (lane == 0) mbarrier_arrive(v_empty + 8 * v_stage);
if (++v_stage == STAGES) { v_stage = 0; v_phase ^= 1; }
#pragma unroll
for (int i = 0; i < ${p.v / 2}; i++) acc[i] *= less[i / 2 % 2];
pack(weights, scores);`;

const lastMix = (p: AttendProblem): string => `mbarrier_wait(v_full + 8 * v_stage, v_phase);
mix(acc, weights, descriptor_mn_major<${keyChunk(p)}>(v_ring + v_stage * V_STAGE));
wgmma_wait_group<0>(acc);`;

const output = ({
  v,
}: AttendProblem): string => `// Output: 64 x ${v} bf16 where this warpgroup's queries were; TMA clips the last rows.
const u32 out = query + warpgroup * 64 * 128;
#pragma unroll
for (int h = 0; h < 2; h++) {
  sum[h] += __shfl_xor_sync(~0u, sum[h], 1);
  sum[h] += __shfl_xor_sync(~0u, sum[h], 2);
  sum[h] = 1.f / sum[h];
}
#pragma unroll
for (int c = 0; c < ${v / 8}; c += 2) {
  const int at = warp_row * 16 + lane % 16, chunk = c % 8 + lane / 16;
  const float* x = acc + c * 4;
  stmatrix_x4(out + c / 8 * CHUNK + at * 128 + ((chunk ^ (at % 8)) * 16), pack_bf16(x[0] * sum[0], x[1] * sum[0]),
      pack_bf16(x[2] * sum[1], x[3] * sum[1]), pack_bf16(x[4] * sum[0], x[5] * sum[0]), pack_bf16(x[6] * sum[1], x[7] * sum[1]));
}
fence_proxy_async();
bar_sync(4 + warpgroup, 128);
if (threadIdx.x % 128 == 0 && row0 + warpgroup * 64 < t) {
  for (int c = 0; c < ${v / 64}; c++) tma_store_3d(&y_map, out + c * CHUNK, c * 64, head, row0 + warpgroup * 64);
  tma_store_commit();
  tma_store_wait();
}`;

/** Scores that a thread holds of a stage. */
const scoresOf = (p: AttendProblem): number => prefillSchedule(p).keys / 2;

/** Products of a stage, as functions. */
export function products(p: AttendProblem): string {
  const { n, d, v } = p;
  const { keys } = prefillSchedule(p);
  const chunk = keyChunk(p);
  return `__device__ __forceinline__ void score(float (&scores)[${keys / 2}], u64 q_tile, u64 k_tile) {
  wgmma_fence();
#pragma unroll
  for (int k = 0; k < ${(n + d) / 16}; k++)
    wgmma_m64n${keys}k16_bf16(scores, q_tile + k / 4 * (CHUNK / 16) + k % 4 * 2, k_tile + k / 4 * (${chunk} / 16) + k % 4 * 2, k > 0);
  wgmma_commit_group();
}
__device__ __forceinline__ void mix(float (&acc)[${v / 2}], const u32 (&weights)[${keys / 16}][4], u64 v_tile) {
  wgmma_fence();
#pragma unroll
  for (int k = 0; k < KEYS / 16; k++) wgmma_m64n${v}k16_bf16_areg_bmn(acc, weights[k], v_tile + k * (16 * 128 / 16), 1);
  wgmma_commit_group();
}`;
}

export const exponents = (
  p: AttendProblem,
): string => `// Scores become exponentials under the running maximum; earlier sums shrink by \`less\`. A lane holds columns 2 (lane % 4)
// of every 8, of its upper row and the one 8 below; four lanes hold a row. \`seen\` is the last column its upper row sees.
__device__ __forceinline__ void exponents(
    float (&x)[${scoresOf(p)}], float (&top)[2], float (&sum)[2], float (&less)[2], int seen, int lane) {
  if (__any_sync(~0u, seen < KEYS - 1)) {
#pragma unroll
    for (int i = 0; i < ${scoresOf(p)}; i++) if (i / 4 * 8 + lane % 4 * 2 + i % 2 > seen + i / 2 % 2 * 8) x[i] = minus_infinity();
  }
#pragma unroll
  for (int h = 0; h < 2; h++) {
    float most = x[2 * h];
#pragma unroll
    for (int i = 1; i < ${scoresOf(p) / 2}; i++) most = fmaxf(most, x[i / 2 * 4 + 2 * h + i % 2]);
    most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
    most = fmaxf(top[h], SCALE * fmaxf(most, __shfl_xor_sync(~0u, most, 2)));
    less[h] = ex2_approx(top[h] - most);
    top[h] = most;
    float add = 0.f;
#pragma unroll
    for (int i = 0; i < ${scoresOf(p) / 2}; i++) {
      float& v = x[i / 2 * 4 + 2 * h + i % 2];
      v = ex2_approx(fmaf(v, SCALE, -most));
      add += v;
    }
    sum[h] = fmaf(sum[h], less[h], add);
  }
}`;

export const pack = (
  p: AttendProblem,
): string => `// Sums of a product lie in registers as wgmma wants its first operand: scores become weights lane by lane.
__device__ __forceinline__ void pack(u32 (&weights)[${prefillSchedule(p).keys / 16}][4], const float (&x)[${scoresOf(p)}]) {
#pragma unroll
  for (int i = 0; i < ${scoresOf(p) / 2}; i++) weights[i / 4][i % 4] = pack_bf16(x[i * 2], x[i * 2 + 1]);
}`;
