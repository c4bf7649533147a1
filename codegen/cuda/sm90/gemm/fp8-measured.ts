// What was fastest where it was measured: the matrices of R1 on one H200, cold weights, graph replay. docs/notes-gpu-gemm.md says
// how, test/bench/results/block-gemm-schedules.json has all times; `us` are those at so many rows. Other shapes are left to the
// estimate.
import type { Measured } from "../../native.ts";
import type { GemmProblem, GemmSchedule } from "./fp8-schedule.ts";

/** By matrix. */
export const gemmMeasured: readonly Measured<GemmProblem, GemmSchedule>[] = [
  {
    // q_a + kv_a
    // 512 and 768 rows by counting waves: 132 and 198 blocks of the one, 68 and 102 of the other, on 132 multiprocessors
    of: { n: 2112, k: 7168 },
    fastest: [
      {
        rows: 8,
        us: 6.04,
        schedule: { form: "split-k", rows: 64, kGroups: 2, tokens: 8, split: 4, stages: 6, xStages: 5, blocksPerSm: 2 },
      },
      {
        rows: 16,
        us: 6.65,
        schedule: { form: "split-k", rows: 64, kGroups: 2, tokens: 16, split: 4, stages: 5, xStages: 4, blocksPerSm: 2 },
      },
      {
        rows: 64,
        us: 8.0,
        schedule: { form: "split-k", rows: 64, kGroups: 2, tokens: 32, split: 2, stages: 4, xStages: 3, blocksPerSm: 2 },
      },
      { rows: 128, us: 9.36, schedule: { form: "small-m", tokens: 64, columns: 32, kGroups: 2, stages: 8, xStages: 9, blocksPerSm: 1 } },
      {
        rows: 256,
        us: 12.59,
        schedule: { form: "split-k", rows: 64, kGroups: 2, tokens: 64, split: 1, stages: 7, xStages: 6, blocksPerSm: 1 },
      },
      { rows: 512, us: 16.48, schedule: { form: "small-m", tokens: 128, columns: 64, kGroups: 1, stages: 8, xStages: 8, blocksPerSm: 1 } },
      { rows: 768, schedule: { form: "persistent", stages: 6, group: 16, multicast: "none", tail: "whole" } },
      { rows: null, schedule: { form: "persistent", stages: 6, group: 16, multicast: "none", tail: "stream-k" } },
    ],
  },
  {
    // q_a
    of: { n: 1536, k: 7168 },
    fastest: [
      {
        rows: 8,
        us: 5.72,
        schedule: { form: "split-k", rows: 64, kGroups: 2, tokens: 8, split: 4, stages: 6, xStages: 5, blocksPerSm: 2 },
      },
      {
        rows: 16,
        us: 6.81,
        schedule: { form: "split-k", rows: 64, kGroups: 2, tokens: 16, split: 2, stages: 5, xStages: 4, blocksPerSm: 2 },
      },
      {
        rows: 32,
        us: 8.05,
        schedule: { form: "split-k", rows: 64, kGroups: 2, tokens: 32, split: 2, stages: 4, xStages: 3, blocksPerSm: 2 },
      },
      {
        rows: 128,
        us: 10.4,
        schedule: { form: "split-k", rows: 64, kGroups: 2, tokens: 64, split: 2, stages: 7, xStages: 6, blocksPerSm: 1 },
      },
      {
        rows: 256,
        us: 12.73,
        schedule: { form: "split-k", rows: 64, kGroups: 2, tokens: 64, split: 1, stages: 7, xStages: 6, blocksPerSm: 1 },
      },
      { rows: null, schedule: { form: "persistent", stages: 6, group: 16, multicast: "none", tail: "whole" } },
    ],
  },
  {
    // kv_a
    of: { n: 576, k: 7168 },
    fastest: [
      {
        rows: 16,
        us: 4.75,
        schedule: { form: "split-k", rows: 64, kGroups: 2, tokens: 8, split: 4, stages: 6, xStages: 5, blocksPerSm: 2 },
      },
      {
        rows: 32,
        us: 6.12,
        schedule: { form: "split-k", rows: 64, kGroups: 2, tokens: 16, split: 2, stages: 5, xStages: 4, blocksPerSm: 2 },
      },
      {
        rows: 64,
        us: 7.55,
        schedule: { form: "split-k", rows: 64, kGroups: 2, tokens: 32, split: 2, stages: 4, xStages: 3, blocksPerSm: 2 },
      },
      {
        rows: 128,
        us: 9.03,
        schedule: { form: "split-k", rows: 64, kGroups: 2, tokens: 64, split: 3, stages: 7, xStages: 6, blocksPerSm: 1 },
      },
      {
        rows: 256,
        us: 10.17,
        schedule: { form: "split-k", rows: 64, kGroups: 2, tokens: 64, split: 2, stages: 7, xStages: 6, blocksPerSm: 1 },
      },
    ],
  },
  {
    // q_b
    of: { n: 24576, k: 1536 },
    fastest: [
      {
        rows: 8,
        us: 11.11,
        schedule: { form: "split-k", rows: 128, kGroups: 1, tokens: 8, split: 1, stages: 4, xStages: 4, blocksPerSm: 3 },
      },
      {
        rows: 32,
        us: 12.06,
        schedule: { form: "split-k", rows: 128, kGroups: 1, tokens: 32, split: 1, stages: 4, xStages: 4, blocksPerSm: 2 },
      },
      { rows: 64, us: 12.45, schedule: { form: "small-m", tokens: 64, columns: 96, kGroups: 1, stages: 4, xStages: 4, blocksPerSm: 2 } },
      { rows: null, schedule: { form: "persistent", stages: 6, group: 16, multicast: "none", tail: "whole" } },
    ],
  },
  {
    // kv_b
    of: { n: 32768, k: 512 },
    fastest: [
      {
        rows: 8,
        us: 5.72,
        schedule: { form: "split-k", rows: 128, kGroups: 1, tokens: 8, split: 1, stages: 4, xStages: 4, blocksPerSm: 3 },
      },
      {
        rows: 16,
        us: 6.28,
        schedule: { form: "split-k", rows: 128, kGroups: 1, tokens: 16, split: 1, stages: 4, xStages: 4, blocksPerSm: 3 },
      },
      {
        rows: 32,
        us: 7.14,
        schedule: { form: "split-k", rows: 128, kGroups: 1, tokens: 32, split: 1, stages: 4, xStages: 4, blocksPerSm: 2 },
      },
      { rows: 1024, us: 37.03, schedule: { form: "persistent", stages: 6, group: 16, multicast: "none", tail: "whole" } },
      { rows: null, schedule: { form: "persistent", stages: 6, group: 16, multicast: "x", tail: "whole" } },
    ],
  },
  {
    // o_proj
    of: { n: 7168, k: 16384 },
    fastest: [
      {
        rows: 8,
        us: 30.82,
        schedule: { form: "split-k", rows: 128, kGroups: 2, tokens: 8, split: 2, stages: 6, xStages: 6, blocksPerSm: 1 },
      },
      {
        rows: 16,
        us: 31.59,
        schedule: { form: "split-k", rows: 128, kGroups: 2, tokens: 16, split: 2, stages: 6, xStages: 4, blocksPerSm: 1 },
      },
      {
        rows: 32,
        us: 32.69,
        schedule: { form: "split-k", rows: 128, kGroups: 2, tokens: 32, split: 2, stages: 5, xStages: 4, blocksPerSm: 1 },
      },
      { rows: 64, us: 32.67, schedule: { form: "small-m", tokens: 64, columns: 56, kGroups: 2, stages: 6, xStages: 6, blocksPerSm: 1 } },
      {
        rows: 128,
        us: 41.08,
        schedule: { form: "split-k", rows: 128, kGroups: 1, tokens: 128, split: 2, stages: 6, xStages: 4, blocksPerSm: 1 },
      },
      { rows: null, schedule: { form: "persistent", stages: 6, group: 16, multicast: "none", tail: "whole" } },
    ],
  },
  {
    // expert gate and up
    of: { n: 4096, k: 7168 },
    fastest: [
      {
        rows: 8,
        us: 9.46,
        schedule: { form: "split-k", rows: 64, kGroups: 2, tokens: 8, split: 3, stages: 6, xStages: 5, blocksPerSm: 2 },
      },
      {
        rows: 16,
        us: 9.9,
        schedule: { form: "split-k", rows: 64, kGroups: 2, tokens: 16, split: 3, stages: 5, xStages: 4, blocksPerSm: 2 },
      },
      {
        rows: 32,
        us: 10.91,
        schedule: { form: "split-k", rows: 64, kGroups: 2, tokens: 32, split: 2, stages: 4, xStages: 3, blocksPerSm: 2 },
      },
      { rows: 64, us: 10.77, schedule: { form: "small-m", tokens: 64, columns: 32, kGroups: 2, stages: 8, xStages: 9, blocksPerSm: 1 } },
      {
        rows: 128,
        us: 13.22,
        schedule: { form: "split-k", rows: 64, kGroups: 2, tokens: 64, split: 1, stages: 5, xStages: 5, blocksPerSm: 1 },
      },
      { rows: 256, us: 17.21, schedule: { form: "small-m", tokens: 128, columns: 64, kGroups: 1, stages: 8, xStages: 8, blocksPerSm: 1 } },
      { rows: 1024, us: 50.31, schedule: { form: "persistent", stages: 6, group: 16, multicast: "none", tail: "whole" } },
      { rows: null, schedule: { form: "persistent", stages: 6, group: 16, multicast: "x", tail: "whole" } },
    ],
  },
  {
    // expert down
    of: { n: 7168, k: 2048 },
    fastest: [
      {
        rows: 8,
        us: 4.84,
        schedule: { form: "split-k", rows: 64, kGroups: 2, tokens: 8, split: 2, stages: 4, xStages: 4, blocksPerSm: 2 },
      },
      {
        rows: 32,
        us: 6.03,
        schedule: { form: "split-k", rows: 64, kGroups: 2, tokens: 16, split: 1, stages: 5, xStages: 4, blocksPerSm: 2 },
      },
      { rows: 64, us: 6.2, schedule: { form: "small-m", tokens: 64, columns: 64, kGroups: 2, stages: 5, xStages: 5, blocksPerSm: 1 } },
      { rows: 128, us: 7.67, schedule: { form: "small-m", tokens: 128, columns: 64, kGroups: 1, stages: 5, xStages: 5, blocksPerSm: 1 } },
      { rows: 1024, us: 26.84, schedule: { form: "persistent", stages: 6, group: 16, multicast: "none", tail: "whole" } },
      { rows: null, schedule: { form: "persistent", stages: 6, group: 16, multicast: "x", tail: "whole" } },
    ],
  },
  {
    // dense gate and up
    of: { n: 36864, k: 7168 },
    fastest: [
      {
        rows: 8,
        us: 65.36,
        schedule: { form: "split-k", rows: 128, kGroups: 2, tokens: 8, split: 1, stages: 6, xStages: 6, blocksPerSm: 1 },
      },
      {
        rows: 16,
        us: 67.0,
        schedule: { form: "split-k", rows: 128, kGroups: 2, tokens: 16, split: 1, stages: 6, xStages: 4, blocksPerSm: 1 },
      },
      {
        rows: 32,
        us: 70.5,
        schedule: { form: "split-k", rows: 64, kGroups: 2, tokens: 32, split: 1, stages: 4, xStages: 3, blocksPerSm: 2 },
      },
      { rows: 64, us: 68.73, schedule: { form: "small-m", tokens: 64, columns: 72, kGroups: 1, stages: 5, xStages: 5, blocksPerSm: 2 } },
      { rows: 128, us: 80.23, schedule: { form: "persistent", stages: 6, group: 16, multicast: "none", tail: "stream-k" } },
      { rows: null, schedule: { form: "persistent", stages: 6, group: 16, multicast: "none", tail: "whole" } },
    ],
  },
  {
    // dense down
    of: { n: 7168, k: 18432 },
    fastest: [
      {
        rows: 8,
        us: 34.73,
        schedule: { form: "split-k", rows: 128, kGroups: 2, tokens: 8, split: 2, stages: 6, xStages: 6, blocksPerSm: 1 },
      },
      {
        rows: 16,
        us: 35.83,
        schedule: { form: "split-k", rows: 128, kGroups: 2, tokens: 16, split: 2, stages: 6, xStages: 4, blocksPerSm: 1 },
      },
      {
        rows: 32,
        us: 37.51,
        schedule: { form: "split-k", rows: 128, kGroups: 2, tokens: 32, split: 2, stages: 5, xStages: 4, blocksPerSm: 1 },
      },
      { rows: 64, us: 36.83, schedule: { form: "small-m", tokens: 64, columns: 56, kGroups: 2, stages: 6, xStages: 6, blocksPerSm: 1 } },
      {
        rows: 128,
        us: 46.39,
        schedule: { form: "split-k", rows: 128, kGroups: 1, tokens: 128, split: 2, stages: 5, xStages: 4, blocksPerSm: 1 },
      },
      { rows: 768, schedule: { form: "persistent", stages: 6, group: 16, multicast: "none", tail: "whole" } },
      { rows: 1024, us: 248.68, schedule: { form: "persistent", stages: 6, group: 16, multicast: "none", tail: "stream-k" } },
      { rows: null, schedule: { form: "persistent", stages: 6, group: 16, multicast: "none", tail: "whole" } },
    ],
  },
];
