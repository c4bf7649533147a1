// The scoring warpgroup of the MLA decode kernel: products of a block's heads with a stage of cached rows, their softmax, and the
// weights laid where the stage's rotary lanes were.
import { indented, lines } from "../../text/lines.ts";
import { nextStage } from "../../text/ring.ts";
import type { ClusterTexts } from "./mla-decode-pair.ts";

/** Its branch of the kernel. */
export const score = (of: ClusterTexts): string =>
  lines(
    "// Scores: 64 heads by 64 cached rows, softmax, and the weights in bf16 where the stage's rotary lanes were.",
    "setmaxnreg_inc<136>();",
    of.others,
    "int stage = 0; u32 phase = 0, q_phase = 0;",
    "for (int row = begin.x; row < plan.last; row++) {",
    indented(
      lines(
        newPiece,
        "for (int b = p.from; b < p.to; b++) {",
        indented(lines(clearPastEnd, multiply, "", softmax, layWeights, publishStatistics, release)),
        "}",
      ),
    ),
    "}",
  );

const newPiece = `const Piece p = piece_of(row);
float top[2] = {minus_infinity(), minus_infinity()}, sum[2] = {0.f, 0.f};
mbarrier_wait(q_full, q_phase);
q_phase ^= 1;`;

const clearPastEnd = `const u32 tile = ring + stage * STAGE;
const int seen = p.length - b * KEYS;
float s[32];
if (seen < KEYS) {
  for (int i = 0; i < PARTS; i++) mbarrier_wait(full + 8 * (stage * PARTS + i), phase);
  // Whatever lies past the end, NaN even, becomes zeros: its weight is zero, and zero times NaN is not.
  for (int i = threadIdx.x - 128; i < (KEYS - seen) * 64; i += 128)
    st_shared_v4_u32(tile + i % 8 * CHUNK + (seen + i / 64) * 128 + i / 8 % 8 * 16, make_uint4(0, 0, 0, 0));
  fence_proxy_async();
  bar_sync(1, 128);
}`;

const multiply = `const u64 q_tile = descriptor_k_major(query), k_tile = descriptor_k_major(tile);
EACH(k, 4 * CHUNKS) {
  const int at = k / 4 * (CHUNK / 16) + k % 4 * 2;
  if (k % (4 * CHUNKS / PARTS) == 0) {
    mbarrier_wait(full + 8 * (stage * PARTS + k / (4 * CHUNKS / PARTS)), phase);
    wgmma_fence();
  }
  wgmma_m64n64k16_bf16(s, q_tile + at, k_tile + at, k > 0);
}
wgmma_commit_group();
wgmma_wait_group<0>(s);
if (b == p.to - 1 && lane == 0) mbarrier_arrive(q_empty);`;

const softmax = `// A lane holds columns 2 (lane % 4) of every 8, of rows lane / 4 and eight further; four lanes hold a row.
if (seen < KEYS) {
  EACH(i, 32) if (i / 4 * 8 + lane % 4 * 2 + i % 2 >= seen) s[i] = minus_infinity();
}
// Exponents are taken from the maximum as it was; it moves only when a score lies 2^8 above it, and then they are taken anew.
// So they need not wait for the lanes to agree on the maximum, and sums seldom have to shrink.
float e[32], less[2] = {1.f, 1.f}, most[2];
EACH(i, 32) e[i] = ex2_approx(fmaf(s[i], SCALE, -top[i / 2 % 2]));
EACH(h, 2) {
  most[h] = s[2 * h];
#pragma unroll
  for (int i = 1; i < 16; i++) most[h] = fmaxf(most[h], s[i / 2 * 4 + 2 * h + i % 2]);
  most[h] = fmaxf(most[h], __shfl_xor_sync(~0u, most[h], 1));
  most[h] = SCALE * fmaxf(most[h], __shfl_xor_sync(~0u, most[h], 2));
}
if (__any_sync(~0u, most[0] > top[0] + 8.f || most[1] > top[1] + 8.f)) {
  EACH(h, 2) {
    const float higher = most[h] > top[h] + 8.f ? most[h] : top[h];
    less[h] = ex2_approx(top[h] - higher);
    top[h] = higher;
    sum[h] *= less[h];
  }
  EACH(i, 32) e[i] = ex2_approx(fmaf(s[i], SCALE, -top[i / 2 % 2]));
}
EACH(i, 32) sum[i / 2 % 2] += e[i];`;

const layWeights = `// All warps have read the rotary lanes; the weights take their place, in the layout of a tile.
bar_sync(1, 128);
const int to = warp_row * 16 + lane % 16;
#pragma unroll
for (int c = 0; c < 8; c += 2) {
  const float* v = e + c * 4;
  stmatrix_x4(tile + 8 * CHUNK + to * 128 + (((c + lane / 16) ^ (to % 8)) * 16),
      pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]), pack_bf16(v[4], v[5]), pack_bf16(v[6], v[7]));
}`;

const publishStatistics = `EACH(h, 2) {
  const int head = warp_row * 16 + lane / 4 + 8 * h;
  if (lane % 4 == 0) shrink[stage][head] = less[h];
  if (b == p.to - 1) {
    float all = sum[h] + __shfl_xor_sync(~0u, sum[h], 1);
    all += __shfl_xor_sync(~0u, all, 2);
    if (lane % 4 == 0) totals[stage][head] = make_float2(top[h], all);
  }
}`;

const release = `fence_proxy_async();
__syncwarp();
if (lane == 0) mbarrier_arrive(scored + 8 * stage);
${nextStage}`;
