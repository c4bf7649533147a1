// A GPU as a device: weights resident, one stream, kernels loaded before the first run and none after. A step of decoding is one
// graph; anything else is launched one by one. The event loop stays alive while the GPU works.
import type { KernelRecord, Manifest } from "../../../ir/artifact.ts";
import { brokenManifest, misuse } from "../../diagnostics.ts";
import type { Call, Device, FillJob, StoredArray } from "../../device.ts";
import type { Compile } from "./cubins.ts";
import * as diagnostics from "./diagnostics.ts";
import { fillScalars, fillSource, fillText } from "./fill.ts";
import { Graphs, graphKey } from "./graphs.ts";
import { Cuda, type CudaKernel } from "./index.ts";
import { dealLanes, type Touch } from "./lanes.ts";
import { beginSource, beginText, endSource, endText, Mail } from "./mail.ts";
import { Memory } from "./memory.ts";
import { PinnedBlock, Staging } from "./staging.ts";
import { lengthFree, visitSteps } from "./steps.ts";
import { Timings } from "./timings.ts";

const NOT_READY = 600;
const WITHOUT_TIME = 2;
const NON_BLOCKING = 1;
/** Columns of the smallest page table: 1024 rows of 64. */
const FEWEST_COLUMNS = 16;
/** Ids of one step that come back without being asked for, and steps whose ids may be on their way at once. */
const MOST_NEXT = 256;
const SLOTS = 16;

/** A kernel of an artifact: its text, and its compiled form where the artifact holds one. */
export interface CudaFile {
  source: string;
  cubin?: Uint8Array;
}

export interface CudaOptions {
  /** How texts without a compiled form become one. */
  compile: Compile;
  /** Times every launch; nothing overlaps then and no graphs are used. */
  profile?: boolean;
  /** Streams of a graph: with 2, launches that need nothing of each other may run side by side. */
  lanes?: 1 | 2;
  /** Names of the driver library, instead of the system's. */
  libraries?: readonly string[];
}

export class CudaDevice implements Device {
  readonly kind = "cuda";
  readonly ahead: boolean;
  readonly cuda: Cuda;
  /** Kernels that have run. */
  readonly launched = new Set<string>();
  private readonly manifest: Manifest;
  private readonly memory: Memory;
  private readonly staging: Staging;
  private readonly kernels = new Map<string, CudaKernel>();
  private readonly graphs = new Graphs();
  private readonly compile: Compile;
  private readonly times: Timings | undefined;
  /** Events not in use. */
  private readonly events: number[] = [];
  /** Ids that follow the runs that made them to the host, a slot a run. */
  private readonly next: PinnedBlock;
  private slot = 0;
  /** Functions whose launches no length changes, as far as they have been looked at. */
  private readonly free = new Map<string, boolean>();
  private mail: Mail | undefined;
  /** The second stream of graphs, where they have one. */
  private readonly side: number | undefined;
  private filler: CudaKernel | undefined;
  private sealed = false;
  private moves = 0;
  private tail: Promise<unknown> = Promise.resolve();
  private closed = false;

  private constructor(manifest: Manifest, options: CudaOptions) {
    this.manifest = manifest;
    this.compile = options.compile;
    this.cuda = new Cuda(0, options.libraries);
    const { driver, stream } = this.cuda;
    this.memory = new Memory(driver);
    this.staging = new Staging(driver, stream);
    this.next = new PinnedBlock(driver, SLOTS * 4 * MOST_NEXT);
    this.ahead = !options.profile;
    this.side = options.lanes === 2 ? driver.get("cuStreamCreate", NON_BLOCKING) : undefined;
    this.times = options.profile ? new Timings(driver, stream) : undefined;
  }

  /** Opens the GPU and loads every kernel of the manifest. */
  static async open(manifest: Manifest, files: ReadonlyMap<string, CudaFile>, options: CudaOptions): Promise<CudaDevice> {
    const device = new CudaDevice(manifest, options);
    try {
      const load = async ([name, record]: [string, KernelRecord]): Promise<void> => {
        const file = files.get(name);
        if (!file || !record.launch) throw brokenManifest(`kernel ${name} has ${file ? "no launch record" : "no text"}`);
        const { params, dims, launch, workspaceBytes, entry } = record;
        const cubin = file.cubin ?? (await options.compile(name, file.source));
        device.kernels.set(name, device.cuda.loadCubin(cubin, { name, entry, params, dims, launch, ...(workspaceBytes === undefined ? {} : { workspaceBytes }) }));
      };
      const all = await Promise.allSettled(Object.entries(manifest.kernels).map(load));
      for (const one of all) if (one.status === "rejected") throw one.reason;
      await device.openMail();
    } catch (e) {
      device.giveBack();
      throw e;
    }
    return device;
  }

  private async openMail(): Promise<void> {
    const { cuda, compile, memory } = this;
    const [begin, end] = [cuda.loadCubin(await compile(beginText.name, beginSource), beginText), cuda.loadCubin(await compile(endText.name, endSource), endText)];
    const state = memory.allocate(4, "the number of a step");
    cuda.driver.call("cuMemsetD8Async", state, 0, 4, cuda.stream);
    const mail = new Mail(cuda.driver, cuda.stream, { begin, end }, state);
    // Where the GPU cannot reach memory of the host (some virtual machines), copies of the driver do, a little slower.
    if (mail.works(memory.allocate(256, "a letter to itself"))) this.mail = mail;
    else mail.close();
  }

  allocate(bytes: number, what: string): number {
    return this.memory.allocate(bytes, what);
  }

  release(at: number): void {
    this.cuda.synchronize();
    // A graph may hold the address, and the next block may get it.
    this.graphs.clear();
    this.memory.release(at);
  }

  available(): number {
    return this.memory.available();
  }

  shortOf(what: string, needed: number, parts: readonly string[]): Error {
    return diagnostics.outOfMemory(what, needed, this.memory.available(), parts);
  }

  /** Powers of two, so that a growing sequence keeps its graph. */
  columns(pages: number): number {
    return Math.max(FEWEST_COLUMNS, 2 ** Math.ceil(Math.log2(pages)));
  }

  clear(at: number, bytes: number): void {
    this.cuda.fill(at, 0, bytes);
  }

  write(at: number, bytes: Uint8Array): void {
    this.staging.write(at, bytes);
  }

  read(at: number, bytes: number): Uint8Array {
    return this.cuda.download(at, bytes);
  }

  /** Graphs hold addresses of weights. */
  moved(): void {
    this.cuda.synchronize();
    this.graphs.clear();
  }

  copy(from: number, to: number, bytes: number): void {
    this.cuda.driver.call("cuMemcpyDtoDAsync_v2", to, from, bytes, this.cuda.stream);
  }

  async place(arrays: readonly StoredArray[]): Promise<void> {
    await this.staging.place(arrays);
    this.cuda.synchronize();
  }

  async fill(jobs: readonly FillJob[]): Promise<void> {
    if (this.sealed && !this.filler) throw diagnostics.lateCompile(fillText.name);
    this.filler ??= this.cuda.loadCubin(await this.compile(fillText.name, fillSource), fillText);
    const SMs = this.cuda.multiprocessors;
    for (const job of jobs) {
      const scalars = fillScalars(job);
      this.filler.enqueue(this.cuda.stream, [job.at], { SMs, count: job.count }, (name) => scalars[name]);
    }
    await this.finished();
  }

  /** Weights are in place: from here on nothing is compiled. */
  seal(): void {
    this.sealed = true;
  }

  /** Everything a call needs is enqueued at once; calls follow each other on the stream without the host. */
  async run(call: Call): Promise<Int32Array | undefined> {
    if (this.closed) throw misuse("the model is closed");
    const done = this.enqueue(call);
    this.tail = Promise.allSettled([this.tail, done]);
    const ids = await done;
    this.times?.collect();
    return ids;
  }

  /** Whether steps exchange tables and ids through pinned memory. */
  get mailed(): boolean {
    return this.mail !== undefined;
  }

  /** Microseconds of each of n replays of the graph that ran last, the GPU alone: what a step takes where the host adds nothing. */
  replayTimes(n: number): number[] {
    const { last } = this.graphs;
    if (last) this.mail?.repeat(n);
    return last?.time(n) ?? [];
  }

  /** Launches and milliseconds by kernel; zero unless opened with `profile`. */
  timings(): { kernel: string; ms: number; launches: number }[] {
    return this.times?.list() ?? [...this.kernels.keys()].map((kernel) => ({ kernel, ms: 0, launches: 0 }));
  }

  async idle(): Promise<void> {
    await this.tail;
  }

  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    await this.tail.catch(() => {});
    this.giveBack();
  }

  private fault(call: string, code: number): Error {
    return diagnostics.driverFailed(call, this.cuda.driver.nameOf(code), "a kernel of this run has failed");
  }

  private giveBack(): void {
    this.graphs.clear();
    this.memory.close();
    this.staging.close();
    this.next.free();
    this.mail?.close();
    for (const e of this.events) this.cuda.driver.attempt("cuEventDestroy_v2", e);
    this.cuda.close();
  }

  private enqueue(call: Call): Promise<Int32Array | undefined> {
    const rows = call.batch?.starts.at(-1);
    const step = call.batch !== undefined && rows === call.batch.lengths.length && !this.times && Mail.carries(call);
    if (step && lengthFree(this.manifest, call.function, this.free)) {
      const moves = [...this.kernels.values()].reduce((n, k) => n + k.moves, 0);
      if (moves !== this.moves) {
        // A workspace has grown elsewhere since: graphs hold its old address.
        this.graphs.clear();
        this.moves = moves;
      }
      const { mail, side } = this;
      const record = (): void => {
        if (side !== undefined) return this.launchBeside(call, side);
        mail?.bring(call);
        this.launchAll(call);
        mail?.send(call);
      };
      const graph = this.graphs.of(graphKey(call), () => this.cuda.capture(record));
      if (graph && mail) {
        const number = mail.post(call);
        graph.launch();
        return mail.answer(number, (code) => this.fault("cuStreamQuery", code));
      }
      if (graph) return this.copied(call, () => graph.launch());
    }
    return this.copied(call, () => this.launchAll(call));
  }

  /** A run whose tables and ids go by copies of the driver. */
  private copied(call: Call, launch: () => void): Promise<Int32Array | undefined> {
    if (call.tables) this.write(call.tables.at, call.tables.bytes);
    if (call.idsFrom !== undefined) this.cuda.driver.call("cuMemcpyDtoDAsync_v2", call.places.batch("ids"), call.idsFrom, 4 * call.batch!.lengths.length, this.cuda.stream);
    launch();
    const ids = this.fetchNext(call);
    return this.finished().then(() => ids?.slice());
  }

  private launchAll(call: Call): void {
    const { cuda, kernels, times, launched } = this;
    const SMs = cuda.multiprocessors;
    visitSteps(this.manifest, call, {
      launch(name, addresses, dims) {
        dims.SMs = SMs;
        launched.add(name);
        const kernel = kernels.get(name)!;
        if (times) times.around(name, () => kernel.enqueue(cuda.stream, addresses, dims));
        else kernel.enqueue(cuda.stream, addresses, dims);
      },
      read(at, count) {
        const bytes = cuda.download(at, 4 * count);
        return new Int32Array(bytes.buffer, bytes.byteOffset, count);
      },
    });
  }

  /** The launches of a step on two streams, as far as what they touch allows; between its first and last kernel. */
  private launchBeside(call: Call, side: number): void {
    const { cuda, kernels, launched } = this;
    const list: { run: (stream: number, early: boolean) => void; touches: Touch[] }[] = [];
    const everything: Touch = { from: -Infinity, to: Infinity, write: true };
    list.push({ run: () => this.mail?.bring(call), touches: [everything] });
    const numbers = [...kernels.keys()];
    visitSteps(this.manifest, call, {
      launch: (name, addresses, dims, blocks) => {
        dims.SMs = cuda.multiprocessors;
        launched.add(name);
        const kernel = kernels.get(name)!;
        const writes = this.manifest.kernels[name].writes;
        const touches = blocks.flatMap((b, i): Touch[] => (b ? [{ ...b, write: writes?.includes(i) ?? true }] : []));
        // No address is negative: a workspace is told from others by its kernel.
        if (kernel.hasWorkspace) touches.push({ from: -1 - numbers.indexOf(name), to: -numbers.indexOf(name), write: true });
        list.push({ run: (stream, early) => kernel.enqueue(stream, addresses, dims, undefined, early), touches });
      },
      read: () => {
        throw brokenManifest(`${call.function} reads back what it launches, and is a graph`);
      },
    });
    list.push({ run: (_, early) => this.mail?.send(call, early), touches: [everything] });
    const places = dealLanes(list.map((l) => l.touches));
    const awaited = new Set(places.flatMap((p) => p.after ?? []));
    const events = new Map<number, number>();
    const streams = [cuda.stream, side];
    for (const [i, { run }] of list.entries()) {
      const { lane, after } = places[i];
      if (after !== undefined) cuda.driver.call("cuStreamWaitEvent", streams[lane], events.get(after)!, 0);
      run(streams[lane], after === undefined);
      if (!awaited.has(i)) continue;
      const event = cuda.driver.get("cuEventCreate", WITHOUT_TIME);
      cuda.driver.call("cuEventRecord", event, streams[lane]);
      events.set(i, event);
    }
    for (const e of events.values()) cuda.driver.call("cuEventDestroy_v2", e);
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
  private async finished(): Promise<void> {
    const { driver, stream } = this.cuda;
    const event = this.events.pop() ?? driver.get("cuEventCreate", WITHOUT_TIME);
    driver.call("cuEventRecord", event, stream);
    for (;;) {
      const r = driver.attempt("cuEventQuery", event);
      if (r === 0) break;
      if (r !== NOT_READY) throw this.fault("cuEventQuery", r);
      await new Promise((resolve) => setImmediate(resolve));
    }
    this.events.push(event);
  }
}
