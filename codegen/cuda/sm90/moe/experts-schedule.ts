// How a few tokens pass through their experts on sm_90a: every block owns the same slice of rows of every expert's matrix and visits
// the experts that have tokens one after another. However the router chose, blocks have equal work, none waits for another, and the
// weights of experts that every token visits are known before the choice is. Plain records: schedule, legality, shared memory.
import type { Limits } from "../../../../ir/machine.ts";
import { STEP } from "../gemm/fp8-schedule.ts";
import { when } from "../../../text.ts";

/** w [experts, n, k] e4m3 with a scale per 128 x 128; `per` experts a token, of which the last `shared` of all are every token's. */
export interface ExpertsProblem {
  experts: number;
  n: number;
  k: number;
  /** Gate and up lie one after the other in n: a block's slice is as many rows of each. */
  parts: 1 | 2;
  per: number;
  shared: number;
}

export interface SliceSchedule {
  form: "slice";
  /** Tokens at most. Operands of wgmma lie 16 bytes of each token side by side, so fewer tokens take less room. */
  tokens: 1 | 2 | 4 | 8;
  /** Rows of an expert's matrix that a block owns, of the 64 that wgmma multiplies. */
  rows: number;
  /** Steps of 128 columns of k in a ring stage, a warpgroup for each. */
  kGroups: 2;
  stages: number;
  /** Rows of x that are made ahead, an expert's at a time; 0 where all lie in shared memory from the beginning. */
  ahead: number;
}

/** Blocks leave as much to the kernel before, which is still at work when their first weights are under way. */
const LEFT = 6 * 1024;

/** The rows of a block: those with which the busiest multiprocessor has the fewest, and of these the most, for fewer blocks. */
export function sliceOf({ n, parts }: Pick<ExpertsProblem, "n" | "parts">, limits: Limits): number {
  const sizes = [64, 56, 48, 40, 32, 24, 16, 8].filter((rows) => n % rows === 0 && rows % (8 * parts) === 0);
  const busiest = (rows: number): number => Math.ceil(n / rows / limits.multiprocessors) * rows;
  return sizes.reduce((best, rows) => (busiest(rows) < busiest(best) ? rows : best), sizes[0] ?? 64);
}

/** Most rows of tokens: one for each expert of each token. */
export const mostRows = ({ per }: ExpertsProblem, { tokens }: SliceSchedule): number => per * tokens;

/** Rows of scales that a part of a slice meets: two where slices cross blocks of 128 rows. */
export const scaleRows = ({ parts }: ExpertsProblem, { rows }: SliceSchedule): number => (128 % (rows / parts) === 0 ? 1 : 2);

/** Floats from one step's scales of x to the next: they are read in pairs. */
export const scalePitch = ({ tokens }: SliceSchedule): number => Math.max(2, tokens);

/** Scales of w lie beside the ring, an expert's at a time: slots for all that the ring reaches ahead, and the one being read. */
export const scaleSlots = (s: SliceSchedule, k: number): number => Math.ceil(s.stages / (k / STEP / s.kGroups)) + 1;

/** Products between two drains of the tensor cores. */
export const slicePromotion = (s: SliceSchedule, k: number): number =>
  [8, 7, 6, 5, 4, 3, 2, 1].find((c) => (k / STEP / s.kGroups) % c === 0)!;

/** Codes of one expert's rows of x, and their scales. */
export const rowBytes = (s: SliceSchedule, k: number): { codes: number; scales: number } => ({
  codes: s.tokens * k,
  scales: (k / STEP) * scalePitch(s) * 4,
});

/** Where everything lies in dynamic shared memory, from the ring on, and how much it is. */
export function sliceLayout(
  p: ExpertsProblem,
  s: SliceSchedule,
): { stage: number; wScales: number; x: number; xScales: number; sums: number; full: number; bytes: number } {
  const stage = s.kGroups * s.rows * STEP;
  const { codes, scales } = rowBytes(s, p.k);
  const slots = Math.max(1, s.ahead);
  const wScales = s.stages * stage;
  const x = wScales + scaleSlots(s, p.k) * p.parts * scaleRows(p, s) * (p.k / STEP) * 4;
  const xScales = x + slots * codes;
  const sums = xScales + slots * scales;
  const full = sums + s.kGroups * mostRows(p, s) * s.rows * 4;
  // wgmma reads 64 rows, whatever of them is the slice.
  const end = Math.max(full + 16 * (s.stages + s.ahead), wScales + (64 - s.rows) * STEP);
  return { stage, wScales, x, xScales, sums, full, bytes: 1024 + end };
}

/** Gate and up: all tokens lie in shared memory. */
export const gateUpSchedule = (p: ExpertsProblem, tokens: SliceSchedule["tokens"], limits: Limits): SliceSchedule =>
  sliceSchedule(p, tokens, 0, limits);

/** Down: rows are made expert by expert, as many ahead as take little room. */
export const downSchedule = (p: ExpertsProblem, tokens: SliceSchedule["tokens"], limits: Limits): SliceSchedule =>
  sliceSchedule(p, tokens, tokens === 1 ? 4 : 2, limits);

/** As long a ring as fits. */
function sliceSchedule(p: ExpertsProblem, tokens: SliceSchedule["tokens"], ahead: number, limits: Limits): SliceSchedule {
  const s: SliceSchedule = { form: "slice", tokens, rows: sliceOf(p, limits), kGroups: 2, stages: 2, ahead };
  while (s.stages < 64 && sliceLayout(p, { ...s, stages: s.stages + 1 }).bytes <= limits.sharedPerBlock - LEFT) s.stages++;
  return s;
}

/** Why a schedule cannot run a problem, or null. */
export function illegalSlice(p: ExpertsProblem, s: SliceSchedule, limits: Limits): string | null {
  if (p.k % (4 * STEP) !== 0) return `${p.k} columns: TMA takes scales by fours, 512 columns`;
  if ((p.n / p.parts) % STEP !== 0) return `${p.n / p.parts} rows of an expert's weights: its scales cover blocks of 128`;
  if (p.n % s.rows !== 0 || s.rows % (8 * p.parts) !== 0 || s.rows > 64)
    return `slices of ${s.rows} rows do not make up ${p.n}, or not of whole eights up to 64`;
  if (scaleRows(p, s) > p.n / p.parts / STEP) return `slices of ${s.rows} rows cross blocks of scales, and there is one block`;
  if (mostRows(p, s) > 256) return `${mostRows(p, s)} pairs of a token and an expert, a block has a thread for 256`;
  const { bytes } = sliceLayout(p, s);
  return bytes > limits.sharedPerBlock - LEFT
    ? `${bytes} bytes of shared memory, the block may have ${limits.sharedPerBlock - LEFT}`
    : null;
}

/** "t1n32k2s26", and with rows of x made ahead "t1n56k2s14a4". */
export const sliceName = (s: SliceSchedule): string =>
  `t${s.tokens}n${s.rows}k${s.kGroups}s${s.stages}${when(s.ahead, `a${s.ahead}`)}`;
