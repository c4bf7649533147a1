// Writes an artifact. Files lie beside their final place until they are whole; manifest.json moves last, by rename, and is
// the commit point: readers trust only what it names, by digest.
import { createHash, randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import path from "node:path";
import { DiagnosticError } from "../ir/diagnostic.ts";
import type { Compiled } from "./compile.ts";
import { cannotWrite, usage } from "./diagnostics.ts";

export const manifestText = (c: Compiled): string => JSON.stringify(c.manifest, null, 1) + "\n";

/** Writes `c` into `folder`, replacing an older artifact there. Refuses a folder that holds something else. */
export function writeArtifact(c: Compiled, folder: string): void {
  const text = manifestText(c);
  if (folder.trim() === "") throw new DiagnosticError(usage("-o is empty", "name a folder"));
  try {
    if (existsSync(folder)) {
      if (!statSync(folder).isDirectory()) throw new DiagnosticError(cannotWrite(folder, "it is a file"));
      const there = readdirSync(folder).filter((n) => !n.startsWith(".dsc-"));
      if (there.length && !there.includes("manifest.json")) throw new DiagnosticError(cannotWrite(folder, "it is a folder that is no artifact", "choose another -o, or an empty folder"));
      if (there.includes("manifest.json") && readFileSync(path.join(folder, "manifest.json"), "utf8") === text && intact(c, folder)) return;
    }
    makeFolder(folder);
    const tag = randomBytes(6).toString("hex");
    // A reader holds every file against its digest, so an old manifest over a new file is refused, never run.
    for (const [name, data] of c.files) {
      const to = path.join(folder, name);
      makeFolder(path.dirname(to));
      if (existsSync(to) && createHash("sha256").update(readFileSync(to)).digest("hex") === c.manifest.files[name]) continue;
      const beside = `${to}.${tag}.tmp`;
      writeFileSync(beside, data);
      renameSync(beside, to);
    }
    const beside = path.join(folder, `manifest.json.${tag}.tmp`);
    writeFileSync(beside, text);
    renameSync(beside, path.join(folder, "manifest.json"));
    sweep(folder, folder, new Set([...c.files.keys(), "manifest.json"]));
  } catch (e) {
    if (e instanceof DiagnosticError) throw e;
    throw new DiagnosticError(cannotWrite(folder, (e as Error).message));
  }
}

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

function intact(c: Compiled, folder: string): boolean {
  return [...c.files.keys()].every((name) => {
    const file = path.join(folder, name);
    return existsSync(file) && createHash("sha256").update(readFileSync(file)).digest("hex") === c.manifest.files[name];
  });
}

/** Removes files of an older artifact that the new manifest no longer names. */
function sweep(root: string, folder: string, keep: ReadonlySet<string>): void {
  for (const e of readdirSync(folder, { withFileTypes: true })) {
    const full = path.join(folder, e.name);
    if (e.isDirectory() && ["graph", "kernels"].includes(path.relative(root, full).split(path.sep)[0])) sweep(root, full, keep);
    else if (e.isFile() && folder !== root && !keep.has(path.relative(root, full).split(path.sep).join("/"))) rmSync(full, { force: true });
  }
}

/** Writes into the user's cache, under a name made from the content; gives the folder. */
export function cacheArtifact(c: Compiled): string {
  const base = process.env.DSC_CACHE ?? path.join(process.env.XDG_CACHE_HOME ?? path.join(homedir(), ".cache"), "dsc");
  const folder = path.join(base, createHash("sha256").update(manifestText(c)).digest("hex").slice(0, 24));
  writeArtifact(c, folder);
  return folder;
}
