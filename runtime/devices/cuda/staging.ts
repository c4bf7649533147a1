// Pinned host memory between Node and the GPU: small writes go through a ring and are ordered with the stream; files stream
// through buffers with many reads in flight, each buffer copied to the device while others fill.
import koffi from "koffi";
import type { StoredArray } from "../../device.ts";
import { narrowBytes, readRows, widen } from "../../widen.ts";
import type { Driver } from "./driver.ts";

const RING = 4 << 20;
/** Bytes of one read, and reads in flight: enough for a page cache at tens of GB/s with the threads Node has. */
const CHUNK = 8 << 20;
const LANES = 12;

/** Page-locked memory of the driver. */
export class PinnedBlock {
  readonly address: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
  private readonly driver: Driver;

  constructor(driver: Driver, size: number) {
    this.driver = driver;
    this.address = driver.get("cuMemHostAlloc", size, 0);
    this.bytes = new Uint8Array(koffi.view(BigInt(this.address), size));
  }

  free(): void {
    this.driver.attempt("cuMemFreeHost", this.address);
  }
}

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
    for (let done = 0; done < bytes.length; ) {
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

  /** Brings arrays of a checkpoint to the device. */
  async place(arrays: readonly StoredArray[]): Promise<void> {
    const jobs = pieces(arrays);
    let next = 0;
    const lane = async (): Promise<void> => {
      const room = new PinnedBlock(this.driver, CHUNK);
      const event = this.driver.get("cuEventCreate", 2);
      try {
        while (next < jobs.length) {
          const { array: a, from, count, width } = jobs[next++];
          if (a.rows) {
            await readRows(a, a.rows, room.bytes.subarray(0, count * a.rows.pitch), from, count);
            this.driver.call("cuMemcpyHtoDAsync_v2", a.at + from * a.rows.pitch, room.address, count * a.rows.pitch, this.stream);
            this.driver.call("cuEventRecord", event, this.stream);
            this.driver.call("cuEventSynchronize", event);
            continue;
          }
          const wide = a.form === "same" ? count * width : count * 4;
          // Narrow values come to rest at the end of the room their wide form takes.
          await a.read(room.bytes.subarray(wide - count * width, wide), from * width);
          if (a.form !== "same") widen(a.form, room.bytes.buffer, room.bytes.byteOffset, count);
          this.driver.call("cuMemcpyHtoDAsync_v2", a.at + from * (a.form === "same" ? width : 4), room.address, wide, this.stream);
          this.driver.call("cuEventRecord", event, this.stream);
          this.driver.call("cuEventSynchronize", event);
        }
      } finally {
        this.driver.attempt("cuEventDestroy_v2", event);
        room.free();
      }
    };
    await Promise.all(Array.from({ length: Math.min(LANES, jobs.length) }, lane));
  }

  close(): void {
    this.ring.free();
  }
}

interface Piece {
  array: StoredArray;
  /** First element and number of elements: bytes where nothing is widened, rows where rows lie apart. */
  from: number;
  count: number;
  width: number;
}

/** Arrays cut so that each piece fits a buffer, wide form included. */
function pieces(arrays: readonly StoredArray[]): Piece[] {
  return arrays.flatMap((array) => {
    const width = array.form === "same" ? 1 : narrowBytes[array.form];
    const elements = array.rows ? array.bytes / array.rows.bytes : array.bytes / width;
    const most = array.rows ? Math.floor(CHUNK / array.rows.pitch) : array.form === "same" ? CHUNK : CHUNK / 4;
    return Array.from({ length: Math.ceil(elements / most) }, (_, i) => ({ array, from: i * most, count: Math.min(most, elements - i * most), width }));
  });
}
