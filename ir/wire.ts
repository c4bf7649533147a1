// What collectives move: bytes that a rank sends over its links, by the form that moves least; and about how long that takes.
import { bytesOf, type Assume } from "./cost.ts";
import type { Node } from "./graph.ts";
import type { Links } from "./machine.ts";
import type { Mesh } from "./mesh.ts";

export interface Wire {
  /** Bytes that every rank sends at least (and receives as many). */
  bytes: number;
  /** Bytes that every rank sends where each sends all it has to every other, in one crossing. */
  oneShot: number;
}

/** Whether ranks send each other something in it: not where each only computes what depends on its place. */
export const isExchange = (n: Node): boolean => n.op.traits.meets === "exchange";

/** Of a collective over n ranks; nothing for an op that only depends on the rank. */
export function wireOf(n: Node, assume: Assume, { tp }: Mesh): Wire {
  if (!isExchange(n)) return { bytes: 0, oneShot: 0 };
  const [given, made] = [n.operands[0], n.results[0]].map((v) => bytesOf(v.type, assume));
  const part = (tp - 1) / tp;
  switch (n.op.name) {
    case "all_reduce":
      return { bytes: 2 * part * given, oneShot: (tp - 1) * given };
    case "all_gather":
      return { bytes: part * made, oneShot: part * made };
    case "reduce_scatter":
      return { bytes: part * given, oneShot: part * given };
    case "all_to_all":
      return { bytes: part * given, oneShot: part * given };
    case "pick_max":
      // A value and a column for each row.
      return { bytes: 2 * (tp - 1) * made, oneShot: 2 * (tp - 1) * made };
    default:
      return { bytes: 0, oneShot: 0 };
  }
}

/**
 * An estimate of a collective's seconds, fitted to measurements of others (codegen/cuda/arch/h200.ts): either every rank sends all it has
 * to every other in one crossing, or parts of a sum are added by one rank each and sent again, in two. Over several hosts the bytes that
 * a rank sends to other hosts are counted, and no latency of the network.
 */
export function exchangeSeconds({ bytes, oneShot }: Wire, ranks: number, links: Links): number {
  if (ranks < 2 || bytes === 0) return 0;
  const here = Math.min(ranks, links.host);
  const start = links.start + links.startPerRank * here;
  const rate = links.bandwidth * links.reached;
  // What a rank sends to the ranks of its host: of one crossing a part for each, of two all but its own part.
  const near = (of: number): number => (of * (here - 1)) / here / ((ranks - 1) / ranks);
  const crossings = bytes === oneShot ? [bytes] : [(oneShot * (here - 1)) / (ranks - 1), near(bytes)];
  const times = crossings.map((sent, i) => start * (i + 1) + sent / rate);
  return Math.min(...times) + (ranks > here ? far(bytes, ranks, here) / links.network : 0);
}

/** Bytes that a rank sends to other hosts where the ranks of a host share what goes there. */
const far = (bytes: number, ranks: number, here: number): number => {
  const hosts = ranks / here;
  return ((bytes / ((ranks - 1) / ranks)) * ((hosts - 1) / hosts)) / here;
};
