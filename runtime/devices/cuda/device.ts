// A GPU as a device: weights resident, one stream, kernels loaded before the first run and none after. A step of decoding is one
// graph; anything else is launched one by one. The event loop stays alive while the GPU works.
import type { KernelRecord, Manifest } from "../../../ir/artifact.ts";
import type { Mesh } from "../../../ir/mesh.ts";
import type { SystemKernel } from "../../../ir/system.ts";
import { brokenManifest, misuse } from "../../diagnostics.ts";
import type { Call, Device, FillJob, StoredArray, StoredPart, WeightPlace } from "../../device.ts";
import type { StreamTransport } from "../../ranks/transport.ts";
import type { Compile } from "./cubins.ts";
import * as diagnostics from "./diagnostics.ts";
import { fillScalars, runByRun } from "./fill.ts";
import { Cuda, type CudaKernel } from "./index.ts";
import type { Enqueued } from "./kernel.ts";
import { notFiniteLaunches } from "./not-finite.ts";
import { Mailbox } from "./mailbox.ts";
import { Memory } from "./memory.ts";
import { Meetings } from "./meetings.ts";
import { CudaLockstep, type LockstepKernels } from "./lockstep.ts";
import { RankMemory } from "./rank-memory.ts";
import { Readers } from "./readers.ts";
import { Executor, type Watch } from "./executor.ts";
import { Staging } from "./staging.ts";
import { Timings } from "./timings.ts";

/** Columns of the smallest page table: 1024 rows of 64. */
const FEWEST_COLUMNS = 16;

/**
 * Rows of steps that have graphs. Rows that fill a batch up go through experts of their own: three filled up to four, or five to
 * eight, would cost a mixture model 13 %; above eight it is 7 to 9 %, and a graph for every size would be a step launch by launch
 * for each.
 */
const BUCKETS = [1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 64] as const;

/** A kernel of an artifact: its text, and its compiled form where the artifact holds one. */
export interface CudaFile {
  source: string;
  cubin?: Uint8Array;
}

export interface CudaOptions {
  /** The GPU, where it was opened before; the first that the driver shows when absent. */
  cuda?: Cuda;
  /** How texts without a compiled form become one. */
  compile: Compile;
  /** A checkpoint will be read: its threads start while kernels load. */
  reads?: boolean;
  /** Times every launch; nothing overlaps then and no graphs are used. */
  profile?: boolean;
  /** Stands around every launch; no graphs then either. */
  watch?: Watch;
  /** Names of the driver library, instead of the system's. */
  libraries?: readonly string[];
  /** Of an artifact with a mesh: how the rank that this device is meets the others. Absent: all ranks are here, in lockstep. */
  peers?: (cuda: Cuda, system: (name: SystemKernel) => Promise<CudaKernel>) => Promise<StreamTransport>;
}

/** Kernels compiled at once: more than there are cores gains nothing, and the foreign function interface takes only so many calls. */
const COMPILES = 32;

export class CudaDevice implements Device {
  readonly kind = "cuda";
  readonly ahead: boolean;
  readonly draws: boolean;
  readonly cuda: Cuda;
  private readonly manifest: Manifest;
  /** Of the system kernels: some are loaded when they are first needed. */
  private readonly files: ReadonlyMap<string, CudaFile>;
  /** Where several ranks are here, each as weights are put into it. */
  readonly ranks?: readonly WeightPlace[];
  private readonly memory: RankMemory;
  private transport: StreamTransport | undefined;
  private readonly staging: Staging;
  private readonly kernels = new Map<string, CudaKernel>();
  /** Functions of libraries in the place of kernels. */
  private readonly calls = new Map<string, Enqueued>();
  private readonly options: CudaOptions;
  private readonly times: Timings | undefined;
  private readonly watch: Watch | undefined;
  private mailbox: Mailbox | undefined;
  /** There once every kernel is loaded. */
  private executor!: Executor;
  private filler: CudaKernel | undefined;
  /** Of parts of matrices, which ranks have. */
  private partFiller: CudaKernel | undefined;
  private readers: Readers | undefined;
  private sealed = false;
  private tail: Promise<unknown> = Promise.resolve();
  private closed = false;

  private constructor(manifest: Manifest, files: ReadonlyMap<string, CudaFile>, options: CudaOptions) {
    this.manifest = manifest;
    this.files = new Map([...files].filter(([name]) => Object.hasOwn(manifest.system ?? {}, name)));
    this.options = options;
    this.cuda = options.cuda ?? new Cuda(0, { arch: manifest.gpu!.arch, libraries: options.libraries });
    const { driver, stream } = this.cuda;
    const lockstep = manifest.mesh && !options.peers ? manifest.mesh.tp : 1;
    this.memory = new RankMemory(new Memory(driver), lockstep);
    if (lockstep > 1) this.ranks = Array.from({ length: lockstep }, (_, rank) => this.placeOf(rank));
    this.staging = new Staging(driver, stream);
    this.ahead = !options.profile && !options.watch;
    this.watch = options.watch;
    this.draws = manifest.system?.dsc_sample !== undefined;
    this.times = options.profile ? new Timings(driver, stream) : undefined;
  }

  /** Opens the GPU and loads every kernel of the manifest; `files` has those of the model and the system kernels, by name. */
  static async open(manifest: Manifest, files: ReadonlyMap<string, CudaFile>, options: CudaOptions): Promise<CudaDevice> {
    // First of all: they start while the driver does.
    const readers = options.reads ? new Readers({ libraries: options.libraries, device: options.cuda?.device ?? 0 }) : undefined;
    let device: CudaDevice;
    try {
      device = new CudaDevice(manifest, files, options);
    } catch (e) {
      readers?.close();
      throw e;
    }
    device.readers = readers;
    try {
      const load = async ([name, record]: [string, KernelRecord]): Promise<void> => {
        const file = files.get(name);
        if (record.call) {
          // Only here: most models call nobody's library.
          const { LibraryKernel } = await import("./library-kernel.ts");
          device.calls.set(name, new LibraryKernel(name, { ...record, call: record.call }));
          return;
        }
        if (!file || !record.launch) throw brokenManifest({ why: `kernel ${name} has ${file ? "no launch record" : "no text"}` });
        const { params, dims, launch, workspaceBytes, entry } = record;
        const cubin = file.cubin ?? (await options.compile(name, file.source));
        device.kernels.set(
          name,
          device.cuda.loadCubin(cubin, {
            name,
            entry,
            params,
            dims,
            launch,
            ...(workspaceBytes === undefined ? {} : { workspaceBytes }),
          }),
        );
      };
      const queue = Object.entries(manifest.kernels);
      const lane = async (): Promise<void> => {
        for (let next = queue.shift(); next; next = queue.shift()) await load(next);
      };
      const all = await Promise.allSettled(Array.from({ length: COMPILES }, lane));
      for (const one of all) if (one.status === "rejected") throw one.reason;
      await device.openRuns();
    } catch (e) {
      device.giveBack();
      throw e;
    }
    return device;
  }

  private async openRuns(): Promise<void> {
    const { manifest, cuda, kernels, staging, memory, times, watch } = this;
    const [begin, end, advance, sampler] = await Promise.all([
      this.system("dsc_begin"),
      this.system("dsc_end"),
      this.system("dsc_advance"),
      this.draws ? this.system("dsc_sample") : undefined,
    ]);
    const state = memory.allocate(4, "the number of a step");
    cuda.driver.call("cuMemsetD8Async", state, 0, 4, cuda.stream);
    const mailbox = new Mailbox(cuda.driver, cuda.stream, { begin, end }, state);
    // Where the GPU cannot reach memory of the host (some virtual machines), copies of the driver do, a little slower.
    if (mailbox.works(memory.allocate(256, "words to itself"))) this.mailbox = mailbox;
    else mailbox.close();
    const meetings = manifest.mesh && manifest.mesh.tp > 1 ? await this.openMeetings(manifest.mesh) : undefined;
    const { mailbox: steps } = this;
    const all = new Map<string, Enqueued>([...kernels, ...this.calls]);
    this.executor = new Executor(manifest, cuda, all, staging, {
      mailbox: steps,
      times,
      sampler,
      advance,
      watch,
      memory,
      meetings,
    });
  }

  /** Where the ranks that are here meet: each other, or those of other processes. */
  private async openMeetings(mesh: Mesh): Promise<Meetings> {
    const { cuda, memory, times } = this;
    const [own, rankMax, pickMax] = await Promise.all([
      this.system("dsc_own_experts"),
      this.system("dsc_rank_max"),
      this.system("dsc_pick_max"),
    ]);
    const { peers } = this.options;
    this.transport = peers
      ? await peers(cuda, (name) => this.system(name))
      : new CudaLockstep(mesh.tp, await this.lockstepKernels());
    const on = { driver: cuda.driver, stream: cuda.stream, memory };
    return new Meetings(this.transport, mesh, on, { own, rankMax, pickMax }, times && ((name, go) => times.around(name, go)));
  }

  private async lockstepKernels(): Promise<LockstepKernels> {
    const [all_reduce, all_gather, reduce_scatter] = await Promise.all([
      this.system("dsc_all_reduce"),
      this.system("dsc_all_gather"),
      this.system("dsc_reduce_scatter"),
    ]);
    return { all_reduce, all_gather, reduce_scatter };
  }

  /** A rank as weights are put into it. */
  private placeOf(rank: number): WeightPlace {
    const there = <T extends { at: number }>(all: readonly T[]): T[] =>
      all.map((x) => ({ ...x, at: this.memory.of(x.at, rank) }));
    return {
      place: (arrays) => this.bring(there(arrays)),
      fill: (jobs) => this.make(there(jobs)),
    };
  }

  /** A kernel that the runtime launches for itself: from the artifact, compiled now where that holds a text only. */
  private async system(name: SystemKernel): Promise<CudaKernel> {
    const record = this.manifest.system?.[name];
    const file = this.files.get(name);
    if (!record?.launch || !file) throw brokenManifest({ why: `the runtime launches ${name}, which is not in the artifact` });
    const { params, dims, launch } = record;
    const cubin = file.cubin ?? (await this.options.compile(name, file.source));
    return this.cuda.loadCubin(cubin, { name, params, dims, launch });
  }

  allocate(bytes: number, what: string): number {
    return this.memory.allocate(bytes, what);
  }

  release(at: number): void {
    this.cuda.synchronize();
    // A graph may hold the address, and the next block may get it.
    this.executor.forget();
    this.memory.release(at);
  }

  available(): number {
    return this.memory.available();
  }

  shortOf(what: string, needed: number, parts: readonly string[], help?: string): Error {
    const { ranks } = this.memory;
    const of = ranks > 1 ? [...parts, `so much for each of ${ranks} ranks on one device`] : parts;
    return diagnostics.outOfMemory({ what, needed, available: this.memory.available(), parts: of, help });
  }

  /** Powers of two, so that a growing sequence keeps its graph. */
  columns(pages: number): number {
    return Math.max(FEWEST_COLUMNS, 2 ** Math.ceil(Math.log2(pages)));
  }

  /** A graph for each of a few sizes, so that sequences that come and go find theirs. */
  rows(step: string, rows: number): number {
    return this.executor.graphed(step) ? (BUCKETS.find((b) => rows <= b) ?? rows) : rows;
  }

  clear(at: number, bytes: number): void {
    for (const to of this.memory.all(at)) this.cuda.fill(to, 0, bytes);
  }

  write(at: number, bytes: Uint8Array): void {
    for (const to of this.memory.all(at)) this.staging.write(to, bytes);
  }

  /** Of the first rank here: what is read is on every rank alike. */
  read(at: number, bytes: number): Uint8Array {
    return this.cuda.download(at, bytes);
  }

  /** Graphs hold addresses of weights. */
  moved(): void {
    this.cuda.synchronize();
    this.executor.forget();
  }

  copy(from: number, to: number, bytes: number): void {
    const [sources, targets] = [this.memory.all(from), this.memory.all(to)];
    for (const [r, at] of targets.entries())
      this.cuda.driver.call("cuMemcpyDtoDAsync_v2", at, sources[r], bytes, this.cuda.stream);
  }

  async place(arrays: readonly StoredArray[]): Promise<void> {
    await this.bring(arrays.flatMap((a) => this.memory.all(a.at).map((at) => ({ ...a, at }))));
  }

  private async bring(arrays: readonly StoredArray[]): Promise<void> {
    // Other streams than the launches': what was to be zeroed before has been, and what comes after finds all in place.
    this.cuda.synchronize();
    if (arrays.length) await this.startReaders().bring(arrays);
  }

  private startReaders(): Readers {
    return (this.readers ??= new Readers({ libraries: this.options.libraries, device: this.cuda.device }));
  }

  async fill(jobs: readonly FillJob[]): Promise<void> {
    await this.make(jobs.flatMap((j) => this.memory.all(j.at).map((at) => ({ ...j, at }))));
  }

  private async make(jobs: readonly FillJob[]): Promise<void> {
    if (this.sealed && !this.filler) throw diagnostics.lateCompile({ name: "dsc_fill" });
    this.filler ??= await this.system("dsc_fill");
    const SMs = this.cuda.multiprocessors;
    // An artifact without a mesh has no kernel for parts of matrices: their runs are made one by one.
    const parts = this.manifest.system?.dsc_fill_part !== undefined;
    for (const job of parts ? jobs : jobs.flatMap(runByRun)) {
      const scalars = fillScalars(job);
      const kernel = job.runs ? (this.partFiller ??= await this.system("dsc_fill_part")) : this.filler;
      kernel.enqueue(this.cuda.stream, [job.at], { SMs, count: job.count }, { scalar: (name) => scalars[name] });
    }
    await this.executor.finished();
  }

  async notFinite(parts: readonly StoredPart[]): Promise<number[]> {
    if (parts.length === 0) return [];
    const kernel = await this.system("dsc_not_finite");
    const found = this.memory.allocate(4 * parts.length, "what is no number");
    this.clear(found, 4 * parts.length);
    for (const [i, part] of parts.entries())
      for (const where of this.memory.all(part.at))
        for (const { at, scalars } of notFiniteLaunches({ ...part, at: where }))
          kernel.enqueue(
            this.cuda.stream,
            [at, found + 4 * i],
            { SMs: this.cuda.multiprocessors, bytes: scalars.bytes },
            { scalar: (name) => scalars[name] },
          );
    const words = this.read(found, 4 * parts.length);
    this.release(found);
    const bad = new Int32Array(words.buffer, words.byteOffset, parts.length);
    return parts.flatMap((_, i) => (bad[i] ? [i] : []));
  }

  /** Weights are in place: from here on nothing is compiled. */
  seal(): void {
    this.sealed = true;
    this.closeReaders();
  }

  /** Everything a call needs is enqueued at once; calls follow each other on the stream without the host. */
  async run(call: Call): Promise<Int32Array | undefined> {
    if (this.closed) throw misuse({ what: "the model is closed" });
    const done = this.executor.enqueue(call);
    this.tail = Promise.allSettled([this.tail, done]);
    const ids = await done;
    this.times?.collect();
    return ids;
  }

  /** Whether steps exchange tables and ids through pinned memory. */
  get usesMailbox(): boolean {
    return this.mailbox !== undefined;
  }

  /** Steps whose tables the host has sent; of the others the device knew them. */
  get sent(): number {
    return this.executor.sent;
  }

  /** Kernels that have run. */
  get launched(): ReadonlySet<string> {
    return this.executor.launched;
  }

  /** A loaded kernel: an edited text may keep something for its reader. */
  kernel(name: string): CudaKernel | undefined {
    return this.kernels.get(name);
  }

  /** Microseconds of each of n replays of the graph that ran last, the GPU alone: what a step takes where the host adds nothing. */
  replayTimes(n: number): number[] {
    return this.executor.replayTimes(n);
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
    const fault = this.transport?.fault();
    await this.transport?.close();
    try {
      this.giveBack();
    } catch (e) {
      // A kernel that ended with a fault has taken the context with it; what is wrong has been said.
      if (!fault) throw e;
    }
  }

  private closeReaders(): void {
    this.readers?.close();
    this.readers = undefined;
  }

  private giveBack(): void {
    this.closeReaders();
    this.executor?.close();
    this.memory.close();
    this.staging.close();
    this.cuda.close();
  }
}
