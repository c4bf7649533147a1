// How products of few rows stream bf16 weights on sm_90a: which warps share rows, which share the contracted width, how many
// 16-byte loads a lane keeps in flight. A plain record; `registerSchedule` chooses, `illegalRegisters` says why a problem cannot run.
import type { Limits } from "../../../../ir/machine.ts";
import type { Schedules } from "../../native.ts";

/** y [m, n] = x [m, k] w [n, k]^T, w bf16 and contiguous; strides in elements. */
export interface Bf16Problem {
  n: number;
  k: number;
  xStride: number;
  yStride: number;
  x: "bf16" | "f32";
  y: "bf16" | "f32";
}

export interface RegisterSchedule {
  form: "registers";
  /** Rows of x one launch takes: the columns of mma, 8 at a time. */
  tokens: 8 | 16;
  blocks: number;
  /** Warps of a block that have rows of w of their own; as many share each row, a part of k each. */
  rowWarps: 1 | 2 | 4 | 8;
  kWarps: 1 | 2 | 4 | 8;
  /** Steps of 32 columns a lane has in flight, 32 bytes each. */
  depth: number;
}

export const WARPS = 8;

/** Rows whose first elements lie alike within 16 bytes come round every `periodOf` rows. */
export const periodOf = (k: number): number => [1, 2, 4, 8].find((p) => (p * k) % 8 === 0)!;

/** Whether 16-byte loads of w and x start at multiples of 16 bytes. */
export const isAligned = (p: Bf16Problem): boolean => p.k % 8 === 0 && p.xStride % 8 === 0;

/** As many rows a warp as an mma holds, or nearly; what is left of the eight warps shares k. */
export function registerSchedule(p: Bf16Problem, tokens: 8 | 16, limits: Limits): RegisterSchedule {
  const rows = p.n / limits.multiprocessors;
  const rowWarps = ([8, 4, 2] as const).find((w) => rows / w >= 12) ?? 1;
  return {
    form: "registers",
    tokens,
    blocks: limits.multiprocessors,
    rowWarps,
    kWarps: (WARPS / rowWarps) as 1 | 2 | 4 | 8,
    depth: p.x === "f32" || tokens === 16 || !isAligned(p) ? 4 : 8,
  };
}

/** Why the register form cannot run a problem, or null. */
export function illegalRegisters(p: Bf16Problem): string | null {
  if ((p.n * p.k) % 8 !== 0) return `${p.n} x ${p.k} weights do not fill whole words of 16 bytes, and the last is read whole`;
  return null;
}

/** Rows of w a block has at most. */
export const blockRows = (p: Bf16Problem, s: RegisterSchedule): number => s.rowWarps * Math.ceil(p.n / (s.blocks * s.rowWarps));

export const registerName = (s: RegisterSchedule): string => `s${s.tokens}r${s.rowWarps}k${s.kWarps}d${s.depth}`;

export const registerSchedules: Schedules<Bf16Problem, RegisterSchedule> = {
  candidates: (p, machine) => ([8, 16] as const).map((tokens) => registerSchedule(p, tokens, machine)),
  illegal: illegalRegisters,
  maxRows: (s) => s.tokens,
  // Slower than the ring, which keeps more bytes in flight, by some 6 % of bandwidth (docs/notes-gpu-linear.md).
  estimate: ({ n, k }, s) => 2.3 + (2 * n * k) / 4.1e6 + s.tokens * 0.01,
  name: registerName,
};
