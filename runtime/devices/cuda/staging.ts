// Small writes to the GPU: they go through a ring of pinned host memory and are ordered with the stream. Files take another
// way (readers.ts).
import { PinnedBlock, type Driver } from "./driver.ts";

const RING = 4 << 20;
export class Staging {
  private readonly driver: Driver;
  private readonly stream: number;
  private readonly ring: PinnedBlock;
  private next = 0;

  constructor(driver: Driver, stream: number) {
    [this.driver, this.stream, this.ring] = [driver, stream, new PinnedBlock(driver, RING)];
  }

  /** Copies bytes to the device, ordered with the stream; the array may change at once after. */
  write(at: number, bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length;) {
      if (this.next === RING) {
        // Everything in the ring is still wanted until the stream has passed it.
        this.driver.call("cuStreamSynchronize", this.stream);
        this.next = 0;
      }
      const part = Math.min(RING - this.next, bytes.length - done);
      this.ring.bytes.set(bytes.subarray(done, done + part), this.next);
      this.driver.call("cuMemcpyHtoDAsync_v2", at + done, this.ring.address + this.next, part, this.stream);
      this.next = Math.min(RING, Math.ceil((this.next + part) / 64) * 64);
      done += part;
    }
  }

  close(): void {
    this.ring.free();
  }
}
