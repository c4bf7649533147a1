// The memory of the CPU device: weights, caches, arenas and tables in one WebAssembly memory, or in several where one cannot hold
// them (Node 20 gives a memory 4 GiB and an instance one memory). An address is segment * 2^32 + offset; with one segment that is
// the offset. Blocks are taken whole from one segment. A block that kernels of another segment touch has a mirror there.
import { freemem } from "node:os";
import * as diagnostics from "../diagnostics.ts";
import type { CpuMemory, Located } from "./cpu-memory.ts";
import { ALIGN, align } from "../plan/align.ts";

const WASM_PAGE = 65536;
const MOST_PAGES = 65536;

/** Bytes one memory can have: the page that ends at 4 GiB is left out, so that every end is an address. */
export const MEMORY_BYTES = WASM_PAGE * (MOST_PAGES - 1);
/** Weights one segment takes where one cannot take all: the rest of its memory is for caches and values. */
export const SEGMENT_BYTES = 2 ** 31;
/** Weights that share the first segment with everything else. */
export const ONE_SEGMENT = 3.25 * 2 ** 30;
/** Where the scratch of thread `index` begins, in every segment. */
export const scratchAt = (index: number, bytes: number): number => ALIGN + index * bytes;

const SEGMENT = 2 ** 32;
export const segmentOf = (address: number): number => Math.floor(address / SEGMENT);
export const offsetOf = (address: number): number => address % SEGMENT;
const addressOf = (segment: number, offset: number): number => segment * SEGMENT + offset;

/** Bytes a process may take now: the container's limit and what the system can give, whichever is less. */
export const availableBytes = (): number => Math.min(process.constrainedMemory() || Infinity, freemem());

function memoryOf4GiB(): WebAssembly.Memory {
  try {
    return new WebAssembly.Memory({ initial: 1, maximum: MOST_PAGES, shared: true });
  } catch (e) {
    throw diagnostics.noMemory({ addresses: (e as Error).message });
  }
}

/** One memory, filled from the bottom; blocks given back are used again. */
class Segment {
  readonly memory = memoryOf4GiB();
  top = ALIGN;
  private free: { at: number; bytes: number }[] = [];

  /** Offset of a block, or undefined where there is no room below `limit`. */
  take(size: number, limit: number): number | undefined {
    const i = this.free.findIndex((b) => b.bytes >= size);
    if (i >= 0) {
      const block = this.free[i];
      if (block.bytes === size) this.free.splice(i, 1);
      else this.free[i] = { at: block.at + size, bytes: block.bytes - size };
      return block.at;
    }
    const [at, need, have] = [this.top, this.top + size, this.memory.buffer.byteLength];
    if (need > limit) return undefined;
    if (need > have) {
      try {
        this.memory.grow(Math.ceil((need - have) / WASM_PAGE));
      } catch {
        return undefined;
      }
    }
    this.top = need;
    return at;
  }

  give(at: number, bytes: number): void {
    const blocks = [...this.free, { at, bytes }].toSorted((a, b) => a.at - b.at);
    this.free = [];
    for (const b of blocks) {
      const last = this.free.at(-1);
      if (last && last.at + last.bytes === b.at) last.bytes += b.bytes;
      else this.free.push({ ...b });
    }
    const last = this.free.at(-1);
    if (last && last.at + last.bytes === this.top) {
      this.top = last.at;
      this.free.pop();
    }
  }
}

interface Block {
  bytes: number;
  /** Where it is in other segments, and whether that is a copy of what was last written from outside. */
  mirrors: Map<number, { at: number; fresh: boolean }>;
}

/** How a device's memory is divided. */
export interface SegmentOptions {
  /** Bytes of blocks used together that a segment is filled with before the next is begun. */
  fill: number;
  /** Bytes at the start of every segment: scratch of the kernels, for all threads. */
  scratch: number;
  /** Told of every segment but the first, before anything lies there. */
  added: (index: number, memory: WebAssembly.Memory) => void;
}

export class Segments implements CpuMemory {
  readonly fill: number;
  private readonly all: Segment[] = [];
  private readonly blocks = new Map<number, Block>();
  private readonly scratch: number;
  private readonly added: SegmentOptions["added"];
  /** The segment that blocks used together go to, and bytes of them still to come. */
  private current = 0;
  private coming = 0;

  constructor({ fill, scratch, added }: SegmentOptions) {
    this.fill = Math.min(fill, MEMORY_BYTES);
    this.scratch = align(scratch);
    this.added = () => {};
    this.begin();
    this.added = added;
  }

  readonly largest = MEMORY_BYTES;

  locate(at: number): Located {
    return { buffer: this.buffer(at), offset: offsetOf(at) };
  }

  get count(): number {
    return this.all.length;
  }

  memory(segment: number): WebAssembly.Memory {
    return this.all[segment].memory;
  }

  buffer(address: number): SharedArrayBuffer {
    return this.memory(segmentOf(address)).buffer as unknown as SharedArrayBuffer;
  }

  /** Blocks taken next, `bytes` in all, are used by the same kernels: they shall lie in one segment, if one can hold them. */
  together(bytes: number): void {
    this.coming = bytes;
    if (this.fits(this.current, bytes)) return;
    const i = this.all.findIndex((_, i) => this.fits(i, bytes));
    if (i >= 0) this.current = i;
    else if (this.all[this.current].top > this.floor) this.begin();
  }

  /** Takes bytes at a multiple of 64, near `near` if there is room. `what` names the need in a refusal. */
  allocate(bytes: number, what: string, near?: number): number {
    const size = Math.max(ALIGN, align(bytes));
    const at = this.find(size, near);
    if (at === undefined)
      throw diagnostics.noMemory({
        what,
        needed: size,
        available: Math.min(availableBytes(), MEMORY_BYTES),
        parts: [`${diagnostics.bytes(this.used())} are in use already`],
      });
    this.blocks.set(at, { bytes: size, mirrors: new Map() });
    return at;
  }

  /** Gives a block and its mirrors back. */
  release(at: number): void {
    const block = this.blocks.get(at);
    if (!block) return;
    this.blocks.delete(at);
    this.all[segmentOf(at)].give(offsetOf(at), block.bytes);
    for (const m of block.mirrors.values()) this.all[segmentOf(m.at)].give(offsetOf(m.at), block.bytes);
  }

  /** The block an address lies in: its start and its bytes. */
  blockOf(address: number): { at: number; bytes: number } {
    const exact = this.blocks.get(address);
    if (exact) return { at: address, bytes: exact.bytes };
    for (const [at, { bytes }] of this.blocks) if (at <= address && address < at + bytes) return { at, bytes };
    throw diagnostics.brokenManifest({ why: `address ${address} lies in no block` });
  }

  /** The address that stands for `address` in another segment; what lies there is the caller's affair. */
  mirror(address: number, segment: number): number {
    if (segmentOf(address) === segment) return address;
    const { at } = this.blockOf(address);
    return this.mirrorOf(at, segment).at + (address - at);
  }

  /** The same, for a block that kernels only read: it is copied when first asked for. */
  replica(address: number, segment: number): number {
    if (segmentOf(address) === segment) return address;
    const { at, bytes } = this.blockOf(address);
    const m = this.mirrorOf(at, segment);
    if (!m.fresh) {
      this.bytes(m.at, bytes).set(this.bytes(at, bytes));
      m.fresh = true;
    }
    return m.at + (address - at);
  }

  /** A view of memory: valid for ever, for shared memory grows in place. */
  bytes(at: number, length: number): Uint8Array {
    return new Uint8Array(this.buffer(at), offsetOf(at), length);
  }

  /** Copies bytes in from outside; replicas of the block are copies no more. */
  write(at: number, bytes: Uint8Array): void {
    this.bytes(at, bytes.length).set(bytes);
    if (this.count > 1) for (const m of this.blocks.get(this.blockOf(at).at)!.mirrors.values()) m.fresh = false;
  }

  private mirrorOf(at: number, segment: number): { at: number; fresh: boolean } {
    const block = this.blocks.get(at)!;
    let m = block.mirrors.get(segment);
    if (!m) {
      const there = this.takeIn(segment, block.bytes, MEMORY_BYTES);
      if (there === undefined)
        throw diagnostics.noMemory({
          what: "a copy beside the weights that need it",
          needed: block.bytes,
          available: MEMORY_BYTES - this.all[segment].top,
        });
      block.mirrors.set(segment, (m = { at: there, fresh: false }));
    }
    return m;
  }

  private takeIn(segment: number, size: number, limit: number): number | undefined {
    const at = this.all[segment].take(size, limit);
    return at === undefined ? undefined : addressOf(segment, at);
  }

  /** Beside `near`; else blocks used together in their segment, others from the first segment on; else in a new segment. */
  private find(size: number, near: number | undefined): number | undefined {
    if (near !== undefined) {
      const at = this.takeIn(segmentOf(near), size, MEMORY_BYTES);
      if (at !== undefined) return at;
    }
    const grouped = this.coming > 0;
    this.coming -= size;
    const limit = grouped ? this.fill : MEMORY_BYTES;
    for (let i = 0; i < this.count; i++) {
      const at = this.takeIn(grouped ? (this.current + i) % this.count : i, size, limit);
      if (at !== undefined) return at;
    }
    if (this.floor + size > MEMORY_BYTES) return undefined;
    this.begin();
    return this.takeIn(this.current, size, MEMORY_BYTES);
  }

  private begin(): void {
    const segment = new Segment();
    if (this.scratch && segment.take(this.scratch, MEMORY_BYTES) === undefined)
      throw diagnostics.noMemory({ what: "scratch memory of the kernels", needed: this.scratch, available: MEMORY_BYTES });
    this.all.push(segment);
    this.current = this.count - 1;
    this.added(this.current, segment.memory);
  }

  private fits(segment: number, bytes: number): boolean {
    return this.all[segment].top + bytes <= this.fill;
  }

  /** Where the blocks of a segment begin. */
  private get floor(): number {
    return ALIGN + this.scratch;
  }

  private used(): number {
    return this.all.reduce((n, s) => n + s.top, 0);
  }
}
