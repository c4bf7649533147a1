// How bf16 products of more than a few rows run on sm_90a: two forms, as plain records. In order: what could be tried, what cannot
// run and why, what it should cost. Few rows stream (sm90-stream.ts).
import { H200, type Limits } from "./sm90-gemm.ts";
import type { StreamProblem } from "./sm90-stream.ts";

/** Columns of k of one ring stage: 128 bytes, the width of the swizzle. */
export const STEP = 64;

/** Many rows: x on the 64-row side. Two blocks of a cluster take row tiles above each other and fetch half of their columns' weights each. */
export interface TallBf16 {
  form: "tall";
  /** Columns of a tile; its rows are 128. */
  columns: 128 | 192 | 256;
  stages: number;
  /** Pairs of row tiles swept before the next column tile. */
  group: number;
}

/** Tens of rows: weights on the 64-row side, tokens on the narrow one; k is cut so that every multiprocessor streams weights. */
export interface FewBf16 {
  form: "few";
  tokens: 8 | 16 | 32 | 64 | 128;
  stages: number;
}

/** Tens of rows: all tokens of a tile on the 64-row side, few columns; where tiles are few, k is cut over a cluster. */
export interface SlimBf16 {
  form: "slim";
  /** Tokens of a tile, 64 to a math warpgroup. */
  tokens: 64 | 128;
  /** Rows of w of a tile, the N of wgmma: a multiple of 8. */
  columns: number;
  /** Steps of k in a ring stage; each has its own warpgroups. */
  deep: 1 | 2 | 4;
  /** Blocks of the cluster that shares the k of a tile. */
  split: 1 | 2 | 4 | 8;
  stages: number;
  xStages: number;
  /** Blocks meant to fit one multiprocessor. */
  resident: 1 | 2 | 3;
}

export type Bf16Schedule = TallBf16 | FewBf16 | SlimBf16;

export const bf16Name = (s: Bf16Schedule): string => (s.form === "slim" ? `n${s.columns}k${s.deep}t${s.tokens}x${s.split}s${s.stages}_${s.xStages}r${s.resident}` : s.form === "tall" ? `t${s.columns}s${s.stages}g${s.group}` : `f${s.tokens}s${s.stages}`);

export const stageBytes = (s: TallBf16 | FewBf16): number => (128 + (s.form === "tall" ? s.columns : s.tokens)) * STEP * 2;

/** 64 x 64 bf16 tiles a warpgroup of the tall form writes through: two where there is room. */
export const boxes = (s: TallBf16): number => (s.columns === 192 ? 1 : 2);

/** Tall: those tiles. Few: a transposed tile with padded rows. */
export const stagingBytes = (s: TallBf16 | FewBf16): number => (s.form === "tall" ? 2 * boxes(s) * 64 * 64 * 2 : s.tokens * (128 * 2 + 16));

/** Ring, staging, two barriers a stage, and slack to align the ring to the swizzle's 1024 bytes. */
export const sharedBytes = (s: Bf16Schedule): number =>
  s.form === "slim" ? 1024 + s.stages * (s.deep * s.columns * 128 + 16) + s.xStages * (s.deep * s.tokens * 128 + 16) + (s.split > 1 ? (s.split - 1) * (Math.ceil((s.columns * s.tokens) / 4 / s.split) * 16 + 16) + 8 : 0) :
  1024 + s.stages * stageBytes(s) + stagingBytes(s) + 16 * s.stages;

export const candidates: readonly Bf16Schedule[] = [
  { form: "few", tokens: 8, stages: 6 },
  { form: "few", tokens: 16, stages: 5 },
  { form: "few", tokens: 32, stages: 5 },
  { form: "few", tokens: 64, stages: 4 },
  { form: "few", tokens: 128, stages: 5 },
  { form: "tall", columns: 256, stages: 4, group: 8 },
  { form: "tall", columns: 192, stages: 5, group: 8 },
  { form: "tall", columns: 128, stages: 6, group: 8 },
];

/** Why a schedule cannot run a problem, or null. */
export function illegal(s: Bf16Schedule, p: StreamProblem, limits: Limits = H200): string | null {
  if (p.x !== "bf16") return "wgmma takes x as bf16";
  if (p.k % 8 !== 0 || p.xStride % 8 !== 0) return `rows of ${p.k} and ${p.xStride} bf16: a tensor map needs multiples of 16 bytes`;
  const bytes = sharedBytes(s);
  if (s.stages < 2 || (s.form === "slim" && s.xStages < 2)) return "a ring of one stage cannot overlap copies with products";
  if (s.form === "slim") {
    const each = Math.floor(limits.sharedBytesInAll / s.resident) - 1024;
    if (bytes > each) return `${bytes} bytes of shared memory, ${s.resident} blocks may have ${each} each`;
    if (Math.ceil(Math.ceil(p.k / STEP) / s.deep) < s.split) return `k of ${p.k} is too short for ${s.split} blocks`;
    if (s.deep * s.tokens * (s.columns + 8) * 4 > bytes - 1024 - 16 * (s.stages + s.xStages)) return "sums do not fit the rings";
  }
  return bytes > limits.sharedBytes ? `${bytes} bytes of shared memory, the block may have ${limits.sharedBytes}` : null;
}

/** Microseconds, roughly: memory, or the tensor cores with idle waves, and fixed cost. */
export function estimate(s: Bf16Schedule, p: StreamProblem, m: number, limits: Limits = H200): number {
  const { n, k } = p;
  const steps = Math.ceil(k / STEP);
  const memory = (2 * (n * k + m * k + m * n)) / 4.1e6;
  if (s.form === "slim") return 1e6;
  if (s.form === "few") {
    const units = (Math.ceil(n / 128) * Math.ceil(m / s.tokens) * steps) / limits.multiprocessors;
    // A stage of 16 KB of weights and its tokens arrives every 0.47 us and more; shared tiles are added up at the end.
    return Math.max(memory, units * (0.47 + s.tokens * 0.0016)) + 5 + s.tokens * 0.03;
  }
  const waves = Math.ceil((Math.ceil(m / 256) * Math.ceil(n / s.columns)) / (limits.multiprocessors / 2));
  // A step takes about 0.8 us whatever its columns: the ring is as deep as memory allows, and sending to both blocks takes that long.
  return Math.max(memory, waves * (steps * (0.6 + s.columns * 0.0009) + 1.5)) + 4;
}

/** The schedule for a problem at m rows, or why there is none. */
export function chooseBf16(p: StreamProblem, m: number, limits: Limits = H200): Bf16Schedule | string {
  const legal = candidates.filter((s) => illegal(s, p, limits) === null);
  if (!legal.length) return illegal(candidates[0], p, limits)!;
  return legal.reduce((best, s) => (estimate(s, p, m, limits) < estimate(best, p, m, limits) ? s : best));
}

/** Op, problem, schedule and floor: the lines a kernel opens with. */
export const bf16Header = (p: StreamProblem, s: Bf16Schedule): string[] => [
  `linear: y [m, ${p.n}] ${p.y} = x [m, ${p.k}] bf16 times w [${p.n}, ${p.k}]^T bf16, f32 sums`,
  `schedule ${JSON.stringify(s)}`,
  `floor on H200: max((${2 * p.n * p.k} + ${2 * p.k + (p.y === "f32" ? 4 : 2) * p.n} m) bytes / 4539 GB/s, ${2 * p.n * p.k} m operations / 989 TFLOP/s)`,
];
