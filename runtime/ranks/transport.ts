// How ranks meet: a rank comes to a meeting with its operands and goes on with its results; all ranks come to the same meetings in the
// same order, which the plan gives. Two interfaces: of ranks whose memory the host reads and writes, and of ranks whose memory is a
// GPU's, where a meeting is work behind other work on a stream.
import type { Meeting } from "../plan/walk.ts";
import type { Buffers } from "./combine.ts";

/** Of ranks whose memory the host sees. */
export interface Transport {
  readonly kind: "sockets" | "lockstep";
  readonly rank: number;
  readonly ranks: number;
  /** Settles when the results of this rank are written. `place` counts the meetings of a run from 0: peers have to be at the same. */
  meet(meeting: Meeting, place: number, operands: Buffers, results: Buffers): Promise<void>;
  close(): Promise<void>;
}

/**
 * What a device has to have carried between ranks: of the other collectives it makes these, and works on its own (own_experts, once; of
 * pick_max the gathering of a value and a column for each row).
 */
export interface StreamMeeting {
  op: "all_reduce" | "all_gather" | "reduce_scatter";
  dtype: "f32" | "bf16" | "i32";
  /** As in CollectiveStep: an operand is `outer` runs of `inner` elements. */
  outer: number;
  inner: number;
  /** meetingWords, for messages. */
  words: string;
}

/** Device memory that a rank brings to a meeting: its operand, and where its result goes. The two do not overlap. */
export interface StreamPart {
  from: number;
  to: number;
}

/** Of ranks on GPUs. */
export interface StreamTransport {
  readonly kind: "lockstep" | "mailbox" | "nccl";
  readonly ranks: number;
  /** Those of this process, in order: all of them in lockstep, else one. */
  readonly here: readonly number[];
  /** Whether a graph can hold what it enqueues. */
  readonly captured: boolean;
  /**
   * Enqueues a meeting on `stream` and returns at once; `parts` are those of `here`. What the stream has done before is seen by it, and
   * what comes after sees its results. Sums are added in rank order where the transport can, so that all ranks have the same bits.
   */
  enqueue(meeting: StreamMeeting, parts: readonly StreamPart[], stream: number): void;
  /** What is wrong with a peer; asked again and again while the host waits for a run. */
  fault(): Error | undefined;
  /** A peer is gone: waits of what is under way end, with a fault. */
  abort?(): void;
  close(): Promise<void>;
}

/** A meeting in words, which ranks compare: what it is, of how much, and where. */
export const meetingWords = ({ step, outer, inner, layer }: Meeting): string =>
  `${step.op} of ${outer} x ${inner} ${step.dtype} at ${step.site}${layer === undefined ? "" : ` of layer ${layer}`}`;
