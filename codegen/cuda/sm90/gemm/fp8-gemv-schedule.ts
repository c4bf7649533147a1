// How the FP8 block GEMM runs on sm_90a when rows are no more than four: every multiprocessor gets as many rows of w, and the
// rows of x stay in shared memory. As plain records: what a kernel does beside the product, its schedule, and the rule that makes
// one.
import type { Gpu, Limits } from "../../../../ir/machine.ts";
import type { Schedules } from "../../native.ts";
import { STEP } from "./fp8-schedule.ts";

/** y [m, n] = x [m, k] w [n, k]^T for m up to `maxRows`, with what stands before and after it. */
export interface GemvRowsProblem {
  n: number;
  k: number;
  /** Rows of x there may be. */
  maxRows: 1 | 2 | 4;
  /** x is bf16 rows at this stride, normalised and quantised here; codes and scales where absent. */
  norm?: { eps: number; gain: "f32" | "bf16"; xStride: number; ue8m0: boolean };
  /** A bf16 row that is added to y, as it would have been stored. */
  residual?: boolean;
}

export interface GemvShape {
  /** Rows of w a block has: so many warpgroups, each with `rowsPerWarpgroup`, a multiple of 8 up to wgmma's 64. */
  warpgroups: number;
  rowsPerWarpgroup: number;
  /** Steps of k in a ring stage; each has its own warpgroups. */
  kGroups: 1 | 2 | 4;
  /** Blocks of a cluster that share the k of their rows. */
  split: 1 | 2 | 4;
  stages: number;
}

/** "1x56k2x1s14": a warpgroup of 56 rows, two steps a stage, k not cut, 14 stages. */
export const gemvName = (s: GemvShape): string => `${s.warpgroups}x${s.rowsPerWarpgroup}k${s.kGroups}x${s.split}s${s.stages}`;

/** Blocks of 128 rows, each with scales of its own, that the rows of one block may meet. */
export const gemvBands = (s: GemvShape): number =>
  (s.warpgroups * s.rowsPerWarpgroup) % STEP === 0 || STEP % (s.warpgroups * s.rowsPerWarpgroup) === 0
    ? Math.ceil((s.warpgroups * s.rowsPerWarpgroup) / STEP)
    : Math.floor((s.warpgroups * s.rowsPerWarpgroup + STEP - 2) / STEP) + 1;

/** Steps of k that one block has at most. */
const gemvSteps = (s: GemvShape, k: number): number => Math.ceil(k / STEP / s.kGroups / s.split) * s.kGroups;

/** Bytes besides the ring: x, scales, and what wgmma reads past the last row of a warpgroup (it takes 64 whatever there are). */
const besides = (p: GemvRowsProblem, s: GemvShape): number => {
  const steps = gemvSteps(s, p.k);
  return (
    1024 + Math.max(steps * STEP * p.maxRows + 128 + steps * 32 + gemvBands(s) * steps * 4 + 16, (64 - s.rowsPerWarpgroup) * STEP)
  );
};

/** Dynamic shared memory: the ring with its barriers, and the rest. */
export const gemvBytes = (p: GemvRowsProblem, s: GemvShape): number =>
  s.stages * (s.kGroups * s.warpgroups * s.rowsPerWarpgroup * STEP + 16) + besides(p, s);

/** Why a schedule cannot run a problem, or null. */
export function gemvIllegal(p: GemvRowsProblem, s: GemvShape, limits: Limits): string | null {
  if (p.k % (STEP * s.kGroups) !== 0) return `${p.k} columns are no whole stages of ${s.kGroups} steps`;
  if (p.n % 8 !== 0) return `output rows of ${p.n} bf16: 16-byte stores need n to be a multiple of 8`;
  if (p.norm && p.norm.xStride % 4 !== 0) return "rows do not start at multiples of four elements";
  if (s.stages < 2) return "a ring of one stage cannot overlap copies with products";
  if (p.k / STEP / s.kGroups < s.split) return `k of ${p.k} is too short for ${s.split} blocks`;
  if (
    s.kGroups * p.maxRows * (s.warpgroups * s.rowsPerWarpgroup + 4) * 4 >
    s.stages * s.kGroups * s.warpgroups * s.rowsPerWarpgroup * STEP
  )
    return "sums do not fit the ring";
  // The statically shared sums of the norm come on top.
  const bytes = gemvBytes(p, s) + (p.norm ? p.maxRows * (p.k / STEP) * 4 + 16 : 0);
  return bytes > limits.sharedPerBlock ? `${bytes} bytes of shared memory, the block may have ${limits.sharedPerBlock}` : null;
}

/** A schedule with the longest ring that fits, or that fits `room` bytes. */
function withRing(p: GemvRowsProblem, s: Omit<GemvShape, "stages">, limits: Limits, room = limits.sharedPerBlock): GemvShape {
  const most = Math.ceil(p.k / STEP / s.kGroups / s.split);
  let stages = most;
  while (stages > 2 && (gemvBytes(p, { ...s, stages }) > room || gemvIllegal(p, { ...s, stages }, limits) !== null)) stages--;
  return { ...s, stages };
}

/** A product as a site gives it; the most rows it may have are the schedule's. */
export type GemvProblem = Omit<GemvRowsProblem, "maxRows">;
export type GemvSchedule = GemvShape & { maxRows: GemvRowsProblem["maxRows"] };

/** What was fastest for a matrix; rings are as long as fits, or fits `room` bytes. */
interface GemvRow {
  of: { n: number; k: number };
  /** Microseconds of a launch by itself, and with a norm inside. */
  us: number;
  normUs?: number;
  schedule: Omit<GemvShape, "stages">;
  room?: number;
}

/** A block per multiprocessor with so many warpgroups of so many rows each. */
const evenly = (warpgroups: number, rowsPerWarpgroup: number, kGroups: 1 | 2 | 4): Omit<GemvShape, "stages"> => ({
  warpgroups,
  rowsPerWarpgroup,
  kGroups,
  split: 1,
});

/** On one H200, the first two within a decode step (docs/notes-gpu-gemm.md; times: test/bench/results). */
const gemvMeasured: readonly GemvRow[] = [
  // q_a + kv_a: so few rows a block that its warpgroups hardly keep up with the first wave of weights
  { of: { n: 2112, k: 7168 }, us: 6.66, normUs: 9.2, schedule: evenly(1, 16, 4) },
  // q_b: a ring that fits a multiprocessor beside the 125 KB of q_a + kv_a, so that its weights come while those are multiplied
  { of: { n: 24576, k: 1536 }, us: 10.91, normUs: 11.23, schedule: evenly(3, 64, 1), room: 105_000 },
  { of: { n: 32768, k: 512 }, us: 6.12, schedule: evenly(4, 64, 1) },
  { of: { n: 7168, k: 16384 }, us: 28.71, schedule: evenly(1, 56, 2) },
  { of: { n: 4096, k: 7168 }, us: 9.62, schedule: evenly(1, 32, 2) },
  { of: { n: 7168, k: 2048 }, us: 5.24, schedule: evenly(1, 56, 2) },
  { of: { n: 36864, k: 7168 }, us: 62.23, normUs: 62.42, schedule: evenly(5, 56, 1) },
  { of: { n: 7168, k: 18432 }, us: 31.89, schedule: evenly(1, 56, 2) },
];

const measuredRow = ({ n, k }: Pick<GemvRowsProblem, "n" | "k">): GemvRow | undefined =>
  gemvMeasured.find(({ of }) => of.n === n && of.k === k);

/** Whether a schedule is a measured one, whatever its ring. */
const isOf = (known: Omit<GemvShape, "stages">, s: GemvShape): boolean =>
  (["warpgroups", "rowsPerWarpgroup", "kGroups", "split"] as const).every((key) => known[key] === s[key]);

/** Rows are cut so that every multiprocessor has the same, in one go if they fit. */
function gemvCandidates(p: GemvRowsProblem, limits: Limits): GemvShape[] {
  const shapes = ([1, 4] as const).flatMap((split) =>
    [1, 2, 3, 4, 5].flatMap((warpgroups) =>
      [64, 56, 48, 40, 32, 24, 16, 8].map((rowsPerWarpgroup) => ({ warpgroups, rowsPerWarpgroup, split })),
    ),
  );
  return shapes.map(({ split, ...s }) => withRing(p, { ...s, kGroups: s.warpgroups === 1 ? 2 : 1, split }, limits));
}

/** The time for all blocks by what each has to read. */
function gemvTime(p: Pick<GemvRowsProblem, "n" | "k">, s: GemvShape, { multiprocessors, bandwidth, times }: Gpu): number {
  const blocks = Math.ceil(p.n / (s.warpgroups * s.rowsPerWarpgroup)) * s.split;
  const waves = Math.ceil(blocks / multiprocessors);
  // A multiprocessor reads its share of the bandwidth; the tensor cores take 64 rows a warpgroup whatever it has.
  const read = (s.warpgroups * s.rowsPerWarpgroup * p.k) / s.split / ((bandwidth * 1e-6) / multiprocessors);
  const multiplied = (gemvSteps(s, p.k) * s.warpgroups * 64 * STEP) / 200e3;
  const whole = waves * Math.max(read, multiplied) + (waves - 1) * times.turn;
  return times.start + times.fill + whole + (s.split > 1 ? times.cluster : 0);
}

/** One row: four, held whole, leave less to the ring and were slower than the split-K form. */
const MAX_ROWS = 1;

export const gemvSchedulesOf = (maxRows: GemvRowsProblem["maxRows"]): Schedules<GemvProblem, GemvSchedule> => ({
  candidates: (p, machine) => gemvCandidates({ ...p, maxRows }, machine).map((s) => ({ ...s, maxRows })),
  illegal: (p, s, machine) => gemvIllegal({ ...p, maxRows: s.maxRows }, s, machine),
  maxRows: (s) => s.maxRows,
  measured(p, rows, machine) {
    const known = measuredRow(p);
    return known ? [{ ...withRing({ ...p, maxRows }, known.schedule, machine, known.room), maxRows }] : [];
  },
  measuredUs(p, s) {
    const known = measuredRow(p);
    if (!known || !isOf(known.schedule, s)) return undefined;
    return p.norm ? known.normUs : known.us;
  },
  estimate: (p, s, _, machine) => gemvTime(p, s, machine),
  handOver: (s, machine) => (s.split > 1 ? machine.times.handOver : 0),
  name: gemvName,
});

export const gemvSchedules = gemvSchedulesOf(MAX_ROWS);
