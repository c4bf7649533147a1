// Quantised activations, as kernels write them.
import { literal } from "../printed/element.ts";

/**
 * Declares `to`, the scale of 128 columns of which the largest absolute value is given: that over 448, and as if it were at least 1e-4;
 * for ue8m0 the least power of two that is no smaller.
 */
export function blockScale(to: string, largest: string, ue8m0: boolean): string {
  const scale = ue8m0 ? "pow2_ceil(plain)" : "plain";
  return `const float plain = __fdiv_rn(larger(${largest}, ${literal(Math.fround(1e-4), "f32")}), 448.0f), ${to} = ${scale};`;
}
