// The CPU device: memory and worker threads (cpu-threads.ts) that run programs over it. Kernels are WebAssembly over shared memories
// (segments.ts), where one holds a model of up to a few GiB, a larger one lies in several, and its launches run where their weights are
// (router.ts); or they are a library over memory of the process (native).
// Refuses with needed and available bytes instead of running out.
import { availableParallelism } from "node:os";
import { setFlagsFromString } from "node:v8";
import type { Manifest } from "../../ir/artifact.ts";
import type { LibraryCall } from "../../ir/library-call.ts";
import type { Call, Device, FillJob, StoredArray } from "../device.ts";
import * as diagnostics from "../diagnostics.ts";
import { firstBad } from "../finite.ts";
import { instanceBytes, layersThatFit, residentBytes } from "../weights.ts";
import { narrowBytes, readRows, rowByRow, widen } from "../widen.ts";
import type { WasmStart } from "./cpu-space.ts";
import type { ReadPart } from "./cpu-job.ts";
import { Threads } from "./cpu-threads.ts";
import type { Program } from "./program.ts";
import { flattenPieces, type Piece } from "./program.ts";
import type { Meeting } from "../plan/walk.ts";
import { operandsOf } from "../ranks/operands.ts";
import type { Transport } from "../ranks/transport.ts";
import { ALIGN, align } from "../plan/align.ts";
import type { CpuMemory } from "./cpu-memory.ts";
import { MEMORY_BYTES, ONE_SEGMENT, SEGMENT_BYTES, Segments, availableBytes, scratchAt } from "./segments.ts";

/** A kernel of an artifact: WebAssembly, or a function of somebody's library, which one thread calls. */
export type CpuKernel = { name: string; scratchBytes: number } & (
  | { binary: Uint8Array<ArrayBuffer>; entry: string }
  | { call: LibraryCall; dims: readonly string[] }
);

export interface CpuOptions {
  /** Worker threads; the cores this process may use when absent. */
  threads?: number;
  /** Adds up time by kernel. */
  profile?: boolean;
  /** Processes on this machine that do as this one does: each has its part of the memory. */
  sharers?: number;
  /** Bytes of weights in one WebAssembly memory. By default all that fit beside a cache, or 2 GiB where there are more. */
  segmentBytes?: number;
}

/** Bytes a thread reads at a time: enough for bandwidth, and little enough that all threads end together. */
const READ_BYTES = 4 << 20;

/**
 * Compiles all kernels at once, optimised from the start. V8's quick first tier is three to ten times slower and would run
 * the whole first prefill, because a function is replaced only when it is next entered and one entry is a whole launch.
 */
async function compileKernels(kernels: readonly CpuKernel[]): Promise<WasmStart["kernels"]> {
  setFlagsFromString("--no-liftoff");
  try {
    return await Promise.all(
      kernels.map(async (k) =>
        "call" in k
          ? { name: k.name, call: k.call, dims: [...k.dims] }
          : {
              name: k.name,
              entry: k.entry,
              module: await WebAssembly.compile(k.binary).catch((e: Error) => {
                throw diagnostics.badKernel({ kernel: k.name, why: e.message });
              }),
            },
      ),
    );
  } finally {
    setFlagsFromString("--liftoff");
  }
}

export class CpuDevice implements Device {
  readonly kind = "cpu";
  readonly ahead = false;
  /** Index of each kernel, as programs name them. */
  readonly kernels: ReadonlyMap<string, number>;
  readonly memory: CpuMemory;
  /** The WebAssembly memories, of a device that has them. */
  readonly #segments: Segments | undefined;
  /** How it meets other ranks, where it is one of several. */
  transport: Transport | undefined;
  private readonly manifest: Manifest;
  private readonly names: string[];
  private readonly times: Float64Array;
  private sharers = 1;
  private readonly pool: Threads;

  private constructor(manifest: Manifest, names: string[], pool: Threads, memory: CpuMemory) {
    [this.manifest, this.names, this.pool, this.memory] = [manifest, names, pool, memory];
    this.#segments = memory instanceof Segments ? memory : undefined;
    this.times = new Float64Array(new SharedArrayBuffer(names.length * 16));
    this.kernels = new Map(names.map((n, i) => [n, i]));
  }

  /** Starts the threads and instantiates every kernel on each. Refuses a weight that no memory can hold. */
  static async open(manifest: Manifest, kernels: readonly CpuKernel[], options: CpuOptions = {}): Promise<CpuDevice> {
    // Of a model that is too large altogether, that is what should be said; loading does.
    if (residentBytes(manifest) <= availableBytes())
      for (const [symbol, plan] of Object.entries(manifest.weights))
        if (plan.source.kind !== "rope" && instanceBytes(plan) > MEMORY_BYTES)
          throw diagnostics.noMemory({
            what: `weight ${symbol} of one layer`,
            needed: instanceBytes(plan),
            available: MEMORY_BYTES,
            parts: ["a weight has to lie in one WebAssembly memory, on any machine"],
            help: tooLargeHelp(manifest),
          });
    const pool = poolOf(options);
    const modules = await compileKernels(kernels);
    // Found here once, and not by every thread.
    const ffi = kernels.some((k) => "call" in k) ? (await import("../tvm/index.ts")).about().path : undefined;
    const scratch = align(kernels.reduce((most, k) => Math.max(most, k.scratchBytes), 0));
    const segments = new Segments({
      fill: options.segmentBytes ?? (residentBytes(manifest) <= ONE_SEGMENT ? MEMORY_BYTES : SEGMENT_BYTES),
      scratch: scratch * pool.count,
      added: (index, memory) => void pool.post({ kind: "segment", index, memory }).catch(() => {}),
    });
    const names = kernels.map((k) => k.name);
    const device = new CpuDevice(manifest, names, pool, segments);
    device.sharers = options.sharers ?? 1;
    await pool.start(
      (index) => ({
        space: {
          kind: "wasm",
          memory: segments.memory(0),
          scratch: scratchAt(index, scratch),
          kernels: modules,
          // Of a single cell the last thread has all.
          ...(ffi === undefined || index !== pool.count - 1 ? {} : { ffi }),
        },
        ...(options.profile && index === 0 ? { times: device.times } : {}),
      }),
      (r) => diagnostics.badKernel({ kernel: names[r.kernel] ?? "?", why: r.why }),
    );
    return device;
  }

  /** The same over a library of kernels, which lies at `path` while the threads start. */
  static async openLibrary(
    manifest: Manifest,
    path: string,
    kernels: readonly Pick<CpuKernel, "name" | "scratchBytes">[],
    options: Pick<CpuOptions, "threads" | "profile"> = {},
  ): Promise<CpuDevice> {
    // Only here: the foreign function interface takes time to load, and WebAssembly needs none.
    const [{ NativeLibrary }, { NativeMemory }] = await Promise.all([
      import("./native/library.ts"),
      import("./native/memory.ts"),
    ]);
    const memory = new NativeMemory(new NativeLibrary(path));
    const pool = poolOf(options);
    const scratch = align(kernels.reduce((most, k) => Math.max(most, k.scratchBytes), 0)) + 2 * ALIGN;
    const names = kernels.map((k) => k.name);
    const device = new CpuDevice(manifest, names, pool, memory);
    await pool.start(
      (index) => ({
        space: { kind: "native", path, kernels: names, scratch: new SharedArrayBuffer(scratch) },
        ...(options.profile && index === 0 ? { times: device.times } : {}),
      }),
      (r) => diagnostics.badKernel({ kernel: names[r.kernel] ?? "library", why: r.why }),
    );
    return device;
  }

  /** The WebAssembly memories; of a device that has them. */
  get segments(): Segments {
    return this.#segments!;
  }

  /** A job for all threads, after what they have to know for it. */
  private post(...job: Parameters<Threads["post"]>): Promise<void> {
    const news = this.memory.news?.();
    if (news) void this.pool.post(news).catch(() => {});
    return this.pool.post(...job);
  }

  get threads(): number {
    return this.pool.count;
  }

  allocate(bytes: number, what: string, near?: number): number {
    return this.memory.allocate(bytes, what, near);
  }

  release(at: number): void {
    this.memory.release(at);
  }

  together(bytes: number): void {
    this.memory.together(bytes);
  }

  /** Views of the memory: valid for ever, for shared memory grows in place. */
  bytes(at: number, length: number): Uint8Array {
    return this.memory.bytes(at, length);
  }
  f32(at: number, length: number): Float32Array {
    const { buffer, offset } = this.memory.locate(at);
    return new Float32Array(buffer, offset, length);
  }

  get largest(): number {
    return this.memory.largest ?? Infinity;
  }

  available(): number {
    return Math.floor(availableBytes() / this.sharers);
  }

  shortOf(what: string, needed: number, parts: readonly string[], help?: string): Error {
    const shared = this.sharers > 1 ? [`one of ${this.sharers} ranks on this machine, which divide its memory`] : [];
    return diagnostics.noMemory({ what, needed, available: this.available(), parts: [...parts, ...shared], help });
  }

  columns(pages: number): number {
    return pages;
  }

  seal(): void {}

  clear(at: number, bytes: number): void {
    this.bytes(at, bytes).fill(0);
  }

  write(at: number, bytes: Uint8Array): void {
    this.memory.write(at, bytes);
  }

  read(at: number, bytes: number): Uint8Array {
    return this.bytes(at, bytes);
  }

  /** Every run is given its addresses anew. */
  moved(): void {}

  copy(from: number, to: number, bytes: number): void {
    this.bytes(to, bytes).set(this.bytes(from, bytes));
  }

  /** Every thread reads parts of the files straight into place, until there are none left. */
  async place(given: readonly StoredArray[]): Promise<void> {
    const arrays = given.flatMap(rowByRow);
    const plain = arrays.filter((a) => !a.rows);
    const parts = plain.flatMap((a): ReadPart[] => {
      const at = a.form === "same" ? a.at : a.at + a.count * (4 - narrowBytes[a.form]);
      return Array.from({ length: Math.ceil(a.bytes / READ_BYTES) }, (_, i) => {
        const from = i * READ_BYTES;
        const bytes = Math.min(READ_BYTES, a.bytes - from);
        return {
          file: a.file.path,
          identity: a.file.identity,
          position: a.file.begin + from,
          at: at + from,
          bytes,
          name: a.file.tensor,
          ...(a.dtype === undefined ? {} : { dtype: a.dtype }),
          element: (from * a.count) / a.bytes,
        };
      });
    });
    await this.post({ kind: "read", parts, next: new Int32Array(new SharedArrayBuffer(4)) }, (r) => {
      const part = parts[r.site];
      if (part && r.element !== undefined) return diagnostics.elementNotFinite(part.name, part.file, r.element);
      return part
        ? diagnostics.shortRead({ file: part.file, tensor: part.name, why: r.why })
        : diagnostics.workerFailed({ why: r.why });
    });
    for (const a of arrays) {
      if (!a.rows) continue;
      const rows = a.bytes / a.rows.bytes;
      const room = this.bytes(a.at, rows * a.rows.pitch);
      await readRows(a, a.rows, room, 0, rows);
      // Between the rows are zeros.
      const bad = a.dtype === undefined ? undefined : firstBad(room, a.dtype);
      const [width, pitch] = [a.count / rows, (a.count / rows / a.rows.bytes) * a.rows.pitch];
      if (bad !== undefined)
        throw diagnostics.elementNotFinite(a.file.tensor, a.file.path, Math.floor(bad / pitch) * width + (bad % pitch));
    }
    for (const a of plain) {
      if (a.form === "same") continue;
      const { buffer, offset } = this.memory.locate(a.at);
      widen(a.form, buffer, offset, a.count);
    }
  }

  async run(call: Call): Promise<undefined> {
    let place = 0;
    for (const piece of this.pieces(call))
      if (piece.kind === "program") await this.executePiece(piece);
      else {
        if (!this.transport) throw diagnostics.noPeers({ ranks: this.manifest.mesh?.tp ?? 1 });
        const { operands, results } = this.buffersOf(piece, this.transport.ranks);
        await this.transport.meet(piece, place++, operands, results);
      }
  }

  /** A call as programs, and the meetings with other ranks between them; its tables are written. */
  pieces({ function: name, ...call }: Call): Piece[] {
    if (call.tables) this.write(call.tables.at, call.tables.bytes);
    const segments = this.#segments;
    const { wide = false } = this.memory;
    const several = segments && segments.count > 1 ? { segments } : {};
    return flattenPieces(this.manifest, name, { ...call, ...several, wide, kernels: this.kernels });
  }

  async executePiece(piece: Piece): Promise<void> {
    if (piece.kind === "program" && piece.program.words.length) await this.execute(piece.program);
  }

  /** What a meeting of `ranks` reads and writes here. */
  buffersOf({ step, pointers, outer, inner }: Meeting, ranks: number): { operands: Uint8Array[]; results: Uint8Array[] } {
    const sizes = operandsOf(step, outer, inner, ranks);
    const views = pointers.map((p, i) => this.bytes(p.at, sizes[i].elements * (sizes[i].dtype === "bf16" ? 2 : 4)));
    return { operands: views.filter((_, i) => !sizes[i].written), results: views.filter((_, i) => sizes[i].written) };
  }

  /** Runs a program on all threads. Throws DSC5040 with kernel and site when one traps. */
  execute(program: Program): Promise<void> {
    return this.post({ kind: "run", words: program.words }, (r) => {
      const kernel = this.names[r.kernel] ?? "?";
      const site = (program.sites[r.site] ?? "?") + (r.layer >= 0 ? ` of layer ${r.layer}` : "");
      const failed = this.manifest.kernels[kernel]?.call ? diagnostics.callFailed : diagnostics.kernelFailed;
      return failed({ kernel, site, why: r.why });
    });
  }

  /** Generates synthetic tensors in place, every thread its share of each. */
  fill(jobs: readonly FillJob[]): Promise<void> {
    return this.post({ kind: "fill", jobs });
  }

  /** Milliseconds and launches by kernel since the device opened, longest first; zero unless opened with `profile`. */
  timings(): { kernel: string; ms: number; launches: number }[] {
    return this.names
      .map((kernel, i) => ({ kernel, ms: this.times[2 * i], launches: this.times[2 * i + 1] }))
      .toSorted((a, b) => b.ms - a.ms);
  }

  idle(): Promise<void> {
    return this.pool.idle();
  }

  close(): Promise<void> {
    return this.pool.close();
  }
}

const poolOf = ({ threads }: Pick<CpuOptions, "threads">): Threads =>
  new Threads(Math.max(1, Math.min(64, Math.floor(threads ?? availableParallelism()))));

const tooLargeHelp = (manifest: Manifest): string =>
  diagnostics.fewerLayers(
    layersThatFit(manifest, availableBytes(), MEMORY_BYTES),
    manifest.model.layers,
    "; --target cuda has no such limit, on a machine with a GPU",
  );
