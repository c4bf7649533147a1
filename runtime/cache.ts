// The cache's memory: for every layer one block of pages [pages, pageRows, width], grown on demand. Growing moves a layer at a time,
// so it takes one layer's bytes more than the result. Pages given back are used again; the memory goes back when the cache closes.
// Refuses with needed and available bytes; what was cached stays good then.
import type { ModelFacts } from "../ir/artifact.ts";
import type { Device } from "./device.ts";
import { align } from "./devices/align.ts";
import * as diagnostics from "./diagnostics.ts";
import { PagePool } from "./pages.ts";
import { bytesOf } from "./values.ts";

export class Cache {
  readonly pool: PagePool;
  private readonly device: Device;
  private readonly near: (layer: number) => number | undefined;
  private readonly layers: number;
  private readonly pageBytes: number;
  private blocks: number[] = [];

  /** `near` gives the address of what a layer's cache is used with. */
  constructor(device: Device, facts: ModelFacts, near: (layer: number) => number | undefined = () => undefined) {
    this.device = device;
    this.near = near;
    this.layers = facts.caches;
    this.pageBytes = facts.pageRows * facts.cacheWidth * bytesOf[facts.cacheDType];
    this.pool = new PagePool(facts.pageRows);
  }

  /** Bytes of all pages there are. */
  get bytes(): number {
    return this.layers * align(this.pool.capacity * this.pageBytes);
  }

  /** Address of a layer's pages. */
  address(layer: number): number {
    return this.blocks[layer];
  }

  /** Makes sure of pages for the rows of some sequences. `most` is how many pages the session expects to need in all. */
  reserve(wanted: readonly (readonly [sequence: number, rows: number])[], most: number): void {
    const { pool } = this;
    const missing = pool.missing(wanted);
    if (missing > 0) {
      const least = pool.capacity + missing;
      const pages = pool.next(missing, most);
      // Room to spare is wanted only where there is room.
      this.grow(this.needed(pages) <= this.device.available() ? pages : least, wanted);
    }
    for (const [b, rows] of wanted) pool.take(b, rows);
  }

  /** Gives all memory back. */
  close(): void {
    for (const at of this.blocks) this.device.release(at);
    this.blocks = [];
  }

  /** Bytes to have that many pages: what is added, and one layer's old pages while they move. */
  private needed(pages: number): number {
    const old = align(this.pool.capacity * this.pageBytes);
    return this.layers * (align(pages * this.pageBytes) - old) + old;
  }

  private grow(pages: number, wanted: readonly (readonly [number, number])[]): void {
    const rows = wanted.reduce((n, [, r]) => n + r, 0);
    const what = `a cache of ${pages} pages, to hold ${rows} rows of ${wanted.length} sequence${wanted.length === 1 ? "" : "s"},`;
    const [needed, available] = [this.needed(pages), this.device.available()];
    if (needed > available)
      throw this.device.shortOf(what, needed, [`${diagnostics.bytes(this.bytes)} are in use by it already`]);
    const old = this.pool.capacity * this.pageBytes;
    for (let layer = 0; layer < this.layers; layer++) {
      // A refusal half way leaves larger blocks with the same pages in them.
      const at = this.device.allocate(pages * this.pageBytes, what, this.near(layer));
      if (old > 0) {
        this.device.copy(this.blocks[layer], at, old);
        this.device.release(this.blocks[layer]);
      }
      this.blocks[layer] = at;
    }
    this.pool.grow(pages);
  }
}
