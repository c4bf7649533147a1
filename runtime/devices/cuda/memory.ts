// Memory of a GPU in blocks: large ones are the driver's own, small ones share slabs, because the driver takes tens of microseconds
// and whole pages for each. Addresses are multiples of 256.
import * as diagnostics from "./diagnostics.ts";
import type { Driver } from "./driver.ts";

const ALIGN = 256;
const SMALL = 1 << 20;
const SLAB = 32 << 20;
/** Left to the driver: modules, graphs, local memory of kernels. */
const RESERVE = 256 << 20;
const OUT_OF_MEMORY = 2;

interface Slab {
  at: number;
  used: number;
  blocks: number;
}

export class Memory {
  private readonly driver: Driver;
  private readonly taken = new Map<number, number | Slab>();
  private slab: Slab | undefined;

  constructor(driver: Driver) {
    this.driver = driver;
  }

  /** Bytes free and in all, as the driver counts. */
  state(): { free: number; total: number } {
    const [free, total] = [new BigUint64Array(1), new BigUint64Array(1)];
    this.driver.call("cuMemGetInfo_v2", free, total);
    return { free: Number(free[0]), total: Number(total[0]) };
  }

  available(): number {
    return Math.max(0, this.state().free - RESERVE);
  }

  /** Takes bytes; throws DSC5605 naming the need. */
  allocate(bytes: number, what: string): number {
    const size = Math.max(ALIGN, Math.ceil(bytes / ALIGN) * ALIGN);
    if (size >= SMALL) {
      const at = this.fromDriver(size, what);
      this.taken.set(at, size);
      return at;
    }
    if (!this.slab || this.slab.used + size > SLAB) this.slab = { at: this.fromDriver(SLAB, what), used: 0, blocks: 0 };
    const at = this.slab.at + this.slab.used;
    this.slab.used += size;
    this.slab.blocks++;
    this.taken.set(at, this.slab);
    return at;
  }

  /** Gives a block back; no launch may still use it. */
  release(at: number): void {
    const block = this.taken.get(at);
    if (block === undefined) return;
    this.taken.delete(at);
    if (typeof block === "number") this.driver.call("cuMemFree_v2", at);
    else if (--block.blocks === 0) {
      if (block === this.slab) block.used = 0;
      else this.driver.call("cuMemFree_v2", block.at);
    }
  }

  /** Gives everything back: another device of this process may share the context. */
  close(): void {
    const slabs = new Set<Slab>(this.slab ? [this.slab] : []);
    for (const [at, block] of this.taken)
      if (typeof block === "number") this.driver.attempt("cuMemFree_v2", at);
      else slabs.add(block);
    for (const s of slabs) this.driver.attempt("cuMemFree_v2", s.at);
    this.taken.clear();
  }

  private fromDriver(bytes: number, what: string): number {
    const out = new BigUint64Array(1);
    const r = this.driver.attempt("cuMemAlloc_v2", out, bytes);
    if (r === OUT_OF_MEMORY) throw diagnostics.outOfMemory({ what, needed: bytes, available: this.state().free });
    if (r !== 0) throw diagnostics.driverFailed({ call: "cuMemAlloc", name: this.driver.nameOf(r), where: what });
    return Number(out[0]);
  }
}
