// What the CPU device asks of its worker threads, and what they answer.
import type { FillJob } from "../device.ts";

/** Words of a program: 32 bits where addresses are offsets of a WebAssembly memory, else doubles, which hold any address. */
export type WordList = Int32Array<ArrayBuffer> | Float64Array<ArrayBuffer>;

/** A chunk of memory of the process, for threads: its first address and bytes, and its buffer with the address where that begins. */
export interface ChunkNews {
  at: number;
  bytes: number;
  buffer: SharedArrayBuffer;
  base: number;
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
  | { kind: "run"; words: WordList }
  | { kind: "fill"; jobs: readonly FillJob[] }
  | { kind: "segment"; index: number; memory: WebAssembly.Memory }
  | { kind: "chunks"; added: readonly ChunkNews[]; dropped: readonly number[] }
  /** `next[0]` counts the parts that a thread has taken. */
  | { kind: "read"; parts: readonly ReadPart[]; next: Int32Array };
/** `element` is of a value that is no number. */
export type Reply =
  | { ok: true }
  | { ok: false; stopped: boolean; kernel: number; site: number; layer: number; why: string; element?: number };

/** A WebAssembly kernel, `run(begin, end, scratch, ...args, ...dims)`: byte addresses and dims, all i32. */
export type KernelEntry = (...args: number[]) => void;
