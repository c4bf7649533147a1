// The mixing warpgroups of the MLA decode kernel: a block's weights times its cached rows, and what becomes of a piece's sums.
import { indented, lines } from "../../text/lines.ts";
import { nextStage } from "../../text/ring.ts";
import type { ClusterTexts } from "./mla-decode-pair.ts";

/** Their branch of the kernel, up to the combination of shared tokens. */
export const mix = (of: ClusterTexts, padded: boolean): string =>
  lines(
    "// Mixing: two warpgroups, each 64 heads by half of the value's lanes; the sums fill 128 registers a thread.",
    "setmaxnreg_inc<168>();",
    of.others,
    places,
    "for (int row = begin.x; row < plan.last; row++) {",
    indented(
      lines(
        newPiece,
        "for (int b = p.from; b < p.to; b++) {",
        indented(mixStage(of)),
        "}",
        "",
        padded ? storePadded : storePiece,
        publishPart,
      ),
    ),
    "}",
  );

const places = `const int warpgroup = warp / 4 - 2, thread = threadIdx.x - 256, head = warp_row * 16 + lane / 4;
constexpr int SLOT = 65 * 64;  // 64 x 512 sums as halves; each head's maximum, its sum, and the largest of either half
uint4* slots = (uint4*)workspace;                                // two a block
int* counters = (int*)(slots + (long long)gridDim.x * 2 * SLOT);  // arrivals and departures, per token and block
int stage = 0; u32 phase = 0;`;

const newPiece = `const Piece p = piece_of(row);
float acc[2][64];
float2 total[2];
EACH(i, 128) acc[i / 64][i % 64] = 0.f;`;

const mixStage = ({ release }: ClusterTexts): string => `const u32 tile = ring + stage * STAGE;
for (int i = 0; i < PARTS; i++) mbarrier_wait(full + 8 * (stage * PARTS + i), phase);
mbarrier_wait(scored + 8 * stage, phase);
const float upper = shrink[stage][head], lower = shrink[stage][head + 8];
if (b > p.from && __any_sync(~0u, upper != 1.f || lower != 1.f)) {
  EACH(i, 128) acc[i / 64][i % 64] *= i & 2 ? lower : upper;
}
const u64 p_tile = descriptor_k_major(tile + 8 * CHUNK), v_tile = descriptor_mn_major<CHUNK>(tile + warpgroup * 4 * CHUNK);
wgmma_fence();
EACH(k, 8)
  wgmma_m64n128k16_bf16_bmn(acc[k / 4], p_tile + k % 4 * 2, v_tile + k / 4 * (2 * CHUNK / 16) + k % 4 * (16 * 128 / 16), 1);
wgmma_commit_group();
if (b == p.to - 1) { total[0] = totals[stage][head]; total[1] = totals[stage][head + 8]; }
wgmma_wait_group<0>(acc[0]);
wgmma_wait_group<0>(acc[1]);
__syncwarp();
if (lane < CLUSTER) ${release};
${nextStage}`;

/** The store of a lane's sums, in either form. */
export const storeSums = `// One of a lane's two rows of sums. Lanes of four change words, so that each holds eight columns of a row:
// 64 bytes of a head at a time.
template <u32 (*PACK)(float, float)>
__device__ __forceinline__ void store_sums(uint4* out, const float (&acc)[2][64], int h, float by, int lane) {
#pragma unroll
  for (int j = 0; j < 32; j += 4) {
    const float* v = acc[j / 16] + j % 16 * 4 + 2 * h;
    const uint4 words = make_uint4(PACK(v[0] * by, v[1] * by), PACK(v[4] * by, v[5] * by),
        PACK(v[8] * by, v[9] * by), PACK(v[12] * by, v[13] * by));
    out[j] = transpose_words(words, lane);
  }
}`;

const storeHalves = (out: string): string => `float largest = 0.f;
EACH(i, 64) largest = fmaxf(largest, fabsf(acc[i / 32][i % 32 / 2 * 4 + 2 * h + i % 2]));
largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, 1));
largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, 2));
store_sums<pack_f16>(${out}, acc, h, largest > 1e-30f ? rcp_approx(largest) : 0.f, lane);
float* stat = (float*)(slots + slot * SLOT + 4096 + head + 8 * h);
if (lane % 4 == 0 && warpgroup == 0) *(float2*)stat = total[h];
if (lane % 4 == 0) stat[2 + warpgroup] = largest;`;

const storePiece = lines(
  `// A whole token goes to y; a part of a shared one to L2, as halves of its largest sum.
await_previous();  // it may still read y
const bool whole = p.from == 0 && row < end.x;
const long long slot = blockIdx.x * 2 + (p.from == 0);
uint4* tile = whole ? (uint4*)y + ((long long)row * HEADS + rank * 64) * 64 : slots + slot * SLOT;
uint4* out = tile + head * 64 + warpgroup * 32 + lane % 4;
EACH(h, 2) {
  if (whole) {
    store_sums<pack_bf16>(out + h * 512, acc, h, rcp_approx(total[h].y), lane);
    continue;
  }`,
  indented(storeHalves("out + h * 512")),
  "}",
);

/** The same where a block has fewer heads than its products have rows. */
const storePadded = lines(
  `// A whole token goes to y; a part of a shared one to L2, as halves of its largest sum. Rows that are no heads go where a part would
// lie, for nobody reads them there, and warps that have no other have nothing to store.
await_previous();  // it may still read y
const bool whole = p.from == 0 && row < end.x;
const long long slot = blockIdx.x * 2 + (p.from == 0);
EACH(h, 2) if (warp_row * 16 + 8 * h < HEADS) {
  const int at = (head + 8 * h) * 64 + warpgroup * 32 + lane % 4;
  uint4* out = (whole && head + 8 * h < HEADS ? (uint4*)y + (long long)row * HEADS * 64 : slots + slot * SLOT) + at;
  if (whole) {
    store_sums<pack_bf16>(out, acc, h, rcp_approx(total[h].y), lane);
    continue;
  }`,
  indented(storeHalves("out")),
  "}",
);

const publishPart = `if (!whole) {
  bar_sync(2, 256);
  if (thread == 0) red_release_increment(counters + (row * CLUSTER + rank) * 2);
}`;
