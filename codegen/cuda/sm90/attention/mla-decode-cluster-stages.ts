// How a block of the MLA decode kernel of fixed splits goes through its stages of cached rows: scores, softmax, and the mix of rows under
// their weights. Together, both warpgroups have a stage each, one softmax and half of the lanes of either mix, which is the shortest way
// through two stages. Apart, each goes through every second stage by itself, so that a place of the ring is filled anew as soon as it
// has been read; at the end they put their sums together.
import { indented, lines } from "../../text/lines.ts";
import type { MlaFixedSchedule } from "./schedule.ts";

/** What the warps that go through a stage together have in common. */
interface Turn {
  /** Chunks of lanes that a warpgroup mixes, and what their sums are called. */
  sums: string;
  /** Index of the warpgroup's stage among the block's, and whether it is of the first turn, copied before the kernel before had ended. */
  stage: string;
  isFirst: string;
  /** A barrier among them. */
  meet: string;
  /** Maxima of all of them, by warp w. */
  peaks: string;
}

const together: Turn = {
  sums: "acc[4]",
  stage: "i + warpgroup",
  isFirst: "i == 0",
  meet: "__syncthreads();",
  peaks: "EACH(w, 8) most[h] = fmaxf(most[h], peaks[w][head_of(h)]);",
};

const apart: Turn = {
  sums: "whole[8]",
  stage: "i",
  isFirst: "i < WARPGROUPS",
  meet: "bar_sync(1 + warpgroup, 128);",
  peaks: "EACH(w, 4) most[h] = fmaxf(most[h], peaks[warpgroup * 4 + w][head_of(h)]);",
};

/** The loop; leaves a lane's sums, and maximum and sum of the exponents of each of its heads. */
export const attendStages = ({ group, turns }: MlaFixedSchedule): string =>
  turns === "together" ? stagesTogether(group) : lines(stagesApart(group), "", joinSums);

const stagesTogether = (group: number): string =>
  lines(
    sumsOfLane(together),
    "#pragma unroll 1",
    "for (int i = 0; i < mine; i += WARPGROUPS) {",
    indented(
      lines(
        `const u32 tile = ring + warpgroup * STAGE;
float s[SUMS];
EACH(n, SUMS) s[n] = minus_infinity();
if (i + warpgroup < mine) {`,
        indented(lines(clearPastEnd(together), "", scores(group, together))),
        "}",
        "",
        softmax(together),
        layWeights(group, together),
        "",
        mixBoth(group),
        `if (i + WARPGROUPS < mine) __syncthreads();
if (thread == 0) copy_stages(i + WARPGROUPS);`,
      ),
    ),
    "}",
  );

const stagesApart = (group: number): string =>
  lines(
    sumsOfLane(apart),
    "#pragma unroll 1",
    "for (int i = warpgroup; i < mine; i += WARPGROUPS) {",
    indented(
      lines(
        `const u32 tile = ring + warpgroup * STAGE;
// Looked up, and sent for to L2, while this stage is worked on.
const int next = i + WARPGROUPS < mine ? first_row(i + WARPGROUPS) : -1;
if (thread % 128 == 0 && next >= 0) tma_prefetch_3d(&cache_map, 0, next, 0);
float s[SUMS];`,
        clearPastEnd(apart),
        "",
        scores(group, apart),
        "",
        softmax(apart),
        layWeights(group, apart),
        "",
        mixOwn(group),
        `if (next >= 0) {
  ${apart.meet}  // all have read the place that is filled anew
  if (thread % 128 == 0) {
    mbarrier_arrive_expect_tx(full + 8 * warpgroup, STAGE);
    tma_load_3d(tile, &cache_map, full + 8 * warpgroup, 0, next, 0);
  }
}`,
      ),
    ),
    "}",
  );

/** Both warpgroups' sums of all lanes become each one's of half of them. */
const joinSums = `// Each warpgroup takes half of the lanes, and gives its sums of the others by way of the ring, which has been read.
float acc[4][SUMS];
if (mine > 0) {
  if (lane < 4) EACH(h, LANE_HEADS) peaks[warp][head_of(h)] = top[h];
  __syncthreads();
  float less[LANE_HEADS];
  EACH(h, LANE_HEADS) {
    const float most = fmaxf(top[h], peaks[(warpgroup ^ 1) * 4][head_of(h)]);
    less[h] = ex2_approx(top[h] - most);
    top[h] = most;
    sum[h] *= less[h];
  }
  const auto place = [&](int half, int c, int n) { return ring + ((half * 4 + c) * SUMS + n) * 512 + thread % 128 * 4; };
  EACH(c, 4) EACH(n, SUMS) {
    st_shared_f32(place(warpgroup ^ 1, c, n), (warpgroup ? whole[c][n] : whole[c + 4][n]) * less[own(n)]);
    acc[c][n] = (warpgroup ? whole[c + 4][n] : whole[c][n]) * less[own(n)];
  }
  __syncthreads();
  EACH(c, 4) EACH(n, SUMS) acc[c][n] += ld_shared_f32(place(warpgroup, c, n));
}`;

const sumsOfLane = ({
  sums,
}: Turn): string => `// Of a product's sums a lane holds rows lane / 4 and eight further, of heads 2 (lane % 4) and + 1 of every eight:
// two rows of each of its own heads h.
constexpr int SUMS = GROUP / 2, LANE_HEADS = GROUP / 4;
const auto head_of = [&](int h) { return h / 2 * 8 + lane % 4 * 2 + h % 2; };
const auto own = [](int n) { return n / 4 * 2 + n % 2; };
float ${sums}[SUMS] = {}, top[LANE_HEADS], sum[LANE_HEADS] = {};
EACH(h, LANE_HEADS) top[h] = minus_infinity();`;

/**
 * What lies behind the sequence in a warpgroup's first stage, NaN even, becomes zeros: its weight is zero, and zero times NaN is not.
 * Before the wait, and so is looking up where the rows are that come again after it: all blocks wait for the one with the newest row.
 */
export const clearEarly = `const auto word_at = [&](u32 tile, int w) {
  const int row = w / (CHUNKS * 8), word = w % (CHUNKS * 8);
  return tile + word / 8 * CHUNK + row * 128 + ((word ^ row) % 8) * 16;
};
const int end = position + 1 - (rank + warpgroup * SPLITS) * KEYS;  // of the sequence, in this warpgroup's first stage
const uint4* first_stage = (const uint4*)cache;
if (warpgroup < mine && end < KEYS + T) {
  first_stage += (long long)first_row(warpgroup) * CHUNKS * 8;
  mbarrier_wait(full + 8 * warpgroup, 0);
#pragma unroll 1
  for (int w = end * CHUNKS * 8 + thread % 128; w < KEYS * CHUNKS * 8; w += 128)
    st_shared_v4_u32(word_at(ring + warpgroup * STAGE, w), make_uint4(0, 0, 0, 0));
}`;

const clearPastEnd = ({
  stage,
  isFirst,
}: Turn): string => `const int stage = ${stage}, first = (rank + stage * SPLITS) * KEYS, seen = min(position + 1 - first, KEYS);
mbarrier_wait(full + 8 * warpgroup, i / WARPGROUPS & 1);
// The end of the sequence: in the first turn rows of this step, which were copied before they were written; later what lies behind them.
const bool is_first = ${isFirst};
const int settled = is_first ? min(max(position - T + 1 - first, 0), KEYS) : seen;
if (settled < KEYS) {
#pragma unroll 1
  for (int w = settled * CHUNKS * 8 + thread % 128; w < (is_first ? seen : KEYS) * CHUNKS * 8; w += 128)
    st_shared_v4_u32(word_at(tile, w), is_first ? ld_global_cg_v4_u32(first_stage + w) : make_uint4(0, 0, 0, 0));
  fence_proxy_async();
  bar_sync(1 + warpgroup, 128);
}`;

const scores = (
  group: number,
  { isFirst }: Turn,
): string => `// Scores: 64 rows by ${group} heads, in two chains so that one product need not wait for another's sums.
if (${isFirst}) mbarrier_wait(asked, 0);
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

const softmax = ({ meet, peaks }: Turn): string => `// Softmax: a head's rows lie in eight lanes of all warps.
float most[LANE_HEADS];
EACH(h, LANE_HEADS) most[h] = quads_max(fmaxf(s[h / 2 * 4 + h % 2], s[h / 2 * 4 + h % 2 + 2]));
if (lane < 4) EACH(h, LANE_HEADS) peaks[warp][head_of(h)] = most[h];
${meet}
float less[LANE_HEADS];
EACH(h, LANE_HEADS) {
  most[h] = top[h];
  ${peaks}
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

const layWeights = (group: number, { meet }: Turn): string =>
  lines(layPairs, ...(group % 16 ? [layLast] : []), `fence_proxy_async();\n${meet}`);

const mixBoth = (
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

const mixOwn = (group: number): string => `// Mix: 512 lanes by ${group} heads. The rows are read across.
if (i >= WARPGROUPS) EACH(n, 8 * SUMS) whole[n / SUMS][n % SUMS] *= less[own(n % SUMS)];
wgmma_fence();
const u64 v_tile = descriptor_mn_major<CHUNK>(tile), p_tile = descriptor_k_major(weights + warpgroup * GROUP * 128);
EACH(k, 4) EACH(c, 8) wgmma_m64n${group}k16_bf16_amn(whole[c], v_tile + c * (CHUNK / 16) + k * (16 * 128 / 16), p_tile + k * 2, 1);
wgmma_commit_group();
EACH(c, 8) wgmma_wait_group<0>(whole[c]);`;
