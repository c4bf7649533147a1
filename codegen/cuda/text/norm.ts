// Norms and scales of rows as every kernel computes them, whatever its shape: blocks of 128 columns add up in the tiles' tree and join
// in order, so that codes and scales are the same bits everywhere.
import { literal } from "../printed/element.ts";

/** 1 / sqrt(squares / d + eps), of the sum `squares` over a row of d columns. */
export const inverseRms = (d: number, eps: number): string =>
  `__fdiv_rn(1.0f, __fsqrt_rn(__fadd_rn(__fdiv_rn(squares, ${literal(d, "f32")}), ${literal(eps, "f32")})))`;

/** The scale of a block whose largest absolute value is `largest`, before it may become a power of two: as quantize has it. */
export const blockScale = (largest: string): string =>
  `__fdiv_rn(larger(${largest}, ${literal(Math.fround(1e-4), "f32")}), 448.0f)`;

/** That scale as it is stored: itself, or the next power of two. */
export const storedScale = (scale: string, ue8m0: boolean): string => (ue8m0 ? `pow2_ceil(${scale})` : scale);
