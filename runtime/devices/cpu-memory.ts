// The memory of a CPU device as the device sees it: WebAssembly memories (segments.ts), or memory of the process (native/memory.ts).
import type { Job } from "./cpu-job.ts";

/** Where an address lies. */
export interface Located {
  buffer: ArrayBufferLike;
  offset: number;
}

export interface CpuMemory {
  /** Takes bytes at a multiple of 64; `what` names the need in a refusal. `near`: used with what lies there. */
  allocate(bytes: number, what: string, near?: number): number;
  release(at: number): void;
  /** What is taken next, so many bytes in all, is used together. */
  together(bytes: number): void;
  /** A view of memory, valid as long as the block is. */
  bytes(at: number, length: number): Uint8Array;
  write(at: number, bytes: Uint8Array): void;
  locate(at: number): Located;
  /** Bytes that one block can have, where it is less than all there are. */
  readonly largest?: number;
  /** Addresses are those of the process. */
  readonly wide?: boolean;
  /** What threads have to know before the next job. */
  news?(): Job | undefined;
}
