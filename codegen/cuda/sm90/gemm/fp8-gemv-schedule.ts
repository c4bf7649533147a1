// How the FP8 block GEMM runs on sm_90a when rows are no more than four: every multiprocessor gets as many rows of w, and the
// rows of x stay in shared memory. As plain records: what a kernel does beside the product, its schedule, and the rule that makes
// one.
import type { Limits } from "../../../../ir/machine.ts";
import type { Schedules } from "../../native.ts";
import { STEP } from "./fp8-schedule.ts";

/** y [m, n] = x [m, k] w [n, k]^T for m up to `held`, with what stands before and after it. */
export interface ThinProblem {
  n: number;
  k: number;
  /** Rows of x there may be. */
  held: 1 | 2 | 4;
  /** x is bf16 rows at this stride, normalised and quantised here; codes and scales where absent. */
  norm?: { eps: number; gain: "f32" | "bf16"; xStride: number; ue8m0: boolean };
  /** A bf16 row that is added to y, as it would have been stored. */
  residual?: boolean;
}

export interface ThinSchedule {
  /** Rows of w a block has: so many teams of four warps, each with `per` rows, a multiple of 8 up to wgmma's 64. */
  teams: number;
  per: number;
  /** Steps of k in a ring stage; each has its own teams. */
  deep: 1 | 2 | 4;
  /** Blocks of a cluster that share the k of their rows. */
  split: 1 | 2 | 4;
  stages: number;
}

/** "1x56k2x1s14": a team of 56 rows, two steps deep, k not cut, 14 stages. */
export const thinName = (s: ThinSchedule): string => `${s.teams}x${s.per}k${s.deep}x${s.split}s${s.stages}`;

/** Blocks of 128 rows, each with scales of its own, that the rows of one block may meet. */
export const thinBands = (s: ThinSchedule): number =>
  (s.teams * s.per) % STEP === 0 || STEP % (s.teams * s.per) === 0
    ? Math.ceil((s.teams * s.per) / STEP)
    : Math.floor((s.teams * s.per + STEP - 2) / STEP) + 1;

/** Steps of k that one block has at most. */
export const thinSteps = (s: ThinSchedule, k: number): number => Math.ceil(k / STEP / s.deep / s.split) * s.deep;

/** Bytes besides the ring: x, scales, and what wgmma reads past the last row of a team (it takes 64 whatever `per` is). */
const besides = (p: ThinProblem, s: ThinSchedule): number => {
  const steps = thinSteps(s, p.k);
  return 1024 + Math.max(steps * STEP * p.held + 128 + steps * 32 + thinBands(s) * steps * 4 + 16, (64 - s.per) * STEP);
};

/** Dynamic shared memory: the ring with its barriers, and the rest. */
export const thinBytes = (p: ThinProblem, s: ThinSchedule): number =>
  s.stages * (s.deep * s.teams * s.per * STEP + 16) + besides(p, s);

/** Why a schedule cannot run a problem, or null. */
export function thinIllegal(p: ThinProblem, s: ThinSchedule, limits: Limits): string | null {
  if (p.k % (STEP * s.deep) !== 0) return `${p.k} columns are no whole stages of ${s.deep} steps`;
  if (p.n % 8 !== 0) return `output rows of ${p.n} bf16: 16-byte stores need n to be a multiple of 8`;
  if (p.norm && p.norm.xStride % 4 !== 0) return "rows do not start at multiples of four elements";
  if (s.stages < 2) return "a ring of one stage cannot overlap copies with products";
  if (p.k / STEP / s.deep < s.split) return `k of ${p.k} is too short for ${s.split} blocks`;
  if (s.deep * p.held * (s.teams * s.per + 4) * 4 > s.stages * s.deep * s.teams * s.per * STEP) return "sums do not fit the ring";
  // The statically shared sums of the norm come on top.
  const bytes = thinBytes(p, s) + (p.norm ? p.held * (p.k / STEP) * 4 + 16 : 0);
  return bytes > limits.sharedPerBlock ? `${bytes} bytes of shared memory, the block may have ${limits.sharedPerBlock}` : null;
}

/** A schedule with the longest ring that fits, or that fits `room` bytes. */
export function withRing(
  p: ThinProblem,
  s: Omit<ThinSchedule, "stages">,
  limits: Limits,
  room = limits.sharedPerBlock,
): ThinSchedule {
  const most = Math.ceil(p.k / STEP / s.deep / s.split);
  let stages = most;
  while (stages > 2 && (thinBytes(p, { ...s, stages }) > room || thinIllegal(p, { ...s, stages }, limits) !== null)) stages--;
  return { ...s, stages };
}

/** A product as a site gives it; the most rows it may have are the schedule's. */
export type GemvProblem = Omit<ThinProblem, "held">;
export type GemvSchedule = ThinSchedule & { maxRows: ThinProblem["held"] };

/**
 * What was fastest within a decode step on one H200 (docs/notes-gpu-gemm.md); rings are as long as fits, or fits `room` bytes.
 */
const gemvMeasured: readonly { of: { n: number; k: number }; schedule: Omit<ThinSchedule, "stages">; room?: number }[] = [
  // q_a + kv_a: so few rows a block that its teams hardly keep up with the first wave of weights
  { of: { n: 2112, k: 7168 }, schedule: { teams: 1, per: 16, deep: 4, split: 1 } },
  // q_b: a ring that fits a multiprocessor beside the 125 KB of q_a + kv_a, so that its weights come while those are multiplied
  { of: { n: 24576, k: 1536 }, schedule: { teams: 3, per: 64, deep: 1, split: 1 }, room: 105_000 },
];

/** Rows are cut so that every multiprocessor has the same, in one go if they fit. */
function gemvCandidates(p: ThinProblem, limits: Limits): ThinSchedule[] {
  const shapes = ([1, 4] as const).flatMap((split) =>
    [1, 2, 3, 4, 5].flatMap((teams) => [64, 56, 48, 40, 32, 24, 16, 8].map((per) => ({ teams, per, split }))),
  );
  return shapes.map((s) => withRing(p, { ...s, deep: s.teams === 1 ? 2 : 1 }, limits));
}

/** The time for all blocks by what each has to read. */
function gemvTime(p: Pick<ThinProblem, "n" | "k">, s: ThinSchedule, limits: Limits): number {
  const blocks = Math.ceil(p.n / (s.teams * s.per)) * s.split;
  const waves = Math.ceil(blocks / limits.multiprocessors);
  // A multiprocessor reads 34 bytes a nanosecond, its share of the memory's; the tensor cores take 64 rows a team whatever it
  // has.
  const read = (s.teams * s.per * p.k) / s.split / 34e3;
  const multiplied = (thinSteps(s, p.k) * s.teams * 64 * STEP) / 200e3;
  return waves * Math.max(read, multiplied) + (s.split > 1 ? 0.9 : 0) + (waves - 1) * 1.5;
}

/** One row: four, held whole, leave less to the ring and were slower than the streaming form. */
const MAX_ROWS = 1;

export const gemvSchedulesOf = (maxRows: ThinProblem["held"]): Schedules<GemvProblem, GemvSchedule> => ({
  candidates: (p, machine) => gemvCandidates({ ...p, held: maxRows }, machine).map((s) => ({ ...s, maxRows })),
  illegal: (p, s, machine) => thinIllegal({ ...p, held: s.maxRows }, s, machine),
  maxRows: (s) => s.maxRows,
  measured(p, rows, machine) {
    const known = gemvMeasured.find(({ of }) => of.n === p.n && of.k === p.k);
    return known ? [{ ...withRing({ ...p, held: maxRows }, known.schedule, machine, known.room), maxRows }] : [];
  },
  estimate: (p, s, _, machine) => gemvTime(p, s, machine),
  name: thinName,
});

export const gemvSchedules = gemvSchedulesOf(MAX_ROWS);
