// The tables a call hands to the kernels: which sequences have rows, where their rows start, what is cached, in which pages.
// All i32: positions [T], sequence [T], starts [B + 1], lengths [B] (new rows included), pages [B, P], ids [T].
import type { BatchShape, BatchTable } from "./devices/program.ts";

export const TABLES: readonly BatchTable[] = ["positions", "sequence", "starts", "lengths", "pages", "ids"];

/** New rows of some sequences on top of what is cached. */
export class Batch {
  /** Sequences with new rows, in order: the batch's own numbering runs over these. */
  readonly active: number[];
  readonly shape: BatchShape;
  private readonly tokens: readonly ArrayLike<number>[];
  private readonly before: number[];

  constructor(tokens: readonly ArrayLike<number>[], lengths: readonly number[], pageRows: number) {
    this.tokens = tokens;
    this.active = tokens.flatMap((t, b) => (t.length ? [b] : []));
    this.before = this.active.map((b) => lengths[b] ?? 0);
    const starts = [0];
    for (const b of this.active) starts.push(starts[starts.length - 1] + tokens[b].length);
    const after = this.active.map((b, i) => this.before[i] + tokens[b].length);
    this.shape = { starts, lengths: after, pages: Math.ceil(Math.max(...after) / pageRows) };
  }

  /** Elements of a table. */
  count(table: BatchTable): number {
    const { starts, lengths, pages } = this.shape;
    if (table === "starts") return starts.length;
    if (table === "lengths") return lengths.length;
    return table === "pages" ? lengths.length * pages : starts[starts.length - 1];
  }

  /** Writes every table; `page` gives the place of a sequence's page. */
  write(table: (t: BatchTable) => Int32Array, pageRows: number, page: (sequence: number, index: number) => number): void {
    const { starts, lengths, pages } = this.shape;
    const [positions, sequence, ids, places] = [table("positions"), table("sequence"), table("ids"), table("pages")];
    this.active.forEach((b, i) => {
      const t = this.tokens[b];
      for (let j = 0; j < t.length; j++) {
        positions[starts[i] + j] = this.before[i] + j;
        sequence[starts[i] + j] = i;
        ids[starts[i] + j] = t[j];
      }
      // Columns past a sequence's own pages are never read; they hold a page that exists.
      for (let p = 0; p < pages; p++) places[i * pages + p] = p * pageRows < lengths[i] ? page(b, p) : 0;
    });
    table("starts").set(starts);
    table("lengths").set(lengths);
  }
}
