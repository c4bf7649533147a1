// A ring of stages in shared memory that TMA fills and warps empty, as kernels write it: STAGES of them, `full` and `empty` the shared
// addresses of their barriers, `stage` and `phase` the place of whoever goes round.

/** The ring in dynamic shared memory, `raw`. */
export const ringBase = "const u32 ring = (shared_address(raw) + 1023) & ~1023u;  // the swizzle repeats every 1024 bytes";

/** Initialises the barriers of a ring: its producer's one arrival brings the bytes, `arrivals` warps empty a stage. */
export const initRing = (arrivals: string): string => `for (int i = 0; i < STAGES; i++) {
  mbarrier_init(full + 8 * i, 1);
  mbarrier_init(empty + 8 * i, ${arrivals});  // one arrival a math warp
}`;

/** On to the next stage. */
export const nextStage = "if (++stage == STAGES) { stage = 0; phase ^= 1; }";
