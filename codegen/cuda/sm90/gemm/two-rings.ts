// Products with two rings in shared memory, one of weights and one of tokens, each kept full by a thread of its own: the text of these
// roles, and where sums go at the end. Names, as every such kernel has them: a ring stage holds K_GROUPS steps of k, one after another.

/** What a block multiplies, as text. */
export interface TwoRings {
  /** Columns of k of a step: 128 bytes. */
  step: 64 | 128;
  /** Units, each a ring stage, that a block has. */
  units: string;
  /** The number of a block's unit among all of the matrix. */
  unit(u: string): string;
  /** Units of weights that are fetched before the kernel before has ended. */
  prefetched: string;
  /** First row of w of the tile. */
  wRow: string;
}

/** One thread's: barriers of both rings. */
export const initRings = `    for (int s = 0; s < STAGES; s++) {
      mbarrier_init(full + 8 * s, 1);
      mbarrier_init(empty + 8 * s, MATH / 32);  // one arrival a math warp
    }
    for (int s = 0; s < X_STAGES; s++) {
      mbarrier_init(x_full + 8 * s, 1);
      mbarrier_init(x_empty + 8 * s, MATH / 32);
    }`;

const loadStage = ({ step, unit }: TwoRings, side: "w" | "x", i: string, u: string, row: string): string => {
  const of = { w: { ring: "ring", full: "full", bytes: "W_BYTES" }, x: { ring: "x_ring", full: "x_full", bytes: "X_BYTES" } }[
    side
  ];
  return `mbarrier_arrive_expect_tx(${of.full} + 8 * ${i}, K_GROUPS * ${of.bytes});
for (int d = 0; d < K_GROUPS; d++)
  tma_load_2d(${of.ring} + (${i} * K_GROUPS + d) * ${of.bytes}, &${side}_map, ${of.full} + 8 * ${i},
      (${unit(u)} * K_GROUPS + d) * ${step}, ${row});`;
};

const inLoop = (text: string): string => text.replaceAll("\n", "\n      ");

/** By the thread that initialised the barriers. */
export const prefetchWeights = (
  r: TwoRings,
): string => `    // Weights do not wait for the kernel before: a ring of them is under way while it still runs.
    for (int i = 0; i < ${r.prefetched}; i++) {
      ${inLoop(loadStage(r, "w", "i", "i", r.wRow))}
    }`;

/** The weights that were not prefetched, from unit `from` on: one thread. A wait for a stage that may still be unused is guarded. */
export const produceWeights = (
  r: TwoRings,
  from: string,
  guard = "",
): string => `    // One thread keeps the weights coming: bytes in flight are what bandwidth needs.
    for (int u = ${from}; u < ${r.units}; u++) {
      const int stage = u % STAGES;
      ${guard}mbarrier_wait(empty + 8 * stage, (u / STAGES - 1) & 1);
      ${inLoop(loadStage(r, "w", "stage", "u", r.wRow))}
    }`;

/** The rows of x, once the kernel before has ended: another thread. */
export const produceTokens = (r: TwoRings): string => `    await_previous();
    for (int u = 0; u < ${r.units}; u++) {
      const int stage = u % X_STAGES;
      if (u >= X_STAGES) mbarrier_wait(x_empty + 8 * stage, (u / X_STAGES - 1) & 1);
      ${inLoop(loadStage(r, "x", "stage", "u", "token0"))}
    }`;

/** Both producers, a warp each behind those that multiply. */
export const producers = (r: TwoRings, from: string): string => `
  if (warp == MATH / 32 && lane == 0) {
${produceWeights(r, from)}
  } else if (warp == MATH / 32 + 1 && lane == 0) {
${produceTokens(r)}
  }`;

/** Sums of 64 tokens by COLUMNS of a warpgroup into the rings that held both, a token a row of PITCH. */
export const keepSums = `    const u32 sums = ring + k_group * (TOKENS * PITCH * 4) + (row * PITCH + lane % 4 * 2) * 4;
#pragma unroll
    for (int j = 0; j < COLUMNS / 8; j++) {
      st_shared_v2_f32(sums + j * 32, sum[4 * j], sum[4 * j + 1]);
      st_shared_v2_f32(sums + 8 * PITCH * 4 + j * 32, sum[4 * j + 2], sum[4 * j + 3]);
    }`;
