// Ranks whose GPUs reach each other's memory: what they exchange is stored straight into the peers' mailboxes by kernels of the artifact
// (codegen/cuda/mailbox), in graphs too. A mailbox is allocated once and never moves. Ranks of one process trade addresses, those of
// several CUDA IPC handles.
import { CONTROL, PEER_MAILBOX, STUCK, peerMailboxBytes, type SystemKernel } from "../../../ir/system.ts";
import { brokenManifest } from "../../diagnostics.ts";
import type { StreamMeeting, StreamPart, StreamTransport, Transport } from "../../ranks/transport.ts";
import * as diagnostics from "./diagnostics.ts";
import { PinnedBlock, type Driver } from "./driver.ts";
import type { Cuda, CudaKernel } from "./index.ts";

/** How a rank reaches the others before there is a mailbox: gives its bytes, gets those of all ranks in their order. */
export type Trade = (mine: Uint8Array) => Promise<readonly Uint8Array[]>;

export interface MailboxOptions {
  rank: number;
  ranks: number;
  trade: Trade;
  /** Milliseconds that a kernel waits for a peer before it ends with a fault. */
  limitMs?: number;
  /** What is known of the other ranks from elsewhere: of one that is gone, why. Waits for it end then. */
  others?: () => Error | undefined;
  /** Settles when every rank has let go of the mailboxes of the others: then they are given back. Of ranks in several processes. */
  parting?: () => Promise<void>;
}

/** A rank that comes so late has ended, or never will come. */
const LIMIT_MS = 20_000;
const HANDLE_BYTES = 64;
const PEER_ACCESS = 1;
const { units: UNITS } = PEER_MAILBOX;

/**
 * Units up to which every rank sends all it has to every other; beyond them sums go in two crossings. As measured by others on H200:
 * 128 KB on eight ranks, 512 KB on four, 2 MB on two, of which a slot has room for 256 KB.
 */
const oneShotUnits = (ranks: number): number => (ranks > 4 ? UNITS / 2 : UNITS);

interface Kernels {
  reduce: CudaKernel;
  parts: CudaKernel;
  gather: CudaKernel;
}

export class CudaMailbox implements StreamTransport {
  readonly kind = "mailbox";
  readonly captured = true;
  readonly ranks: number;
  readonly here: readonly number[];
  private readonly driver: Driver;
  private readonly kernels: Kernels;
  private readonly limitMs: number;
  private readonly others: () => Error | undefined;
  private readonly own: number;
  private readonly control: PinnedBlock;
  private readonly words: Int32Array;
  /** Mailboxes of other processes, mapped here. */
  private mapped: number[] = [];
  /** Addresses of all mailboxes, on the device. */
  private table = 0;
  private stream: number | undefined;
  private readonly parting: () => Promise<void>;

  private constructor(
    { driver }: Cuda,
    { rank, ranks, limitMs = LIMIT_MS, others = () => undefined, parting = async () => {} }: MailboxOptions,
    kernels: Kernels,
  ) {
    [this.others, this.parting] = [others, parting];
    [this.driver, this.kernels, this.limitMs, this.ranks, this.here] = [driver, kernels, limitMs, ranks, [rank]];
    this.own = driver.get("cuMemAlloc_v2", peerMailboxBytes(ranks));
    driver.call("cuMemsetD8_v2", this.own, 0, peerMailboxBytes(ranks));
    driver.call("cuCtxSynchronize");
    this.control = new PinnedBlock(driver, 4 * PEER_MAILBOX.controlWords);
    this.words = new Int32Array(this.control.bytes.buffer, this.control.bytes.byteOffset, PEER_MAILBOX.controlWords);
    this.words.fill(0);
  }

  /** Allocates the mailbox of this rank and reaches those of the others, who open theirs meanwhile. */
  static async open(
    cuda: Cuda,
    system: (name: SystemKernel) => Promise<CudaKernel>,
    options: MailboxOptions,
  ): Promise<CudaMailbox> {
    const [reduce, parts, gather] = await Promise.all([
      system("dsc_push_reduce"),
      system("dsc_push_reduce_parts"),
      system("dsc_push_gather"),
    ]);
    const mailbox = new CudaMailbox(cuda, options, { reduce, parts, gather });
    try {
      await mailbox.reach(options.trade, options.rank);
    } catch (e) {
      await mailbox.close();
      throw e;
    }
    return mailbox;
  }

  private async reach(trade: Trade, rank: number): Promise<void> {
    const mine = Buffer.alloc(16 + HANDLE_BYTES);
    mine.writeBigUInt64LE(BigInt(process.pid), 0);
    mine.writeBigUInt64LE(BigInt(this.own), 8);
    const handle = new Uint8Array(HANDLE_BYTES);
    // Where there are no handles (some virtual machines), ranks of one process can still meet.
    const shared = this.driver.attempt("cuIpcGetMemHandle", handle, this.own) === 0;
    mine.set(handle, 16);
    const all = await trade(mine);
    const addresses = all.map((bytes, r) => {
      const theirs = Buffer.from(bytes);
      if (r === rank) return this.own;
      if (theirs.readBigUInt64LE(0) === BigInt(process.pid)) return Number(theirs.readBigUInt64LE(8));
      if (!shared) throw diagnostics.noPeerMemory({ rank, peer: r, why: "the driver gives no IPC handle of this GPU's memory" });
      return this.map(rank, r, theirs.subarray(16));
    });
    this.table = this.driver.get("cuMemAlloc_v2", 8 * this.ranks);
    this.driver.call("cuMemcpyHtoD_v2", this.table, BigUint64Array.from(addresses, BigInt), 8 * this.ranks);
    this.driver.call("cuCtxSynchronize");
  }

  private map(rank: number, peer: number, handle: Uint8Array): number {
    const at = new BigUint64Array(1);
    const bytes = { words: Array.from(new BigUint64Array(Uint8Array.from(handle).buffer)) };
    const r = this.driver.attempt("cuIpcOpenMemHandle_v2", at, bytes, PEER_ACCESS);
    if (r !== 0) throw diagnostics.noPeerMemory({ rank, peer, why: this.driver.nameOf(r) });
    this.mapped.push(Number(at[0]));
    return Number(at[0]);
  }

  enqueue({ op, dtype, outer, inner, words }: StreamMeeting, [{ from, to }]: readonly StreamPart[], stream: number): void {
    // Kernels count exchanges in one order: on two streams they would overtake each other.
    this.stream ??= stream;
    if (stream !== this.stream) throw new RangeError(`a mailbox is used on one stream: ${words}`);
    if (op === "reduce_scatter")
      throw brokenManifest({ why: `mailboxes carry sums to all ranks, and no parts of them: ${words}` });
    const [bf16, what] = [dtype === "bf16" ? 1 : 0, tagOf(words)];
    if (op === "all_reduce") this.reduce(from, to, Math.ceil((outer * inner) / (bf16 + 1)), bf16, what);
    else this.gather(from, to, { outer, inner }, bf16, what);
  }

  /** `words` of 32 bits; as many launches as slots have room for. */
  private reduce(from: number, to: number, words: number, bf16: number, what: number): void {
    const units = Math.ceil(words / 2);
    const once = units <= oneShotUnits(this.ranks);
    const most = once ? units : Math.floor(UNITS / 2) * this.ranks;
    for (let at = 0; at < words; at += 2 * most) {
      const some = Math.min(2 * most, words - at);
      this.launch(once ? this.kernels.reduce : this.kernels.parts, from + 4 * at, to + 4 * at, { words: some }, bf16, what);
    }
  }

  private gather(from: number, to: number, shape: { outer: number; inner: number }, bf16: number, what: number): void {
    const all = shape.outer * shape.inner;
    for (let first = 0; first < all; first += 2 * UNITS) {
      const some = Math.min(2 * UNITS, all - first);
      this.launch(this.kernels.gather, from, to, { ...shape, first, some }, bf16, what);
    }
  }

  private launch(
    kernel: CudaKernel,
    from: number,
    to: number,
    dims: Readonly<Record<string, number>>,
    bf16: number,
    what: number,
  ): void {
    this.exchange(kernel, [from, to], dims, { what, bf16 });
  }

  /** Launches a kernel that exchanges: it binds the mailboxes and the control block behind its own buffers. */
  exchange(
    kernel: CudaKernel,
    buffers: readonly number[],
    dims: Readonly<Record<string, number>>,
    { what, bf16 = 0, stream = this.stream! }: { what: number; bf16?: number; stream?: number },
  ): void {
    const scalars: Readonly<Record<string, number>> = {
      rank: this.here[0],
      ranks: this.ranks,
      what,
      limit_ms: this.limitMs,
      bf16,
    };
    const scalar = (name: string): number => scalars[name];
    // The rows it takes were made by the kernel before, which has ended when it begins: its peers count on that.
    kernel.enqueue(stream, [...buffers, this.table, this.control.address], dims, { scalar, early: false });
  }

  /** Ends the waits of kernels under way: a peer is gone. */
  abort(): void {
    this.words[CONTROL.stop] = 1;
  }

  fault(): Error | undefined {
    const { words } = this;
    const gone = this.others();
    if (gone) {
      this.abort();
      return gone;
    }
    const why = words[CONTROL.why];
    if (why === 0) return undefined;
    const [rank, peer, epoch] = [words[CONTROL.rank], words[CONTROL.peer], words[CONTROL.epoch]];
    return diagnostics.peerStuck({ rank, peer, epoch, why: reasons[why], seconds: this.limitMs / 1000 });
  }

  async close(): Promise<void> {
    // A kernel that still waits for a peer that is gone has been told to stop, and ends.
    if (this.stream !== undefined) this.driver.attempt("cuStreamSynchronize", this.stream);
    for (const at of this.mapped) this.driver.attempt("cuIpcCloseMemHandle", at);
    this.mapped = [];
    // Not where a rank is gone: nobody waits for anybody then.
    await this.parting().catch(() => {});
    for (const at of [this.own, this.table]) if (at) this.driver.attempt("cuMemFree_v2", at);
    this.control.free();
  }
}

const reasons: Readonly<Record<number, "late" | "apart" | "stopped">> = {
  [STUCK.late]: "late",
  [STUCK.apart]: "apart",
  [STUCK.stopped]: "stopped",
};

/** A number from 1 to 255 for what is exchanged: ranks that come to other meetings have another one, mostly. */
export function tagOf(words: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < words.length; i++) hash = Math.imul(hash ^ words.charCodeAt(i), 0x01000193);
  return 1 + ((hash >>> 0) % 255);
}

/** Ranks of one process: every one of them trades by the same value. */
export function tradeHere(ranks: number): (rank: number) => Trade {
  const given: Uint8Array[] = [];
  let all!: (bytes: readonly Uint8Array[]) => void;
  const traded = new Promise<readonly Uint8Array[]>((resolve) => (all = resolve));
  let came = 0;
  return (rank) => (mine) => {
    given[rank] = mine;
    if (++came === ranks) all(given);
    return traded;
  };
}

/** Ranks of several processes, by the transport that their hosts have between them. */
export const tradeOver =
  (transport: Pick<Transport, "ranks" | "meet">, site = "mailboxes"): Trade =>
  async (mine) => {
    const { ranks } = transport;
    const inner = mine.length / 4;
    const all = new Uint8Array(mine.length * ranks);
    const step = { kind: "collective", op: "all_gather", dtype: "i32", args: [], outer: 1, inner, site } as const;
    await transport.meet(
      { kind: "meeting", step: { ...step, args: [] }, pointers: [], outer: 1, inner, function: "", layer: undefined },
      0,
      [mine],
      [all],
    );
    return Array.from({ length: ranks }, (_, r) => all.subarray(r * mine.length, (r + 1) * mine.length));
  };
