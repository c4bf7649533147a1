// The caches' memory: for every layer one block with the pages of each of its caches, [pages, pageRows, width] one after another, grown
// on demand. Growing moves a layer at a time, so it takes one layer's bytes more than the result. Pages given back are used again; the
// memory goes back when the cache closes. Refuses with needed and available bytes; what was cached stays good then.
import type { ModelFacts } from "../ir/artifact.ts";
import type { Device } from "./device.ts";
import { align } from "./plan/align.ts";
import * as diagnostics from "./diagnostics.ts";
import { PagePool } from "./pages.ts";
import { bytesOf } from "./values.ts";

export class Cache {
  readonly pool: PagePool;
  private readonly device: Device;
  private readonly near: (layer: number) => number | undefined;
  private readonly layers: number;
  /** By name, in the order in which a block has them: bytes of one page. */
  private readonly pageBytes: ReadonlyMap<string, number>;
  private blocks: { at: number; pages: number }[] = [];

  /** `near` gives the address of what a layer's caches are used with. */
  constructor(device: Device, facts: ModelFacts, near: (layer: number) => number | undefined = () => undefined) {
    this.device = device;
    this.near = near;
    this.layers = facts.cachedLayers;
    this.pageBytes = new Map(
      Object.entries(facts.caches).map(([name, { width, dtype }]) => [name, facts.pageRows * width * bytesOf[dtype]]),
    );
    this.pool = new PagePool(facts.pageRows);
  }

  /** Bytes of all pages there are. */
  get bytes(): number {
    return this.layers * this.blockBytes(this.pool.capacity);
  }

  /** Address of a layer's pages of one cache. */
  address(name: string, layer: number): number {
    const { at, pages } = this.blocks[layer];
    return at + this.offset(name, pages);
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
    for (const { at } of this.blocks) this.device.release(at);
    this.blocks = [];
  }

  /** Where a cache begins in a block of so many pages; where the block ends without a name. */
  private offset(name: string | undefined, pages: number): number {
    let at = 0;
    for (const [each, bytes] of this.pageBytes) {
      if (each === name) return at;
      at += align(pages * bytes);
    }
    return at;
  }

  /** Bytes of a layer's block of so many pages. */
  private blockBytes(pages: number): number {
    return this.offset(undefined, pages);
  }

  /** Bytes to have that many pages: what is added, and one layer's old pages while they move. */
  private needed(pages: number): number {
    const old = this.blockBytes(this.pool.capacity);
    return this.layers * (this.blockBytes(pages) - old) + old;
  }

  private grow(pages: number, wanted: readonly (readonly [number, number])[]): void {
    const rows = wanted.reduce((n, [, r]) => n + r, 0);
    const what = `a cache of ${pages} pages, to hold ${rows} rows of ${wanted.length} sequence${wanted.length === 1 ? "" : "s"},`;
    const [needed, available] = [this.needed(pages), this.device.available()];
    if (needed > available)
      throw this.device.shortOf(what, needed, [`${diagnostics.bytes(this.bytes)} are in use by it already`]);
    // A refusal half way leaves larger blocks with the same pages in them.
    for (let layer = 0; layer < this.layers; layer++) this.blocks[layer] = this.moved(this.blocks[layer], layer, pages, what);
    this.pool.grow(pages);
  }

  /** A layer's block made anew with so many pages, the old ones in it. */
  private moved(
    old: { at: number; pages: number } | undefined,
    layer: number,
    pages: number,
    what: string,
  ): { at: number; pages: number } {
    const at = this.device.allocate(this.blockBytes(pages), what, this.near(layer));
    if (!old) return { at, pages };
    const kept = this.pool.capacity;
    for (const [name, bytes] of this.pageBytes)
      this.device.copy(old.at + this.offset(name, old.pages), at + this.offset(name, pages), kept * bytes);
    this.device.release(old.at);
    return { at, pages };
  }
}
