// What a worker thread of the CPU device runs kernels on: instances over WebAssembly memories here, a library over memory of the process
// in native/space.ts.
import type { LibraryCall } from "../../ir/library-call.ts";
import { Finite } from "../finite.ts";
import type { KernelEntry } from "./cpu-job.ts";
import type { Located } from "./cpu-memory.ts";
import type { Thread } from "./execute.ts";
import { offsetOf, segmentOf } from "./segments.ts";

/** Kernels over memory, for one thread. */
export interface Space extends Pick<Thread, "run" | "table" | "bytes"> {
  locate(at: number): Located;
  /** The first element of so many bytes that is no number. */
  firstBad(at: number, bytes: number, dtype: string): number | undefined;
}

/** WebAssembly: the first segment, others are announced by jobs; where this thread's scratch begins, in every segment. */
export interface WasmStart {
  memory: WebAssembly.Memory;
  scratch: number;
  kernels: ({ name: string } & ({ module: WebAssembly.Module; entry: string } | { call: LibraryCall; dims: string[] }))[];
  /** Where libtvm_ffi is, for the thread that calls functions of libraries, if a kernel is one. */
  ffi?: string;
}

const elsewhere: KernelEntry = () => {
  throw new Error("functions of libraries are called by the last thread");
};

export interface WasmSpace extends Space {
  add(segment: number, memory: WebAssembly.Memory): void;
}

/** Instances of the first segment are made at once, which checks all kernels, others when used; `at` says which is being made. */
export async function wasmSpace(start: WasmStart, at: { kernel: number }): Promise<WasmSpace> {
  // Only here: the foreign function interface takes time to load, and most models need none.
  const libraries = start.ffi === undefined ? undefined : await import("./cpu-calls.ts");
  libraries?.open(start.ffi!);
  const memories = [start.memory];
  const finite: Finite[] = [];
  const instantiate = (kernel: number, segment: number): KernelEntry => {
    const k = start.kernels[kernel];
    if ("call" in k) return libraries?.entryOf(k.call, k.dims, memories[segment]) ?? elsewhere;
    const { module, entry, name } = k;
    const run = new WebAssembly.Instance(module, { env: { memory: memories[segment] } }).exports[entry];
    if (typeof run !== "function") throw new Error(`${name} has no export ${entry}`);
    return run as KernelEntry;
  };
  const entries: KernelEntry[][] = [
    start.kernels.map((_, i) => {
      at.kernel = i;
      return instantiate(i, 0);
    }),
  ];
  return {
    run: (kernel, segment, begin, end, words, first, last) => {
      const run = ((entries[segment] ??= [])[kernel] ??= instantiate(kernel, segment));
      run(begin, end, start.scratch, ...words.subarray(first, last));
    },
    table: (segment, from, count) => new Int32Array(memories[segment].buffer, from >>> 0, count),
    bytes: (segment, from, count) => new Uint8Array(memories[segment].buffer, from, count),
    locate: (from) => ({ buffer: memories[segmentOf(from)].buffer, offset: offsetOf(from) }),
    firstBad: (from, bytes, dtype) =>
      (finite[segmentOf(from)] ??= new Finite(memories[segmentOf(from)])).firstBad(offsetOf(from), bytes, dtype),
    add: (segment, memory) => void (memories[segment] = memory),
  };
}
