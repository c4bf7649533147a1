// The rows of x in a ring kernel, whole in shared memory: as they are, normalised, or gated. Every block makes them for itself while its
// ring fills, so what used to be a launch before the product costs a visit to L2. A thread has 8 columns of every 2048 of a row; half a
// warp has a block of 128, whose squares add up in the tree that all norms follow (codegen/cuda/sm90/rows/norm-rows.ts), so that
// bits agree.
import type { RingProblem, RingSchedule } from "./ring-schedule.ts";
import { part } from "../../text/marks.ts";
import { inverseRms } from "../../text/norm.ts";

/** Every token and turn of this thread that is inside. */
const each = (body: string): string => `#pragma unroll
  for (int i = 0; i < TOKENS; i++)
#pragma unroll
    for (int t = 0; t < TURNS; t++)
      if (i < m && column + t * 2048 < K) ${body}`;

const copied = `  // The rows of x, read once from L2 while the ring fills.
  await_previous();
${each("*(uint4*)(x_rows + i * PITCH + column + t * 2048) = *(const uint4*)(x + i * X_STRIDE + column + t * 2048);")}
`;

const gated = `  // silu(gate) * up: every block for itself, from L2, while the ring fills. It is rounded as it would be stored.
  await_previous();
  uint4 gates[TOKENS][TURNS], ups[TOKENS][TURNS];
${each(`{
        gates[i][t] = *(const uint4*)(x + i * X_STRIDE + column + t * 2048);
        ups[i][t] = *(const uint4*)(x + i * X_STRIDE + K + column + t * 2048);
      }`)}
${each(`{
        float gate[8], up[8], act[8];
        widen_bf16(gates[i][t], gate);
        widen_bf16(ups[i][t], up);
#pragma unroll
        for (int j = 0; j < 8; j++) act[j] = __fmul_rn(__fdiv_rn(gate[j], __fadd_rn(1.0f, expf(-gate[j]))), up[j]);
        *(uint4*)(x_rows + i * PITCH + column + t * 2048) = narrow_bf16(act);
      }`)}
`;

/** The sum over the blocks of a row, four at a time where they are so many: eight warps read the same words. */
const joined = (blocks: number): string =>
  blocks % 4 === 0
    ? `#pragma unroll
    for (int b = 0; b < K / 128; b += 4) {
      const float4 part = *(const float4*)(parts + i * (K / 128) + b);
      squares = __fadd_rn(__fadd_rn(__fadd_rn(__fadd_rn(squares, part.x), part.y), part.z), part.w);
    }`
    : `#pragma unroll
    for (int b = 0; b < K / 128; b++) squares = __fadd_rn(squares, parts[i * (K / 128) + b]);`;

const normalised = (
  p: RingProblem,
): string => `  // The rows, normalised: every block for itself, from L2, while the ring fills. The gain is a weight and waits for nobody.
  uint4 gains[TURNS];
#pragma unroll
  for (int t = 0; t < TURNS; t++)
    if (column + t * 2048 < K) gains[t] = *(const uint4*)(gain + column + t * 2048);
  await_previous();
  uint4 held[TOKENS][TURNS] = {};
${each("held[i][t] = *(const uint4*)(x + i * X_STRIDE + column + t * 2048);")}
#pragma unroll
  for (int i = 0; i < TOKENS; i++)
#pragma unroll
    for (int t = 0; t < TURNS; t++) {
      float v[8];
      widen_bf16(held[i][t], v);
      const float squares = half_warp_sum_of_squares(v);
      if (lane % 16 == 0 && column + t * 2048 < K) parts[i * (K / 128) + column / 128 + t * 16] = squares;
    }
  bar_sync(1, 256);
#pragma unroll
  for (int i = 0; i < TOKENS; i++) {
    // Blocks join in order.
    float squares = 0.0f;
${joined(p.k / 128)}
    const float by = ${inverseRms(p.k, p.eps!)};
#pragma unroll
    for (int t = 0; t < TURNS; t++) {
      if (i >= m || column + t * 2048 >= K) continue;
      float v[8], g[8];
      widen_bf16(held[i][t], v);
      widen_bf16(gains[t], g);
#pragma unroll
      for (int j = 0; j < 8; j++) v[j] = __fmul_rn(__fmul_rn(v[j], by), g[j]);
      *(uint4*)(x_rows + i * PITCH + column + t * 2048) = narrow_bf16(v);
    }
  }
`;

/** What the math warps do before the first stage: the rows of a problem whose schedule keeps them in shared memory. */
export function residentRows(p: RingProblem, s: RingSchedule): string {
  const columns = s.steps * s.pieces * 64;
  const beyond =
    columns === p.k
      ? ""
      : `  // The last stage reaches beyond k, where TMA gives w as zeros: zero times zero.
  for (int i = 0; i < TOKENS; i++)
    for (int c = K + threadIdx.x; c < ${columns}; c += 256) x_rows[i * PITCH + c] = 0;
`;
  const make =
    p.rows === "rms_norm" ? part("rms_norm", normalised(p)) : p.rows === "silu_mul" ? part("gated_pair", gated) : copied;
  return `  const int column = threadIdx.x * 8;  // and every 2048th after it
${make}${beyond}  bar_sync(1, 256);
`;
}
