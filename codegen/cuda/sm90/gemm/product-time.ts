// How long a product in tiles takes: one model for every form, whose constants are a machine's (ir/machine.ts, ProductTimes), fitted to
// measurements. Memory, what a multiprocessor takes in and its tensor cores work side by side, none quite hidden by another.
import type { Gpu } from "../../../../ir/machine.ts";

/** What a product reads and writes at least once, in bytes. */
interface Traffic {
  w: number;
  /** Rows of x and of y. */
  rows: number;
}

/** Blocks with a ring of weights and one of tokens, each a tile of y over a share of k. */
export interface RingTiles {
  /** Tiles of y along x and along w, and blocks that share the k of one. */
  xTiles: number;
  wTiles: number;
  split: number;
  /** Rows of x and of w of a tile. */
  x: number;
  w: number;
  /** Ring stages of a block, each `kGroups` steps of 128 bytes of k. */
  units: number;
  kGroups: number;
  /** Stages of either ring. */
  stages: number;
  xStages: number;
  blocksPerSm: number;
  /** A tile's rows on wgmma's 64-row side, in sixties and four, and on the other. */
  high: number;
  wide: number;
  /** Whether a unit is added up before the next is multiplied. */
  serial: boolean;
}

/** Times that overlap but for their edges. */
const together = (...times: readonly number[]): number => times.reduce((sum, t) => sum + t ** 3, 0) ** (1 / 3);

/** Microseconds of a product by blocks that each have a tile. */
export function ringTime(t: RingTiles, traffic: Traffic, { multiprocessors, bandwidth, times: c }: Gpu): number {
  const blocks = t.split * t.xTiles * t.wTiles;
  const each = blocks / multiprocessors;
  const live = Math.min(t.blocksPerSm, Math.max(1, Math.ceil(each)));
  // A unit takes as long as the latency of what fills its stage, what a multiprocessor takes in, or its products.
  const unit = Math.max(
    c.weightLatency / t.stages,
    c.tokenLatency / t.xStages,
    (live * t.kGroups * 128 * (t.w + t.x)) / c.intake,
    t.wide * t.high * t.kGroups * live * c.product + (t.serial ? c.serial : 0),
  );
  // Blocks of a multiprocessor end at different times, and the last wave is nearly whole all the same.
  const turns = each / t.blocksPerSm;
  const waves = turns <= 1 ? 1 : t.blocksPerSm === 1 ? Math.ceil(turns) : turns + c.raggedWave * (Math.ceil(turns) - turns);
  const shared = t.split > 1 ? c.cluster + c.clusterBlock * t.split : 0;
  const end = c.column * t.wide + shared;
  const turn = c.turn + end + (t.split > 1 ? c.clusterTurn : 0);
  // Weights of a tile are read again by every tile of x, mostly from L2.
  const memory = (traffic.w * (1 + c.reread * (t.xTiles - 1)) + traffic.rows) / (bandwidth * c.ofBandwidth * 1e-6);
  const idle = Math.max(0, 1 - (live * t.stages * t.kGroups * t.w * 128) / c.inFlight);
  return (
    c.start +
    end +
    // Clusters of four do not fill the chip when each block takes a whole multiprocessor.
    (t.split >= 4 && t.blocksPerSm === 1 ? 20 : 0) +
    together(c.fill + waves * t.units * unit + (waves - 1) * turn, memory / (1 - c.idle * idle))
  );
}

/** A block per multiprocessor that takes tile after tile of 128 x 128. */
export interface PersistentTiles {
  tiles: number;
  /** Blocks that take a tile each side by side. */
  pair: 1 | 2;
  /** Steps of 128 bytes of k, and so many at a time that a part of a tile may have; those of three warpgroups take longer. */
  steps: number;
  chain: number;
  tall: boolean;
  streamK: boolean;
}

/** Microseconds of a persistent product. */
export function persistentTime(t: PersistentTiles, traffic: Traffic, { multiprocessors, bandwidth, times: c }: Gpu): number {
  const slots = Math.floor(multiprocessors / t.pair);
  const [whole, left] = [Math.floor(t.tiles / slots), t.tiles % slots];
  const chains = Math.ceil(t.steps / t.chain);
  const parts = t.streamK && left ? Math.min(Math.floor(slots / left), chains) : 1;
  const last = left ? Math.ceil(chains / parts) / chains : 0;
  const step = t.tall ? c.tallStep : c.persistentStep;
  const products = (whole + last) * t.steps * step + (whole + Math.ceil(last)) * c.persistentTile;
  const memory = (traffic.w + traffic.rows) / (bandwidth * c.ofBandwidth * 1e-6);
  const us = c.start + c.fill + together(products + (parts > 1 ? c.streamK : 0), memory) + (t.pair > 1 ? c.pair : 0);
  // Clocks fall under a load of tensor cores that lasts, less where rows of x are read once for two blocks.
  return us * (1 + ((t.pair > 1 ? c.pairThrottle : c.throttle) * us) / (us + 500));
}
