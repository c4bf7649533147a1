// Norms and scales of rows as every kernel computes them, whatever its shape: blocks of 128 columns add up in the tiles' tree and join
// in order, so that codes and scales are the same bits everywhere.
import { literal } from "../printed/element.ts";

/** 1 / sqrt(squares / d + eps), of the sum `squares` over a row of d columns. */
export const inverseRms = (d: number, eps: number): string =>
  `__fdiv_rn(1.0f, __fsqrt_rn(__fadd_rn(__fdiv_rn(squares, ${literal(d, "f32")}), ${literal(eps, "f32")})))`;

/**
 * The sum of squares of a row that its block's warps hold in v, `turns` times 128 columns each, and what normalises it, `by`. A warp's
 * part of turn t is part `slot` of BLOCKS; `e` counts a lane's four columns.
 */
export const rowSquares = (turns: string, slot: string, e: string, inverse: string): string => `__shared__ float parts[BLOCKS];
#pragma unroll
for (int t = 0; t < ${turns}; t++) {
  float squares[4];
#pragma unroll
  for (int ${e} = 0; ${e} < 4; ${e}++) squares[${e}] = __fmul_rn(v[t][${e}], v[t][${e}]);
  const float part = warp_tree_sum_wide<128>(squares);
  if (lane == 0) parts[${slot}] = part;
}
__syncthreads();
float squares = 0.0f;
#pragma unroll
for (int b = 0; b < BLOCKS; b++) squares = __fadd_rn(squares, parts[b]);
const float by = ${inverse};`;

/** The scale of a block whose largest absolute value is `largest`, before it may become a power of two: as quantize has it. */
export const blockScale = (largest: string): string =>
  `__fdiv_rn(larger(${largest}, ${literal(Math.fround(1e-4), "f32")}), 448.0f)`;

/** That scale as it is stored: itself, or the next power of two. */
export const storedScale = (scale: string, ue8m0: boolean): string => (ue8m0 ? `pow2_ceil(${scale})` : scale);
