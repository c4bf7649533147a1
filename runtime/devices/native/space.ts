// A library of kernels over memory of the process, for one worker thread.
import { firstBad, maskOf } from "../../finite.ts";
import type { Space } from "../cpu-space.ts";
import { NativeLibrary } from "./library.ts";
import type { ChunkNews } from "../cpu-job.ts";
import { Chunks } from "./memory.ts";

/** What the device hands to a worker. */
export interface NativeStart {
  /** Where the library lies while threads start. */
  path: string;
  kernels: string[];
  /** This thread's scratch. */
  scratch: SharedArrayBuffer;
}

export interface NativeSpace extends Space {
  change(added: readonly ChunkNews[], dropped: readonly number[]): void;
}

/** `at` says which kernel is being looked for. */
export function nativeSpace(start: NativeStart, at: { kernel: number }): NativeSpace {
  const library = new NativeLibrary(start.path);
  const launchers = start.kernels.map((name, i) => {
    at.kernel = i;
    return library.launcher(name);
  });
  const scratch = Math.ceil(library.addressOf(start.scratch) / 64) * 64;
  const chunks = new Chunks();
  const locate = (from: number): NonNullable<ReturnType<Chunks["locate"]>> => {
    const found = chunks.locate(from);
    if (!found) throw new Error(`address ${from} lies in no block`);
    return found;
  };
  const view = (from: number, count: number): Uint8Array => {
    const { buffer, offset } = locate(from);
    return new Uint8Array(buffer, offset, count);
  };
  return {
    // Programs of this device are doubles.
    run: (kernel, _, begin, end, words, first) => launchers[kernel](words as Float64Array, first, begin, end, scratch),
    table: (_, from, count) => {
      const { buffer, offset } = locate(from);
      return new Int32Array(buffer, offset, count);
    },
    bytes: (_, from, count) => view(from, count),
    locate,
    firstBad(from, bytes, dtype) {
      const mask = maskOf(dtype);
      const whole = Math.floor(bytes / 4) * 4;
      if (!mask || from % 4 !== 0 || library.anySpecial(from, whole / 4, mask)) return firstBad(view(from, bytes), dtype);
      return firstBad(view(from + whole, bytes - whole), dtype) === undefined ? undefined : firstBad(view(from, bytes), dtype);
    },
    change(added, dropped) {
      for (const d of dropped) chunks.drop(d);
      for (const c of added) chunks.add(c.at, c.bytes, c.buffer, c.base);
    },
  };
}
