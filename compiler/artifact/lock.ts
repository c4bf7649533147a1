// One writer at a time in an artifact's folder: a lock file that holds the writer's process id. A lock whose process has ended,
// or that nobody put an id into for far longer than that takes, is taken over; a living writer keeps it however slow it is.
import { closeSync, linkSync, openSync, readFileSync, renameSync, rmSync, statSync, writeSync } from "node:fs";
import path from "node:path";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { busy } from "../diagnostics.ts";
import { variable } from "../../runtime/user-cache.ts";

/** How the names of a writer's own entries in an artifact's folder begin. */
export const STAGE = ".dsc-";
export const LOCK = `${STAGE}lock`;

const STALE_MS = 30_000;
/** Longest wait for another writer; on a busy machine, or with many writers, DSC_LOCK_SECONDS waits longer. */
const WAIT_MS = 1000 * (Number(variable("DSC_LOCK_SECONDS")) || 60);

/** Whether a process of this machine runs. */
export function alive(pid: number): boolean {
  if (!Number.isSafeInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (e) {
    return (e as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** Runs `body` as the only writer of `folder`; waits for another to end. */
export function locked(folder: string, body: () => void): void {
  const file = path.join(folder, LOCK);
  const from = Date.now();
  while (!take(file)) {
    breakStale(file);
    if (Date.now() - from > WAIT_MS) throw new DiagnosticError(busy({ folder, lock: file }));
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 3);
  }
  try {
    body();
  } finally {
    rmSync(file, { force: true });
  }
}

function take(file: string): boolean {
  let at: number;
  try {
    at = openSync(file, "wx");
  } catch (e) {
    if ((e as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw e;
  }
  writeSync(at, String(process.pid));
  closeSync(at);
  return true;
}

/** Moves a dead writer's lock aside; one that turns out to be a living writer's goes back. */
function breakStale(file: string): void {
  const stale = (at: string): boolean => {
    try {
      const pid = readFileSync(at, "utf8");
      // Empty for the moment between creating and writing it.
      return pid === "" ? Date.now() - statSync(at).mtimeMs > STALE_MS : !alive(Number(pid));
    } catch {
      return false;
    }
  };
  if (!stale(file)) return;
  const aside = `${file}-${process.pid}`;
  try {
    renameSync(file, aside);
    if (!stale(aside)) linkSync(aside, file);
  } catch {
    // Another writer broke it first.
  }
  rmSync(aside, { force: true });
}
