// Which page of the cache holds which rows: a pool of pages that sequences take from as they grow and give back when they are cut
// or end. Bookkeeping only; the memory is the session's. A page index means the same page in the cache of every layer.

export class PagePool {
  readonly pageRows: number;
  /** Pages there are; all are free or in a table. */
  capacity = 0;
  private readonly free: number[] = [];
  private readonly tables = new Map<number, number[]>();

  constructor(pageRows: number) {
    this.pageRows = pageRows;
  }

  get inUse(): number {
    return this.capacity - this.free.length;
  }

  /** Pages that `rows` rows fill. */
  pagesFor(rows: number): number {
    return Math.ceil(rows / this.pageRows);
  }

  /** Pages that lack before every sequence of `wanted` can hold its rows. */
  missing(wanted: Iterable<readonly [sequence: number, rows: number]>): number {
    let more = 0;
    for (const [b, rows] of wanted) more += Math.max(0, this.pagesFor(rows) - this.of(b).length);
    return Math.max(0, more - this.free.length);
  }

  /**
   * Pages to have when `missing` lack: half as many again as now, so that growing one by one stays cheap, but no more than
   * `most` unless needed.
   */
  next(missing: number, most: number): number {
    const needed = this.capacity + missing;
    return Math.max(needed, Math.min(most, Math.max(FEWEST, Math.ceil(this.capacity * 1.5))));
  }

  /** There are `capacity` pages now. */
  grow(capacity: number): void {
    for (let p = this.capacity; p < capacity; p++) this.free.push(p);
    this.capacity = capacity;
  }

  /** Gives a sequence the pages for its rows. The last free one comes first, so that no sequence lies in order by accident. */
  take(sequence: number, rows: number): void {
    const table = this.of(sequence);
    while (table.length < this.pagesFor(rows)) {
      const page = this.free.pop();
      if (page === undefined) throw new RangeError("the pool has no free page");
      table.push(page);
    }
  }

  /** Takes back the pages past a sequence's first rows. */
  cut(sequence: number, rows: number): void {
    const table = this.of(sequence);
    while (table.length > this.pagesFor(rows)) this.free.push(table.pop()!);
  }

  /** Where page `index` of a sequence is. */
  page(sequence: number, index: number): number {
    return this.of(sequence)[index];
  }

  private of(sequence: number): number[] {
    let table = this.tables.get(sequence);
    if (!table) this.tables.set(sequence, (table = []));
    return table;
  }
}

/** A first allocation holds a short conversation. */
const FEWEST = 8;
