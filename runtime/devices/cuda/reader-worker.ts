// Entry of a thread that brings files to the GPU: reads a chunk into page-locked memory of its own and lets the copy engine take it
// from there, while it reads the next into the other half. Pieces are dealt out by a counter that all threads share.
import { closeSync, readSync } from "node:fs";
import { parentPort, workerData } from "node:worker_threads";
import { openSame } from "../../files.ts";
import { gatherRows, spreadRows, widen } from "../../widen.ts";
import { Driver, PinnedBlock } from "./driver.ts";
import { HALF, fileBytes, chunksOf, wideBytes, type Chunk, type Placed } from "./chunks.ts";

/** What a thread needs to know. */
export interface ReaderStart {
  libraries: readonly string[] | undefined;
  device: number;
}

/** `next[0]` counts the chunks that a thread has taken. */
export type ReaderJob = { arrays: readonly Placed[]; next: Int32Array } | "close";
export type ReaderReply = { ok: true } | { ok: false; chunk: number; why: string };

class Reader {
  private readonly driver: Driver;
  private readonly device: number;
  private readonly stream: number;
  private readonly room: PinnedBlock;
  /** Passed by the copy engine when a half may be written again. */
  private readonly free: readonly number[];

  constructor({ libraries, device }: ReaderStart) {
    this.driver = new Driver(libraries);
    this.device = device;
    this.driver.call("cuCtxSetCurrent", this.driver.get("cuDevicePrimaryCtxRetain", device));
    this.stream = this.driver.get("cuStreamCreate", 1);
    this.room = new PinnedBlock(this.driver, 2 * HALF);
    this.free = [0, 1].map(() => this.driver.get("cuEventCreate", 2));
  }

  /** Pieces as long as some are left; the device has them when this returns. `at` tells which one is under way. */
  bring(chunks: readonly Chunk[], next: Int32Array, at: (chunk: number) => void): void {
    const files = new Map<string, number>();
    try {
      for (let turn = 0; ; turn++) {
        const i = Atomics.add(next, 0, 1);
        if (i >= chunks.length) break;
        at(i);
        const p = chunks[i];
        let file = files.get(p.path);
        if (file === undefined) files.set(p.path, (file = openSame(p.path, p.identity)));
        const half = turn % 2;
        if (turn >= 2) this.driver.call("cuEventSynchronize", this.free[half]);
        const bytes = wideBytes(p);
        fill(p, file, this.room.bytes.subarray(half * HALF, half * HALF + Math.max(bytes, fileBytes(p))));
        this.driver.call("cuMemcpyHtoDAsync_v2", p.at, this.room.address + half * HALF, bytes, this.stream);
        this.driver.call("cuEventRecord", this.free[half], this.stream);
      }
    } finally {
      for (const file of files.values()) closeSync(file);
      this.driver.call("cuStreamSynchronize", this.stream);
    }
  }

  close(): void {
    this.room.free();
    for (const e of this.free) this.driver.attempt("cuEventDestroy_v2", e);
    this.driver.attempt("cuDevicePrimaryCtxRelease_v2", this.device);
  }
}

/** Reads a chunk to the end of the room that its wider form fills, and brings it into the other there: widened, apart or together. */
function fill(p: Chunk, file: number, room: Uint8Array<ArrayBuffer>): void {
  const narrow = room.subarray(room.length - fileBytes(p));
  for (let done = 0; done < narrow.length;) {
    const n = readSync(file, narrow, done, narrow.length - done, p.position + done);
    if (n === 0) throw new Error("the file changed after its header was read");
    done += n;
  }
  if (p.rows && p.rows.stored > p.rows.bytes) gatherRows(p.rows, room, p.count);
  else if (p.rows) spreadRows(p.rows, room, p.count);
  else if (p.form !== "same") widen(p.form, room.buffer, room.byteOffset, p.count);
}

let under = -1;
function answer(work: () => void): void {
  let reply: ReaderReply = { ok: true };
  try {
    work();
  } catch (e) {
    reply = { ok: false, chunk: under, why: (e as Error).message };
  }
  parentPort!.postMessage(reply);
}

let reader: Reader | undefined;
answer(() => (reader = new Reader(workerData as ReaderStart)));
parentPort!.on("message", (job: ReaderJob) => {
  if (job === "close") {
    reader?.close();
    parentPort!.close();
  } else answer(() => reader!.bring(chunksOf(job.arrays), job.next, (i) => (under = i)));
});
