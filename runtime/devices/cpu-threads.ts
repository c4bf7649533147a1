// The worker threads of the CPU device. A job goes to all of them, one job at a time; the main thread only posts and awaits, so its
// event loop stays alive. The first true failure of a job is thrown, after all threads have answered or ended.
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import * as diagnostics from "../diagnostics.ts";
import type { Job, Reply, WorkerStart } from "./cpu-worker.ts";
import { fail, reset } from "./execute.ts";

export type Failure = Reply & { ok: false };

export class Threads {
  readonly count: number;
  private readonly control = new Int32Array(new SharedArrayBuffer(64));
  private workers: Worker[] = [];
  private tail: Promise<unknown> = Promise.resolve();
  private closed = false;

  constructor(count: number) {
    this.count = count;
  }

  /** Starts the threads; `start` gives each what it needs to know. Settles when all are ready. */
  async start(start: (index: number) => Omit<WorkerStart, "index" | "count" | "control">, explain: (r: Failure) => Error): Promise<void> {
    const file = workerFile();
    this.workers = Array.from({ length: this.count }, (_, index) => {
      const workerData: WorkerStart = { ...start(index), index, count: this.count, control: this.control };
      return new Worker(file, { workerData, stdout: false, stderr: false });
    });
    const ready = this.gather(() => {}, explain);
    // Jobs queue behind the start.
    this.tail = ready.catch(() => {});
    try {
      await ready;
    } catch (e) {
      await this.close();
      throw e;
    }
  }

  /** Queues a job. */
  post(job: Job, explain: (r: Failure) => Error = (r) => diagnostics.workerFailed(r.why)): Promise<void> {
    if (this.closed) return Promise.reject(diagnostics.misuse("the model is closed"));
    const next = this.tail.then(() => this.gather((w) => w.postMessage(job), explain));
    this.tail = next.catch(() => {});
    return next;
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

  private async gather(post: (w: Worker) => void, explain: (r: Failure) => Error): Promise<void> {
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
