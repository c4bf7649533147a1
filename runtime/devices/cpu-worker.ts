// Entry of a worker thread of the CPU device: instantiates every kernel on the shared memory once, then answers jobs.
// A job is a program to execute with the other threads, or ranges of synthetic weights to generate.
import { parentPort, workerData } from "node:worker_threads";
import type { FillJob } from "../device.ts";
import { fill } from "../synthetic.ts";
import type { KernelEntry, Thread } from "./execute.ts";
import { Stopped, execute, fail } from "./execute.ts";

/** What the device hands to each worker. */
export interface WorkerStart {
  index: number;
  count: number;
  memory: WebAssembly.Memory;
  control: Int32Array;
  scratch: number;
  /** Where to add up times by kernel; given to the first thread of a profiled device. */
  times?: Float64Array;
  kernels: { name: string; module: WebAssembly.Module; entry: string }[];
}

export type Job = { kind: "run"; words: Int32Array } | { kind: "fill"; jobs: readonly FillJob[] };
export type Reply = { ok: true } | { ok: false; stopped: boolean; kernel: number; site: number; layer: number; why: string };

const start = workerData as WorkerStart;
const at = { kernel: -1, site: -1, layer: -1 };
let thread: Thread | undefined;

function begin(): Thread {
  const kernels = start.kernels.map(({ module, entry, name }, i) => {
    at.kernel = i;
    const run = new WebAssembly.Instance(module, { env: { memory: start.memory } }).exports[entry];
    if (typeof run !== "function") throw new Error(`${name} has no export ${entry}`);
    return run as KernelEntry;
  });
  return {
    index: start.index,
    count: start.count,
    scratch: start.scratch,
    kernels,
    memory: start.memory,
    control: start.control,
    at,
    times: start.times,
  };
}

/** This thread's share of every range. */
function generate(jobs: readonly FillJob[]): void {
  const buffer = start.memory.buffer;
  for (const j of jobs) {
    const from = Math.floor((j.count * start.index) / start.count);
    const to = Math.floor((j.count * (start.index + 1)) / start.count);
    if (from < to) fill(buffer, j.at + from * j.bytes, j.recipe, j.start + from, to - from);
  }
}

function answer(work: () => void): void {
  let reply: Reply = { ok: true };
  try {
    work();
  } catch (e) {
    if (!(e instanceof Stopped)) fail(start.control);
    reply = { ok: false, stopped: e instanceof Stopped, ...at, why: e instanceof Error ? e.message : String(e) };
  }
  parentPort?.postMessage(reply);
}

parentPort?.on("message", (job: Job) =>
  answer(() => {
    if (job.kind === "fill") generate(job.jobs);
    else execute(job.words, 0, job.words.length, (thread ??= begin()));
  }),
);
answer(() => (thread = begin()));
