// Where the buffers of a trial lie for a kernel that runs in this process: every byte around them is watched.
import type { KernelRecord } from "../../ir/artifact.ts";
import { BLANK, type Trial, type TrialBuffer } from "./trial.ts";

/** Bytes around a buffer that no kernel may touch. */
const GUARD = 256;

/** Offsets in a memory whose first byte is aligned to 64. */
export class Placed {
  readonly scratch = GUARD;
  readonly bytes: Uint8Array;
  readonly #at = new Map<TrialBuffer, number>();
  readonly #from: number;

  /** `allocate` gives a memory of so many bytes or more. */
  constructor(trial: Trial, records: readonly KernelRecord[], allocate: (bytes: number) => Uint8Array) {
    this.#from = GUARD + Math.max(0, ...records.map((r) => r.scratchBytes ?? 0));
    let end = this.#from + GUARD;
    for (const b of trial.buffers) {
      // One element off alignment: views begin anywhere.
      this.#at.set(b, Math.ceil(end / 64) * 64 + 4);
      end = this.at(b) + b.data.length + GUARD;
    }
    this.bytes = allocate(end);
    this.bytes.fill(BLANK);
    for (const [b, at] of this.#at) this.bytes.set(b.data, at);
  }

  at(b: TrialBuffer): number {
    return this.#at.get(b)!;
  }

  get results(): Uint8Array[] {
    return [...this.#at].map(([b, at]) => this.bytes.slice(at, at + b.data.length));
  }

  /** A byte between buffers that was written. */
  get beside(): string | undefined {
    let [at, last] = [this.#from, "its scratch"];
    for (const [b, begin] of [...this.#at, [undefined, this.bytes.length] as const]) {
      for (; at < begin; at++) if (this.bytes[at] !== BLANK) return last;
      if (b) [at, last] = [begin + b.data.length, b.name];
    }
    return undefined;
  }
}

/** What came of the launches of a trial. */
export function outcome({ results, beside }: Placed): { after: Uint8Array[]; fault?: { problem: string } } {
  return { after: results, ...(beside === undefined ? {} : { fault: { problem: `it writes past the end of ${beside}` } }) };
}
