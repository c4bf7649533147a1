// The ids that sequences hold, as bits on a device that draws ids: what a repeat penalty looks at. A device marks the id that each
// step feeds; the host writes whole rows where it knows more, which is after a prompt and after a cut.
import type { Device } from "./device.ts";
import { bytesIn } from "./values.ts";

export class TokenBitmap {
  private readonly device: Device;
  private readonly words: number;
  private base = 0;
  private rows = 0;
  /** Ids of a sequence that are marked; what a session says otherwise makes its row stale. */
  private readonly marked: number[] = [];

  constructor(device: Device, vocab: number) {
    this.device = device;
    this.words = Math.ceil(vocab / 32);
  }

  /** Where the rows lie, room made for `sequences` of them. */
  address(sequences: number): number {
    if (sequences > this.rows) {
      this.close();
      this.rows = 2 ** Math.ceil(Math.log2(sequences));
      this.base = this.device.allocate(this.rows * this.words * 4, "the ids that sequences hold");
    }
    return this.base;
  }

  /** Before a call that feeds `tokens` to a sequence with `before` ids, the first of what `held` gives. */
  feed(sequence: number, before: number, tokens: ArrayLike<number>, held: () => readonly number[]): void {
    // A single id behind those that are marked is marked where it is fed.
    if (this.marked[sequence] !== before || tokens.length !== 1) {
      const bits = new Int32Array(this.words);
      const mark = (id: number): void => void (bits[id >>> 5] |= 1 << (id & 31));
      held().slice(0, before).forEach(mark);
      Array.from(tokens).forEach(mark);
      this.device.write(this.base + sequence * this.words * 4, bytesIn(bits));
    }
    this.marked[sequence] = before + tokens.length;
  }

  /** Ids of a sequence were cut. */
  forget(sequence: number): void {
    this.marked[sequence] = -1;
  }

  close(): void {
    if (this.rows) this.device.release(this.base);
    this.rows = 0;
    this.marked.length = 0;
  }
}
