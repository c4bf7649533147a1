// What the kernels that the runtime launches for itself and the runtime agree on: names, what is bound and passed, and the numbers
// both compute with. The kernels are emitted into the artifact (codegen/cuda/system); a change here is another format of artifacts.
import { boundBuffers, type Param } from "./kernel/catalogue.ts";

/** By name: buffers in the order in which they are bound, then the numbers of a launch, scalar parameters before dims. */
export const systemKernels = {
  /** The tables of a step from pinned memory of the host into place. */
  dsc_begin: { buffers: ["mailbox", "state", "tables", "next"], numbers: ["words", "ids_at", "sequences"] },
  /** The ids of a step to the host. */
  dsc_end: { buffers: ["next", "state", "answers"], numbers: ["sequences"] },
  /** The tables of the step before, one row on. */
  dsc_advance: { buffers: ["tables", "next"], numbers: ["positions_at", "lengths_at", "ids_at", "sequences"] },
  /** Synthetic weights where they will lie. */
  dsc_fill: { buffers: ["to"], numbers: ["key", "start", "count", "form", "plus", "step"] },
  /** Whether stored values are no numbers. */
  dsc_not_finite: { buffers: ["from", "found"], numbers: ["bytes", "exponent", "one", "carry"] },
  /** The next id of every row, drawn; absent where a row of logits fits no block, and the host draws. */
  dsc_sample: { buffers: ["logits", "choices", "ids", "starts", "lengths", "seen", "y"], numbers: ["m"] },
} as const;

const exchange = <const N extends readonly string[]>(...dims: N) =>
  ({
    buffers: ["x", "y", "mailboxes", "control"],
    numbers: ["rank", "ranks", "what", "limit_ms", "bf16", ...dims],
  }) as const;

/** The same of an artifact that is divided over ranks; addresses of ranks are so many times 256 bytes apart. */
export const rankKernels = {
  /** Lockstep: what all ranks of a device hold, added in rank order, to each of them. */
  dsc_all_reduce: { buffers: ["x", "y"], numbers: ["ranks", "x_apart", "y_apart", "form", "count"] },
  /** Lockstep: runs of `inner` elements of every rank side by side, to each of them. */
  dsc_all_gather: { buffers: ["x", "y"], numbers: ["ranks", "x_apart", "y_apart", "form", "outer", "inner"] },
  /** Lockstep: to each rank its runs of the sum. */
  dsc_reduce_scatter: { buffers: ["x", "y"], numbers: ["ranks", "x_apart", "y_apart", "form", "outer", "inner"] },
  /** The choice of experts as a rank sees it. */
  dsc_own_experts: { buffers: ["indices", "weights", "own", "by"], numbers: ["first", "experts", "count"] },
  /** Of every row the largest value of a rank's columns, and which it is. */
  dsc_rank_max: { buffers: ["x", "best"], numbers: ["from", "rows", "columns"] },
  /** Of every row the column of the largest value of all ranks. */
  dsc_pick_max: { buffers: ["best", "ids"], numbers: ["ranks", "rows"] },
  /** Synthetic weights of a rank's part of a matrix: runs of `width` elements. */
  dsc_fill_part: {
    buffers: ["to"],
    numbers: ["key", "start", "count", "form", "plus", "width", "pitch", "apart", "step"],
  },
  /** Mailboxes: the sum of what ranks hold, every one of whom sends all of it to every other. */
  dsc_push_reduce: exchange("words"),
  /** Mailboxes: the same where each rank adds a part of it and sends the sum. */
  dsc_push_reduce_parts: exchange("words"),
  /** Mailboxes: runs of every rank side by side. */
  dsc_push_gather: exchange("outer", "inner", "first", "some"),
} as const;

export type SystemKernel = keyof typeof systemKernels | keyof typeof rankKernels;

/** What a launch of each binds and passes. */
export const systemLaunches: Readonly<Record<SystemKernel, { buffers: readonly string[]; numbers: readonly string[] }>> = {
  ...systemKernels,
  ...rankKernels,
};

/** Elements of what ranks exchange, by the number that kernels know them by. */
export const RANK_FORMS = ["f32", "bf16", "i32"] as const;
/**
 * Memory in which ranks leave what others read (codegen/cuda/mailbox): a head, then for exchanges by turns two halves, in each of which
 * every rank has so many units of 16 bytes, two words with their tags. Beside it a control block in pinned memory of the host, words:
 * 0 is set by the host to end all waits, from 1 on is what a kernel says that cannot go on.
 */
export const PEER_MAILBOX = { headBytes: 256, units: 32768, unitBytes: 16, controlWords: 16 } as const;
/** Bytes of a mailbox of so many ranks. */
export const peerMailboxBytes = (ranks: number): number =>
  PEER_MAILBOX.headBytes + 2 * ranks * PEER_MAILBOX.units * PEER_MAILBOX.unitBytes;
/** Words of the control block: why, which rank waits for which, in which exchange, what it wanted and what it saw. */
export const CONTROL = { stop: 0, why: 1, rank: 2, peer: 3, epoch: 4, what: 5, seen: 6 } as const;
/** Why a kernel cannot go on: the peer has not come in time, has come to something else, or the host has ended the wait. */
export const STUCK = { late: 1, apart: 2, stopped: 3 } as const;

/** Bytes that what ranks hold lies apart by a multiple of. */
export const RANK_APART = 256;

/** How a kernel differs from what a launch of its name binds and passes, or null. */
export function misfit(
  name: SystemKernel,
  { params, dims }: { params: readonly Param[]; dims: readonly string[] },
): string | null {
  const { buffers, numbers } = systemLaunches[name];
  const scalars = params.flatMap((p) => (p.kind === "scalar" ? [p.name] : []));
  const [bound, passed] = [boundBuffers([...params]).join(", "), [...scalars, ...dims].join(", ")];
  if (bound !== buffers.join(", ")) return `it binds ${bound}; a launch of it binds ${buffers.join(", ")}`;
  return passed === numbers.join(", ") ? null : `it takes ${passed}; a launch of it gives ${numbers.join(", ")}`;
}

/** Steps under way between host and GPU: slots, each a header and the tables of a step; what is larger goes by a copy. */
export const MAILBOX = { slots: 16, headerBytes: 64, tableBytes: 64 << 10, mostIds: 256 } as const;
export const SLOT_WORDS = (MAILBOX.headerBytes + MAILBOX.tableBytes) / 4;
export const ANSWER_WORDS = MAILBOX.headerBytes / 4 + MAILBOX.mostIds;

/** How a synthetic weight lies in memory, by the number that dsc_fill knows it by. */
export const FILL_FORMS = ["f32", "bf16", "bf16-in-f32", "e4m3", "scale", "scale-ue8m0"] as const;

/** 2^f for f in [-1/2, 1/2] to 2^-36: Taylor's series, ln(2)^n / n!, highest power first. Written out, for pow differs between machines. */
export const POWERS: readonly number[] = [
  1.01780860092397e-7, 1.321548679014431e-6, 1.5252733804059841e-5, 0.0001540353039338161, 0.0013333558146428443,
  0.009618129107628477, 0.05550410866482158, 0.24022650695910072, 0.6931471805599453, 1,
];
