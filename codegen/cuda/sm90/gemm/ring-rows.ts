// The rows of x in a ring kernel, whole in shared memory: as they are, normalised, or gated. Every block makes them for itself while its
// ring fills, so what used to be a launch before the product costs a visit to L2. A thread has 8 columns of every 2048 of a row; half a
// warp has a block of 128, whose squares add up in the tree that all norms follow (codegen/cuda/sm90/rows/norm-rows.ts), so that bits agree.
import type { RingProblem, RingSchedule } from "./ring-schedule.ts";
import { literal } from "../../printed/element.ts";

/** Text of a ring kernel about its resident rows: functions, and what the math warps do before the first stage. */
export interface RowsText {
  helpers: string;
  body: string;
}

const words = `// Eight bf16 of 16 bytes, and back.
__device__ __forceinline__ void widen(uint4 from, float (&v)[8]) {
  const u32 pairs[4] = {from.x, from.y, from.z, from.w};
#pragma unroll
  for (int i = 0; i < 4; i++) {
    v[2 * i] = __uint_as_float(pairs[i] << 16);
    v[2 * i + 1] = __uint_as_float(pairs[i] & 0xffff0000u);
  }
}
__device__ __forceinline__ uint4 narrow(const float (&v)[8]) {
  return make_uint4(pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]), pack_bf16(v[4], v[5]), pack_bf16(v[6], v[7]));
}
`;

const squares = `// Sum of the squares of 128 columns, eight a lane of half a warp: columns 64 apart first, then 32, ... 1. A lane gives away half of its
// sums at 64, at 32 and at 16, so that eleven exchanges are enough; every lane has the sum.
__device__ __forceinline__ float sum_of_squares(const float (&v)[8]) {
  const int lane = threadIdx.x % 32;
  float a[4], b[2];
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const float low = __fmul_rn(v[i], v[i]), high = __fmul_rn(v[i + 4], v[i + 4]);
    a[i] = __fadd_rn(lane & 8 ? high : low, __shfl_xor_sync(0xffffffffu, lane & 8 ? low : high, 8));
  }
#pragma unroll
  for (int i = 0; i < 2; i++) b[i] = __fadd_rn(lane & 4 ? a[i + 2] : a[i], __shfl_xor_sync(0xffffffffu, lane & 4 ? a[i] : a[i + 2], 4));
  float sum = __fadd_rn(lane & 2 ? b[1] : b[0], __shfl_xor_sync(0xffffffffu, lane & 2 ? b[0] : b[1], 2));
  sum = __fadd_rn(sum, __shfl_xor_sync(0xffffffffu, sum, 1));
  sum = __fadd_rn(sum, __shfl_xor_sync(0xffffffffu, sum, 8));  // columns 4, then 2, then 1 apart: sums of other lanes by now
  sum = __fadd_rn(sum, __shfl_xor_sync(0xffffffffu, sum, 4));
  return __fadd_rn(sum, __shfl_xor_sync(0xffffffffu, sum, 2));
}
`;

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
        widen(gates[i][t], gate);
        widen(ups[i][t], up);
#pragma unroll
        for (int j = 0; j < 8; j++) act[j] = __fmul_rn(__fdiv_rn(gate[j], __fadd_rn(1.0f, expf(-gate[j]))), up[j]);
        *(uint4*)(x_rows + i * PITCH + column + t * 2048) = narrow(act);
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

const normalised = (p: RingProblem): string => `  // The rows, normalised: every block for itself, from L2, while the ring fills. The gain is a weight and waits for nobody.
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
      widen(held[i][t], v);
      const float squares = sum_of_squares(v);
      if (lane % 16 == 0 && column + t * 2048 < K) parts[i * (K / 128) + column / 128 + t * 16] = squares;
    }
  group_sync(1, 256);
#pragma unroll
  for (int i = 0; i < TOKENS; i++) {
    // Blocks join in order.
    float squares = 0.0f;
${joined(p.k / 128)}
    const float by = __fdiv_rn(1.0f, __fsqrt_rn(__fadd_rn(__fdiv_rn(squares, ${literal(p.k, "f32")}), ${literal(p.eps!, "f32")})));
#pragma unroll
    for (int t = 0; t < TURNS; t++) {
      if (i >= m || column + t * 2048 >= K) continue;
      float v[8], g[8];
      widen(held[i][t], v);
      widen(gains[t], g);
#pragma unroll
      for (int j = 0; j < 8; j++) v[j] = __fmul_rn(__fmul_rn(v[j], by), g[j]);
      *(uint4*)(x_rows + i * PITCH + column + t * 2048) = narrow(v);
    }
  }
`;

/** The rows of a problem whose schedule keeps them in shared memory. */
export function residentRows(p: RingProblem, s: RingSchedule): RowsText {
  const columns = s.steps * s.pieces * 64;
  const beyond = columns === p.k ? "" : `  // The last stage reaches beyond k, where the copy engine gives w as zeros: zero times zero.
  for (int i = 0; i < TOKENS; i++)
    for (int c = K + threadIdx.x; c < ${columns}; c += 256) x_rows[i * PITCH + c] = 0;
`;
  const make = p.rows === "rms_norm" ? normalised(p) : p.rows === "silu_mul" ? gated : copied;
  return {
    helpers: p.rows ? `${words}${p.rows === "rms_norm" ? squares : ""}` : "",
    body: `  const int column = threadIdx.x * 8;  // and every 2048th after it
${make}${beyond}  group_sync(1, 256);
`,
  };
}
