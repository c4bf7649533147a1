// Files that commands read: regular ones. A FIFO, a device or a socket under a file's name would be waited for, or read, for ever;
// here it is refused before the first byte, and so is a file larger than anything of its kind. The opened file is what is looked
// at, not the name: what lies there a moment later may be another.
import { randomBytes } from "node:crypto";
import { closeSync, constants, fstatSync, openSync, readSync, renameSync, rmSync, writeFileSync, type Stats } from "node:fs";
import { open, type FileHandle } from "node:fs/promises";

/** Opening a FIFO would wait for its writer otherwise. */
const FLAGS = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0);
/** Largest text a command takes where nothing else says how large it may be. */
const MOST_TEXT = 256 << 20;

/** Why a file cannot be read as one; nothing for a regular file of at most `most` bytes. */
export function notRegular(stat: Stats, most = Infinity): string | undefined {
  const kinds: readonly [boolean, string][] = [
    [stat.isDirectory(), "it is a folder, no regular file"],
    [stat.isFIFO(), "it is a FIFO, no regular file"],
    [stat.isSocket(), "it is a socket, no regular file"],
    [stat.isCharacterDevice() || stat.isBlockDevice(), "it is a device, no regular file"],
    [!stat.isFile(), "it is no regular file"],
    [stat.size > most, `it has ${stat.size} bytes; the most that is read here is ${most}`],
  ];
  return kinds.find(([is]) => is)?.[1];
}

/** Opens a regular file for reading. Throws an Error that says why not. */
export async function openRegular(path: string, most = Infinity): Promise<FileHandle> {
  const handle = await open(path, FLAGS);
  const why = notRegular(await handle.stat(), most);
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
    const why = notRegular(stat, most);
    if (why !== undefined) throw new Error(why);
    const parts: Buffer[] = [];
    for (let total = 0; ;) {
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

/** A name beside a file for what is not whole yet; it is nobody else's. */
export const partOf = (path: string): string => `${path}.${randomBytes(6).toString("hex")}.part`;

/** Writes a file whole or not at all: under another name first. What was there before stays until then. */
export function writeWhole(path: string, data: string | Uint8Array): void {
  const part = partOf(path);
  try {
    writeFileSync(part, data, { flag: "wx" });
    renameSync(part, path);
  } catch (e) {
    rmSync(part, { force: true });
    throw e;
  }
}

/** Which file it is, and its state: another under the same name, or a changed one, has another. */
export const identityOf = (s: Pick<Stats, "dev" | "ino" | "size" | "mtimeMs">): string =>
  [s.dev, s.ino, s.size, s.mtimeMs].join(":");

/** Opens a file that was looked at before; one that was put in its place since, or changed, is refused. */
export function openSame(path: string, identity: string): number {
  const file = openSync(path, FLAGS);
  if (identityOf(fstatSync(file)) === identity) return file;
  closeSync(file);
  throw new Error("another file lies there than the one whose header was read, or it changed");
}
