// Pinned host memory between Node and the GPU: small writes go through a ring and are ordered with the stream; files stream
// through buffers with many reads in flight, each buffer copied to the device while others fill.
import koffi from "koffi";
import type { StoredArray } from "../../device.ts";
import { narrowBytes, readRows, widen } from "../../widen.ts";
import type { Driver } from "./driver.ts";

const RING = 4 << 20;
/** Bytes of one read: large enough for bandwidth, small because page-locking memory costs time too. */
const CHUNK = 4 << 20;
/** Reads in flight: what Node's pool of threads takes at once, and a few that wait for one. The pool's size is fixed before this runs. */
const lanes = (): number => Math.min(24, Number(process.env.UV_THREADPOOL_SIZE) || 4) + 2;

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
    const count = Math.min(lanes(), jobs.length);
    if (count === 0) return;
    // Two halves a lane: one fills while the other is on its way.
    const room = new PinnedBlock(this.driver, count * 2 * CHUNK);
    const lane = async (index: number): Promise<void> => {
      const events = [0, 1].map(() => this.driver.get("cuEventCreate", 2));
      try {
        for (let turn = 0; next < jobs.length; turn++) {
          const { array: a, from, count, width } = jobs[next++];
          const [half, at] = [events[turn % 2], (2 * index + (turn % 2)) * CHUNK];
          if (turn >= 2) this.driver.call("cuEventSynchronize", half);
          if (a.rows) {
            await readRows(a, a.rows, room.bytes.subarray(at, at + count * a.rows.pitch), from, count);
            this.driver.call("cuMemcpyHtoDAsync_v2", a.at + from * a.rows.pitch, room.address + at, count * a.rows.pitch, this.stream);
            this.driver.call("cuEventRecord", half, this.stream);
            continue;
          }
          const wide = a.form === "same" ? count * width : count * 4;
          // Narrow values come to rest at the end of the room their wide form takes.
          await a.read(room.bytes.subarray(at + wide - count * width, at + wide), from * width);
          if (a.form !== "same") widen(a.form, room.bytes.buffer, room.bytes.byteOffset + at, count);
          this.driver.call("cuMemcpyHtoDAsync_v2", a.at + from * (a.form === "same" ? width : 4), room.address + at, wide, this.stream);
          this.driver.call("cuEventRecord", half, this.stream);
        }
      } finally {
        for (const e of events) this.driver.attempt("cuEventDestroy_v2", e);
      }
    };
    const all = await Promise.allSettled(Array.from({ length: count }, (_, i) => lane(i)));
    this.driver.call("cuStreamSynchronize", this.stream);
    room.free();
    for (const one of all) if (one.status === "rejected") throw one.reason;
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
