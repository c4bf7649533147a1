// What a few blocks do beside the product of mla-query.ts: the rotation of the query's other lanes, and the row that enters the cache.
// What the step's tables and the rotary one say is read before the kernel before has ended: each look-up waits for the one before it.
import { indented } from "../../text/lines.ts";
import { inverseRms, rowSquares } from "../../text/norm.ts";
import type { MlaQueryProblem } from "./mla-query-problem.ts";

/** Four pairs of lanes that lie at `from`, rotated by the row of the table at `turn`: `left` and `right`, with the tile program's bits. */
export const ROTATE_FOUR = `    float first[4], second[4], cos[4], sin[4], left[4], right[4];
    load4_bf16(first, from);
    load4_bf16(second, from + 4);
    load4_f32(cos, turn + pair);
    load4_f32(sin, turn + HALF + pair);
    const float even[4] = {first[0], first[2], second[0], second[2]}, odd[4] = {first[1], first[3], second[1], second[3]};
#pragma unroll
    for (int e = 0; e < 4; e++) {
      left[e] = __fsub_rn(__fmul_rn(even[e], cos[e]), __fmul_rn(odd[e], sin[e]));
      right[e] = __fadd_rn(__fmul_rn(odd[e], cos[e]), __fmul_rn(even[e], sin[e]));
    }`;

export const rotateQuery = (
  p: MlaQueryProblem,
): string => `// The query's rotated lanes of one token: four pairs a turn, the result in half-split order.
__device__ __forceinline__ void rotate_query(const u16* qr, const float* table, const int* positions, u16* qp, int token, int part) {
  constexpr int GROUPS = HALF / 4;
  const float* turn = table + (i64)positions[token] * ${p.d};
  float cos[4], sin[4];
  const auto read_turn = [&](int pair) {
    load4_f32(cos, turn + pair);
    load4_f32(sin, turn + HALF + pair);
  };
  constexpr bool ALIKE = TURNS * 128 % GROUPS == 0;  // whether a thread has the same pairs of all its heads
  if (ALIKE) read_turn((part * 128 + threadIdx.x) % GROUPS * 4);
  await_previous();
#pragma unroll 2
  for (int i = part * 128 + threadIdx.x; i < HEADS * GROUPS; i += TURNS * 128) {
    const int head = i / GROUPS, pair = i % GROUPS * 4;
    const u16* from = qr + (i64)token * ${p.xStrides[0]} + head * ${p.xStrides[1]} + 2 * pair;
${ROTATE_FOUR}
    u16* to = qp + ((i64)token * HEADS + head) * ${p.d} + pair;
    store4_bf16(to, left);
    store4_bf16(to + HALF, right);
  }
}`;

export const appendRow = (
  p: MlaQueryProblem,
): string => `// One new row of the cache: the latent normalised, the shared key rotated. Four warps, 128 lanes of the latent each and turn.
__device__ __forceinline__ void append_row(u16* cache, const u16* c, const u16* kr, const float (*gains)[4], const float* table,
    const int* positions, const int* sequence, const int* pages, int token, int P) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int position = positions[token], row = sequence[token];
  const float* turn = table + (i64)position * ${p.d} + threadIdx.x % HALF;
  const float cos = turn[0], sin = turn[HALF];
  const int page = pages[(i64)row * P + position / ${p.pageRows}];
  u16* to = cache + (i64)page * ${p.pageRows * (p.r + p.d)} + (i64)(position % ${p.pageRows}) * ${p.r + p.d};
  await_previous();
  float v[BLOCKS / 4][4];
#pragma unroll
  for (int t = 0; t < BLOCKS / 4; t++) load4_bf16(v[t], c + (i64)token * ${p.cStride} + (warp + 4 * t) * 128 + lane * 4);
  if (threadIdx.x < HALF) {
    const u16* pair = kr + (i64)token * ${p.krStride} + 2 * threadIdx.x;
    const float even = from_bf16(pair[0]), odd = from_bf16(pair[1]);
    to[${p.r} + threadIdx.x] = to_bf16(__fsub_rn(__fmul_rn(even, cos), __fmul_rn(odd, sin)));
    to[${p.r} + HALF + threadIdx.x] = to_bf16(__fadd_rn(__fmul_rn(odd, cos), __fmul_rn(even, sin)));
  }
${indented(rowSquares("BLOCKS / 4", "warp + 4 * t", "e", inverseRms(p.r, p.eps)))}
#pragma unroll
  for (int t = 0; t < BLOCKS / 4; t++) {
    float n[4];
#pragma unroll
    for (int e = 0; e < 4; e++) n[e] = __fmul_rn(__fmul_rn(v[t][e], by), gains[t][e]);
    store4_bf16(to + (warp + 4 * t) * 128 + lane * 4, n);
  }
}`;
