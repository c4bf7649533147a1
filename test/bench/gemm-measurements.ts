// What test/bench/results/block-gemm-schedules.json says: microseconds of FP8 products by matrix, rows and schedule.
import fs from "node:fs";
import path from "node:path";
import { h200 } from "../../codegen/cuda/arch/h200.ts";
import {
  candidates,
  illegal,
  scheduleName,
  type GemmProblem,
  type GemmSchedule,
} from "../../codegen/cuda/sm90/gemm/fp8-schedule.ts";

export interface Measurement {
  problem: GemmProblem;
  rows: number;
  schedule: GemmSchedule;
  /** Whether the schedule is one that may be chosen. */
  candidate: boolean;
  us: number;
}

/** The schedule of a name, or null where no form has it any more. */
function scheduleOf(name: string): GemmSchedule | null {
  const numbers = (pattern: RegExp): number[] | undefined => pattern.exec(name)?.slice(1).map(Number);
  const persistent = /^t(\d+)(r192)?g(\d+)(x?)(c?)$/.exec(name);
  if (persistent) {
    const [, stages, rows, group, x, c] = persistent;
    return {
      form: "persistent",
      ...(rows ? { rows: 192 } : {}),
      stages: Number(stages),
      group: Number(group),
      multicast: x ? "x" : "none",
      tail: c ? "stream-k" : "whole",
    };
  }
  const w = numbers(/^w(\d+)k(\d)t(\d+)x(\d)s(\d+)_(\d+)r(\d)$/);
  if (w) {
    const [rows, kGroups, tokens, split, stages, xStages, blocksPerSm] = w;
    return rows === 256
      ? null
      : ({ form: "split-k", rows, kGroups, tokens, split, stages, xStages, blocksPerSm } as GemmSchedule);
  }
  const n = numbers(/^n(\d+)k(\d)t(\d+)s(\d+)_(\d+)r(\d)$/);
  if (!n) return null;
  const [columns, kGroups, tokens, stages, xStages, blocksPerSm] = n;
  return { form: "small-m", columns, kGroups, tokens, stages, xStages, blocksPerSm } as GemmSchedule;
}

/**
 * All of them that can run. Kernels became faster between measurements: fewer rows are no more work, so the least time at as many
 * rows or more counts.
 */
export function measurements(): Measurement[] {
  const file = path.resolve(import.meta.dirname, "results/block-gemm-schedules.json");
  const { us } = JSON.parse(fs.readFileSync(file, "utf8")) as { us: Record<string, Record<string, Record<string, number>>> };
  const names = new Set(candidates.map(scheduleName));
  return Object.entries(us).flatMap(([matrix, byRows]) => {
    const [n, k] = matrix.split("x").map(Number);
    return Object.entries(byRows).flatMap(([rows, times]) =>
      Object.keys(times).flatMap((name): Measurement[] => {
        const schedule = scheduleOf(name);
        if (!schedule || illegal(schedule, h200, { n, k }) !== null) return [];
        const least = Object.entries(byRows).flatMap(([r, t]) => (Number(r) >= Number(rows) && t[name] ? [t[name]] : []));
        return [{ problem: { n, k }, rows: Number(rows), schedule, candidate: names.has(name), us: Math.min(...least) }];
      }),
    );
  });
}

export const matrixOf = ({ problem: { n, k } }: Measurement): string => `${n}x${k}`;

/** Lists of measurements by a key. */
export function grouped<T>(of: readonly T[], key: (t: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const t of of) groups.set(key(t), [...(groups.get(key(t)) ?? []), t]);
  return groups;
}

/** For every matrix and number of rows: what the schedule that `timeOf` takes for the fastest took, over the least. */
export function regrets(of: readonly Measurement[], timeOf: (m: Measurement) => number): { where: string; regret: number }[] {
  const sites = grouped(
    of.filter((m) => m.candidate),
    (m) => `${matrixOf(m)} at ${m.rows}`,
  );
  return [...sites].map(([where, list]) => {
    const chosen = list.reduce((least, m) => (timeOf(m) < timeOf(least) ? m : least));
    return { where, regret: chosen.us / Math.min(...list.map((m) => m.us)) };
  });
}

export const geometricMean = (of: readonly number[]): number => Math.exp(of.reduce((sum, v) => sum + Math.log(v), 0) / of.length);

/** The value that so much of a list is at most. */
export const quantile = (of: readonly number[], part: number): number =>
  of.toSorted((a, b) => a - b)[Math.min(of.length - 1, Math.floor(part * of.length))];
