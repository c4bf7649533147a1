// How bf16 products of more than a few rows run on sm_90a: two forms, as plain records. In order: what could be tried, what
// cannot run and why, what it should cost. Few rows: ring-schedule.ts and register-schedule.ts.
import { floorText, type Gpu, type Limits } from "../../../../ir/machine.ts";
import type { Schedules } from "../../native.ts";
import type { Bf16Problem } from "./register-schedule.ts";

/** Tens of rows may have something added: y = x wᵀ + residual, each rounded to bf16. */
export interface Bf16SumProblem extends Bf16Problem {
  /** Between rows of the residual, in elements; absent where nothing is added. */
  residualStride?: number;
}

/** Columns of k of one ring stage: 128 bytes, the width of the swizzle. */
export const STEP = 64;

/**
 * Many rows: x on the 64-row side. Two blocks of a cluster take row tiles above each other and fetch half of their columns'
 * weights each.
 */
export interface PersistentBf16 {
  form: "persistent";
  /** Columns of a tile; its rows are 128. */
  columns: 128 | 192 | 256;
  stages: number;
  /** Pairs of row tiles swept before the next column tile. */
  group: number;
}

/** Tens of rows: all tokens of a tile on the 64-row side, few columns; where tiles are few, k is cut over a cluster. */
export interface SmallMBf16 {
  form: "small-m";
  /** Tokens of a tile, 64 to a math warpgroup. */
  tokens: 64 | 128;
  /** Rows of w of a tile, the N of wgmma: a multiple of 8. */
  columns: number;
  /** Steps of k in a ring stage; each has its own warpgroups. */
  kGroups: 1 | 2 | 4;
  /** Blocks of the cluster that shares the k of a tile. */
  split: 1 | 2 | 4 | 8;
  stages: number;
  xStages: number;
  /** Blocks meant to fit one multiprocessor. */
  blocksPerSm: 1 | 2 | 3;
}

export type Bf16Schedule = PersistentBf16 | SmallMBf16;

export const bf16Name = (s: Bf16Schedule): string =>
  s.form === "persistent"
    ? `t${s.columns}s${s.stages}g${s.group}`
    : `n${s.columns}k${s.kGroups}t${s.tokens}x${s.split}s${s.stages}_${s.xStages}r${s.blocksPerSm}`;

/** 64 x 64 bf16 tiles a warpgroup of the persistent form writes through: two where there is room. */
export const boxes = (s: PersistentBf16): number => (s.columns === 192 ? 1 : 2);

/** Bytes of the rings. */
const ringBytes = (s: Bf16Schedule): number =>
  s.form === "persistent"
    ? s.stages * (128 + s.columns) * STEP * 2
    : s.kGroups * STEP * 2 * (s.stages * s.columns + s.xStages * s.tokens);

/** What a small-m block is sent by the others of its cluster, and its barrier. */
const inboxBytes = (s: SmallMBf16): number =>
  s.split > 1 ? (s.split - 1) * (Math.ceil((s.columns * s.tokens) / 4 / s.split) * 16 + 16) + 8 : 0;

/** Rings, two barriers a stage, slack to align the ring to the swizzle's 1024 bytes; output tiles, or what others send. */
export const sharedBytes = (s: Bf16Schedule): number =>
  1024 + ringBytes(s) + 16 * s.stages + (s.form === "persistent" ? 2 * boxes(s) * 64 * 64 * 2 : 16 * s.xStages + inboxBytes(s));

/** What was best for some size of some matrix on an H200, and little else. */
export const candidates: readonly Bf16Schedule[] = [
  // Few tiles: k is cut, the further the fewer there are.
  { form: "small-m", tokens: 64, columns: 16, kGroups: 2, split: 8, stages: 6, xStages: 4, blocksPerSm: 2 },
  { form: "small-m", tokens: 64, columns: 40, kGroups: 2, split: 4, stages: 4, xStages: 3, blocksPerSm: 2 },
  { form: "small-m", tokens: 64, columns: 32, kGroups: 2, split: 2, stages: 8, xStages: 8, blocksPerSm: 1 },
  { form: "small-m", tokens: 64, columns: 64, kGroups: 2, split: 2, stages: 7, xStages: 6, blocksPerSm: 1 },
  // A tile a multiprocessor.
  { form: "small-m", tokens: 64, columns: 32, kGroups: 2, split: 1, stages: 9, xStages: 8, blocksPerSm: 1 },
  { form: "small-m", tokens: 64, columns: 56, kGroups: 2, split: 1, stages: 7, xStages: 6, blocksPerSm: 1 },
  // Two, of short k.
  { form: "small-m", tokens: 64, columns: 96, kGroups: 1, split: 1, stages: 5, xStages: 5, blocksPerSm: 2 },
  { form: "small-m", tokens: 64, columns: 128, kGroups: 1, split: 1, stages: 5, xStages: 3, blocksPerSm: 2 },
  // More tokens.
  { form: "small-m", tokens: 128, columns: 32, kGroups: 2, split: 2, stages: 8, xStages: 4, blocksPerSm: 1 },
  { form: "small-m", tokens: 128, columns: 64, kGroups: 1, split: 1, stages: 8, xStages: 8, blocksPerSm: 1 },
  { form: "small-m", tokens: 128, columns: 64, kGroups: 1, split: 2, stages: 8, xStages: 8, blocksPerSm: 1 },
  { form: "small-m", tokens: 128, columns: 96, kGroups: 1, split: 1, stages: 4, xStages: 3, blocksPerSm: 2 },
  { form: "small-m", tokens: 128, columns: 96, kGroups: 1, split: 1, stages: 7, xStages: 7, blocksPerSm: 1 },
  { form: "small-m", tokens: 128, columns: 112, kGroups: 1, split: 1, stages: 6, xStages: 6, blocksPerSm: 1 },
  { form: "small-m", tokens: 128, columns: 128, kGroups: 1, split: 1, stages: 6, xStages: 6, blocksPerSm: 1 },
  { form: "small-m", tokens: 128, columns: 136, kGroups: 1, split: 1, stages: 6, xStages: 6, blocksPerSm: 1 },
  { form: "persistent", columns: 256, stages: 4, group: 8 },
  { form: "persistent", columns: 192, stages: 5, group: 8 },
  { form: "persistent", columns: 128, stages: 6, group: 8 },
];

/** Why a schedule cannot run a problem, or null. */
export function illegal(s: Bf16Schedule, p: Bf16SumProblem, limits: Limits): string | null {
  if (p.x !== "bf16") return "wgmma takes x as bf16";
  if (p.k % 8 !== 0 || p.xStride % 8 !== 0)
    return `rows of ${p.k} and ${p.xStride} bf16: a tensor map needs multiples of 16 bytes`;
  if (p.residualStride !== undefined && s.form !== "small-m") return "only the form of tens of rows adds where it writes";
  if (p.residualStride !== undefined && (p.y !== "bf16" || [p.n, p.yStride, p.residualStride].some((v) => v % 8 !== 0)))
    return "a sum is read and written eight columns of bf16 at a time";
  const bytes = sharedBytes(s);
  if (s.stages < 2 || (s.form === "small-m" && s.xStages < 2)) return "a ring of one stage cannot overlap copies with products";
  if (s.form === "small-m") {
    const each = Math.floor(limits.sharedPerMultiprocessor / s.blocksPerSm) - 1024;
    if (bytes > each) return `${bytes} bytes of shared memory, ${s.blocksPerSm} blocks may have ${each} each`;
    if (Math.ceil(Math.ceil(p.k / STEP) / s.kGroups) < s.split) return `k of ${p.k} is too short for ${s.split} blocks`;
    if (s.kGroups * s.tokens * (s.columns + 8) * 4 > ringBytes(s)) return "sums do not fit the rings";
  }
  return bytes > limits.sharedPerBlock ? `${bytes} bytes of shared memory, the block may have ${limits.sharedPerBlock}` : null;
}

/** Microseconds, roughly: memory, or the tensor cores with idle waves, and fixed cost. */
function estimate(s: Bf16Schedule, p: Bf16Problem, m: number, limits: Limits): number {
  const { n, k } = p;
  const steps = Math.ceil(k / STEP);
  const memory = (2 * (n * k + m * k + m * n)) / 4.1e6;
  if (s.form === "small-m") return smallMTime(s, p, m, limits);
  const waves = Math.ceil((Math.ceil(m / 256) * Math.ceil(n / s.columns)) / (limits.multiprocessors / 2));
  const products = waves * (steps * (0.109 + s.columns * 0.00188) + 0.96);
  // Clocks fall under a load of tensor cores that lasts.
  return Math.max(memory, products * (1 + (0.31 * products) / (products + 500))) + 1.4;
}

/** Fitted to the measurements of docs/notes-gpu-linear.md. */
function smallMTime(s: SmallMBf16, { n, k }: Bf16Problem, m: number, limits: Limits): number {
  const units = Math.ceil(Math.ceil(Math.ceil(k / STEP) / s.kGroups) / s.split);
  const each = (s.split * Math.ceil(n / s.columns) * Math.ceil(m / s.tokens)) / limits.multiprocessors;
  const live = Math.min(s.blocksPerSm, Math.max(1, Math.ceil(each)));
  // A multiprocessor takes in 105 KB a microsecond, and a ring is filled once in the latency of what fills it.
  const unit = Math.max(
    1.63 / s.stages,
    0.95 / s.xStages,
    (live * s.kGroups * STEP * 2 * (s.columns + Math.min(s.tokens, m))) / 105e3,
  );
  const turns = each / s.blocksPerSm;
  // Blocks of a multiprocessor end at different times, and the last wave is nearly whole all the same.
  const waves = s.blocksPerSm === 1 ? Math.ceil(turns) : Math.max(1, turns + 0.92 * (Math.ceil(turns) - turns));
  // Multiprocessors with fewer blocks than others leave memory idle at the end.
  const idle = each < 4 ? 1 - each / Math.ceil(each) : 0;
  const memory = ((2 * (n * k + m * k + m * n)) / 4.05e6) * (1 + 0.2 * idle);
  const products = waves * units * unit + (waves - 1) * 2.96;
  // Clocks fall here too, and further: a tile is read again by every tile of the other side.
  const throttled = products * (1 + (0.55 * products) / (products + 500));
  return (s.blocksPerSm === 1 ? 2.8 : 2.6) + (s.split > 1 ? 0.45 * s.split : 0) + Math.max(throttled, memory);
}

/** Elements of a small matrix. */
const SMALL = 2 ** 20;

/** A matrix that L2 holds many times over is not worth kernels for many numbers of rows: each is compiled and kept. */
export const isSmall = ({ n, k }: Bf16Problem): boolean => n * k <= SMALL;

/** Two for all rows of a small matrix: the best for a batch of 64, and for a prompt. */
function worthTrying(p: Bf16SumProblem, machine: Gpu): readonly Bf16Schedule[] {
  const legal = candidates.filter((s) => illegal(s, p, machine) === null);
  if (!isSmall(p) || !legal.length) return candidates;
  const best = (rows: number): Bf16Schedule =>
    legal.reduce((least, s) => (estimate(s, p, rows, machine) < estimate(least, p, rows, machine) ? s : least));
  return [...new Set([best(64), best(2048)])];
}

/** Rows up to which sums are added where they are written: beyond, products of many rows and a launch of its own are as fast. */
const MOST_ADDED = 256;

export const bf16SumSchedules: Schedules<Bf16SumProblem, Bf16Schedule> = {
  candidates: worthTrying,
  illegal: (p, s, machine) => illegal(s, p, machine),
  maxRows: () => MOST_ADDED,
  estimate: (p, s, rows, machine) => estimate(s, p, rows, machine),
  name: bf16Name,
};

export const bf16Schedules: Schedules<Bf16Problem, Bf16Schedule> = {
  candidates: worthTrying,
  illegal: (p, s, machine) => illegal(s, p, machine),
  // The choice is fitted up to 4096 rows: beyond, one schedule serves all.
  estimate: (p, s, rows, machine) => estimate(s, p, Math.min(rows, 4096), machine),
  name: bf16Name,
};

/** Op, problem, schedule and floor: the lines a kernel opens with. */
export const bf16Header = (p: Bf16SumProblem, s: Bf16Schedule, machine: Gpu): string[] => [
  p.residualStride === undefined
    ? `linear: y [m, ${p.n}] ${p.y} = x [m, ${p.k}] bf16 times w [${p.n}, ${p.k}]^T bf16, f32 sums`
    : `linear_add: y [m, ${p.n}] ${p.y} = x [m, ${p.k}] bf16 times w [${p.n}, ${p.k}]^T bf16 + residual, each rounded, f32 sums`,
  `schedule ${JSON.stringify(s)}`,
  floorText(machine, {
    reads: `(${2 * p.n * p.k} + ${2 * p.k + (p.y === "f32" ? 4 : 2) * p.n} m) bytes`,
    computes: [`${2 * p.n * p.k} m operations`, "bf16"],
  }),
];
