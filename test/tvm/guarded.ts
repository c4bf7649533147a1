// Memory that ends where the process may not read: a kernel that reads or writes past the last element of a buffer ends the process.
import koffi from "koffi";

const PAGE = 4096;
const [READ_WRITE, NONE, PRIVATE_ANONYMOUS] = [3, 0, 0x22];

const c = koffi.load(null);
const mmap = c.func("mmap", "void *", ["void *", "size_t", "int", "int", "int", "int64_t"]);
const mprotect = c.func("mprotect", "int", ["void *", "size_t", "int"]);

export interface Guarded {
  at: number;
  bytes: Uint8Array;
}

/** Bytes of zeros whose last one is the last of a page; they are never given back. Linux. */
export function guarded(count: number): Guarded {
  const room = Math.ceil(Math.max(count, 1) / PAGE) * PAGE;
  const begin = mmap(null, room + PAGE, READ_WRITE, PRIVATE_ANONYMOUS, -1, 0) as object;
  const at = Number(koffi.address(begin));
  if (at < PAGE || mprotect(at + room, PAGE, NONE) !== 0) throw new Error("no guarded memory");
  return { at: at + room - count, bytes: new Uint8Array(koffi.view(begin, room), room - count, count) };
}
