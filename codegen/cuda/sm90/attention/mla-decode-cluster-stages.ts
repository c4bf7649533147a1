// How a block of the MLA decode kernel of fixed splits goes through its stages of cached rows: scores, softmax over both warpgroups'
// stages, and the mix of rows under their weights.
import { indented, lines } from "../../text/lines.ts";
import type { MlaFixedSchedule } from "./schedule.ts";

/** The loop; leaves a lane's sums, and maximum and sum of the exponents of each of its heads. */
export const attendStages = (group: MlaFixedSchedule["group"]): string =>
  lines(
    sumsOfLane,
    "#pragma unroll 1",
    "for (int i = 0; i < mine; i += WARPGROUPS) {",
    indented(
      lines(
        `const u32 tile = ring + warpgroup * STAGE;
float s[SUMS];
EACH(n, SUMS) s[n] = minus_infinity();
if (i + warpgroup < mine) {`,
        indented(lines(clearPastEnd, "", scores(group))),
        "}",
        "",
        softmax,
        layWeights(group),
        "",
        mix(group),
        `if (i + WARPGROUPS < mine) __syncthreads();
if (thread == 0) copy_stages(i + WARPGROUPS);`,
      ),
    ),
    "}",
  );

const sumsOfLane = `// Of a product's sums a lane holds rows lane / 4 and eight further, of heads 2 (lane % 4) and + 1 of every eight:
// two rows of each of its own heads h.
constexpr int SUMS = GROUP / 2, LANE_HEADS = GROUP / 4;
const auto head_of = [&](int h) { return h / 2 * 8 + lane % 4 * 2 + h % 2; };
const auto own = [](int n) { return n / 4 * 2 + n % 2; };
float acc[4][SUMS] = {}, top[LANE_HEADS], sum[LANE_HEADS] = {};
EACH(h, LANE_HEADS) top[h] = minus_infinity();`;

const clearPastEnd = `const int first = (rank + (i + warpgroup) * SPLITS) * KEYS, seen = min(position + 1 - first, KEYS);
mbarrier_wait(full + 8 * warpgroup, i / WARPGROUPS & 1);
// The end of the sequence: rows of this step were copied before they were written, and come again; what lies behind them, NaN even,
// becomes zeros, for its weight is zero, and zero times NaN is not.
const int settled = i == 0 ? min(max(position - T + 1 - first, 0), KEYS) : seen;
if (settled < KEYS) {
  const uint4* from = (const uint4*)cache + (long long)first_row(i + warpgroup) * CHUNKS * 8;
#pragma unroll 1
  for (int w = settled * CHUNKS * 8 + thread % 128; w < KEYS * CHUNKS * 8; w += 128) {
    const int row = w / (CHUNKS * 8), word = w % (CHUNKS * 8);
    st_shared_v4_u32(tile + word / 8 * CHUNK + row * 128 + ((word ^ row) % 8) * 16,
        row < seen ? ld_global_cg_v4_u32(from + w) : make_uint4(0, 0, 0, 0));
  }
  fence_proxy_async();
  bar_sync(1 + warpgroup, 128);
}`;

const scores = (
  group: number,
): string => `// Scores: 64 rows by ${group} heads, in two chains so that one product need not wait for another's sums.
if (i == 0) mbarrier_wait(asked, 0);
const u64 k_tile = descriptor_k_major(tile), q_tile = descriptor_k_major(query);
float even[SUMS], odd[SUMS];
wgmma_fence();
wgmma_m64n${group}k16_bf16(even, k_tile, q_tile, 0);
wgmma_m64n${group}k16_bf16(odd, k_tile + 2, q_tile + 2, 0);
#pragma unroll
for (int k = 2; k < 4 * CHUNKS; k++)
  wgmma_m64n${group}k16_bf16(k % 2 ? odd : even, k_tile + k / 4 * (CHUNK / 16) + k % 4 * 2,
      q_tile + k / 4 * (QUERY_CHUNK / 16) + k % 4 * 2, 1);
wgmma_commit_group();
wgmma_wait_group<0>(even);
wgmma_wait_group<0>(odd);
EACH(n, SUMS) s[n] = warp_row * 16 + lane / 4 + n / 2 % 2 * 8 < seen ? (even[n] + odd[n]) * SCALE : minus_infinity();`;

const softmax = `// Softmax: a head's rows lie in eight lanes of eight warps.
float most[LANE_HEADS];
EACH(h, LANE_HEADS) most[h] = quads_max(fmaxf(s[h / 2 * 4 + h % 2], s[h / 2 * 4 + h % 2 + 2]));
if (lane < 4) EACH(h, LANE_HEADS) peaks[warp][head_of(h)] = most[h];
__syncthreads();
float less[LANE_HEADS];
EACH(h, LANE_HEADS) {
  most[h] = top[h];
  EACH(w, 8) most[h] = fmaxf(most[h], peaks[w][head_of(h)]);
  less[h] = ex2_approx(top[h] - most[h]);
  top[h] = most[h];
  sum[h] *= less[h];
}
EACH(n, SUMS) {
  s[n] = ex2_approx(s[n] - top[own(n)]);
  sum[own(n)] += s[n];
}`;

const layPairs = `// The weights, by head, as the second operand of what follows.
EACH(j, GROUP / 16) {
  const float* v = s + 8 * j;
  stmatrix_x4_trans(
      weights + (warpgroup * GROUP + j * 16 + lane / 16 * 8 + lane % 8) * 128 + ((warp_row * 2 + lane / 8 % 2) ^ (lane % 8)) * 16,
      pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]), pack_bf16(v[4], v[5]), pack_bf16(v[6], v[7]));
}`;

/** Eight heads that are left over where pairs of eight are taken at once. */
const layLast = `{
  const float* v = s + GROUP / 16 * 8;
  stmatrix_x2_trans(
      weights + (warpgroup * GROUP + GROUP / 16 * 16 + lane % 8) * 128 + ((warp_row * 2 + lane / 8 % 2) ^ (lane % 8)) * 16,
      pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]));
}`;

const layWeights = (group: number): string =>
  lines(layPairs, ...(group % 16 ? [layLast] : []), "fence_proxy_async();\n__syncthreads();");

const mix = (
  group: number,
): string => `// Mix: 512 lanes by ${group} heads. The rows are read across; each warpgroup has four chunks of 64 lanes of all stages here.
if (i > 0) EACH(n, 4 * SUMS) acc[n / SUMS][n % SUMS] *= less[own(n % SUMS)];
#pragma unroll 1
for (int t = 0; t < min(mine - i, WARPGROUPS); t++) {
  wgmma_fence();
  const u64 v_tile = descriptor_mn_major<CHUNK>(ring + t * STAGE + warpgroup * 4 * CHUNK);
  const u64 p_tile = descriptor_k_major(weights + t * GROUP * 128);
  EACH(k, 4) EACH(c, 4) wgmma_m64n${group}k16_bf16_amn(acc[c], v_tile + c * (CHUNK / 16) + k * (16 * 128 / 16), p_tile + k * 2, 1);
  wgmma_commit_group();
  EACH(c, 4) wgmma_wait_group<0>(acc[c]);
}`;
