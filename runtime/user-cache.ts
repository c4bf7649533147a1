// Where things that can be made again are kept for this user, and how variables of the environment are read.
import { randomBytes, randomUUID } from "node:crypto";
import { mkdirSync, renameSync, writeFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import path from "node:path";

/** A variable of the environment; an empty one is as good as none, everywhere. */
export const variable = (name: string): string | undefined => process.env[name]?.trim() || undefined;

/** Used up by this process: where there is no home there is nothing to keep. */
const homeless = path.join(tmpdir(), `dsc-${randomUUID()}`);

/** ~/.cache, if there is a home. XDG says that a path that is not absolute is none. */
function userCache(): string {
  const given = variable("XDG_CACHE_HOME");
  if (given !== undefined && path.isAbsolute(given)) return given;
  try {
    const home = homedir();
    return path.isAbsolute(home) ? path.join(home, ".cache") : homeless;
  } catch {
    return homeless;
  }
}

/** DSC_CACHE, or dsc in XDG_CACHE_HOME or ~/.cache. */
export const cacheFolder = (): string => variable("DSC_CACHE") ?? path.join(userCache(), "dsc");

/** Keeps a file of the cache. One that cannot be written costs time, not the run: it is made again next time. */
export function keep(file: string, bytes: Uint8Array): void {
  try {
    mkdirSync(path.dirname(file), { recursive: true });
    const beside = `${file}.${randomBytes(6).toString("hex")}.tmp`;
    writeFileSync(beside, bytes);
    renameSync(beside, file);
  } catch {
    // There is no room, or no right to write.
  }
}
