// Entry of a worker thread of the CPU device: instantiates every kernel on the shared memory once, then answers jobs.
// A job is a program to execute with the other threads, or ranges of synthetic weights to generate.
import { closeSync, readSync } from "node:fs";
import { parentPort, workerData } from "node:worker_threads";
import type { FillJob } from "../device.ts";
import { openSame } from "../files.ts";
import { NotFinite } from "../finite.ts";
import { fill } from "../synthetic.ts";
import type { Thread } from "./execute.ts";
import { Stopped, execute, fail } from "./execute.ts";
import type { Job, ReadPart, Reply } from "./cpu-job.ts";
import { wasmSpace, type Space, type WasmSpace, type WasmStart } from "./cpu-space.ts";
import type { NativeSpace, NativeStart } from "./native/space.ts";

/** What the device hands to each worker. */
export interface WorkerStart {
  index: number;
  count: number;
  control: Int32Array;
  /** Where to add up times by kernel; given to the first thread of a profiled device. */
  times?: Float64Array;
  space: ({ kind: "wasm" } & WasmStart) | ({ kind: "native" } & NativeStart);
}

const start = workerData as WorkerStart;
const at = { kernel: -1, site: -1, layer: -1 };
let wasm: WasmSpace | undefined;
let native: NativeSpace | undefined;

/** Only a library needs the foreign function interface, which takes time to load. */
async function begin({ space: own, index, count, control, times }: WorkerStart): Promise<Thread> {
  const space: Space =
    own.kind === "wasm" ? (wasm = await wasmSpace(own, at)) : (native = (await import("./native/space.ts")).nativeSpace(own, at));
  return { index, count, control, at, times, ...space };
}

let thread: Thread | undefined;
const spaceNow = (): Space => (wasm ?? native)!;

/** This thread's share of every range. */
function generate(jobs: readonly FillJob[]): void {
  for (const j of jobs) {
    const { buffer, offset } = spaceNow().locate(j.at);
    const from = Math.floor((j.count * start.index) / start.count);
    const to = Math.floor((j.count * (start.index + 1)) / start.count);
    const { width, pitch, apart } = j.runs ?? { width: j.count, pitch: 0, apart: 0 };
    for (let at = from; at < to;) {
      const [run, inRun] = [Math.floor(at / width), at % width];
      const some = Math.min(width - inRun, to - at);
      fill(buffer, offset + (run * apart + inRun) * j.bytes, j.recipe, j.start + run * pitch + inRun, some);
      at += some;
    }
  }
}

/** Parts of files, one after the other as long as some are left. */
function readParts(parts: readonly ReadPart[], next: Int32Array): void {
  const files = new Map<string, number>();
  try {
    for (let i = Atomics.add(next, 0, 1); i < parts.length; i = Atomics.add(next, 0, 1)) {
      at.site = i;
      const p = parts[i];
      let file = files.get(p.file);
      if (file === undefined) files.set(p.file, (file = openSame(p.file, p.identity)));
      const { buffer, offset } = spaceNow().locate(p.at);
      const target = new Uint8Array(buffer, offset, p.bytes);
      for (let done = 0; done < p.bytes;) {
        const n = readSync(file, target, done, p.bytes - done, p.position + done);
        if (n === 0) throw new Error("the file changed after its header was read");
        done += n;
      }
      const bad = p.dtype === undefined ? undefined : spaceNow().firstBad(p.at, p.bytes, p.dtype);
      if (bad !== undefined) throw new NotFinite(p.element + bad);
    }
    at.site = -1;
  } finally {
    for (const file of files.values()) closeSync(file);
  }
}

async function answer(work: () => void | Promise<void>): Promise<void> {
  let reply: Reply = { ok: true };
  try {
    await work();
  } catch (e) {
    if (!(e instanceof Stopped)) fail(start.control);
    reply = {
      ok: false,
      stopped: e instanceof Stopped,
      ...at,
      why: e instanceof Error ? (e.name === "Error" ? e.message : `${e.name}: ${e.message}`) : String(e),
      ...(e instanceof NotFinite ? { element: e.element } : {}),
    };
  }
  parentPort?.postMessage(reply);
}

parentPort?.on(
  "message",
  (job: Job) =>
    void answer(() => {
      if (job.kind === "fill") generate(job.jobs);
      else if (job.kind === "segment") wasm?.add(job.index, job.memory);
      else if (job.kind === "chunks") native?.change(job.added, job.dropped);
      else if (job.kind === "read") readParts(job.parts, job.next);
      else execute(job.words, 0, job.words.length, thread!);
    }),
);
void answer(async () => void (thread = await begin(start)));
