// Steps that follow the one before them: every sequence one row on, the ids those that were just chosen, nothing else new. dsc_advance
// moves the tables on where they lie (codegen/cuda/system/advance.ts), in 1.4 us, and the host sends nothing; reading tables from it
// takes 18 (docs/notes-gpu-runtime.md).
// The host knows by the same rule what the tables have become. Pages that sequences grow into, other ids, other sequences: they are sent.
import type { Call } from "../../device.ts";

/** Words of a call's tables at which a table begins. */
const wordOf = ({ tables, places }: Call, table: "positions" | "lengths" | "ids"): number =>
  (places.batch(table) - tables!.at) / 4;

/** What the kernel is launched with. */
export function advanceLaunch(call: Call): { addresses: number[]; dims: Record<string, number> } {
  const dims = {
    positions_at: wordOf(call, "positions"),
    lengths_at: wordOf(call, "lengths"),
    ids_at: wordOf(call, "ids"),
    sequences: call.batch!.lengths.length,
  };
  return { addresses: [call.tables!.at, call.args.get("next")!], dims };
}

/** The tables of the step enqueued last, as the device has them. */
export class Tables {
  readonly at: number;
  /** Where the step's choice lies. */
  readonly next: number;
  /** Steps that these have been the tables of. */
  turn = 0;
  /** Of which graph: all sizes and addresses are the same where this is. */
  private readonly key: string;
  private readonly words: Int32Array;
  private readonly starts: { positions: number; lengths: number; ids: number };
  private readonly rows: number;
  /** What the step chose, once that is known here. */
  private ids: Int32Array | undefined;

  constructor(key: string, call: Call) {
    [this.key, this.at, this.next, this.rows] = [key, call.tables!.at, call.args.get("next")!, call.batch!.lengths.length];
    this.words = Int32Array.from(wordsOf(call.tables!.bytes));
    this.starts = { positions: wordOf(call, "positions"), lengths: wordOf(call, "lengths"), ids: wordOf(call, "ids") };
  }

  /** The ids that the step of that turn chose. */
  learn(turn: number, ids: Int32Array | undefined): void {
    // Those of a step before say nothing of what the device would feed the next.
    if (turn === this.turn) this.ids = ids;
  }

  /** Moves on as the device would, and tells whether that gives the call's tables. If not, these no longer mean anything. */
  becomes(key: string, call: Call): boolean {
    if (key !== this.key || (call.idsFrom !== undefined && call.idsFrom !== call.args.get("next"))) return false;
    const {
      words,
      rows,
      starts: { positions, lengths, ids },
    } = this;
    const wanted = wordsOf(call.tables!.bytes);
    for (let i = 0; i < rows; i++) {
      const fills = words[lengths + i] <= 1;
      if (!fills) {
        words[positions + i]++;
        words[lengths + i]++;
        if (call.idsFrom === undefined && this.ids?.[i] !== wanted[ids + i]) return false;
      }
      words[ids + i] = wanted[ids + i];
    }
    this.ids = undefined;
    this.turn++;
    return Buffer.compare(bytesOf(words), call.tables!.bytes) === 0;
  }

  /** How much of the device they take. */
  get size(): number {
    return this.words.byteLength;
  }

  /**
   * What the device would have to hold before it moves on to these, its own tables: one row less, and the ids that were fed
   * as those chosen.
   */
  before(now: Uint8Array): { tables: Uint8Array; next: Uint8Array } {
    const {
      rows,
      starts: { positions, lengths, ids },
    } = this;
    const words = wordsOf(now.slice());
    for (let i = 0; i < rows; i++)
      if (words[lengths + i] > 2) {
        words[positions + i]--;
        words[lengths + i]--;
      }
    return { tables: bytesOf(words), next: bytesOf(words.slice(ids, ids + rows)) };
  }
}

const wordsOf = (bytes: Uint8Array): Int32Array => new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
const bytesOf = (words: Int32Array): Uint8Array => new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
