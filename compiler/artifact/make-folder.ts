// Folders for what dsc writes.
import { existsSync, mkdirSync, statSync } from "node:fs";
import path from "node:path";

/** Like mkdir -p. Node's own recursive form never returns where a parent refuses children with ENOENT (/proc). */
export function makeFolder(folder: string): void {
  if (existsSync(folder) && statSync(folder).isDirectory()) return;
  const parent = path.dirname(path.resolve(folder));
  if (!existsSync(parent)) makeFolder(parent);
  try {
    mkdirSync(folder);
  } catch (e) {
    if ((e as NodeJS.ErrnoException).code !== "EEXIST" || !statSync(folder).isDirectory()) throw e;
  }
}
