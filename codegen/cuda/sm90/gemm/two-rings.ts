// Text that products with two rings share, one of weights and one of tokens: barriers of both, and where their sums go at the end.

/** One thread's: barriers of both rings, the names as every such kernel has them. */
export const initRings = `    for (int s = 0; s < STAGES; s++) {
      mbarrier_init(full + 8 * s, 1);
      mbarrier_init(empty + 8 * s, MATH / 32);  // one arrival a math warp
    }
    for (int s = 0; s < X_STAGES; s++) {
      mbarrier_init(x_full + 8 * s, 1);
      mbarrier_init(x_empty + 8 * s, MATH / 32);
    }
`;

/** Sums of 64 tokens by COLUMNS of a warpgroup into the rings that held both, a token a row of PITCH. */
export const keepSums = `    const u32 sums = ring + deep * (TOKENS * PITCH * 4) + (row * PITCH + lane % 4 * 2) * 4;
#pragma unroll
    for (int j = 0; j < COLUMNS / 8; j++) {
      st_shared_v2_f32(sums + j * 32, sum[4 * j], sum[4 * j + 1]);
      st_shared_v2_f32(sums + 8 * PITCH * 4 + j * 32, sum[4 * j + 2], sum[4 * j + 3]);
    }
`;
