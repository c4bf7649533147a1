// Files that commands read: regular ones. A FIFO, a device or a socket under a file's name would be waited for, or read, for ever;
// here it is refused before the first byte, and so is a file larger than anything of its kind. The opened file is what is looked
// at, not the name: what lies there a moment later may be another.
import { closeSync, constants, fstatSync, openSync, readSync, type Stats } from "node:fs";
import { open, type FileHandle } from "node:fs/promises";

/** Opening a FIFO would wait for its writer otherwise. */
const FLAGS = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0);
/** Largest text a command takes where nothing else says how large it may be. */
const MOST_TEXT = 256 << 20;

/** Why a file cannot be read as one; nothing for a regular file of at most `most` bytes. */
function refusal(stat: Stats, most: number): string | undefined {
  const kinds: readonly [boolean, string][] = [
    [stat.isDirectory(), "it is a folder"],
    [stat.isFIFO(), "it is a FIFO, not a file"],
    [stat.isSocket(), "it is a socket, not a file"],
    [stat.isCharacterDevice() || stat.isBlockDevice(), "it is a device, not a file"],
    [!stat.isFile(), "it is no file"],
    [stat.size > most, `it has ${stat.size} bytes; the most that is read here is ${most}`],
  ];
  return kinds.find(([is]) => is)?.[1];
}

/** Opens a regular file for reading. Throws an Error that says why not. */
export async function openRegular(path: string, most = Infinity): Promise<FileHandle> {
  const handle = await open(path, FLAGS);
  const why = refusal(await handle.stat(), most);
  if (why === undefined) return handle;
  await handle.close();
  throw new Error(why);
}

/** All of a regular file. */
export async function readRegular(path: string, most = Infinity): Promise<Buffer<ArrayBuffer>> {
  const handle = await openRegular(path, most);
  try {
    return (await handle.readFile()) as Buffer<ArrayBuffer>;
  } finally {
    await handle.close();
  }
}

/** All of a regular file, at once. Files of /proc say 0 bytes and have more: what is read is counted, not believed. */
export function readRegularSync(path: string, most = MOST_TEXT): Buffer {
  const file = openSync(path, FLAGS);
  try {
    const stat = fstatSync(file);
    const why = refusal(stat, most);
    if (why !== undefined) throw new Error(why);
    const parts: Buffer[] = [];
    for (let total = 0; ; ) {
      const part = Buffer.allocUnsafe(Math.max(65536, Math.min(stat.size + 1 - total, 64 << 20)));
      const n = readSync(file, part, 0, part.length, null);
      if (n === 0) return Buffer.concat(parts);
      total += n;
      if (total > most) throw new Error(`it has more than ${most} bytes, the most that is read here`);
      parts.push(part.subarray(0, n));
    }
  } finally {
    closeSync(file);
  }
}

/** The text of a regular file. */
export const readTextSync = (path: string, most = MOST_TEXT): string => readRegularSync(path, most).toString("utf8");
