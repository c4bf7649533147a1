// The worker threads of the CPU device. A job goes to all of them, one job at a time; the main thread only posts and awaits, so its
// event loop stays alive. The first true failure of a job is thrown, after all threads have answered or ended.
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import * as diagnostics from "../diagnostics.ts";
import type { Job, Reply } from "./cpu-job.ts";
import type { WorkerStart } from "./cpu-worker.ts";
import { fail, reset } from "./execute.ts";

export type Failure = Reply & { ok: false };

export class Threads {
  readonly count: number;
  private readonly control = new Int32Array(new SharedArrayBuffer(64));
  private workers: Worker[] = [];
  private tail: Promise<unknown> = Promise.resolve();
  private closed = false;
  /** Why a thread is gone, once one is: the others would wait for it, so there are no jobs any more. */
  private lost: Error | undefined;
  /** Refuses the job under way. */
  private abandon: (why: Error) => void = () => {};

  constructor(count: number) {
    this.count = count;
  }

  /** Starts the threads; `start` gives each what it needs to know. Settles when all are ready. */
  async start(
    start: (index: number) => Omit<WorkerStart, "index" | "count" | "control">,
    explain: (r: Failure) => Error,
  ): Promise<void> {
    const file = workerFile();
    this.workers = Array.from({ length: this.count }, (_, index) => {
      const workerData: WorkerStart = { ...start(index), index, count: this.count, control: this.control };
      const w = new Worker(file, { workerData, stdout: false, stderr: false });
      // Always listened to, for a thread may end while it has nothing to do.
      return w.on("error", (e: Error) => this.lose(e.message)).on("exit", (code) => this.lose(`exit code ${code}`));
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
  post(job: Job, explain: (r: Failure) => Error = (r) => diagnostics.workerFailed({ why: r.why })): Promise<void> {
    if (this.closed) return Promise.reject(diagnostics.misuse({ what: "the model is closed" }));
    if (this.lost) return Promise.reject(this.lost);
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

  private lose(why: string): void {
    if (this.lost) return;
    this.lost = diagnostics.workerFailed({ why });
    fail(this.control);
    this.abandon(this.lost);
  }

  private async gather(post: (w: Worker) => void, explain: (r: Failure) => Error): Promise<void> {
    if (this.lost) throw this.lost;
    const given = new Promise<never>((_, reject) => (this.abandon = reject));
    const replies = this.workers.map(
      (w) =>
        new Promise<Reply>((resolve) => {
          w.once("message", (r: Reply) => {
            w.unref();
            resolve(r);
          });
          w.ref();
          post(w);
        }),
    );
    let all: Reply[];
    try {
      all = await Promise.race([Promise.all(replies), given]);
    } finally {
      this.abandon = () => {};
      for (const w of this.workers) w.unref();
    }
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
  if (!existsSync(path)) throw diagnostics.noWorkerFile({ path });
  return path;
}
