// NCCL as a transport of ranks on GPUs, one a process: what carries the operands of prompts, and of several hosts. It adds in an order
// of its own, the same on every rank, so all have the same bits; they are not those of lockstep.
import type { StreamMeeting, StreamPart, StreamTransport } from "../transport.ts";
import { IN_PROGRESS, SUCCESS, SUM, TYPES, type Nccl } from "./library.ts";

const bytesOf = { i32: 4, f32: 4, bf16: 2 } as const;

/** Milliseconds between two looks at a communicator that is being made. */
const LOOK_MS = 2;

/** Sleeps without the event loop: only where a call that returns at once is not done at once. */
const nap = new Int32Array(new SharedArrayBuffer(4));

export interface CommunicatorOptions {
  id: Uint8Array;
  rank: number;
  ranks: number;
  /** What has become of the other ranks, where that is known. */
  others?: () => Error | undefined;
  /** Whether the other ranks close their communicators when this one does; they do where it is not given. */
  together?: () => boolean;
  patienceMs: number;
}

export class Communicator implements StreamTransport {
  readonly kind = "nccl";
  readonly captured = true;
  readonly ranks: number;
  readonly here: readonly number[];
  readonly #nccl: Nccl;
  readonly #comm: number;
  readonly #patience: number;
  #broken: Error | undefined;
  #closed = false;
  /** Between the start and the end of a group calls are only noted. */
  #open = false;
  /** What is wrong with the ranks, known from elsewhere: a process that is gone says nothing to NCCL. */
  readonly #others: () => Error | undefined;
  /** Whether the others close theirs now too. */
  readonly #together: () => boolean;

  private constructor(nccl: Nccl, comm: number, { rank, ranks, others, together, patienceMs }: CommunicatorOptions) {
    [this.#nccl, this.#comm, this.ranks, this.here] = [nccl, comm, ranks, [rank]];
    [this.#others, this.#together, this.#patience] = [others ?? (() => undefined), together ?? (() => true), patienceMs];
  }

  /**
   * Makes a communicator with all other ranks, which do the same with the same id; the current CUDA context is the one it is for.
   * `others` is asked what has become of them. Throws DSC5102.
   */
  static async open(nccl: Nccl, o: CommunicatorOptions): Promise<Communicator> {
    const { id, rank, ranks, others = () => undefined, patienceMs } = o;
    const { comm, code } = nccl.begin(ranks, id, rank);
    const where = `rank ${rank} of ${ranks}`;
    if (code !== SUCCESS && code !== IN_PROGRESS) throw nccl.failure("ncclCommInitRankConfig", code, comm, where);
    const made = new Communicator(nccl, comm, o);
    const until = Date.now() + patienceMs;
    for (let state = made.#state(); state !== SUCCESS; state = made.#state()) {
      const late = Date.now() > until;
      const gone = others();
      if (state === IN_PROGRESS && !gone && !late) {
        await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
        continue;
      }
      const error =
        gone ?? nccl.failure("ncclCommInitRankConfig", state, comm, late ? `${where}, after ${patienceMs / 1000} s` : where);
      made.#abort();
      throw error;
    }
    return made;
  }

  #state(): number {
    const state = new Int32Array(1);
    const code = this.#nccl.attempt("ncclCommGetAsyncError", this.#comm, state);
    return code === SUCCESS ? state[0] : code;
  }

  enqueue({ op, dtype, outer, inner, words }: StreamMeeting, [{ from, to }]: readonly StreamPart[], stream: number): void {
    const [type, run, n] = [TYPES[dtype], inner * bytesOf[dtype], this.ranks];
    if (op === "all_reduce") return this.#call("ncclAllReduce", words, from, to, outer * inner, type, SUM, this.#comm, stream);
    // NCCL lays what ranks have one behind the other; here every run of the operand has that of each rank beside it.
    this.#grouped(words, outer, (o) =>
      op === "all_gather"
        ? this.#call("ncclAllGather", words, from + o * run, to + o * n * run, inner, type, this.#comm, stream)
        : this.#call("ncclReduceScatter", words, from + o * n * run, to + o * run, inner, type, SUM, this.#comm, stream),
    );
  }

  /** Part r of `from`, `count` elements, goes to rank r; part r of `to` comes from it. */
  allToAll(dtype: StreamMeeting["dtype"], { from, to }: StreamPart, count: number, stream: number): void {
    const [type, part] = [TYPES[dtype], count * bytesOf[dtype]];
    const words = `all_to_all of ${count} ${dtype}`;
    this.#grouped(words, this.ranks, (r) => {
      this.#call("ncclSend", words, from + r * part, count, type, r, this.#comm, stream);
      this.#call("ncclRecv", words, to + r * part, count, type, r, this.#comm, stream);
    });
  }

  #grouped(words: string, count: number, each: (i: number) => void): void {
    if (count === 1) return each(0);
    this.#call("ncclGroupStart", words);
    this.#open = true;
    try {
      for (let i = 0; i < count; i++) each(i);
    } catch (e) {
      // A group that is left open would take in whatever comes next.
      this.#nccl.attempt("ncclGroupEnd");
      throw e;
    } finally {
      this.#open = false;
    }
    this.#call("ncclGroupEnd", words);
  }

  #call(name: Parameters<Nccl["attempt"]>[0], words: string, ...args: number[]): void {
    if (this.#broken) throw this.#broken;
    let code = this.#nccl.attempt(name, ...args);
    const until = Date.now() + this.#patience;
    while (code === IN_PROGRESS && !this.#open && Date.now() < until) {
      Atomics.wait(nap, 0, 0, 0.1);
      code = this.#state();
    }
    if (code !== SUCCESS && !(this.#open && code === IN_PROGRESS))
      throw (this.#broken = this.#nccl.failure(name, code, this.#comm, words));
  }

  fault(): Error | undefined {
    if (this.#broken || this.#closed) return this.#broken;
    const state = this.#state();
    if (state !== SUCCESS && state !== IN_PROGRESS)
      this.#broken = this.#nccl.failure("ncclCommGetAsyncError", state, this.#comm, `rank ${this.here[0]}`);
    return this.#broken ?? this.#others();
  }

  /** Ends the communicator: together with the others where all is well, else at once, for they may be gone. */
  async close(): Promise<void> {
    if (this.#closed) return;
    if (this.fault() || !this.#together()) return this.#abort();
    this.#closed = true;
    let code = this.#nccl.attempt("ncclCommFinalize", this.#comm);
    const until = Date.now() + this.#patience;
    while (
      (code === IN_PROGRESS || code === SUCCESS) &&
      (code = this.#state()) === IN_PROGRESS &&
      Date.now() < until &&
      !this.#others()
    )
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    this.#nccl.attempt(code === SUCCESS ? "ncclCommDestroy" : "ncclCommAbort", this.#comm);
  }

  #abort(): void {
    this.#closed = true;
    if (this.#comm !== 0) this.#nccl.attempt("ncclCommAbort", this.#comm);
  }
}
