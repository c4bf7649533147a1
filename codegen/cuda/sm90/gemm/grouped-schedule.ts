// How products of rows sorted by expert run on sm_90a: the schedules of the dense product, with runs of rows found on the device.
// Few rows an expert: its weights stream past narrow runs. Many: tiles of the persistent form, none of which crosses experts.
import type { Limits } from "../../../../ir/machine.ts";
import type { Schedules } from "../../native.ts";
import {
  illegal as illegalDense,
  scheduleName,
  type GemmSchedule,
  type SplitKSchedule,
  type PersistentSchedule,
} from "./fp8-schedule.ts";
import { rowTiles, visited } from "./grouped-rows.ts";

/** y [r, n] = x [r, k] w [e]^T, w [experts, n, k], for rows offsets[e] .. offsets[e + 1]; r and the offsets vary at run time. */
export interface GroupedProblem {
  experts: number;
  n: number;
  k: number;
}

const eight: SplitKSchedule = {
  form: "split-k",
  rows: 64,
  kGroups: 2,
  tokens: 8,
  split: 1,
  stages: 5,
  xStages: 3,
  blocksPerSm: 2,
};
const eightInFour: SplitKSchedule = {
  form: "split-k",
  rows: 64,
  kGroups: 4,
  tokens: 8,
  split: 1,
  stages: 3,
  xStages: 2,
  blocksPerSm: 2,
};
const sixteen: SplitKSchedule = {
  form: "split-k",
  rows: 64,
  kGroups: 2,
  tokens: 16,
  split: 1,
  stages: 5,
  xStages: 3,
  blocksPerSm: 2,
};
const sixtyFour: SplitKSchedule = {
  form: "split-k",
  rows: 128,
  kGroups: 1,
  tokens: 64,
  split: 1,
  stages: 8,
  xStages: 8,
  blocksPerSm: 1,
};
const persistent: PersistentSchedule = { form: "persistent", stages: 6, group: 16, multicast: "none", tail: "whole" };
/** For experts of somewhat more than 128 rows, which two tiles of 128 would half fill. */
const tall: PersistentSchedule = { ...persistent, rows: 192, stages: 4 };
const persistentPair: PersistentSchedule = { form: "persistent", stages: 6, group: 16, multicast: "x", tail: "whole" };

export const candidates: readonly GemmSchedule[] = [eight, eightInFour, sixteen, sixtyFour, persistent, persistentPair, tall];

/** Why a schedule cannot run a problem, or null. */
export function illegal(schedule: GemmSchedule, limits: Limits, { n, k, experts }: GroupedProblem): string | null {
  if (n % 128 !== 0) return `${n} rows of an expert's weights: its scales cover blocks of 128`;
  if (experts > 1024) return `${experts} experts: a warp scans the offsets of at most 1024`;
  if (schedule.form === "small-m") return "experts have few rows, and its tiles 64 and more";
  if (schedule.form === "persistent" && schedule.tail === "stream-k")
    return "the tiles of the last wave are those of several experts: their k is not cut";
  if (schedule.form === "persistent" && schedule.multicast === "x" && n % 256 !== 0)
    return `columns come in pairs of 128, and ${n} is not a multiple of 256`;
  const kept = schedule.form === "persistent" ? 4 * (experts + 1) : 16;
  return illegalDense(schedule, { ...limits, sharedPerBlock: limits.sharedPerBlock - kept }, { n, k });
}

/**
 * The schedules for r rows, best first, by how many an expert gets when they spread evenly over all. A run wants room for more
 * than the average: experts are not equally busy, and a second run reads the weights again.
 */
function preferred({ experts, k }: GroupedProblem, r: number): readonly GemmSchedule[] {
  const each = r / experts;
  if (each <= 0.2) return k <= 4096 ? [eightInFour, eight] : [eight];
  if (each <= 6) return [sixteen];
  if (each <= 24) return [sixtyFour, sixteen];
  if (each > 128 && each <= 200) return [tall, persistent];
  return each <= 512 ? [persistent] : [persistentPair, persistent];
}

/** Microseconds of a launch, roughly, by the public kernel's: weights at 3.9 TB/s, or tiles of 128 rows at 1250 TFLOP/s. */
function estimate({ experts, n, k }: GroupedProblem, r: number): number {
  const memory = (visited(experts, r) * n * k + r * (k + 2 * n)) / 3.9e6;
  return Math.max(memory, (rowTiles(experts, 128, r) * 128 * 2 * n * k) / 1250e6) + 4;
}

export const groupedSchedules: Schedules<GroupedProblem, GemmSchedule> = {
  candidates: () => candidates,
  illegal: (p, s, machine) => illegal(s, machine, p),
  measured: preferred,
  // R1's 256 experts have somewhat more than 128 rows each, and 256.
  steps: [49152, 65536],
  estimate: (p, _, rows) => estimate(p, rows),
  name: scheduleName,
};
