// What collectives move: bytes that a rank sends over its links, by the form that moves least.
import { bytesOf, type Assume } from "./cost.ts";
import type { Node } from "./graph.ts";
import type { Mesh } from "./mesh.ts";

export interface Wire {
  /** Bytes that every rank sends at least (and receives as many). */
  bytes: number;
  /** Bytes that every rank sends where each sends all it has to every other, in one crossing. */
  oneShot: number;
}

/** Of a collective over n ranks; nothing for an op that only depends on the rank. */
export function wireOf(n: Node, assume: Assume, { tp }: Mesh): Wire {
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
