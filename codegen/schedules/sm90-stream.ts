// How products of few rows stream bf16 weights on sm_90a: which warps share rows, which share the contracted width, how many
// 16-byte loads a lane keeps in flight. A plain record; `streamSchedule` chooses, `unstreamable` says why a problem cannot run.
import { H200, type Limits } from "./sm90-gemm.ts";

/** y [m, n] = x [m, k] w [n, k]^T, w bf16 and contiguous; strides in elements. */
export interface StreamProblem {
  n: number;
  k: number;
  xStride: number;
  yStride: number;
  x: "bf16" | "f32";
  y: "bf16" | "f32";
}

export interface StreamSchedule {
  form: "stream";
  /** Rows of x one launch takes: the columns of mma, 8 at a time. */
  tokens: 8 | 16;
  blocks: number;
  /** Warps of a block that have rows of w of their own; as many share each row, a part of k each. */
  rowWarps: 1 | 2 | 4 | 8;
  kWarps: 1 | 2 | 4 | 8;
  /** Steps of 32 columns a lane has in flight, 32 bytes each. */
  depth: number;
}

export const STREAM_WARPS = 8;

/** Rows whose first elements lie alike within 16 bytes come round every `periodOf` rows. */
export const periodOf = (k: number): number => [1, 2, 4, 8].find((p) => (p * k) % 8 === 0)!;

/** Whether 16-byte loads of w and x start at multiples of 16 bytes. */
export const isAligned = (p: StreamProblem): boolean => p.k % 8 === 0 && p.xStride % 8 === 0;

/** As many rows a warp as an mma holds, or nearly; what is left of the eight warps shares k. */
export function streamSchedule(p: StreamProblem, tokens: 8 | 16, limits: Limits = H200): StreamSchedule {
  const rows = p.n / limits.multiprocessors;
  const rowWarps = ([8, 4, 2] as const).find((w) => rows / w >= 12) ?? 1;
  return {
    form: "stream", tokens, blocks: limits.multiprocessors, rowWarps, kWarps: (STREAM_WARPS / rowWarps) as 1 | 2 | 4 | 8,
    depth: p.x === "f32" || tokens === 16 || !isAligned(p) ? 4 : 8,
  };
}

/** Why the streaming form cannot run a problem, or null. */
export function unstreamable(p: StreamProblem): string | null {
  if ((p.n * p.k) % 8 !== 0) return `${p.n} x ${p.k} weights do not fill whole words of 16 bytes, and the last is read whole`;
  return null;
}

/** Rows of w a block has at most. */
export const blockRows = (p: StreamProblem, s: StreamSchedule): number => s.rowWarps * Math.ceil(p.n / (s.blocks * s.rowWarps));

export const streamName = (s: StreamSchedule): string => `s${s.tokens}r${s.rowWarps}k${s.kWarps}d${s.depth}`;

/** The same by the copy engine: a ring of tiles in shared memory keeps far more bytes in flight than registers can. */
export interface RingSchedule {
  form: "ring";
  /** Rows of x one launch takes; mma multiplies eight or sixteen, of which the rest repeat the last. */
  tokens: 1 | 4 | 8 | 16;
  blocks: number;
  /** Row tiles a block visits one after another, and the rows of the largest. */
  tiles: number;
  rows: number;
  /** Pieces of 64 columns of one stage: an even number, so that eight warps share the stage's steps of 16. */
  pieces: number;
  stages: number;
}

/** Dynamic shared memory of a ring block. Two of 112 KB would fit a multiprocessor, and one kernel's ring could fill beside the other's;
 * a decode step is 4 % faster with one large ring each: near full bandwidth loads take long, and want many bytes in flight. */
const RING_BYTES = 200 * 1024;

export const ringStage = (s: Pick<RingSchedule, "rows" | "pieces" | "tokens">): number => Math.ceil((s.rows * s.pieces * 128) / 1024) * 1024 + Math.ceil((s.tokens * s.pieces * 128) / 1024) * 1024;
/** Sums of eight warps, for each row (in whole tiles of 16) and token. */
export const ringParts = (s: Pick<RingSchedule, "rows" | "tokens">): number => 8 * 16 * Math.ceil(s.rows / 16) * Math.max(8, s.tokens) * 4;
export const ringBytes = (s: RingSchedule): number => 1024 + s.stages * ringStage(s) + Math.max(ringParts(s), 2048) + 16 * s.stages;

export function ringSchedule(p: StreamProblem, tokens: RingSchedule["tokens"], limits: Limits = H200, bytes = RING_BYTES): RingSchedule {
  const blocks = Math.min(limits.multiprocessors, p.n);
  const most = Math.ceil(p.n / blocks);
  const tiles = Math.ceil(most / 64);
  const rows = Math.ceil(p.n / (blocks * tiles));
  // About 12 KB of weights a stage: fewer, and waiting costs more than reading.
  const pieces = Math.min(16, 2 * Math.ceil(12288 / (rows * 128) / 2), 2 * Math.ceil(p.k / 128));
  const s: RingSchedule = { form: "ring", tokens, blocks, tiles, rows, pieces, stages: 2 };
  while (ringBytes({ ...s, stages: s.stages + 1 }) <= bytes && s.stages < 16) s.stages++;
  return s;
}

/** What a ring takes at once, for m rows. */
export const ringTokens = (m: number): RingSchedule["tokens"] => ([1, 4, 8] as const).find((t) => m <= t) ?? 16;

/** Why the ring form cannot run a problem, or null. */
export function unringable(p: StreamProblem): string | null {
  if (p.x !== "bf16") return "x is not bf16";
  if (p.k % 64 !== 0) return `${p.k} columns are no multiple of 64`;
  if (p.xStride % 8 !== 0) return `rows of x ${p.xStride} bf16 apart: a tensor map needs multiples of 16 bytes`;
  return null;
}

export const ringName = (s: RingSchedule): string => `r${s.tokens}t${s.tiles}x${s.rows}p${s.pieces}s${s.stages}`;
