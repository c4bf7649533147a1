// What was fastest where it was measured: the matrices of R1 on one H200, cold weights, graph replay. docs/notes-gpu-gemm.md says
// how, test/bench/results/block-gemm-schedules.json has all times; `us` are those at so many rows. Other shapes are left to the
// estimate.
import type { Measured } from "../../native.ts";
import type { GemmProblem, GemmSchedule, PersistentSchedule } from "./fp8-schedule.ts";

type Row = Measured<GemmProblem, GemmSchedule>["fastest"][number];

/** A schedule for up to so many rows, and its microseconds at so many. */
const upTo = (rows: number, us: number, schedule: GemmSchedule): Row => ({ rows, us, schedule });
/** For all sizes from there on. */
const beyond = (schedule: GemmSchedule): Row => ({ rows: null, schedule });
const persistent: PersistentSchedule = { form: "persistent", stages: 6, group: 16, multicast: "none", tail: "whole" };
const tall: PersistentSchedule = { ...persistent, rows: 192, stages: 4 };

/** By matrix. */
export const gemmMeasured: readonly Measured<GemmProblem, GemmSchedule>[] = [
  {
    // q_a + kv_a
    // 512 and 768 rows by counting waves: 132 and 198 blocks of the one, 68 and 102 of the other, on 132 multiprocessors
    of: { n: 2112, k: 7168 },
    fastest: [
      upTo(8, 6.04, { form: "split-k", rows: 64, kGroups: 2, tokens: 8, split: 4, stages: 6, xStages: 5, blocksPerSm: 2 }),
      upTo(16, 6.65, { form: "split-k", rows: 64, kGroups: 2, tokens: 16, split: 4, stages: 5, xStages: 4, blocksPerSm: 2 }),
      upTo(64, 8.0, { form: "split-k", rows: 64, kGroups: 2, tokens: 32, split: 2, stages: 4, xStages: 3, blocksPerSm: 2 }),
      upTo(128, 9.36, { form: "small-m", tokens: 64, columns: 32, kGroups: 2, stages: 8, xStages: 9, blocksPerSm: 1 }),
      upTo(256, 12.59, { form: "split-k", rows: 64, kGroups: 2, tokens: 64, split: 1, stages: 7, xStages: 6, blocksPerSm: 1 }),
      upTo(512, 16.48, { form: "small-m", tokens: 128, columns: 64, kGroups: 1, stages: 8, xStages: 8, blocksPerSm: 1 }),
      { rows: 768, schedule: persistent },
      beyond({ ...persistent, tail: "stream-k" }),
    ],
  },
  {
    // q_a
    of: { n: 1536, k: 7168 },
    fastest: [
      upTo(8, 5.72, { form: "split-k", rows: 64, kGroups: 2, tokens: 8, split: 4, stages: 6, xStages: 5, blocksPerSm: 2 }),
      upTo(16, 6.81, { form: "split-k", rows: 64, kGroups: 2, tokens: 16, split: 2, stages: 5, xStages: 4, blocksPerSm: 2 }),
      upTo(32, 8.05, { form: "split-k", rows: 64, kGroups: 2, tokens: 32, split: 2, stages: 4, xStages: 3, blocksPerSm: 2 }),
      upTo(128, 10.4, { form: "split-k", rows: 64, kGroups: 2, tokens: 64, split: 2, stages: 7, xStages: 6, blocksPerSm: 1 }),
      upTo(256, 12.73, { form: "split-k", rows: 64, kGroups: 2, tokens: 64, split: 1, stages: 7, xStages: 6, blocksPerSm: 1 }),
      beyond(persistent),
    ],
  },
  {
    // kv_a
    of: { n: 576, k: 7168 },
    fastest: [
      upTo(16, 4.75, { form: "split-k", rows: 64, kGroups: 2, tokens: 8, split: 4, stages: 6, xStages: 5, blocksPerSm: 2 }),
      upTo(32, 6.12, { form: "split-k", rows: 64, kGroups: 2, tokens: 16, split: 2, stages: 5, xStages: 4, blocksPerSm: 2 }),
      upTo(64, 7.55, { form: "split-k", rows: 64, kGroups: 2, tokens: 32, split: 2, stages: 4, xStages: 3, blocksPerSm: 2 }),
      upTo(128, 9.03, { form: "split-k", rows: 64, kGroups: 2, tokens: 64, split: 3, stages: 7, xStages: 6, blocksPerSm: 1 }),
      upTo(256, 10.17, { form: "split-k", rows: 64, kGroups: 2, tokens: 64, split: 2, stages: 7, xStages: 6, blocksPerSm: 1 }),
    ],
  },
  {
    // q_b
    of: { n: 24576, k: 1536 },
    fastest: [
      upTo(8, 11.11, { form: "split-k", rows: 128, kGroups: 1, tokens: 8, split: 1, stages: 4, xStages: 4, blocksPerSm: 3 }),
      upTo(32, 12.06, { form: "split-k", rows: 128, kGroups: 1, tokens: 32, split: 1, stages: 4, xStages: 4, blocksPerSm: 2 }),
      upTo(64, 12.45, { form: "small-m", tokens: 64, columns: 96, kGroups: 1, stages: 4, xStages: 4, blocksPerSm: 2 }),
      upTo(128, 14.43, persistent),
      upTo(192, 18.9, tall),
      beyond(persistent),
    ],
  },
  {
    // kv_b
    of: { n: 32768, k: 512 },
    fastest: [
      upTo(8, 5.72, { form: "split-k", rows: 128, kGroups: 1, tokens: 8, split: 1, stages: 4, xStages: 4, blocksPerSm: 3 }),
      upTo(16, 6.28, { form: "split-k", rows: 128, kGroups: 1, tokens: 16, split: 1, stages: 4, xStages: 4, blocksPerSm: 3 }),
      upTo(32, 7.14, { form: "split-k", rows: 128, kGroups: 1, tokens: 32, split: 1, stages: 4, xStages: 4, blocksPerSm: 2 }),
      upTo(1024, 37.03, persistent),
      beyond({ ...persistent, multicast: "x" }),
    ],
  },
  {
    // o_proj
    of: { n: 7168, k: 16384 },
    fastest: [
      upTo(8, 30.82, { form: "split-k", rows: 128, kGroups: 2, tokens: 8, split: 2, stages: 6, xStages: 6, blocksPerSm: 1 }),
      upTo(16, 31.59, { form: "split-k", rows: 128, kGroups: 2, tokens: 16, split: 2, stages: 6, xStages: 4, blocksPerSm: 1 }),
      upTo(32, 32.69, { form: "split-k", rows: 128, kGroups: 2, tokens: 32, split: 2, stages: 5, xStages: 4, blocksPerSm: 1 }),
      upTo(64, 32.67, { form: "small-m", tokens: 64, columns: 56, kGroups: 2, stages: 6, xStages: 6, blocksPerSm: 1 }),
      upTo(128, 41.08, { form: "split-k", rows: 128, kGroups: 1, tokens: 128, split: 2, stages: 6, xStages: 4, blocksPerSm: 1 }),
      upTo(192, 55.65, { ...tall, tail: "stream-k" }),
      upTo(256, 56.51, persistent),
      upTo(384, 85.17, { ...persistent, tail: "stream-k" }),
      beyond(persistent),
    ],
  },
  {
    // expert gate and up
    of: { n: 4096, k: 7168 },
    fastest: [
      upTo(8, 9.46, { form: "split-k", rows: 64, kGroups: 2, tokens: 8, split: 3, stages: 6, xStages: 5, blocksPerSm: 2 }),
      upTo(16, 9.9, { form: "split-k", rows: 64, kGroups: 2, tokens: 16, split: 3, stages: 5, xStages: 4, blocksPerSm: 2 }),
      upTo(32, 10.91, { form: "split-k", rows: 64, kGroups: 2, tokens: 32, split: 2, stages: 4, xStages: 3, blocksPerSm: 2 }),
      upTo(64, 10.77, { form: "small-m", tokens: 64, columns: 32, kGroups: 2, stages: 8, xStages: 9, blocksPerSm: 1 }),
      upTo(128, 13.22, { form: "split-k", rows: 64, kGroups: 2, tokens: 64, split: 1, stages: 5, xStages: 5, blocksPerSm: 1 }),
      upTo(256, 17.21, { form: "small-m", tokens: 128, columns: 64, kGroups: 1, stages: 8, xStages: 8, blocksPerSm: 1 }),
      upTo(1024, 50.31, persistent),
      beyond({ ...persistent, multicast: "x" }),
    ],
  },
  {
    // expert down
    of: { n: 7168, k: 2048 },
    fastest: [
      upTo(8, 4.84, { form: "split-k", rows: 64, kGroups: 2, tokens: 8, split: 2, stages: 4, xStages: 4, blocksPerSm: 2 }),
      upTo(32, 6.03, { form: "split-k", rows: 64, kGroups: 2, tokens: 16, split: 1, stages: 5, xStages: 4, blocksPerSm: 2 }),
      upTo(64, 6.2, { form: "small-m", tokens: 64, columns: 64, kGroups: 2, stages: 5, xStages: 5, blocksPerSm: 1 }),
      upTo(128, 7.67, { form: "small-m", tokens: 128, columns: 64, kGroups: 1, stages: 5, xStages: 5, blocksPerSm: 1 }),
      upTo(1024, 26.84, persistent),
      beyond({ ...persistent, multicast: "x" }),
    ],
  },
  {
    // dense gate and up
    of: { n: 36864, k: 7168 },
    fastest: [
      upTo(8, 65.36, { form: "split-k", rows: 128, kGroups: 2, tokens: 8, split: 1, stages: 6, xStages: 6, blocksPerSm: 1 }),
      upTo(16, 67.0, { form: "split-k", rows: 128, kGroups: 2, tokens: 16, split: 1, stages: 6, xStages: 4, blocksPerSm: 1 }),
      upTo(32, 70.5, { form: "split-k", rows: 64, kGroups: 2, tokens: 32, split: 1, stages: 4, xStages: 3, blocksPerSm: 2 }),
      upTo(64, 68.73, { form: "small-m", tokens: 64, columns: 72, kGroups: 1, stages: 5, xStages: 5, blocksPerSm: 2 }),
      upTo(128, 80.23, { ...persistent, tail: "stream-k" }),
      upTo(192, 104.0, { ...tall, tail: "stream-k" }),
      beyond(persistent),
    ],
  },
  {
    // dense down
    of: { n: 7168, k: 18432 },
    fastest: [
      upTo(8, 34.73, { form: "split-k", rows: 128, kGroups: 2, tokens: 8, split: 2, stages: 6, xStages: 6, blocksPerSm: 1 }),
      upTo(16, 35.83, { form: "split-k", rows: 128, kGroups: 2, tokens: 16, split: 2, stages: 6, xStages: 4, blocksPerSm: 1 }),
      upTo(32, 37.51, { form: "split-k", rows: 128, kGroups: 2, tokens: 32, split: 2, stages: 5, xStages: 4, blocksPerSm: 1 }),
      upTo(64, 36.83, { form: "small-m", tokens: 64, columns: 56, kGroups: 2, stages: 6, xStages: 6, blocksPerSm: 1 }),
      upTo(128, 46.39, { form: "split-k", rows: 128, kGroups: 1, tokens: 128, split: 2, stages: 5, xStages: 4, blocksPerSm: 1 }),
      { rows: 768, schedule: persistent },
      upTo(1024, 248.68, { ...persistent, tail: "stream-k" }),
      beyond(persistent),
    ],
  },
];
