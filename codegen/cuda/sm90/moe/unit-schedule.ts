// How up to 16 tokens pass through experts of bf16 weights on sm_90a: the matrices of the experts that have tokens are cut into tiles of
// a few rows, a block multiplies some of them one after another, each by the rows of its expert alone. Weights and rows come by a ring
// in shared memory. Plain records: problem, schedule, legality, shared memory, time.
import type { Gpu, Limits } from "../../../../ir/machine.ts";
import type { RouteProblem } from "../../../kernels/expert.ts";

/** w [experts, parts, n, k] bf16; `per` experts a token, of which the last `shared` of all are every token's. */
export interface UnitProblem {
  experts: number;
  /** Rows of a part. */
  n: number;
  k: number;
  /** Two where gate and up lie one after the other. */
  parts: 1 | 2;
  per: number;
  shared: number;
  /** The router, where every block routes for itself; else the choice is read. */
  routing?: RouteProblem;
}

export interface UnitSchedule {
  form: "units";
  /** Tokens at most. */
  tokens: 1 | 8 | 16;
  /** Rows of a tile, of both parts together: small, so that tiles can be dealt evenly; eight warps share k. */
  rows: 16;
  /** Pieces of 64 columns in a stage, stages of a row, stages in the ring. */
  pieces: number;
  steps: number;
  stages: number;
  /**
   * dealt: tiles of all experts in one line are dealt to the blocks, so that all have as much to do. asked: most of them are, and the rest
   * goes to the blocks that ask, for memory serves some faster; rows of x lie in shared memory whole. own: a block has tiles of its own of
   * every expert, and so can add up what a token's experts say.
   */
  tiles: "dealt" | "asked" | "own";
  /** Shared experts' matrices of the launch after this one are sent for to L2 while the router runs. */
  next?: true;
}

/** Blocks leave as much to the kernels before, which are still at work when their first weights are under way. */
const LEFT = 12 * 1024;

/** Stages of shared experts that are under way at once before the choice is known: what else is read then queues behind them. */
export const earlyStages = (s: UnitSchedule): number =>
  Math.max(1, Math.min(s.stages - 1, Math.round(EARLY_BYTES / unitLayout(s).stage)));
const EARLY_BYTES = 48 * 1024;

/** Bytes of weights of a stage at most: fewer, and waiting costs more than reading. */
const STAGE_BYTES = 24 * 1024;

/** Pairs of a token and an expert at most. */
export const mostPairs = ({ per }: UnitProblem, { tokens }: UnitSchedule): number => per * tokens;

export const rowWarps = (s: UnitSchedule): number => s.rows / 16;
export const kWarps = (s: UnitSchedule): number => 8 / rowWarps(s);
/** Columns of products, eight tokens each. */
export const columnTiles = (s: UnitSchedule): number => Math.ceil(s.tokens / 8);

/** Where everything lies in dynamic shared memory, from the ring on, and how much it is. */
export function unitLayout(s: UnitSchedule): {
  stage: number;
  pitch: number;
  xs: number;
  parts: number;
  sums: number;
  barriers: number;
  bytes: number;
} {
  const stage = s.rows * s.pieces * 128;
  // Rows of x 16 bytes apart in banks, so that the eight rows of a matrix lie in different ones.
  const whole = s.tiles === "asked";
  const pitch = s.pieces * (whole ? s.steps : 1) * 128 + 16;
  const xs = s.stages * stage;
  const parts = xs + (whole ? 1 : s.stages) * s.tokens * pitch;
  const sums = parts + (kWarps(s) - 1) * rowWarps(s) * columnTiles(s) * 512;
  const barriers = sums + (s.tiles === "own" ? s.tokens * s.rows * 4 : 0);
  return { stage, pitch, xs, parts, sums, barriers, bytes: 1024 + barriers + 16 * s.stages + 16 * rowWarps(s) + (whole ? 8 : 0) };
}

/** Tiles of an expert. */
export const tilesOf = (p: UnitProblem, s: UnitSchedule): number => p.n / (s.rows / p.parts);

/** Blocks of a launch: all multiprocessors, or as many as have the same number of tiles of their own. */
export function blocksOf(p: UnitProblem, s: UnitSchedule, { multiprocessors }: Limits): number {
  if (s.tiles !== "own") return multiprocessors;
  const tiles = tilesOf(p, s);
  return Math.ceil(tiles / Math.ceil(tiles / multiprocessors));
}

/** A ring as long as fits, of stages that divide k. */
export function unitSchedule(
  p: UnitProblem,
  tokens: UnitSchedule["tokens"],
  tiles: UnitSchedule["tiles"],
  limits: Limits,
): UnitSchedule {
  const rows = 16;
  const columns = Math.floor(p.k / 64);
  const pieces = Array.from({ length: columns }, (_, i) => columns - i).find(
    (c) => columns % c === 0 && c * rows * 128 <= STAGE_BYTES,
  );
  const s: UnitSchedule = {
    form: "units",
    tokens,
    rows,
    pieces: pieces ?? 1,
    steps: columns / (pieces ?? 1),
    stages: 2,
    tiles,
    ...(tiles === "asked" && p.shared > 0 ? { next: true } : {}),
  };
  while (s.stages < 32 && unitLayout({ ...s, stages: s.stages + 1 }).bytes + statics(p, s) <= limits.sharedPerBlock - LEFT)
    s.stages++;
  return s;
}

/** Bytes of variables beside the dynamic ones. */
const statics = (p: UnitProblem, s: UnitSchedule): number =>
  (s.tiles === "asked" ? 4 * s.stages : 0) +
  mostPairs(p, s) * 12 +
  p.experts * 4 * (Math.ceil(s.tokens / 32) + 1) +
  Math.min(p.experts, mostPairs(p, s)) * 12 +
  256;

/** Why a schedule cannot run a problem, or null. */
export function illegalUnits(p: UnitProblem, s: UnitSchedule, limits: Limits): string | null {
  if (p.k % 64 !== 0) return `${p.k} columns are no multiple of 64`;
  if (p.n % (s.rows / p.parts) !== 0) return `${p.n} rows of a part are no whole tiles of ${s.rows / p.parts}`;
  if (s.pieces * s.steps * 64 !== p.k) return `stages of ${s.pieces * 64} columns do not make up ${p.k}`;
  const bytes = unitLayout(s).bytes + statics(p, s);
  return bytes > limits.sharedPerBlock ? `${bytes} bytes of shared memory, the block may have ${limits.sharedPerBlock}` : null;
}

/** Experts that so many tokens visit where they choose evenly. */
const visited = ({ experts, per, shared }: UnitProblem, rows: number): number =>
  (experts - shared) * (1 - (1 - (per - shared) / (experts - shared)) ** rows) + shared;

/** Microseconds, roughly: the weights of the experts that have tokens at nine tenths of bandwidth, and what is fixed. */
export const unitTime = (p: UnitProblem, rows: number, { bandwidth }: Gpu): number =>
  3 + (2e6 * visited(p, rows) * p.parts * p.n * p.k) / (0.9 * bandwidth);

/** "t8n16p8s11", and a letter behind it where blocks ask for tiles or have their own. */
export const unitName = (s: UnitSchedule): string =>
  `t${s.tokens}n${s.rows}p${s.pieces}s${s.stages}${{ dealt: "", asked: "a", own: "o" }[s.tiles]}`;

/**
 * Numbers of tokens that a kernel of its own takes. With more, grouped products and two launches more are faster: DeepSeek-V2-Lite's step
 * takes 8.6 ms at 24 tokens by them and took 11.1 by kernels of 32 tokens.
 */
export const TOKENS = [1, 8, 16] as const satisfies UnitSchedule["tokens"][];
