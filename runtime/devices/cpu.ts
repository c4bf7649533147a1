// The CPU device: one shared WebAssembly memory of up to 4 GiB (weights, caches, arenas, tables) and worker threads that
// run programs over it. The main thread only posts and awaits, so its event loop stays alive. Addresses are unsigned bytes.
// Jobs queue: one runs at a time. Refuses with needed and available bytes instead of running out.
import { existsSync } from "node:fs";
import { availableParallelism, freemem } from "node:os";
import { fileURLToPath } from "node:url";
import { setFlagsFromString } from "node:v8";
import { Worker } from "node:worker_threads";
import * as diagnostics from "../diagnostics.ts";
import type { Manifest } from "../../ir/artifact.ts";
import type { Call, Device, FillJob, StoredArray } from "../device.ts";
import { narrowBytes, readRows, widen } from "../widen.ts";
import type { Job, Reply, WorkerStart } from "./cpu-worker.ts";
import { fail, reset } from "./execute.ts";
import type { Program } from "./program.ts";
import { ALIGN, align, flatten } from "./program.ts";

export interface CpuKernel {
  name: string;
  binary: Uint8Array<ArrayBuffer>;
  entry: string;
  scratchBytes: number;
}

const WASM_PAGE = 65536;
const MOST_PAGES = 65536;
export const ADDRESS_SPACE = WASM_PAGE * MOST_PAGES;

/**
 * Compiles all kernels at once, optimised from the start. V8's quick first tier is three to ten times slower and would run
 * the whole first prefill, because a function is replaced only when it is next entered and one entry is a whole launch.
 */
async function compileKernels(kernels: readonly CpuKernel[]): Promise<WorkerStart["kernels"]> {
  setFlagsFromString("--no-liftoff");
  try {
    return await Promise.all(
      kernels.map(async ({ name, binary, entry }) => ({
        name,
        entry,
        module: await WebAssembly.compile(binary).catch((e: Error) => {
          throw diagnostics.badKernel(name, e.message);
        }),
      })),
    );
  } finally {
    setFlagsFromString("--liftoff");
  }
}

/** Bytes a model may take now: the address space, the container's limit and what the system can give, whichever is least. */
export function availableBytes(): number {
  const limit = process.constrainedMemory() || Infinity;
  return Math.min(ADDRESS_SPACE - WASM_PAGE, limit, freemem());
}

export class CpuDevice implements Device {
  readonly kind = "cpu";
  readonly ahead = false;
  readonly memory: WebAssembly.Memory;
  readonly threads: number;
  /** Index of each kernel, as programs name them. */
  readonly kernels: ReadonlyMap<string, number>;
  private readonly manifest: Manifest;
  private readonly names: string[];
  private readonly times: Float64Array;
  private readonly control = new Int32Array(new SharedArrayBuffer(64));
  private workers: Worker[] = [];
  private tail: Promise<unknown> = Promise.resolve();
  private free: { at: number; bytes: number }[] = [];
  private readonly taken = new Map<number, number>();
  private top = ALIGN;
  private closed = false;

  private constructor(manifest: Manifest, threads: number, names: string[]) {
    this.manifest = manifest;
    this.memory = new WebAssembly.Memory({ initial: 1, maximum: MOST_PAGES, shared: true });
    this.threads = threads;
    this.names = names;
    this.times = new Float64Array(new SharedArrayBuffer(names.length * 16));
    this.kernels = new Map(names.map((n, i) => [n, i]));
  }

  /** Starts the threads and instantiates every kernel on each. `threads` defaults to the cores this process may use. */
  static async open(manifest: Manifest, kernels: readonly CpuKernel[], options: { threads?: number; profile?: boolean } = {}): Promise<CpuDevice> {
    const threads = Math.max(1, Math.min(64, Math.floor(options.threads ?? availableParallelism())));
    const device = new CpuDevice(
      manifest,
      threads,
      kernels.map((k) => k.name),
    );
    const modules = await compileKernels(kernels);
    const scratch = align(kernels.reduce((most, k) => Math.max(most, k.scratchBytes), 0));
    const scratchAt = scratch ? device.allocate(scratch * threads, "scratch memory of the kernels") : 0;
    const file = workerFile();
    device.workers = Array.from({ length: threads }, (_, index) => {
      const workerData: WorkerStart = {
        index,
        count: threads,
        memory: device.memory,
        control: device.control,
        scratch: scratchAt + index * scratch,
        kernels: modules,
        times: options.profile && index === 0 ? device.times : undefined,
      };
      return new Worker(file, { workerData, stdout: false, stderr: false });
    });
    try {
      await device.gather(
        () => {},
        (r) => diagnostics.badKernel(device.names[r.kernel] ?? "?", r.why),
      );
    } catch (e) {
      await device.close();
      throw e;
    }
    return device;
  }

  /** Takes bytes at a multiple of 64. The content is undefined. `what` names the need in a refusal. */
  allocate(bytes: number, what: string): number {
    const size = Math.max(ALIGN, align(bytes));
    const i = this.free.findIndex((b) => b.bytes >= size);
    if (i >= 0) {
      const block = this.free[i];
      if (block.bytes === size) this.free.splice(i, 1);
      else this.free[i] = { at: block.at + size, bytes: block.bytes - size };
      this.taken.set(block.at, size);
      return block.at;
    }
    const at = this.top;
    const need = at + size;
    const have = this.memory.buffer.byteLength;
    if (need > have) {
      try {
        if (need > ADDRESS_SPACE) throw new RangeError("past the address space");
        this.memory.grow(Math.ceil((need - have) / WASM_PAGE));
      } catch {
        throw diagnostics.noMemory(what, size, Math.max(0, ADDRESS_SPACE - at), [`${diagnostics.bytes(at)} are in use already`]);
      }
    }
    this.top = need;
    this.taken.set(at, size);
    return at;
  }

  /** Gives a block back. */
  release(at: number): void {
    const bytes = this.taken.get(at);
    if (bytes === undefined) return;
    this.taken.delete(at);
    const blocks = [...this.free, { at, bytes }].toSorted((a, b) => a.at - b.at);
    this.free = [];
    for (const b of blocks) {
      const last = this.free[this.free.length - 1];
      if (last && last.at + last.bytes === b.at) last.bytes += b.bytes;
      else this.free.push({ ...b });
    }
    const last = this.free[this.free.length - 1];
    if (last && last.at + last.bytes === this.top) {
      this.top = last.at;
      this.free.pop();
    }
  }

  /** Views of the memory: valid for ever, for shared memory grows in place. */
  bytes(at: number, length: number): Uint8Array {
    return new Uint8Array(this.memory.buffer, at, length);
  }
  f32(at: number, length: number): Float32Array {
    return new Float32Array(this.memory.buffer, at, length);
  }
  i32(at: number, length: number): Int32Array {
    return new Int32Array(this.memory.buffer, at, length);
  }

  available(): number {
    return availableBytes();
  }

  shortOf(what: string, needed: number, parts: readonly string[]): Error {
    return diagnostics.noMemory(what, needed, this.available(), [...parts]);
  }

  columns(pages: number): number {
    return pages;
  }

  seal(): void {}

  clear(at: number, bytes: number): void {
    this.bytes(at, bytes).fill(0);
  }

  write(at: number, bytes: Uint8Array): void {
    this.bytes(at, bytes.length).set(bytes);
  }

  read(at: number, bytes: number): Uint8Array {
    return this.bytes(at, bytes);
  }

  copy(from: number, to: number, bytes: number): void {
    this.bytes(to, bytes).set(this.bytes(from, bytes));
  }

  async place(arrays: readonly StoredArray[]): Promise<void> {
    const queue = [...arrays];
    const lane = async (): Promise<void> => {
      for (let a = queue.shift(); a; a = queue.shift()) {
        if (a.rows) await readRows(a, a.rows, this.bytes(a.at, (a.bytes / a.rows.bytes) * a.rows.pitch), 0, a.bytes / a.rows.bytes);
        else if (a.form === "same") await a.read(this.bytes(a.at, a.bytes), 0);
        else {
          await a.read(this.bytes(a.at + a.count * (4 - narrowBytes[a.form]), a.bytes), 0);
          widen(a.form, this.memory.buffer, a.at, a.count);
        }
      }
    };
    await Promise.all([lane(), lane(), lane(), lane()]);
  }

  async run({ function: name, ...call }: Call): Promise<undefined> {
    await this.execute(flatten(this.manifest, name, { ...call, kernels: this.kernels }));
  }

  /** Runs a program on all threads. Throws DSC5040 with kernel and site when one traps. */
  execute(program: Program): Promise<void> {
    return this.enqueue({ kind: "run", words: program.words }, (r) =>
      diagnostics.kernelFailed(
        this.names[r.kernel] ?? "?",
        (program.sites[r.site] ?? "?") + (r.layer >= 0 ? ` of layer ${r.layer}` : ""),
        r.why,
      ),
    );
  }

  /** Generates synthetic tensors in place, every thread its share of each. */
  fill(jobs: readonly FillJob[]): Promise<void> {
    return this.enqueue({ kind: "fill", jobs }, (r) => diagnostics.workerFailed(r.why));
  }

  /** Milliseconds and launches by kernel since the device opened, longest first; zero unless opened with `profile`. */
  timings(): { kernel: string; ms: number; launches: number }[] {
    return this.names
      .map((kernel, i) => ({ kernel, ms: this.times[2 * i], launches: this.times[2 * i + 1] }))
      .toSorted((a, b) => b.ms - a.ms);
  }

  /** Settles when no job is running or queued. */
  async idle(): Promise<void> {
    await this.tail;
  }

  async close(): Promise<void> {
    this.closed = true;
    await this.tail.catch(() => {});
    await Promise.all(this.workers.map((w) => w.terminate()));
    this.workers = [];
  }

  private enqueue(job: Job, explain: (r: Reply & { ok: false }) => Error): Promise<void> {
    if (this.closed) return Promise.reject(diagnostics.misuse("the model is closed"));
    const next = this.tail.then(() => this.gather((w) => w.postMessage(job), explain));
    this.tail = next.catch(() => {});
    return next;
  }

  /** One job on every worker: the first true failure is thrown, after all have answered or ended. */
  private async gather(post: (w: Worker) => void, explain: (r: Reply & { ok: false }) => Error): Promise<void> {
    const replies = this.workers.map(
      (w) =>
        new Promise<Reply>((resolve, reject) => {
          const off = (): void => {
            w.off("message", message).off("error", failed).off("exit", exit);
            w.unref();
          };
          const message = (r: Reply): void => {
            off();
            resolve(r);
          };
          // A thread that is gone leaves the others waiting for it: release them, and take no more jobs.
          const lost = (why: string): void => {
            off();
            this.closed = true;
            fail(this.control);
            reject(diagnostics.workerFailed(why));
          };
          const failed = (e: Error): void => lost(e.message);
          const exit = (code: number): void => lost(`exit code ${code}`);
          w.on("message", message).on("error", failed).on("exit", exit);
          w.ref();
          post(w);
        }),
    );
    const all = await Promise.all(replies);
    const bad = all.filter((r) => !r.ok);
    if (bad.length === 0) return;
    reset(this.control);
    throw explain(bad.find((r) => !r.stopped) ?? bad[0]);
  }
}

/** Workers need JavaScript: when this file runs as TypeScript (under the tests), the built worker beside it in dist. */
function workerFile(): string {
  const here = import.meta.url;
  const path = fileURLToPath(
    here.endsWith(".ts") ? new URL("../../dist/runtime/devices/cpu-worker.js", here) : new URL("./cpu-worker.js", here),
  );
  if (!existsSync(path)) throw diagnostics.noWorkerFile(path);
  return path;
}
