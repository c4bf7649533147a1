// How bf16 products of rows sorted by expert run on sm_90a, as plain records: what could be tried, what cannot run and why, what it
// should cost. Tens of rows an expert and more; one form, whose tiles never cross experts.
import { floorText, type Gpu, type Limits } from "../../../../ir/machine.ts";
import type { Schedules } from "../../native.ts";
import { STEP } from "./bf16-schedule.ts";
import { rowTiles, visited } from "./grouped-rows.ts";

/**
 * y [r, n] = x [r, k] w [e]^T for rows offsets[e] .. offsets[e + 1], w [experts, n, k]; r and the offsets vary at run time. Gated: w
 * [experts, 2, n, k] is gate and up, and y = silu(x gate^T) * (x up^T).
 */
export interface GroupedBf16Problem {
  experts: number;
  n: number;
  k: number;
  gated?: true;
}

export interface GroupedBf16Schedule {
  form: "persistent";
  /** Rows of a tile. 128: 64 to each of two warpgroups, which share its columns; 64: both take all rows and half of the columns each. */
  rows: 64 | 128;
  /** Rows of w of a tile, the N of wgmma summed over what a row of x meets: gate and up together. */
  columns: 64 | 128 | 192 | 256;
  stages: number;
  /** Row tiles of an expert swept before the next column tile. */
  group: number;
}

/** Short name, part of the kernel's: "r128c256s4g8". */
export const groupedBf16Name = (s: GroupedBf16Schedule): string => `r${s.rows}c${s.columns}s${s.stages}g${s.group}`;

/** Columns of y that a warpgroup writes. */
export const columnsOut = (p: GroupedBf16Problem, s: GroupedBf16Schedule): number =>
  s.columns / (p.gated ? 2 : 1) / (s.rows === 64 ? 2 : 1);

/** 64 x 64 bf16 tiles a warpgroup writes through: two where there is room. */
export const stagingOf = (p: GroupedBf16Problem, s: GroupedBf16Schedule): number => {
  const boxes = columnsOut(p, s) / 64;
  return boxes > 1 && (s.rows === 128 ? s.columns !== 192 : s.columns !== 256) ? 2 : 1;
};

/** Rings, two barriers a stage, slack to align the ring to the swizzle's 1024 bytes; output tiles. */
export const groupedSharedBytes = (p: GroupedBf16Problem, s: GroupedBf16Schedule): number =>
  1024 + s.stages * ((s.rows + s.columns) * STEP * 2 + 16) + 2 * stagingOf(p, s) * 64 * 64 * 2;

export const candidates: readonly GroupedBf16Schedule[] = [
  { form: "persistent", rows: 128, columns: 256, stages: 4, group: 16 },
  { form: "persistent", rows: 128, columns: 128, stages: 6, group: 16 },
  { form: "persistent", rows: 64, columns: 256, stages: 5, group: 16 },
  { form: "persistent", rows: 64, columns: 128, stages: 8, group: 16 },
];

/** Why a schedule cannot run a problem, or null. */
export function illegal(s: GroupedBf16Schedule, p: GroupedBf16Problem, limits: Limits): string | null {
  if (p.k % 8 !== 0) return `rows of ${p.k} bf16: a tensor map needs multiples of 16 bytes`;
  if (p.n % 8 !== 0) return `output rows of ${p.n} bf16: 16-byte stores need a multiple of 8`;
  if (p.experts > 1024) return `${p.experts} experts: a warp scans the offsets of at most 1024`;
  const out = columnsOut(p, s);
  if (out % 64 !== 0) return `${out} columns of y a warpgroup: they are written 64 at a time`;
  if (s.stages < 2) return "a ring of one stage cannot overlap copies with products";
  const bytes = groupedSharedBytes(p, s) + 4 * (p.experts + 1);
  return bytes > limits.sharedPerBlock ? `${bytes} bytes of shared memory, the block may have ${limits.sharedPerBlock}` : null;
}

/** How sharply one of two overlapping times gives way to the other: the norm that adds them up. */
const OVERLAP = 7.2;

/**
 * Microseconds: memory and the tensor cores, of which the slower sets most of the time, and fixed cost. Fitted to the 126 rows of
 * test/bench/results/device-h200-2026-11-30-bf16-family.json: what it chooses is within 17 % of its time and within 5 % of the fastest.
 */
export function estimate(s: GroupedBf16Schedule, p: GroupedBf16Problem, r: number, limits: Limits): number {
  const parts = p.gated ? 2 : 1;
  // Terabytes a second, from the KB of weights in flight on a multiprocessor.
  const rate = Math.min(4.3, 2.52 + (s.stages * s.columns * STEP * 2 * 0.0333) / 1024);
  const memory = (2 * (visited(p.experts, r) * parts * p.n * p.k + r * p.k + r * p.n)) / (rate * 1e6);
  const wide = s.columns / parts;
  const tiles = rowTiles(p.experts, s.rows, r) * Math.ceil(p.n / wide);
  // A step of 64 columns of k: half as many rows for the same weights cost a third more each, half as many columns next to nothing.
  const step = 0.04 + s.rows * s.columns * 2.255e-5 * (s.rows === 64 ? 1.335 : 1) * (s.columns === 128 ? 1.026 : 1);
  const cores = (tiles / limits.multiprocessors + 0.89) * Math.ceil(p.k / STEP) * step;
  return (memory ** OVERLAP + cores ** OVERLAP) ** (1 / OVERLAP) + 4.7;
}

export const groupedBf16Schedules: Schedules<GroupedBf16Problem, GroupedBf16Schedule> = {
  candidates: () => candidates,
  illegal: (p, s, machine) => illegal(s, p, machine),
  estimate: (p, s, rows, machine) => estimate(s, p, rows, machine),
  name: groupedBf16Name,
};

/** Op, problem, schedule and floor: the lines a kernel opens with. */
export const groupedBf16Header = (p: GroupedBf16Problem, s: GroupedBf16Schedule, machine: Gpu): string[] => {
  const { experts, n, k } = p;
  const matrix = (p.gated ? 2 : 1) * n * k;
  const rows = `for rows offsets[e] .. offsets[e + 1], e < ${experts}, f32 sums`;
  return [
    p.gated
      ? `grouped_linear_gated: y [r, ${n}] bf16 = silu(gate) * up, gate and up = x [r, ${k}] bf16 times w [e, 2, ${n}, ${k}]^T bf16 ${rows}`
      : `grouped_linear: y [r, ${n}] bf16 = x [r, ${k}] bf16 times w [e, ${n}, ${k}]^T bf16 ${rows}`,
    `schedule ${JSON.stringify(s)}`,
    floorText(machine, {
      reads: `(${2 * matrix} an expert with rows + ${2 * (k + n)} r) bytes`,
      computes: [`${2 * matrix} r operations`, "bf16"],
    }),
  ];
};
