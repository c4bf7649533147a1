// How products of few rows read bf16 weights by TMA on sm_90a: a ring of tiles in shared memory keeps far more bytes
// in flight than registers can. Rows of x either ride along with every stage, or lie in shared memory whole, where they can be
// normalised or gated first. A plain record; `ringSchedule` chooses, `illegalRing` says why a problem cannot run.
import type { Limits } from "../../../../ir/machine.ts";
import type { Schedules } from "../../native.ts";
import { isSmall } from "./bf16-schedule.ts";
import type { Bf16Problem } from "./register-schedule.ts";

/** y = rows(x) wᵀ, plus a residual. Strides in elements; all activations are bf16, y may be f32. */
export interface RingProblem extends Bf16Problem {
  /**
   * What the rows of the product are: those of x unless said. rms_norm: normalised; silu_mul: x holds gate and up side by side.
   */
  rows?: "rms_norm" | "silu_mul";
  /** Of the norm; its gain is bf16. */
  eps?: number;
  /** Between rows of the residual; absent where nothing is added. */
  residualStride?: number;
}

export interface RingSchedule {
  form: "ring";
  /** Rows of x one launch takes; mma multiplies eight or sixteen, of which the rest repeat the last. */
  tokens: 1 | 2 | 4 | 8 | 16;
  /** staged: a stage brings its columns of x along. resident: the block reads x once and keeps it. */
  x: "staged" | "resident";
  blocks: number;
  /** Row tiles a block visits one after another, and the rows of the largest. */
  tiles: number;
  rows: number;
  /** Pieces of 64 columns of one stage: an even number, so that eight warps share the stage's steps of 16. */
  pieces: number;
  /** Stages of a row, and of the ring. */
  steps: number;
  stages: number;
  /** Stages that are under way at once: while the kernel before may still run, and after. */
  early: number;
  flying: number;
}

/**
 * Dynamic shared memory of a ring block. More bytes in flight are more bandwidth; less leaves room for blocks of the small
 * kernels between two products to start beside it, and shortens the queue at memory that these wait in. Measured on whole decode
 * steps.
 */
const RING_BYTES = 168 * 1024;

/**
 * Bytes of a ring that are under way at once, while it fills and after. Memory is busy with some 30 KB a multiprocessor; what is
 * asked for beyond only queues, and whatever is waited for queues behind it: rows that the kernel before reads, its last stores.
 */
const EARLY_BYTES = 44 * 1024;
const FLYING_BYTES = 56 * 1024;

/** Stages of so many bytes that are under way at once, of a ring of `stages`. */
export function underWay(stage: number, stages: number): { early: number; flying: number } {
  const of = (bytes: number): number => Math.max(1, Math.min(stages - 1, Math.round(bytes / stage)));
  return { early: of(EARLY_BYTES), flying: of(FLYING_BYTES) };
}

/** Of which resident rows may take this much, and this much where they need not be. */
const RESIDENT_BYTES = 64 * 1024;
const MODEST_BYTES = 36 * 1024;

const whole = (bytes: number): number => Math.ceil(bytes / 1024) * 1024;

/** The tile of weights in a stage, whose swizzle repeats every 1024 bytes. */
export const ringTile = (s: Pick<RingSchedule, "rows" | "pieces">): number => whole(s.rows * s.pieces * 128);
export const ringStage = (s: Pick<RingSchedule, "rows" | "pieces" | "tokens" | "x">): number =>
  ringTile(s) + (s.x === "staged" ? whole(s.tokens * s.pieces * 128) : 0);

/**
 * Columns from one resident row to the next: 16 bytes more than a row, so that the eight rows of a matrix lie in different banks.
 */
export const ringPitch = (s: Pick<RingSchedule, "steps" | "pieces">): number => s.steps * s.pieces * 64 + 8;
export const ringResident = (s: Pick<RingSchedule, "steps" | "pieces" | "tokens" | "x">): number =>
  s.x === "resident" ? s.tokens * ringPitch(s) * 2 : 0;

/** Sums of eight warps, for each row (in whole tiles of 16) and token. */
export const ringParts = (s: Pick<RingSchedule, "rows" | "tokens">): number =>
  Math.max(8 * 16 * Math.ceil(s.rows / 16) * Math.max(8, s.tokens) * 4, 2048);
export const ringBytes = (s: RingSchedule): number =>
  1024 + s.stages * ringStage(s) + ringParts(s) + ringResident(s) + 16 * s.stages;

export interface RingLimits extends Limits {
  /** Shared memory of a block. */
  ringBytes?: number;
}

/** `x`: how rows get there, where the problem leaves a choice. */
export function ringSchedule(
  p: RingProblem,
  tokens: RingSchedule["tokens"],
  limits: RingLimits,
  x?: RingSchedule["x"],
): RingSchedule {
  const { multiprocessors, ringBytes: bytes = RING_BYTES } = limits;
  const blocks = Math.min(multiprocessors, p.n);
  const most = Math.ceil(p.n / blocks);
  const tiles = Math.ceil(most / 64);
  const rows = Math.ceil(p.n / (blocks * tiles));
  // About 12 KB of weights a stage: fewer, and waiting costs more than reading. Of one row not over 20, which leave the ring few stages.
  const about = 2 * Math.ceil(12288 / (rows * 128) / 2);
  const wanted = tokens === 1 && about * rows * 128 > 20480 ? about - 2 : about;
  const pieces = Math.min(16, wanted, 2 * Math.ceil(p.k / 128));
  const shape = { steps: Math.ceil(p.k / 64 / pieces), pieces, tokens };
  // One row that fits lies whole: weights of a stage that brings no rows can be seen to have come before the rows are there.
  const rowsIn = x ?? (p.rows || ringResident({ ...shape, x: "resident" }) <= MODEST_BYTES ? "resident" : "staged");
  const s: RingSchedule = {
    form: "ring",
    tokens,
    x: rowsIn,
    blocks,
    tiles,
    rows,
    pieces,
    steps: shape.steps,
    stages: 2,
    early: 1,
    flying: 1,
  };
  while (ringBytes({ ...s, stages: s.stages + 1 }) <= bytes && s.stages < 16) s.stages++;
  Object.assign(s, underWay(ringStage(s), s.stages));
  return s;
}

/** What a ring takes at once, for m rows. */
export const ringTokens = (m: number): RingSchedule["tokens"] => ([1, 4, 8] as const).find((t) => m <= t) ?? 16;

/** Why the ring form cannot run a problem with so many rows at once, or null. */
export function illegalRing(p: RingProblem, limits: Limits, tokens: RingSchedule["tokens"] = 1): string | null {
  if (p.x !== "bf16") return "x is not bf16";
  if (p.k % 64 !== 0) return `${p.k} columns are no multiple of 64`;
  if (p.xStride % 8 !== 0) return `rows of x ${p.xStride} bf16 apart: 16 bytes are read at once`;
  if (p.rows === "rms_norm" && p.k % 128 !== 0) return `${p.k} columns are no whole blocks of 128, by which norms add up`;
  if (p.rows && ringResident(ringSchedule(p, tokens, limits)) > RESIDENT_BYTES)
    return `${tokens} rows of ${p.k} columns leave too little of shared memory to the ring`;
  return null;
}

const LETTERS = { resident: "x", staged: "" } as const;
export const ringName = (s: RingSchedule): string => `r${s.tokens}${LETTERS[s.x]}t${s.tiles}x${s.rows}p${s.pieces}s${s.stages}`;

/** `tokens`: the rows that a kernel of its own takes at most, by problem; one for all where the matrix is small. */
export const ringSchedules = (
  tokens: (p: RingProblem) => readonly RingSchedule["tokens"][],
): Schedules<RingProblem, RingSchedule> => ({
  candidates: (p, machine) =>
    (isSmall(p) && !p.rows && p.residualStride === undefined ? ([16] as const) : tokens(p)).map((t) =>
      ringSchedule(p, t, machine),
    ),
  illegal: (p, s, machine) => illegalRing(p, machine, s.tokens),
  maxRows: (s) => s.tokens,
  estimate: ({ n, k }, s) => 2.1 + (2 * n * k) / 4.3e6 + s.tokens * 0.01,
  name: ringName,
});
