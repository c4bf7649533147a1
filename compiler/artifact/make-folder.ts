// Folders for what dsc writes.
import { existsSync, mkdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { partOf } from "../../runtime/files.ts";
import { cannotWrite } from "../diagnostics.ts";

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

/** Makes the folder of a file, and tries whether one can be made there. */
export function checkFolder(file: string): void {
  try {
    makeFolder(path.dirname(path.resolve(file)));
    const probe = partOf(path.resolve(file));
    writeFileSync(probe, "", { flag: "wx" });
    rmSync(probe);
  } catch (e) {
    throw new DiagnosticError(cannotWrite({ where: file, problem: (e as Error).message }));
  }
}
