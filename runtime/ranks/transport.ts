// How ranks meet: the one interface of all transports. A rank comes to a meeting with its operands and goes on with its results; all
// ranks come to the same meetings in the same order, which the plan gives.
import type { Meeting } from "../plan/walk.ts";
import type { Buffers } from "./combine.ts";

export interface Transport {
  readonly kind: "sockets" | "lockstep";
  readonly rank: number;
  readonly ranks: number;
  /** Settles when the results of this rank are written. `place` counts the meetings of a run from 0: peers have to be at the same. */
  meet(meeting: Meeting, place: number, operands: Buffers, results: Buffers): Promise<void>;
  close(): Promise<void>;
}

/** A meeting in words, which ranks compare: what it is, of how much, and where. */
export const meetingWords = ({ step, outer, inner, layer }: Meeting): string =>
  `${step.op} of ${outer} x ${inner} ${step.dtype} at ${step.site}${layer === undefined ? "" : ` of layer ${layer}`}`;
