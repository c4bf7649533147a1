// What a schedule of the FP8 block GEMM should cost where nobody has measured it, by the model of product-time.ts.
import type { Gpu } from "../../../../ir/machine.ts";
import {
  mostSteps,
  persistentPromotion,
  persistentRows,
  smallMPromotion,
  splitKPromotion,
  STEP,
  type GemmProblem,
  type GemmSchedule,
  type PersistentSchedule,
  type SmallMSchedule,
  type SplitKSchedule,
} from "./fp8-schedule.ts";
import { persistentTime, ringTime, type PersistentTiles, type RingTiles } from "./product-time.ts";

/** Microseconds of a launch with m rows. test/kernels/fp8-estimate.test.ts says how far they are from what was measured. */
export function estimate(s: GemmSchedule, p: GemmProblem, m: number, machine: Gpu): number {
  const traffic = { w: p.n * p.k, rows: m * p.k + 2 * m * p.n };
  switch (s.form) {
    case "persistent":
      return persistentTime(persistentTiles(s, p, m), traffic, machine);
    case "small-m":
      return ringTime(smallMTiles(s, p, m), traffic, machine);
    case "split-k":
      return ringTime(splitKTiles(s, p, m), traffic, machine);
  }
}

function persistentTiles(s: PersistentSchedule, { n, k }: GemmProblem, m: number): PersistentTiles {
  const pair = s.multicast === "x" ? 2 : 1;
  return {
    tiles: Math.ceil(m / persistentRows(s)) * Math.ceil(n / (128 * pair)),
    pair,
    steps: Math.ceil(k / STEP),
    chain: persistentPromotion(s, k),
    tall: s.rows !== undefined,
    streamK: s.tail === "stream-k",
  };
}

/** Weights on the 64-row side, tokens on the other. */
const splitKTiles = (s: SplitKSchedule, { n, k }: GemmProblem, m: number): RingTiles => ({
  ...s,
  xTiles: Math.ceil(m / s.tokens),
  wTiles: Math.ceil(n / s.rows),
  x: s.tokens,
  w: s.rows,
  units: mostSteps(s, k) / s.kGroups,
  high: s.rows / 64,
  wide: s.tokens,
  serial: splitKPromotion(s, k) === 1,
});

/** Tokens on the 64-row side, weights on the other, all of k. */
const smallMTiles = (s: SmallMSchedule, { n, k }: GemmProblem, m: number): RingTiles => ({
  ...s,
  split: 1,
  xTiles: Math.ceil(m / s.tokens),
  wTiles: Math.ceil(n / s.columns),
  x: s.tokens,
  w: s.columns,
  units: Math.ceil(Math.ceil(k / STEP) / s.kGroups),
  high: s.tokens / 64,
  wide: s.columns,
  serial: smallMPromotion(s, k) === 1,
});
