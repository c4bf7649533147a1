// How attention runs on sm_90a, as plain records: what could be tried, what cannot run and why. A block holds 64 query rows
// (heads of one token, or tokens of one head) because that is the height of wgmma; the rest follows from shared memory.

import type { AttendProblem, MlaAttendProblem } from "../../../kernels/attention.ts";
import { when } from "../../../text.ts";

/** Many rows: a cluster of heads / 64 blocks shares every cached row it reads; the batch's stages are dealt out in runs of equal cost. */
export interface MlaDecodeSchedule {
  split: "balanced";
  /** Cached rows of a ring stage; as many as a page. */
  keys: 64;
  stages: 2;
  /** Blocks of a cluster: each copies its share of a stage into the shared memory of all. */
  cluster: 1 | 2;
}

export const decodeSchedule = (p: MlaAttendProblem): MlaDecodeSchedule => ({
  split: "balanced",
  keys: 64,
  stages: 2,
  cluster: p.heads === 128 ? 2 : 1,
});

/** Short name, part of the kernel's: "k64s2c2". */
export const decodeScheduleName = (s: MlaDecodeSchedule): string => `k${s.keys}s${s.stages}c${s.cluster}`;

/** Dynamic shared memory: query tile, ring, and slack to align both to the swizzle's 1024 bytes. */
export const decodeSharedBytes = (s: MlaDecodeSchedule): number => 1024 + (1 + s.stages) * 64 * 576 * 2;

/**
 * Few tokens, or bits that must not depend on the batch: a cluster takes a token and `group` of its heads, its blocks take turns at
 * the stages of the sequence. How a sequence is divided and added up follows from its own length only.
 */
export interface MlaFixedSchedule {
  split: "fixed";
  /** Heads of a cluster, of which the last may lack some; results do not depend on it. */
  group: 16 | 24 | 32;
  /** Blocks of a cluster: block i has stages i, i + splits, ... Every Hopper GPU runs eight; sixteen have twice the rows in a turn. */
  splits: 2 | 4 | 8 | 16;
  /** How a block's two warpgroups go through its stages: two at once, or each by itself, for blocks that have many. */
  turns: "together" | "apart";
}

export const fixedSchedule = (
  group: MlaFixedSchedule["group"],
  splits: MlaFixedSchedule["splits"] = 8,
  turns: MlaFixedSchedule["turns"] = "together",
): MlaFixedSchedule => ({ split: "fixed", group, splits, turns });

/** Short name, part of the kernel's: "fixed16x8", and "fixed16x2a" where warpgroups go apart. */
export const fixedScheduleName = (s: MlaFixedSchedule): string => `fixed${s.group}x${s.splits}${when(s.turns === "apart", "a")}`;

/** A head's part on its way to the block that adds it up: 512 halves, and what they mean. */
export const MAILBOX_BYTES = 512 * 2 + 16;

/**
 * Dynamic shared memory: two stages, query, weights of both, mailboxes for this block's heads from all, and slack to align to the
 * swizzle's 1024 bytes.
 */
export const fixedSharedBytes = ({ group }: MlaFixedSchedule): number =>
  1024 + (2 * 64 + group) * 576 * 2 + 2 * group * 128 + group * MAILBOX_BYTES;

/** Why the native kernel of fixed splits cannot run a problem, or null. */
export function illegalFixed(p: MlaAttendProblem, s: MlaFixedSchedule): string | null {
  const lacking = Math.ceil(p.heads / s.group) * s.group - p.heads;
  if (s.group % s.splits !== 0) return `${s.group} heads: each of ${s.splits} blocks adds up as many`;
  if (lacking >= 16) return `${p.heads} heads: clusters that hold ${s.group} would lack ${lacking}`;
  return illegalRows(p);
}

/** Why the native kernel cannot run a problem, or null. */
export function illegalDecode(p: MlaAttendProblem): string | null {
  if (p.heads > 64 && p.heads !== 128) return `${p.heads} heads: a block holds 64, a cluster all of 128`;
  return illegalRows(p);
}

/** Whether a block of the balanced form has rows that are no heads: memory sets its pace, not the height of its products. */
export const isPadded = (p: MlaAttendProblem): boolean => p.heads < 64;

function illegalRows(p: MlaAttendProblem): string | null {
  if (p.r !== 512 || p.d !== 64) return `latents of ${p.r} + ${p.d} lanes: the registers of a block are laid out for 512 + 64`;
  if (p.pageRows % 64 !== 0) return `pages of ${p.pageRows} rows: a stage of 64 must not cross a page`;
  if (!(p.scale > 0)) return "the running maximum is taken before the scale, which must be positive";
  for (const s of [...p.ql, ...p.qp])
    if (s % 8 !== 0) return `a query stride of ${s} elements: a tensor map needs multiples of 16 bytes`;
  return null;
}

/** Two warpgroups of 64 query rows; rings of keys and of values. */
export interface PrefillSchedule {
  form: "prefill";
  rows: 128;
  /** Rows of a stage of either ring: fewer where heads are wide, for the registers of their sums and for shared memory. */
  keys: 64 | 128;
  stages: 2;
}

export const prefillSchedule = ({ v }: AttendProblem): PrefillSchedule => ({
  form: "prefill",
  rows: 128,
  keys: v <= 128 ? 128 : 64,
  stages: 2,
});

/** Bytes of 64 lanes of a stage's rows, as the text calls them. */
export const keyChunk = (p: AttendProblem): string => (prefillSchedule(p).keys === 128 ? "CHUNK" : "KEY_CHUNK");

/** Dynamic shared memory: queries, both rings, and slack to align them to the swizzle's 1024 bytes. */
export function prefillSharedBytes(p: AttendProblem): number {
  const { rows, keys, stages } = prefillSchedule(p);
  return 1024 + rows * (p.n + p.d) * 2 + stages * keys * (p.n + p.d + p.v) * 2;
}

/** Lanes of a head that the kernel is laid out for: of keys beside the rotary ones, and of values. */
const PREFILL_HEADS: readonly (readonly [n: number, v: number])[] = [
  [128, 128],
  [192, 256],
];

/** Why the native kernel cannot run a problem, or null. */
export function illegalPrefill(p: AttendProblem): string | null {
  if (p.d !== 64 || !PREFILL_HEADS.some(([n, v]) => p.n === n && p.v === v))
    return `heads of ${p.n} + ${p.d} and ${p.v} lanes: shared memory is laid out for 128 + 64 and 128, and for 192 + 64 and 256`;
  if (p.k[1] === 0 || p.vStrides[1] === 0) return "all heads share their keys: absorbed attention has its own kernel";
  if (!(p.scale > 0)) return "the running maximum is taken before the scale, which must be positive";
  for (const s of [...p.q, ...p.qp, ...p.k, p.kp, ...p.vStrides, ...p.y])
    if (s % 8 !== 0) return `a stride of ${s} elements: a tensor map needs multiples of 16 bytes`;
  return null;
}
