// How the FP8 block GEMM runs on sm_90a: three forms, as plain records. In order: what a form is, what it needs, what could be
// tried, what cannot run and why. What was measured to be fastest is in fp8-measured.ts, what others should cost in
// fp8-estimate.ts.
import { when } from "../../../text.ts";
import { floorText, type Gpu, type Limits } from "../../../../ir/machine.ts";

/** Columns of k between two scales, and the k width of one ring stage. */
export const STEP = 128;

/** y [m, n] = x [m, k] w [n, k]^T; m varies at run time. */
export interface GemmProblem {
  n: number;
  k: number;
}

/** Many rows: x on the 64-row side of wgmma. Tiles of 128 or 192 rows by 128, a persistent block per multiprocessor. */
export interface PersistentSchedule {
  form: "persistent";
  /**
   * Rows of a tile where they are not 128. Two warpgroups have 64 each and two sets of partial sums, so that one is added while the next
   * step multiplies; three have room for two sets of half of the columns, which take turns.
   */
  rows?: 192;
  /** Ring stages of 128 columns of k. */
  stages: number;
  /** Row tiles swept before the next column tile, so that a wave reuses both sides from L2. */
  group: number;
  /** "x": two blocks of a cluster take neighbouring columns and copy their rows of x once for both. */
  multicast: "none" | "x";
  /** "cut": blocks that the last wave would leave idle share its tiles, each a part of k. */
  tail: "whole" | "stream-k";
}

/** Few rows, small blocks: a tile of weights each, its k cut over a cluster; two blocks fit a multiprocessor. */
export interface SplitKSchedule {
  form: "split-k";
  /** Rows of w a block holds, 64 to a math warpgroup. */
  rows: 64 | 128;
  /** Tokens of a tile, the N of wgmma. */
  tokens: 8 | 16 | 32 | 64 | 128;
  /** Steps of k in a ring stage; each has its own warpgroups, so they compute side by side. */
  kGroups: 1 | 2 | 4;
  /** Blocks of the cluster that shares the k of a tile. */
  split: 1 | 2 | 3 | 4 | 6 | 8;
  /** Ring of weights: as long as fits, for bytes in flight. */
  stages: number;
  /** Ring of x, which comes from L2. */
  xStages: number;
  /** Blocks meant to fit one multiprocessor. */
  blocksPerSm: 1 | 2 | 3;
}

/** Tens of rows, few tiles: all tokens of a tile on the 64-row side, few columns, all of k in one block; no sums cross blocks. */
export interface SmallMSchedule {
  form: "small-m";
  /** Tokens of a tile, 64 to a math warpgroup. */
  tokens: 64 | 128;
  /** Rows of w of a tile, the N of wgmma: a multiple of 8. */
  columns: number;
  /** Steps of k in a ring stage; each has its own warpgroups. */
  kGroups: 1 | 2 | 4;
  stages: number;
  xStages: number;
  blocksPerSm: 1 | 2 | 3;
}

export type GemmSchedule = PersistentSchedule | SplitKSchedule | SmallMSchedule;

/** What a persistent schedule has beyond the plain one, in names. */
const LETTERS = { none: "", x: "x", whole: "", "stream-k": "c" } as const;

/** Short name, part of the kernel's: "t6g16x", "w64k2t8x3s5_5r2", "n32k2t64s8_9r1". */
export function scheduleName(s: GemmSchedule): string {
  switch (s.form) {
    case "persistent":
      return `t${s.stages}${when(s.rows, `r${s.rows}`)}g${s.group}${LETTERS[s.multicast]}${LETTERS[s.tail]}`;
    case "split-k":
      return `w${s.rows}k${s.kGroups}t${s.tokens}x${s.split}s${s.stages}_${s.xStages}r${s.blocksPerSm}`;
    case "small-m":
      return `n${s.columns}k${s.kGroups}t${s.tokens}s${s.stages}_${s.xStages}r${s.blocksPerSm}`;
  }
}

/** Rows of a persistent tile, 64 to each math warpgroup. */
export const persistentRows = (s: PersistentSchedule): number => s.rows ?? 128;

/**
 * Steps of a persistent block between two drains of the tensor cores, cutting k evenly: at most 8, so that the text unrolls, or 4 where
 * registers are fewer.
 */
export function persistentPromotion(s: PersistentSchedule, k: number): number {
  const steps = Math.ceil(k / STEP);
  return Math.ceil(steps / Math.ceil(steps / (s.rows ? 4 : 8)));
}

/** Steps of k that one block of the split-K form has at most. */
export const mostSteps = (s: SplitKSchedule, k: number): number =>
  Math.ceil(Math.ceil(Math.ceil(k / STEP) / s.kGroups) / s.split) * s.kGroups;

/**
 * Units of a split-K block between two drains of the tensor cores, 1 where only one product can be in flight. Longer ones need every
 * block to have as many units, and a thread to hold two sets of partial sums beside the sums.
 */
export function splitKPromotion(s: SplitKSchedule, k: number): number {
  const units = Math.ceil(Math.ceil(k / STEP) / s.kGroups) / s.split;
  const warps = (s.rows / 16) * s.kGroups + 2;
  // A quarter of a multiprocessor has 16384 registers for its share of the warps, given out by eight to a thread.
  const registers = Math.floor(16384 / 32 / Math.ceil((warps * s.blocksPerSm) / 4) / 8) * 8;
  const fits =
    (s.blocksPerSm < 3 && (s.tokens * 3) / 2 + 50 <= registers) || (s.tokens === 128 && warps === 10 && s.blocksPerSm === 1);
  // The widest sums leave the compiler little room: in some long chains it spills.
  const lengths = s.tokens < 128 ? [8, 7, 6, 5, 4, 3, 2] : [7, 4, 3, 2];
  return fits && Number.isInteger(units) ? (lengths.find((c) => units % c === 0) ?? 1) : 1;
}

/** Units of a small-m block between two drains: cutting k evenly; 1 where registers hold one set of partial sums only. */
export function smallMPromotion(s: SmallMSchedule, k: number): number {
  const registers = Math.floor(16384 / 32 / Math.ceil((((s.tokens / 16) * s.kGroups + 2) * s.blocksPerSm) / 4) / 8) * 8;
  if ((s.columns * 3) / 2 + 44 > registers) return 1;
  const units = Math.ceil(Math.ceil(k / STEP) / s.kGroups);
  return [8, 7, 6, 5, 4, 3, 2].find((c) => units % c === 0) ?? 1;
}

/** What a split-K block is sent by the others of its cluster, its barrier, and slack to align it. */
const inboxBytes = (s: SplitKSchedule): number =>
  s.split > 1 ? (s.split - 1) * Math.ceil((s.rows * s.tokens) / 8 / s.split) * 32 + 24 : 8;

/** Bytes of both rings. */
function ringBytes(s: GemmSchedule): number {
  if (s.form === "persistent") return s.stages * (persistentRows(s) + 128) * STEP;
  return s.kGroups * STEP * (s.stages * (s.form === "split-k" ? s.rows : s.columns) + s.xStages * s.tokens);
}

/**
 * Dynamic shared memory: rings, two barriers a stage, slack to align the ring to the swizzle's 1024 bytes; output tiles, or
 * scales and what others send.
 */
export function sharedBytes(s: GemmSchedule, k: number): number {
  const rings = 1024 + ringBytes(s) + 16 * (s.stages + (s.form === "persistent" ? 0 : s.xStages));
  switch (s.form) {
    case "persistent":
      return rings + persistentRows(s) * 128 * 2;
    case "split-k":
      return rings + mostSteps(s, k) * 4 * (s.tokens + 2 + Math.ceil(s.rows / 128)) + inboxBytes(s);
    case "small-m":
      return rings + Math.ceil(Math.ceil(k / STEP) / s.kGroups) * s.kGroups * 4 * (s.tokens + 2 + (128 % s.columns ? 2 : 1)) + 8;
  }
}

/** Op, problem, schedule and floor: the lines a kernel opens with. */
export const gemmHeader = (
  { n, k, experts }: GemmProblem & { experts?: number },
  schedule: GemmSchedule,
  machine: Gpu,
): string[] => [
  experts
    ? `grouped_gemm: y [r, ${n}] bf16 = x [r, ${k}] e4m3/1x128 times w [e, ${n}, ${k}]^T e4m3/128x128 ` +
      `for rows offsets[e] .. offsets[e + 1], e < ${experts}, f32 sums`
    : `block_gemm: y [m, ${n}] bf16 = x [m, ${k}] e4m3/1x128 times w [${n}, ${k}]^T e4m3/128x128, f32 sums`,
  `schedule ${JSON.stringify(schedule)}`,
  experts
    ? floorText(machine, {
        reads: `(${n * k} an expert with rows + ${k + 2 * n} r) bytes`,
        computes: [`${2 * n * k} r operations`, "fp8"],
      })
    : floorText(machine, { reads: `(${n * k} + ${k} m + ${2 * n} m) bytes`, computes: [`${2 * n * k} m operations`, "fp8"] }),
];

/** Split-K schedules that differ in how many blocks share a tile's k. */
const cutBy = (
  splits: readonly SplitKSchedule["split"][],
  { rows, kGroups, tokens, ...rings }: Omit<SplitKSchedule, "form" | "split">,
): SplitKSchedule[] => splits.map((split) => ({ form: "split-k", rows, kGroups, tokens, split, ...rings }));

/** Everything worth trying: what was best for some size of some matrix of R1 on an H200, and little else. */
export const candidates: readonly GemmSchedule[] = [
  // Two blocks a multiprocessor: the next kernel's weights are under way while this one finishes. k is cut where tiles are few.
  ...cutBy([1, 2, 3, 4], { rows: 64, kGroups: 2, tokens: 8, stages: 6, xStages: 5, blocksPerSm: 2 }),
  ...cutBy([1, 2, 3, 4], { rows: 64, kGroups: 2, tokens: 16, stages: 5, xStages: 4, blocksPerSm: 2 }),
  ...cutBy([1, 2], { rows: 64, kGroups: 2, tokens: 32, stages: 4, xStages: 3, blocksPerSm: 2 }),
  { form: "split-k", rows: 64, kGroups: 2, tokens: 64, split: 1, stages: 3, xStages: 3, blocksPerSm: 2 },
  { form: "split-k", rows: 64, kGroups: 2, tokens: 8, split: 2, stages: 4, xStages: 4, blocksPerSm: 2 },
  // Short k: a block is over soon, so three of them; and tall tiles of weights, to read x less often.
  { form: "split-k", rows: 128, kGroups: 1, tokens: 8, split: 1, stages: 4, xStages: 4, blocksPerSm: 3 },
  { form: "split-k", rows: 128, kGroups: 1, tokens: 16, split: 1, stages: 4, xStages: 4, blocksPerSm: 3 },
  { form: "split-k", rows: 128, kGroups: 1, tokens: 32, split: 1, stages: 4, xStages: 4, blocksPerSm: 2 },
  { form: "split-k", rows: 128, kGroups: 1, tokens: 64, split: 1, stages: 4, xStages: 4, blocksPerSm: 2 },
  // Many weights: the most bytes in flight.
  ...cutBy([1, 2], { rows: 128, kGroups: 2, tokens: 8, stages: 6, xStages: 6, blocksPerSm: 1 }),
  ...cutBy([1, 2], { rows: 128, kGroups: 2, tokens: 16, stages: 6, xStages: 4, blocksPerSm: 1 }),
  { form: "split-k", rows: 128, kGroups: 2, tokens: 32, split: 2, stages: 5, xStages: 4, blocksPerSm: 1 },
  // x weighs as much as w: one block with long rings of both.
  { form: "split-k", rows: 64, kGroups: 2, tokens: 64, split: 2, stages: 7, xStages: 6, blocksPerSm: 1 },
  { form: "split-k", rows: 64, kGroups: 2, tokens: 64, split: 3, stages: 7, xStages: 6, blocksPerSm: 1 },
  { form: "split-k", rows: 64, kGroups: 2, tokens: 64, split: 1, stages: 5, xStages: 5, blocksPerSm: 1 },
  { form: "split-k", rows: 64, kGroups: 2, tokens: 64, split: 1, stages: 7, xStages: 6, blocksPerSm: 1 },
  { form: "split-k", rows: 128, kGroups: 1, tokens: 64, split: 2, stages: 8, xStages: 6, blocksPerSm: 1 },
  { form: "split-k", rows: 128, kGroups: 2, tokens: 64, split: 2, stages: 4, xStages: 4, blocksPerSm: 1 },
  { form: "split-k", rows: 64, kGroups: 2, tokens: 128, split: 1, stages: 4, xStages: 4, blocksPerSm: 1 },
  { form: "split-k", rows: 128, kGroups: 1, tokens: 128, split: 2, stages: 6, xStages: 4, blocksPerSm: 1 },
  { form: "split-k", rows: 128, kGroups: 1, tokens: 128, split: 2, stages: 5, xStages: 4, blocksPerSm: 1 },
  { form: "split-k", rows: 64, kGroups: 2, tokens: 128, split: 1, stages: 3, xStages: 3, blocksPerSm: 1 },
  { form: "split-k", rows: 64, kGroups: 2, tokens: 128, split: 2, stages: 4, xStages: 4, blocksPerSm: 1 },
  // Tokens on the 64-row side: x is read by every block, but nothing is added up across blocks.
  { form: "small-m", tokens: 64, columns: 32, kGroups: 2, stages: 8, xStages: 9, blocksPerSm: 1 },
  { form: "small-m", tokens: 64, columns: 64, kGroups: 2, stages: 5, xStages: 5, blocksPerSm: 1 },
  { form: "small-m", tokens: 64, columns: 56, kGroups: 2, stages: 6, xStages: 6, blocksPerSm: 1 },
  { form: "small-m", tokens: 64, columns: 72, kGroups: 1, stages: 5, xStages: 5, blocksPerSm: 2 },
  { form: "small-m", tokens: 64, columns: 96, kGroups: 1, stages: 4, xStages: 4, blocksPerSm: 2 },
  { form: "small-m", tokens: 128, columns: 64, kGroups: 1, stages: 8, xStages: 8, blocksPerSm: 1 },
  { form: "small-m", tokens: 128, columns: 64, kGroups: 1, stages: 5, xStages: 5, blocksPerSm: 1 },
  { form: "persistent", stages: 6, group: 16, multicast: "none", tail: "whole" },
  { form: "persistent", stages: 6, group: 16, multicast: "none", tail: "stream-k" },
  { form: "persistent", stages: 6, group: 16, multicast: "x", tail: "whole" },
  // Between 128 and 192 rows, where two tiles of 128 would be a quarter empty.
  { form: "persistent", rows: 192, stages: 4, group: 16, multicast: "none", tail: "whole" },
  { form: "persistent", rows: 192, stages: 4, group: 16, multicast: "none", tail: "stream-k" },
];

/** Why a schedule cannot run a problem, or null. */
export function illegal(schedule: GemmSchedule, limits: Limits, problem: GemmProblem): string | null {
  if (problem.k % 16 !== 0) return `rows of ${problem.k} bytes: a tensor map needs a multiple of 16`;
  if (problem.n % 8 !== 0) return `output rows of ${problem.n} bf16: 16-byte stores need n to be a multiple of 8`;
  const bytes = sharedBytes(schedule, problem.k);
  if (bytes > limits.sharedPerBlock) return `${bytes} bytes of shared memory, the block may have ${limits.sharedPerBlock}`;
  if (schedule.form === "persistent" && schedule.multicast === "x" && schedule.tail === "stream-k")
    return "two blocks that share rows of x have whole tiles: their k is not cut";
  if (schedule.form === "persistent" && schedule.multicast === "x" && schedule.rows)
    return "two blocks share rows of x by halves of 64";
  if (schedule.form !== "persistent") {
    const each = Math.floor(limits.sharedPerMultiprocessor / schedule.blocksPerSm) - 1024;
    if (bytes > each) return `${bytes} bytes of shared memory, ${schedule.blocksPerSm} blocks may have ${each} each`;
    if (schedule.form === "split-k" && Math.ceil(Math.ceil(problem.k / STEP) / schedule.kGroups) < schedule.split)
      return `k of ${problem.k} is too short for ${schedule.split} blocks`;
    const sums =
      schedule.kGroups * schedule.tokens * (schedule.form === "split-k" ? schedule.rows + 4 : schedule.columns + 8) * 4;
    if (sums > ringBytes(schedule)) return `${sums} bytes of sums do not fit the rings`;
  }
  if (schedule.stages < 2 || (schedule.form !== "persistent" && schedule.xStages < 2))
    return "a ring of one stage cannot overlap copies with products";
  return null;
}
