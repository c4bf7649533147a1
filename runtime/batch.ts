// The tables a call hands to the kernels: where the rows of each entry start, what is cached below them, in which pages.
// All i32: positions [T], sequence [T], starts [B + 1], lengths [B] (new rows included), pages [B, P], ids [T].
// An entry is new rows of one sequence. Several entries may extend the same sequence, each on the rows of those before it:
// their rows are all appended before any of them attends, so every entry sees what it should.
import { TABLES, tableCount, type BatchShape, type BatchTable } from "./plan/dims.ts";

export { TABLES };

/** New rows of a sequence that has `before` rows. */
export interface Entry {
  sequence: number;
  before: number;
  tokens: ArrayLike<number>;
}

/** The sequence of rows that only fill a batch up: it holds one page, which all of them write and nobody else reads. */
export const PADDING = -1;
export const padding: Entry = { sequence: PADDING, before: 0, tokens: [0] };

export class Batch {
  readonly entries: readonly Entry[];
  readonly shape: BatchShape;

  /** `columns` may widen the page table past the pages there are. */
  constructor(entries: readonly Entry[], pageRows: number, columns: (pages: number) => number = (pages) => pages) {
    this.entries = entries;
    const starts = [0];
    for (const e of entries) starts.push(starts[starts.length - 1] + e.tokens.length);
    const lengths = entries.map((e) => e.before + e.tokens.length);
    this.shape = { starts, lengths, pages: columns(Math.ceil(Math.max(...lengths) / pageRows)) };
  }

  /** Elements of a table. */
  count(table: BatchTable): number {
    return tableCount(table, this.shape);
  }

  /** Writes every table; `page` gives the place of a sequence's page. */
  write(table: (t: BatchTable) => Int32Array, pageRows: number, page: (sequence: number, index: number) => number): void {
    const { starts, lengths, pages } = this.shape;
    const [positions, sequence, ids, places] = [table("positions"), table("sequence"), table("ids"), table("pages")];
    this.entries.forEach((e, i) => {
      for (let j = 0; j < e.tokens.length; j++) {
        positions[starts[i] + j] = e.before + j;
        sequence[starts[i] + j] = i;
        ids[starts[i] + j] = e.tokens[j];
      }
      // Columns past a sequence's own pages are never read; they hold a page that exists.
      for (let p = 0; p < pages; p++) places[i * pages + p] = p * pageRows < lengths[i] ? page(e.sequence, p) : 0;
    });
    table("starts").set(starts);
    table("lengths").set(lengths);
  }
}
