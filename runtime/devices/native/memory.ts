// Memory of the process for kernels in a library: blocks in shared buffers, addressed as the process does. Large blocks have a buffer each,
// small ones share some. A model may be as large as the machine's memory: no buffer is addressed by 32 bits.
import * as diagnostics from "../../diagnostics.ts";
import { ALIGN, align } from "../../plan/align.ts";
import type { CpuMemory, Located } from "../cpu-memory.ts";
import type { ChunkNews, Job } from "../cpu-job.ts";
import { availableBytes } from "../segments.ts";
import type { NativeLibrary } from "./library.ts";

/** From here on a block has a buffer of its own. */
const LARGE = 4 << 20;
const SHARED = 32 << 20;
/** Kernels read whole vectors: past the last element of a block there is room for one. */
const SLACK = 256;

interface Chunk {
  at: number;
  bytes: number;
  buffer: SharedArrayBuffer;
  /** Address of the first byte of the buffer. */
  base: number;
  free: { at: number; bytes: number }[];
}

/** Chunks by address. */
export class Chunks {
  #list: { at: number; end: number; buffer: SharedArrayBuffer; base: number }[] = [];

  add(at: number, bytes: number, buffer: SharedArrayBuffer, base: number): void {
    this.#list.push({ at, end: at + bytes, buffer, base });
    this.#list.sort((a, b) => a.at - b.at);
  }

  drop(at: number): void {
    this.#list = this.#list.filter((c) => c.at !== at);
  }

  /** Where an address lies; undefined where it is in none. */
  locate(at: number): Located | undefined {
    let [lo, hi] = [0, this.#list.length - 1];
    while (lo <= hi) {
      const mid = (lo + hi) >> 1;
      const c = this.#list[mid];
      if (at < c.at) hi = mid - 1;
      else if (at >= c.end) lo = mid + 1;
      else return { buffer: c.buffer, offset: at - c.base };
    }
    return undefined;
  }
}

export class NativeMemory implements CpuMemory {
  readonly wide = true;
  readonly #library: NativeLibrary;
  readonly #chunks = new Map<number, Chunk>();
  readonly #known = new Chunks();
  readonly #blocks = new Map<number, { bytes: number; chunk: Chunk }>();
  #added: ChunkNews[] = [];
  #dropped: number[] = [];

  constructor(library: NativeLibrary) {
    this.#library = library;
  }

  allocate(bytes: number, what: string): number {
    const size = Math.max(ALIGN, align(bytes + SLACK));
    if (size > availableBytes())
      throw diagnostics.noMemory({ what, needed: size, available: availableBytes(), parts: ["memory that is free now"] });
    if (size < LARGE)
      for (const chunk of this.#chunks.values()) {
        const i = chunk.free.findIndex((b) => b.bytes >= size);
        if (i >= 0) return this.#take(chunk, i, size);
      }
    return this.#take(this.#chunk(size < LARGE ? SHARED : size, what), 0, size);
  }

  #take(chunk: Chunk, i: number, size: number): number {
    const { at, bytes } = chunk.free[i];
    if (bytes === size) chunk.free.splice(i, 1);
    else chunk.free[i] = { at: at + size, bytes: bytes - size };
    this.#blocks.set(at, { bytes: size, chunk });
    return at;
  }

  #chunk(bytes: number, what: string): Chunk {
    let buffer: SharedArrayBuffer;
    try {
      buffer = new SharedArrayBuffer(bytes + ALIGN);
    } catch {
      throw diagnostics.noMemory({
        what,
        needed: bytes,
        available: availableBytes(),
        parts: ["the system gives no block of that size"],
      });
    }
    const base = this.#library.addressOf(buffer);
    const at = align(base);
    this.#library.largePages(at, bytes);
    const chunk = { at, bytes, buffer, base, free: [{ at, bytes }] };
    this.#chunks.set(at, chunk);
    this.#known.add(at, bytes, buffer, base);
    this.#added.push({ at, bytes, buffer, base });
    return chunk;
  }

  release(at: number): void {
    const block = this.#blocks.get(at);
    if (!block) return;
    this.#blocks.delete(at);
    const { chunk } = block;
    if (chunk.bytes === block.bytes) {
      this.#chunks.delete(chunk.at);
      this.#known.drop(chunk.at);
      this.#added = this.#added.filter((c) => c.at !== chunk.at);
      this.#dropped.push(chunk.at);
      return;
    }
    const blocks = [...chunk.free, { at, bytes: block.bytes }].toSorted((a, b) => a.at - b.at);
    chunk.free = [];
    for (const b of blocks) {
      const last = chunk.free.at(-1);
      if (last && last.at + last.bytes === b.at) last.bytes += b.bytes;
      else chunk.free.push({ ...b });
    }
  }

  together(): void {}

  bytes(at: number, length: number): Uint8Array {
    const { buffer, offset } = this.locate(at);
    return new Uint8Array(buffer, offset, length);
  }

  write(at: number, bytes: Uint8Array): void {
    this.bytes(at, bytes.length).set(bytes);
  }

  locate(at: number): Located {
    const found = this.#known.locate(at);
    if (!found) throw diagnostics.brokenManifest({ why: `address ${at} lies in no block` });
    return found;
  }

  news(): Job | undefined {
    if (!this.#added.length && !this.#dropped.length) return undefined;
    const job: Job = { kind: "chunks", added: this.#added, dropped: this.#dropped };
    [this.#added, this.#dropped] = [[], []];
    return job;
  }
}
