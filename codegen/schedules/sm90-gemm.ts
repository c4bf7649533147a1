// How the FP8 block GEMM runs on sm_90a: two forms, as plain records. In order: what could be tried, what cannot run
// and why, what it should cost. `choose` takes the legal candidate with the least estimate; ties go to the earlier one.

/** Columns of k between two scales, and the k width of one ring stage. */
export const STEP = 128;

/** y [m, n] = x [m, k] w [n, k]^T; m varies at run time. */
export interface GemmProblem {
  n: number;
  k: number;
}

/** Many rows: x on the 64-row side of wgmma. Tiles of `rows` x 128, a persistent block per multiprocessor. */
export interface TallSchedule {
  form: "tall";
  /** Rows of x a block holds: 128 or 256, half to each of two math warpgroups. */
  rows: 128 | 256;
  /** Ring stages of 128 columns of k. */
  stages: number;
  /** Row tiles swept before the next column tile, so that a wave reuses both sides from L2. */
  group: number;
}

/** Few rows: weights on the 64-row side, tokens on the narrow one; k is cut so that every multiprocessor streams weights. */
export interface FewSchedule {
  form: "few";
  /** Tokens of a tile, the N of wgmma. */
  tokens: 8 | 16 | 32 | 64 | 128;
  /** Ring stages of 128 columns of k: as many as fit, for bytes in flight. */
  stages: number;
}

export type GemmSchedule = TallSchedule | FewSchedule;

export interface Limits {
  /** Dynamic shared memory a block may ask for, bytes. */
  sharedBytes: number;
  multiprocessors: number;
}

export const H200: Limits = { sharedBytes: 232448, multiprocessors: 132 };

/** Short name, part of the kernel's: "t256s4g8", "f16s11". */
export const scheduleName = (s: GemmSchedule): string =>
  s.form === "tall" ? `t${s.rows}s${s.stages}g${s.group}` : `f${s.tokens}s${s.stages}`;

/** Bytes of one ring stage. */
export const stageBytes = (s: GemmSchedule): number => (s.form === "tall" ? s.rows : s.tokens) * STEP + 128 * STEP;

/** Bytes of output staging: a 64 x 128 bf16 tile for each warpgroup; or token scales per stage and a transposed tile with padded rows. */
export const stagingBytes = (s: GemmSchedule): number => (s.form === "tall" ? 2 * 64 * 128 * 2 : s.stages * s.tokens * 4 + s.tokens * (128 * 2 + 16));

/** Dynamic shared memory: ring, staging, two barriers a stage, and slack to align the ring to the swizzle's 1024 bytes. */
export const sharedBytes = (s: GemmSchedule): number => 1024 + s.stages * stageBytes(s) + stagingBytes(s) + 16 * s.stages;

/** Op, problem, schedule and floor: the lines a kernel opens with. */
export const gemmHeader = ({ n, k }: GemmProblem, schedule: GemmSchedule): string[] => [
  `block_gemm: y [m, ${n}] bf16 = x [m, ${k}] e4m3/1x128 times w [${n}, ${k}]^T e4m3/128x128, f32 sums`,
  `schedule ${JSON.stringify(schedule)}`,
  `floor on H200: max((${n * k} + ${k} m + ${2 * n} m) bytes / 4539 GB/s, ${2 * n * k} m operations / 1979 TFLOP/s)`,
];

/** Everything worth trying. */
export const candidates: readonly GemmSchedule[] = [
  { form: "few", tokens: 8, stages: 12 },
  { form: "few", tokens: 16, stages: 11 },
  { form: "few", tokens: 32, stages: 10 },
  { form: "few", tokens: 64, stages: 8 },
  { form: "few", tokens: 128, stages: 5 },
  { form: "tall", rows: 256, stages: 4, group: 8 },
  { form: "tall", rows: 128, stages: 6, group: 16 },
];

/** Why a schedule cannot run a problem, or null. */
export function illegal(schedule: GemmSchedule, limits: Limits, problem: GemmProblem): string | null {
  if (problem.k % 16 !== 0) return `rows of ${problem.k} bytes: a tensor map needs a multiple of 16`;
  if (problem.n % 8 !== 0) return `output rows of ${problem.n} bf16: 16-byte stores need n to be a multiple of 8`;
  const bytes = sharedBytes(schedule);
  if (bytes > limits.sharedBytes) return `${bytes} bytes of shared memory, the block may have ${limits.sharedBytes}`;
  if (schedule.stages < 2) return "a ring of one stage cannot overlap copies with products";
  return null;
}

/** Microseconds, roughly: the larger of tensor-core time with idle waves, L2 and HBM traffic, plus fixed cost. */
export function estimate(schedule: GemmSchedule, problem: GemmProblem & { m: number }, limits: Limits = H200): number {
  const { m, n, k } = problem;
  const steps = Math.ceil(k / STEP);
  const hbm = (n * k + m * k + 2 * m * n) / 4.5e6;
  if (schedule.form === "few") {
    // All blocks work to the end; a step streams 128 rows of w, or computes, whichever is longer; then shared tiles are added.
    const tokenTiles = Math.ceil(m / schedule.tokens);
    const units = (Math.ceil(n / 128) * tokenTiles * steps) / limits.multiprocessors;
    const step = Math.max(0.12 + schedule.tokens * 0.0027, 0.0);
    return Math.max(hbm, units * step) + 4 + schedule.tokens * 0.02;
  }
  const waves = Math.ceil((Math.ceil(m / schedule.rows) * Math.ceil(n / 128)) / limits.multiprocessors);
  // A step of 128 x 128 x 128 is 491 cycles of the tensor cores; clocks under load and gaps make that about 0.33 us.
  const tensor = waves * (steps * (schedule.rows / 128) * 0.33 + 1.2);
  return Math.max(tensor, hbm) + 4;
}

/** The schedule for a problem at m rows. */
export function choose(problem: GemmProblem, m: number, limits: Limits = H200): GemmSchedule {
  const legal = candidates.filter((s) => illegal(s, limits, problem) === null);
  return legal.reduce((best, s) => (estimate(s, { ...problem, m }, limits) < estimate(best, { ...problem, m }, limits) ? s : best));
}
