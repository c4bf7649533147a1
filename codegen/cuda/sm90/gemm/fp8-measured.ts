// What was fastest where it was measured: the matrices of R1 on one H200, cold weights, graph replay. docs/notes-gpu-gemm.md says
// how, test/bench/results/block-gemm-schedules.json has the times. Other shapes are left to the estimate.

/** By n x k: "most rows:schedule", smallest first. */
export const measured: Readonly<Record<string, string>> = {
  // q_a + kv_a; 512 and 768 rows by counting waves: 132 and 198 blocks of the one, 68 and 102 of the other, on 132 multiprocessors
  "2112x7168": "8:w64k2t8x4s6_5r2 16:w64k2t16x4s5_4r2 64:w64k2t32x2s4_3r2 128:n32k2t64s8_9r1 256:w64k2t64x1s7_6r1 512:n64k1t128s8_8r1 768:t6g16 4096:t6g16c",
  // q_a
  "1536x7168": "8:w64k2t8x4s6_5r2 16:w64k2t16x2s5_4r2 32:w64k2t32x2s4_3r2 128:w64k2t64x2s7_6r1 256:w64k2t64x1s7_6r1 4096:t6g16",
  // kv_a
  "576x7168": "16:w64k2t8x4s6_5r2 32:w64k2t16x2s5_4r2 64:w64k2t32x2s4_3r2 128:w64k2t64x3s7_6r1 256:w64k2t64x2s7_6r1",
  // q_b
  "24576x1536": "8:w128k1t8x1s4_4r3 32:w128k1t32x1s4_4r2 64:n96k1t64s4_4r2 4096:t6g16",
  // kv_b
  "32768x512": "8:w128k1t8x1s4_4r3 16:w128k1t16x1s4_4r3 32:w128k1t32x1s4_4r2 1024:t6g16 4096:t6g16x",
  // o_proj
  "7168x16384": "8:w128k2t8x2s6_6r1 16:w128k2t16x2s6_4r1 32:w128k2t32x2s5_4r1 64:n56k2t64s6_6r1 128:w128k1t128x2s6_4r1 4096:t6g16",
  // expert gate and up
  "4096x7168": "8:w64k2t8x3s6_5r2 16:w64k2t16x3s5_4r2 32:w64k2t32x2s4_3r2 64:n32k2t64s8_9r1 128:w64k2t64x1s5_5r1 256:n64k1t128s8_8r1 1024:t6g16 4096:t6g16x",
  // expert down
  "7168x2048": "8:w64k2t8x2s4_4r2 32:w64k2t16x1s5_4r2 64:n64k2t64s5_5r1 128:n64k1t128s5_5r1 1024:t6g16 4096:t6g16x",
  // dense gate and up
  "36864x7168": "8:w128k2t8x1s6_6r1 16:w128k2t16x1s6_4r1 32:w64k2t32x1s4_3r2 64:n72k1t64s5_5r2 128:t6g16c 4096:t6g16",
  // dense down
  "7168x18432": "8:w128k2t8x2s6_6r1 16:w128k2t16x2s6_4r1 32:w128k2t32x2s5_4r1 64:n56k2t64s6_6r1 128:w128k1t128x2s5_4r1 768:t6g16 1024:t6g16c 4096:t6g16",
};

/** Rows beyond which one schedule serves all sizes. */
const MANY = 4096;

/** Name of the schedule for m rows of a product that was measured at that size, or undefined. */
export function fastest(n: number, k: number, m: number): string | undefined {
  const entries = measured[`${n}x${k}`]?.split(" ").map((e) => e.split(":")) ?? [];
  return entries.find(([most]) => m <= Number(most) || Number(most) === MANY)?.[1];
}
