// What a call becomes on the stream: a graph where no launch depends on lengths, else launches one by one; its tables before it, its
// ids after it. Calls are enqueued at once and follow each other without the host.
import { mayStartEarly, type Manifest } from "../../../ir/artifact.ts";
import type { Call } from "../../device.ts";
import { walkPlan, type Item, type Meeting, type Site } from "../../plan/walk.ts";
import * as diagnostics from "./diagnostics.ts";
import { Graphs, graphKey } from "./graphs.ts";
import type { Cuda, CudaKernel } from "./index.ts";
import type { Enqueued } from "./kernel.ts";
import { Mailbox } from "./mailbox.ts";
import type { Meetings } from "./meetings.ts";
import type { RankMemory } from "./rank-memory.ts";
import { Tables, advanceLaunch } from "./advance.ts";
import { PinnedBlock } from "./driver.ts";
import type { Staging } from "./staging.ts";
import { lengthFree } from "./length-free.ts";
import { noPeers } from "../../diagnostics.ts";
import type { Timings } from "./timings.ts";

const NOT_READY = 600;
const WITHOUT_TIME = 2;
/** Ids of one step that come back without being asked for, and steps whose ids may be on their way at once. */
const MOST_NEXT = 256;
const SLOTS = 16;

/**
 * Stands around every launch, which waits for `go`: to put in what a kernel reads and to look at what it wrote. Executor are launched
 * one by one then, without graphs.
 */
export type Watch = (launch: { kernel: string; addresses: readonly number[]; site: Site; call: Call }, go: () => void) => void;

export interface ExecutorOptions {
  mailbox: Mailbox | undefined;
  times: Timings | undefined;
  /** What draws ids after the logits, where a call asks for it. */
  sampler: CudaKernel | undefined;
  /** What moves the tables of a step on to the next. */
  advance: CudaKernel;
  watch: Watch | undefined;
  /** Addresses of the ranks that are here. */
  memory: RankMemory;
  /** Of a mesh: where these ranks meet, each other or those of other processes. */
  meetings: Meetings | undefined;
}

export class Executor {
  /** Kernels that have run. */
  readonly launched = new Set<string>();
  private readonly manifest: Manifest;
  private readonly cuda: Cuda;
  private readonly kernels: ReadonlyMap<string, Enqueued>;
  private readonly staging: Staging;
  private readonly graphs = new Graphs();
  private readonly mailbox: Mailbox | undefined;
  private readonly times: Timings | undefined;
  private readonly sampler: CudaKernel | undefined;
  private readonly advance: CudaKernel;
  /** Tables of the step enqueued last, unless something else has been enqueued since. */
  private tables: Tables | undefined;
  private readonly watch: Watch | undefined;
  private readonly memory: RankMemory;
  private readonly meetings: Meetings | undefined;
  /** Events not in use. */
  private readonly events: number[] = [];
  /** Ids that follow the runs that made them to the host, a slot a run. */
  private readonly next: PinnedBlock;
  private slot = 0;
  /** Functions whose launches no length changes, as far as they have been looked at. */
  private readonly free = new Map<string, boolean>();
  private moves = 0;
  /** Steps of the plan whose launch may begin before what came before has ended, as far as they have been looked at. */
  private readonly startsEarly = new WeakMap<Site["step"], boolean>();

  constructor(
    manifest: Manifest,
    cuda: Cuda,
    kernels: ReadonlyMap<string, Enqueued>,
    staging: Staging,
    { mailbox, times, sampler, advance, watch, memory, meetings }: ExecutorOptions,
  ) {
    [this.manifest, this.cuda, this.kernels, this.staging] = [manifest, cuda, kernels, staging];
    [this.mailbox, this.times, this.sampler, this.advance, this.watch] = [mailbox, times, sampler, advance, watch];
    [this.memory, this.meetings] = [memory, meetings];
    this.next = new PinnedBlock(cuda.driver, SLOTS * 4 * MOST_NEXT);
  }

  /** An address that graphs hold has moved. */
  forget(): void {
    this.graphs.clear();
    this.tables = undefined;
  }

  /** Microseconds of each of n replays of the graph that ran last, all of the same step. */
  replayTimes(n: number): number[] {
    const [{ last }, { tables }] = [this.graphs, this];
    if (!last || !tables) return [];
    const now = this.cuda.download(tables.at, tables.size);
    const before = tables.before(now);
    this.mailbox?.repeat(now, n);
    this.tables = undefined;
    return last.graph.time(n, () => {
      if (last.kind === "uploaded") return;
      for (const at of this.memory.all(tables.at)) this.staging.write(at, before.tables);
      for (const at of this.memory.all(tables.next)) this.staging.write(at, before.next);
    });
  }

  /** Steps whose tables the host has sent; of the others the device knew them. */
  get sent(): number {
    return this.mailbox?.sent ?? 0;
  }

  close(): void {
    this.graphs.clear();
    this.next.free();
    this.mailbox?.close();
    for (const e of this.events) this.cuda.driver.attempt("cuEventDestroy_v2", e);
  }

  /** Whether steps of a function are graphs. */
  graphed(name: string): boolean {
    return (
      !this.times && !this.watch && this.meetings?.transport.captured !== false && lengthFree(this.manifest, name, this.free)
    );
  }

  /** Enqueues a call. Settles, with its ids where it makes some, when its results can be read. */
  enqueue(call: Call): Promise<Int32Array | undefined> {
    const rows = call.batch?.starts.at(-1);
    const step = call.batch !== undefined && rows === call.batch.lengths.length && Mailbox.carries(call);
    if (step && this.graphed(call.function)) {
      const moves = [...this.kernels.values()].reduce((n, k) => n + k.moves, 0);
      if (moves !== this.moves) {
        // A workspace has grown elsewhere since: graphs hold its old address.
        this.graphs.clear();
        this.moves = moves;
      }
      return this.step(call);
    }
    this.tables = undefined;
    return this.copied(call, () => this.launchAll(call));
  }

  /** A step, as a graph from its second time on: one for steps that follow the last, one for those whose tables are sent. */
  private async step(call: Call): Promise<Int32Array | undefined> {
    const { mailbox } = this;
    const key = graphKey(call, Object.keys(this.manifest.model.caches));
    const follows = mailbox !== undefined && this.tables?.becomes(key, call) === true;
    const tables = follows ? this.tables! : new Tables(key, call);
    this.tables = tables;
    const { turn } = tables;
    const record = (): void => {
      for (const one of this.memory.calls(call)) {
        if (follows) {
          const { addresses, dims } = advanceLaunch(one);
          this.advance.enqueue(this.cuda.stream, addresses, dims);
        } else mailbox?.upload(one);
      }
      this.launchAll(call);
      mailbox?.download(call);
    };
    const graph = this.graphs.of(key, follows ? "advanced" : "uploaded", () => this.cuda.capture(record));
    let ids: Promise<Int32Array | undefined>;
    if (graph && mailbox) {
      const number = mailbox.submit(call, !follows);
      graph.launch();
      ids = mailbox.poll(number, (code) =>
        code === NOT_READY ? this.meetings?.transport.fault() : this.fault("cuStreamQuery", code),
      );
    } else ids = this.copied(call, () => (graph ? graph.launch() : this.launchAll(call)));
    // What the next step may be fed, if it is the next.
    const chosen = await ids;
    tables.learn(turn, chosen);
    return chosen;
  }

  /** A run whose tables and ids go by copies of the driver. */
  private copied(call: Call, launch: () => void): Promise<Int32Array | undefined> {
    for (const { tables, idsFrom, places, batch } of this.memory.calls(call)) {
      if (tables) this.staging.write(tables.at, tables.bytes);
      if (idsFrom !== undefined)
        this.cuda.driver.call("cuMemcpyDtoDAsync_v2", places.batch("ids"), idsFrom, 4 * batch!.lengths.length, this.cuda.stream);
    }
    launch();
    const ids = this.fetchNext(call);
    return this.finished().then(() => ids?.slice());
  }

  /** All launches of a call, rank after rank from one meeting to the next. */
  private launchAll(call: Call): void {
    const { cuda, memory, meetings } = this;
    const rowsOf = (at: number, count: number): Int32Array => {
      const bytes = cuda.download(at, 4 * count);
      return new Int32Array(bytes.buffer, bytes.byteOffset, count);
    };
    const ranks = memory.calls(call).map((own) => ({ own, walk: walkPlan(this.manifest, own, rowsOf) }));
    for (let segment = 0; ; segment++) {
      // What launches before its wait may read is what this rank's launch before has made: nobody else stands between them.
      const alone = segment === 0 && ranks.length === 1;
      const met = ranks.map(({ own, walk }) => this.upToMeeting(walk, own, alone));
      if (met.every((m) => m === undefined)) return;
      if (!meetings) throw noPeers({ ranks: this.manifest.mesh?.tp ?? 1 });
      meetings.enqueue(met);
    }
  }

  /** The launches of one rank up to where it meets others, or to the end of the call; `early`: the first may begin early. */
  private upToMeeting(walk: Generator<Item, void, undefined>, call: Call, early: boolean): Meeting | undefined {
    const { kernels, watch } = this;
    let first = true;
    const mayBegin = (): boolean => {
      const may = early || !first;
      first = false;
      return may;
    };
    for (let next = walk.next(); !next.done; next = walk.next()) {
      const item = next.value;
      if (item.kind === "meeting") return item;
      if (item.kind !== "launch") continue;
      const { kernel: name, record, at: site } = item;
      const kernel = kernels.get(name)!;
      const addresses = item.pointers.map((p) => p.at);
      const dims: Record<string, number> = {};
      for (const [i, d] of record.dims.entries()) dims[d] = item.dims[i] as number;
      const go = (): void => this.launch(kernel, name, addresses, dims, mayBegin() && this.mayStartEarly(site.step, kernel.text));
      if (watch) watch({ kernel: name, addresses, site, call }, go);
      else go();
    }
    if (call.sampling) this.draw(call, call.sampling, mayBegin());
    return undefined;
  }

  /** Looked at once for a step of the plan. */
  private mayStartEarly(step: Site["step"], text: Enqueued["text"]): boolean {
    let may = this.startsEarly.get(step);
    if (may === undefined) this.startsEarly.set(step, (may = mayStartEarly(step.args, text)));
    return may;
  }

  private launch(
    kernel: Enqueued,
    name: string,
    addresses: readonly number[],
    dims: Record<string, number>,
    early: boolean,
  ): void {
    const { cuda, times } = this;
    dims.SMs = cuda.multiprocessors;
    this.launched.add(name);
    if (times) times.around(name, () => kernel.enqueue(cuda.stream, addresses, dims, { early }));
    else kernel.enqueue(cuda.stream, addresses, dims, { early });
  }

  /** Draws the ids of a call after its logits. */
  private draw({ places, args, batch }: Call, { choices, seen }: NonNullable<Call["sampling"]>, early: boolean): void {
    const addresses = [
      args.get("logits")!,
      choices,
      places.batch("ids"),
      places.batch("starts"),
      places.batch("lengths"),
      seen,
      args.get("next")!,
    ];
    this.launch(this.sampler!, "dsc_sample", addresses, { m: batch!.lengths.length }, early);
  }

  /** The ids a step chose follow it to the host, four bytes a sequence. */
  private fetchNext(call: Call): Int32Array | undefined {
    const at = call.args.get("next");
    const count = call.batch?.lengths.length ?? 0;
    if (at === undefined || count === 0 || count > MOST_NEXT) return undefined;
    const from = this.slot * 4 * MOST_NEXT;
    this.slot = (this.slot + 1) % SLOTS;
    this.cuda.driver.call("cuMemcpyDtoHAsync_v2", this.next.address + from, at, 4 * count, this.cuda.stream);
    return new Int32Array(this.next.bytes.buffer, this.next.bytes.byteOffset + from, count);
  }

  /** Settles when the stream has done all that is enqueued now; looks between turns of the event loop. */
  async finished(): Promise<void> {
    const { driver, stream } = this.cuda;
    const event = this.events.pop() ?? driver.get("cuEventCreate", WITHOUT_TIME);
    driver.call("cuEventRecord", event, stream);
    for (;;) {
      const r = driver.attempt("cuEventQuery", event);
      if (r === 0) break;
      if (r !== NOT_READY) throw this.fault("cuEventQuery", r);
      const peers = this.meetings?.transport.fault();
      if (peers) throw peers;
      await new Promise((resolve) => setImmediate(resolve));
    }
    this.events.push(event);
  }

  /** What a code of the driver means: where a kernel ended because of a peer, that. */
  private fault(call: string, code: number): Error {
    const peers = this.meetings?.transport.fault();
    if (peers) return peers;
    return diagnostics.driverFailed({ call, name: this.cuda.driver.nameOf(code), where: "a kernel of this run has failed" });
  }
}
