// Steps that follow the one before them: every sequence one row on, the ids those that were just chosen, nothing else new. A kernel moves
// the tables on where they lie, in 1.4 us, and the host sends nothing; reading a letter from it takes 18 (docs/notes-gpu-runtime.md).
// The host knows by the same rule what the tables have become. Pages that sequences grow into, other ids, other sequences: a letter.
import type { Call } from "../../device.ts";
import type { LaunchText } from "./kernel.ts";

const THREADS = 256;

export const onwardSource = `// dsc_onward: the tables of the step before, one row on; see runtime/devices/cuda/onward.ts.
__device__ __forceinline__ void release_next() { asm volatile("griddepcontrol.launch_dependents;" ::: "memory"); }
__device__ __forceinline__ void await_previous() { asm volatile("griddepcontrol.wait;" ::: "memory"); }

// Rows that fill the batch up stay the first of their sequence; so would a sequence of one row, which the host then writes itself.
extern "C" __global__ void __launch_bounds__(${THREADS})
dsc_onward(int* tables, const int* next, int positions_at, int lengths_at, int ids_at, int sequences) {
  await_previous();
  const int i = threadIdx.x;
  if (i < sequences) {
    if (tables[lengths_at + i] > 1) {
      tables[positions_at + i]++;
      tables[lengths_at + i]++;
    }
    tables[ids_at + i] = max(next[i], 0);  // negative: logits that are no numbers, which the host will say; the step must not read before its tables
  }
  // Nobody starts before the tables are there: attention reads them before it awaits the kernel before it.
  __threadfence();
  __syncthreads();
  release_next();
}
`;

export const onwardText: LaunchText = {
  name: "dsc_onward",
  params: [
    { kind: "buffer", name: "tables", dtype: "i32", access: "inout" },
    { kind: "buffer", name: "next", dtype: "i32", access: "in" },
  ],
  dims: ["positions_at", "lengths_at", "ids_at", "sequences"],
  launch: { grid: [1, 1, 1], block: THREADS, sharedBytes: 0, pdl: true },
};

/** Words of a call's tables at which a table begins. */
const wordOf = ({ tables, places }: Call, table: "positions" | "lengths" | "ids"): number =>
  (places.batch(table) - tables!.at) / 4;

/** What the kernel is launched with. */
export function onwardLaunch(call: Call): { addresses: number[]; dims: Record<string, number> } {
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

  /** What the device would have to hold before it moves on to these, its own tables: one row less, and the ids that were fed as those chosen. */
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
