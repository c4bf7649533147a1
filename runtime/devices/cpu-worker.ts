// Entry of a worker thread of the CPU device: instantiates every kernel on the shared memory once, then answers jobs.
// A job is a program to execute with the other threads, or ranges of synthetic weights to generate.
import { closeSync, readSync } from "node:fs";
import { parentPort, workerData } from "node:worker_threads";
import type { LibraryCall } from "../../ir/library-call.ts";
import type { FillJob } from "../device.ts";
import { openSame } from "../files.ts";
import { Finite, NotFinite } from "../finite.ts";
import { fill } from "../synthetic.ts";
import type { KernelEntry, Thread } from "./execute.ts";
import { Stopped, execute, fail } from "./execute.ts";
import { offsetOf, segmentOf } from "./segments.ts";

/** What the device hands to each worker. */
export interface WorkerStart {
  index: number;
  count: number;
  /** The first segment; others are announced by jobs. */
  memory: WebAssembly.Memory;
  control: Int32Array;
  /** Where this thread's scratch begins, in every segment. */
  scratch: number;
  /** Where to add up times by kernel; given to the first thread of a profiled device. */
  times?: Float64Array;
  kernels: ({ name: string } & ({ module: WebAssembly.Module; entry: string } | { call: LibraryCall; dims: string[] }))[];
  /** Where libtvm_ffi is, for the thread that calls functions of libraries, if a kernel is one. */
  ffi?: string;
}

/** A part of a file on its way to `at`, and the tensor it belongs to. */
export interface ReadPart {
  file: string;
  identity: string;
  position: number;
  at: number;
  bytes: number;
  name: string;
  /** What it holds, and the element of the tensor it begins with. */
  dtype?: string;
  element: number;
}

export type Job =
  | { kind: "run"; words: Int32Array }
  | { kind: "fill"; jobs: readonly FillJob[] }
  | { kind: "segment"; index: number; memory: WebAssembly.Memory }
  /** `next[0]` counts the parts that a thread has taken. */
  | { kind: "read"; parts: readonly ReadPart[]; next: Int32Array };
/** `element` is of a value that is no number. */
export type Reply =
  | { ok: true }
  | { ok: false; stopped: boolean; kernel: number; site: number; layer: number; why: string; element?: number };

const start = workerData as WorkerStart;
// Only here: the foreign function interface takes time to load, and most models need none.
const libraries = start.ffi === undefined ? undefined : await import("./cpu-calls.ts");
libraries?.open(start.ffi!);
const at = { kernel: -1, site: -1, layer: -1 };
const memories = [start.memory];
let thread: Thread | undefined;

const elsewhere: KernelEntry = () => {
  throw new Error("functions of libraries are called by the last thread");
};

/** A kernel on the memory of a segment: instances of the first segment are made at once, which checks all kernels, others when used. */
function instantiate(kernel: number, segment: number): KernelEntry {
  const k = start.kernels[kernel];
  if ("call" in k) return libraries?.entryOf(k.call, k.dims, memories[segment]) ?? elsewhere;
  const { module, entry, name } = k;
  const run = new WebAssembly.Instance(module, { env: { memory: memories[segment] } }).exports[entry];
  if (typeof run !== "function") throw new Error(`${name} has no export ${entry}`);
  return run as KernelEntry;
}

function begin(): Thread {
  const entries: KernelEntry[][] = [
    start.kernels.map((_, i) => {
      at.kernel = i;
      return instantiate(i, 0);
    }),
  ];
  return {
    index: start.index,
    count: start.count,
    scratch: start.scratch,
    memories,
    kernel: (index, segment) => ((entries[segment] ??= [])[index] ??= instantiate(index, segment)),
    control: start.control,
    at,
    times: start.times,
  };
}

/** This thread's share of every range. */
function generate(jobs: readonly FillJob[]): void {
  for (const j of jobs) {
    const { buffer } = memories[segmentOf(j.at)];
    const from = Math.floor((j.count * start.index) / start.count);
    const to = Math.floor((j.count * (start.index + 1)) / start.count);
    if (from < to) fill(buffer, offsetOf(j.at) + from * j.bytes, j.recipe, j.start + from, to - from);
  }
}

const finite: Finite[] = [];
const finiteOf = (segment: number): Finite => (finite[segment] ??= new Finite(memories[segment]));

/** Parts of files, one after the other as long as some are left. */
function readParts(parts: readonly ReadPart[], next: Int32Array): void {
  const files = new Map<string, number>();
  try {
    for (let i = Atomics.add(next, 0, 1); i < parts.length; i = Atomics.add(next, 0, 1)) {
      at.site = i;
      const p = parts[i];
      let file = files.get(p.file);
      if (file === undefined) files.set(p.file, (file = openSame(p.file, p.identity)));
      const target = new Uint8Array(memories[segmentOf(p.at)].buffer, offsetOf(p.at), p.bytes);
      for (let done = 0; done < p.bytes;) {
        const n = readSync(file, target, done, p.bytes - done, p.position + done);
        if (n === 0) throw new Error("the file changed after its header was read");
        done += n;
      }
      const bad = p.dtype === undefined ? undefined : finiteOf(segmentOf(p.at)).firstBad(offsetOf(p.at), p.bytes, p.dtype);
      if (bad !== undefined) throw new NotFinite(p.element + bad);
    }
    at.site = -1;
  } finally {
    for (const file of files.values()) closeSync(file);
  }
}

function answer(work: () => void): void {
  let reply: Reply = { ok: true };
  try {
    work();
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

parentPort?.on("message", (job: Job) =>
  answer(() => {
    if (job.kind === "fill") generate(job.jobs);
    else if (job.kind === "segment") memories[job.index] = job.memory;
    else if (job.kind === "read") readParts(job.parts, job.next);
    else execute(job.words, 0, job.words.length, (thread ??= begin()));
  }),
);
answer(() => (thread = begin()));
