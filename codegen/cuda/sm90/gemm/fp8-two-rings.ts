// The math warps of FP8 products with two rings: scales of all steps into shared memory, then products, of which one runs while the
// one before is scaled and added.
import { lines } from "../../text/lines.ts";

/** Scales of `count` steps of a block, `step` being the matrix's number of its p-th; `weights` fetches those of w. */
export const loadScales = (
  count: string,
  step: string,
  weights: string,
): string => `    for (int p = threadIdx.x; p < ${count}; p += MATH)
      ${weights}
    await_previous();
    for (int t = warp; t < TOKENS; t += MATH / 32)
      for (int p = lane; p < ${count}; p += 32)
        cp_async_4(x_scales + (p * X_PITCH + t) * 4, x_scale + min(token0 + t, m - 1) * STEPS + min(${step}, STEPS - 1));
    cp_async_wait_all();
    bar_sync(1, MATH);`;

/** What a unit of a block is, as text. */
interface ScaledUnit {
  /** Units of a block. */
  units: string;
  /** Units between two drains of the tensor cores. */
  chain: number;
  /** Starts the product of the tiles w_tile and x_tile, which it names. */
  multiply: string;
  /** Reads the scales of step p. */
  scales: string;
  /** Scales part[i & 1] and adds it to sum. */
  accumulate: string;
  handBack?: string;
}

/** How many sets of partial sums registers hold, and why. */
const sets = (chain: number): { count: 1 | 2; why: string } =>
  chain > 1
    ? { count: 2, why: "Two sets of partial sums: while one is scaled and added, the product of the next unit runs." }
    : { count: 1, why: "A unit is scaled and added before the next is multiplied: registers hold one set of partial sums." };

/** From the first unit to the last. */
export function scaledUnits({ units, chain, multiply, scales, accumulate, handBack }: ScaledUnit): string {
  const { count, why } = sets(chain);
  return lines(
    `    float sum[SUMS];
#pragma unroll
    for (int i = 0; i < SUMS; i++) sum[i] = 0.f;
    // Places in the rings of the unit that is multiplied next, and of the one handed back.
    int stage = 0, x_stage = 0, read = 0, x_read = 0;
    u32 phase = 0, x_phase = 0;
    for (int u = 0; u < ${units}; u += PROMOTION) {
      // ${why}
      float part[${count}][SUMS];
#pragma unroll
      for (int i = -1; i < PROMOTION; i++) {
        if (i + 1 < PROMOTION) {
          mbarrier_wait(full + 8 * stage, phase);
          mbarrier_wait(x_full + 8 * x_stage, x_phase);
${multiply}
          if (++stage == STAGES) { stage = 0; phase ^= 1; }
          if (++x_stage == X_STAGES) { x_stage = 0; x_phase ^= 1; }
        }
        if (i < 0) continue;
        const int p = (u + i) * K_GROUPS + k_group;
${scales}
        if (i + 1 < PROMOTION) wgmma_wait_group<1>(part[i & 1]);
        else wgmma_wait_group<0>(part[i & 1]);`,
    handBack,
    `        if (lane == 0) { mbarrier_arrive(empty + 8 * read); mbarrier_arrive(x_empty + 8 * x_read); }
        if (++read == STAGES) read = 0;
        if (++x_read == X_STAGES) x_read = 0;
${accumulate}
      }
    }

    // The ring has been read and nothing more is coming: it now takes the sums, a token a row.
    bar_sync(1, MATH);`,
  );
}
