// Threads that bring files to the GPU, each with its own stream and page-locked memory. Node's own pool has four threads, and a user
// would have to know the variable that makes it more; a file in memory then comes at 8 GB/s, by eight threads of our own at 38.
import { existsSync } from "node:fs";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import type { StoredArray } from "../../device.ts";
import * as diagnostics from "../../diagnostics.ts";
import { chunksOf } from "./chunks.ts";
import type { ReaderJob, ReaderReply, ReaderStart } from "./reader-worker.ts";

/** More gain little, and each takes its time to start and to page-lock memory. */
const MOST = 8;
export class Readers {
  private readonly workers: Worker[];
  /** Why a thread is gone, once one is; it may end while it has nothing to do. */
  private lost: Error | undefined;
  private readonly ready: Promise<unknown>;

  /** Starts the threads; they open the driver while the caller goes on. */
  constructor(start: ReaderStart) {
    const file = workerFile();
    this.workers = Array.from({ length: Math.min(MOST, Math.max(2, availableParallelism())) }, () => {
      const w = new Worker(file, { workerData: start, stdout: false, stderr: false });
      const lose = (why: string): void => void (this.lost ??= diagnostics.workerFailed({ why }));
      return w.on("error", (e: Error) => lose(e.message)).on("exit", (code) => lose(`exit code ${code}`));
    });
    this.ready = Promise.all(this.workers.map((w) => reply(w)));
    // Looked at by the first job, if there is one.
    this.ready.catch(() => {});
  }

  /** Brings arrays of a checkpoint to the device; what was enqueued there before must have ended. */
  async bring(arrays: readonly StoredArray[]): Promise<void> {
    await this.ready;
    if (this.lost) throw this.lost;
    // Threads cut arrays into chunks by themselves, all alike: thousands of chunks would take longer to send than to read.
    const job: ReaderJob = {
      arrays: arrays.map(({ at, bytes, form, rows, file }) => ({ at, bytes, form, file, ...(rows ? { rows } : {}) })),
      next: new Int32Array(new SharedArrayBuffer(4)),
    };
    const replies = await Promise.all(this.workers.map((w) => reply(w, job)));
    const bad = replies.find((r) => !r.ok);
    if (!bad || bad.ok) return;
    const { path, tensor } = chunksOf(arrays)[bad.chunk];
    throw diagnostics.shortRead({ file: path, tensor, why: bad.why });
  }

  /** Lets the threads end by themselves. */
  close(): void {
    for (const w of this.workers) w.postMessage("close" satisfies ReaderJob);
  }
}

/** What a thread answers, to a job or to its start; it keeps the program alive meanwhile. */
function reply(w: Worker, job?: ReaderJob): Promise<ReaderReply> {
  return new Promise((resolve, reject) => {
    const off = (): void => {
      w.off("message", message).off("error", failed).off("exit", exit);
      w.unref();
    };
    const message = (r: ReaderReply): void => {
      off();
      // Before its first job only the start can fail.
      if (!r.ok && !job) reject(diagnostics.workerFailed({ why: r.why }));
      else resolve(r);
    };
    const lost = (why: string): void => {
      off();
      reject(diagnostics.workerFailed({ why }));
    };
    const failed = (e: Error): void => lost(e.message);
    const exit = (code: number): void => lost(`exit code ${code}`);
    w.on("message", message).on("error", failed).on("exit", exit);
    w.ref();
    if (job) w.postMessage(job);
  });
}

/** Workers need JavaScript: when this file runs as TypeScript (under the tests), the built worker in dist. */
function workerFile(): string {
  const here = import.meta.url;
  const path = fileURLToPath(
    here.endsWith(".ts")
      ? new URL("../../../dist/runtime/devices/cuda/reader-worker.js", here)
      : new URL("./reader-worker.js", here),
  );
  if (!existsSync(path)) throw diagnostics.noWorkerFile({ path });
  return path;
}
