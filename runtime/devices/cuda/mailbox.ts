// Words between host and GPU for steps that are graphs: dsc_begin and dsc_end at the ends of a graph (codegen/cuda/system/mailbox.ts)
// read the step's tables from pinned memory and write its ids there. A copy by the driver would take the copy engine and several
// microseconds on either side.
// Steps are numbered alike on both sides, a slot each; a slot is used again only when the host has its answer.
import type { Call } from "../../device.ts";
import { ANSWER_WORDS, MAILBOX, SLOT_WORDS } from "../../../ir/system.ts";
import type { CudaKernel } from "./kernel.ts";
import { PinnedBlock, type Driver } from "./driver.ts";

/** Looks at a flag between questions to the driver, which knows of faults. */
const PATIENCE = 512;

export class Mailbox {
  private readonly driver: Driver;
  private readonly stream: number;
  private readonly begin: CudaKernel;
  private readonly end: CudaKernel;
  private readonly out: PinnedBlock;
  private readonly back: PinnedBlock;
  private readonly answers: Int32Array;
  /** Words of what is sent: the first of a slot is its flag. Pinned memory comes as its last owner left it. */
  private readonly flags: Int32Array;
  /** Steps whose tables were sent. */
  sent = 0;
  /** The number of the next step, as the GPU counts it in `state`. */
  private step = 0;
  private readonly state: number;
  /** Answers that were taken out of their slots before they were asked for. */
  private readonly early = new Map<number, Int32Array>();
  private readonly waiting = new Map<number, number>();

  /** `state` is four zero bytes of device memory. */
  constructor(driver: Driver, stream: number, kernels: { begin: CudaKernel; end: CudaKernel }, state: number) {
    [this.driver, this.stream, this.begin, this.end, this.state] = [driver, stream, kernels.begin, kernels.end, state];
    this.out = new PinnedBlock(driver, MAILBOX.slots * SLOT_WORDS * 4);
    this.back = new PinnedBlock(driver, MAILBOX.slots * ANSWER_WORDS * 4);
    this.answers = new Int32Array(this.back.bytes.buffer, this.back.bytes.byteOffset, MAILBOX.slots * ANSWER_WORDS);
    this.answers.fill(0);
    this.flags = new Int32Array(this.out.bytes.buffer, this.out.bytes.byteOffset, MAILBOX.slots * SLOT_WORDS);
  }

  /** Sends words there and back through `at`, 256 bytes of device memory: whether the GPU reads and writes what the host sees. */
  works(at: number): boolean {
    const call = (idsFrom?: number): Call => ({
      function: "",
      arena: 0,
      args: new Map([["next", at + 128]]),
      batch: { starts: [0, 1], lengths: [1], pages: 1 },
      ...(idsFrom === undefined ? {} : { idsFrom }),
      tables: { at, bytes: new Uint8Array(Int32Array.from({ length: 33 }, (_, i) => 1000 + i).buffer) },
      places: { weight: () => 0, cache: () => 0, batch: () => at },
    });
    // Word 32 of the tables lies where the ids are: what comes back has made the whole way, twice.
    const ids = [call(), call(at + 128)].map((c) => {
      const step = this.submit(c);
      this.upload(c);
      this.download(c);
      this.driver.call("cuStreamSynchronize", this.stream);
      const id = this.answered(step) ? this.idsOf(step, 1)[0] : -1;
      this.waiting.delete(step);
      return id;
    });
    return ids.every((id) => id === 1032);
  }

  /** Whether a call's tables and ids fit a slot. */
  static carries({ tables, args, batch }: Call): boolean {
    return (
      tables !== undefined &&
      tables.bytes.length <= MAILBOX.tableBytes &&
      args.has("next") &&
      batch !== undefined &&
      batch.lengths.length <= MAILBOX.mostIds
    );
  }

  /** Enqueues the kernel that reads the tables of a call. */
  upload(call: Call): void {
    const { at, bytes } = call.tables!;
    const dims = { words: bytes.length / 4, ids_at: (call.places.batch("ids") - at) / 4, sequences: call.batch!.lengths.length };
    this.begin.enqueue(this.stream, [this.out.address, this.state, at, call.args.get("next")!], dims);
  }

  /** Enqueues the kernel that sends the ids of a call. */
  download(call: Call): void {
    this.end.enqueue(this.stream, [call.args.get("next")!, this.state, this.back.address], {
      sequences: call.batch!.lengths.length,
    });
  }

  /** Lays out the next step's tables where the graph launched next reads them. Gives the step's number. */
  submit({ tables, idsFrom, batch }: Call, uploads = true): number {
    const step = this.step++;
    const slot = step % MAILBOX.slots;
    const before = step - MAILBOX.slots;
    if (before >= 0) {
      if (!this.answered(before)) this.driver.call("cuStreamSynchronize", this.stream);
      const count = this.waiting.get(before);
      if (count !== undefined) this.early.set(before, this.idsOf(before, count));
    }
    if (uploads) {
      this.flags[slot * SLOT_WORDS] = idsFrom === undefined ? 0 : 1;
      this.out.bytes.set(tables!.bytes, slot * SLOT_WORDS * 4 + MAILBOX.headerBytes);
      this.sent++;
    }
    this.waiting.set(step, batch!.lengths.length);
    return step;
  }

  /** The ids of a step, when they have come; `fault` is what a code of the driver means, if it is wrong. The event loop turns meanwhile. */
  async poll(step: number, fault: (code: number) => Error | undefined): Promise<Int32Array> {
    for (let looks = 1; !this.early.has(step) && !this.answered(step); looks++) {
      if (looks % PATIENCE === 0) {
        const r = this.driver.attempt("cuStreamQuery", this.stream);
        const wrong = r === 0 ? undefined : fault(r);
        if (wrong) throw wrong;
      }
      await new Promise((resolve) => setImmediate(resolve));
    }
    const ids = this.early.get(step) ?? this.idsOf(step, this.waiting.get(step)!);
    this.early.delete(step);
    this.waiting.delete(step);
    return ids;
  }

  /** Before n replays of the graph that ran last: its tables lie in whatever slot they look. */
  repeat(tables: Uint8Array, n: number): void {
    this.driver.call("cuStreamSynchronize", this.stream);
    for (let slot = 0; slot < MAILBOX.slots; slot++) {
      this.flags[slot * SLOT_WORDS] = 0;
      this.out.bytes.set(tables, slot * SLOT_WORDS * 4 + MAILBOX.headerBytes);
    }
    this.step += n;
  }

  close(): void {
    this.out.free();
    this.back.free();
  }

  private answered(step: number): boolean {
    return this.answers[(step % MAILBOX.slots) * ANSWER_WORDS] > step;
  }

  private idsOf(step: number, count: number): Int32Array {
    const at = (step % MAILBOX.slots) * ANSWER_WORDS + MAILBOX.headerBytes / 4;
    return this.answers.slice(at, at + count);
  }
}
