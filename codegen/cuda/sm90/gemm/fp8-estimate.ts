// What a schedule of the FP8 block GEMM should cost where nobody has measured it.
import type { Limits } from "../../../../ir/machine.ts";
import { STEP, type GemmProblem, type GemmSchedule, type SmallMSchedule, type SplitKSchedule } from "./fp8-schedule.ts";

/** Microseconds, roughly, for problems nobody has measured: fitted to a thousand measurements on an H200 (docs/notes-gpu-gemm.md). */
export function estimate(schedule: GemmSchedule, { n, k }: GemmProblem, m: number, limits: Limits): number {
  const steps = Math.ceil(k / STEP);
  const columnTiles = Math.ceil(n / 128);
  const hbm = (n * k + m * k + 2 * m * n) / 4.6e6;
  switch (schedule.form) {
    case "persistent": {
      const pair = schedule.multicast === "x";
      const waves = Math.ceil(
        (Math.ceil(m / 128) * (pair ? Math.ceil(n / 256) : columnTiles)) /
          (pair ? Math.floor(limits.multiprocessors / 2) : limits.multiprocessors),
      );
      return Math.max(waves * (steps * (pair ? 0.352 : 0.354) + 1.1), hbm) + (pair ? 3.8 : 2.9);
    }
    case "small-m":
      return smallMTime(schedule, m, n, steps, hbm, limits);
    case "split-k":
      return splitKTime(schedule, m, n, steps, hbm, limits);
  }
}

function splitKTime(s: SplitKSchedule, m: number, n: number, steps: number, hbm: number, limits: Limits): number {
  const units = Math.ceil(Math.ceil(steps / s.kGroups) / s.split);
  const blocks = s.split * Math.ceil(n / s.rows) * Math.ceil(m / s.tokens);
  const each = blocks / limits.multiprocessors;
  const live = Math.min(s.blocksPerSm, Math.max(1, Math.ceil(each)));
  // A unit takes as long as its weights, its rows of x, or its arithmetic, which the blocks of a multiprocessor share.
  const arithmetic = 0.12 + s.tokens * (0.0019 + 0.00085 * live * s.kGroups * (s.rows / 64));
  const unit = Math.max(1.55 / s.stages, 0.8 / s.xStages, arithmetic);
  const waves = s.blocksPerSm === 1 ? Math.ceil(each) : Math.max(1, each / s.blocksPerSm);
  const bytes = units * s.kGroups * STEP * (s.rows + s.tokens);
  const l2 = Math.max((blocks * bytes) / 8.1e6, (live * bytes) / 85e3);
  // Bandwidth needs some 90 KB of weights in flight on every multiprocessor.
  const idle = Math.max(0, 1 - (live * s.stages * s.kGroups * s.rows * STEP) / 94e3);
  // Clusters of four do not fill the chip when each block takes a whole multiprocessor.
  const stranded = s.split >= 4 && s.blocksPerSm === 1 ? 20 : 0;
  const fixed = (s.blocksPerSm === 1 ? 2.9 : 2.3) + (s.split > 1 ? 0.7 + 0.18 * s.split : 0) + s.tokens * 0.021 + stranded;
  return fixed + Math.max(waves * units * unit, l2, hbm / (1 - 0.7 * idle));
}

function smallMTime(s: SmallMSchedule, m: number, n: number, steps: number, hbm: number, limits: Limits): number {
  const units = Math.ceil(steps / s.kGroups);
  const each = (Math.ceil(n / s.columns) * Math.ceil(m / s.tokens)) / limits.multiprocessors;
  const live = Math.min(s.blocksPerSm, Math.max(1, Math.ceil(each)));
  // A multiprocessor takes in 85 KB a microsecond, and a ring is filled once in the latency of what fills it.
  const unit = Math.max(1.55 / s.stages, 1.2 / s.xStages, (live * s.kGroups * STEP * (s.columns + s.tokens)) / 85e3);
  const waves = s.blocksPerSm === 1 ? Math.ceil(each) : Math.max(1, each / s.blocksPerSm);
  return 3.2 + Math.max(waves * units * unit + (waves - 1) * 1.2, 1.12 * hbm);
}
