// Writes an artifact so that a reader, at any moment and whatever was killed, finds the old one or the new one whole.
//   1. everything is written beside, into OUT/.dsc-PID-*/
//   2. under a lock, what OUT holds moves into that folder's old/ and the new takes its place; manifest.json moves last
//   3. the folder goes
// Between the moves of step 2 the manifest in place may name files that lie in such a folder: readers look there, by digest.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync, rmdirSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { Manifest } from "../ir/artifact.ts";
import { DiagnosticError } from "../ir/diagnostic.ts";
import { cacheFolder } from "../runtime/user-cache.ts";
import type { Compiled } from "./compile.ts";
import { cannotWrite, usage } from "./diagnostics.ts";
import { LOCK, STAGE, alive, locked } from "./lock.ts";

const MANIFEST = "manifest.json";

export const manifestText = (c: Pick<Compiled, "manifest">): string => JSON.stringify(c.manifest, null, 1) + "\n";

/** Writes `c` into `folder`, replacing an older artifact there. Refuses a folder that holds something else. */
export function writeArtifact(c: Pick<Compiled, "manifest" | "files">, folder: string): void {
  const text = manifestText(c);
  if (folder.trim() === "") throw new DiagnosticError(usage("-o is empty", "name a folder"));
  try {
    const fresh = !existsSync(folder);
    if (!fresh) {
      expectOurs(folder);
      if (textAt(folder, MANIFEST) === text && intact(c, folder)) return;
    }
    makeFolder(folder);
    let stage: string | undefined;
    try {
      stage = mkdtempSync(path.join(folder, `${STAGE}${process.pid}-`));
      for (const [name, data] of [...c.files, [MANIFEST, text] as const]) {
        const to = path.join(stage, name);
        mkdirSync(path.dirname(to), { recursive: true });
        writeFileSync(to, data);
      }
      locked(folder, () => commit(folder, stage!, tops(c.files.keys())));
      locked(folder, () => clear(folder));
    } catch (e) {
      if (stage !== undefined) rmSync(stage, { recursive: true, force: true });
      if (fresh && readdirSync(folder).length === 0) rmdirSync(folder);
      throw e;
    }
  } catch (e) {
    if (e instanceof DiagnosticError) throw e;
    throw new DiagnosticError(cannotWrite(folder, (e as Error).message));
  }
}

/** An artifact, an empty folder, or what a killed compile left of one. */
function expectOurs(folder: string): void {
  if (!statSync(folder).isDirectory()) throw new DiagnosticError(cannotWrite(folder, "it is a file", "choose another -o"));
  const there = readdirSync(folder);
  if (there.length && !there.includes(MANIFEST) && !there.some((n) => n.startsWith(STAGE)))
    throw new DiagnosticError(cannotWrite(folder, "it is a folder that is no artifact", "choose another -o, or an empty folder"));
}

const tops = (names: Iterable<string>): string[] => [...new Set([...names].map((n) => n.split("/")[0]))];

const textAt = (folder: string, name: string): string | undefined => {
  const file = path.join(folder, name);
  return existsSync(file) ? readFileSync(file, "utf8") : undefined;
};

/** The moves. What fails half-way is moved back. */
function commit(folder: string, stage: string, fresh: readonly string[]): void {
  const old = path.join(stage, "old");
  mkdirSync(old);
  const done: [from: string, to: string][] = [];
  const move = (from: string, to: string): void => {
    renameSync(from, to);
    done.unshift([from, to]);
  };
  try {
    for (const name of new Set([...topsInPlace(folder), ...fresh])) {
      if (existsSync(path.join(folder, name))) move(path.join(folder, name), path.join(old, name));
      if (fresh.includes(name)) move(path.join(stage, name), path.join(folder, name));
    }
    renameSync(path.join(stage, MANIFEST), path.join(folder, MANIFEST));
  } catch (e) {
    for (const [from, to] of done) renameSync(to, from);
    throw e;
  }
}

/** Folders and files of the artifact in place, by its manifest. */
function topsInPlace(folder: string): string[] {
  try {
    const { files } = JSON.parse(textAt(folder, MANIFEST) ?? "{}") as Partial<Manifest>;
    return tops(Object.keys(files ?? {})).filter((n) => n !== "" && n !== "." && n !== "..");
  } catch {
    return [];
  }
}

/** Removes what finished and killed compiles left; the folders of those at work stay. */
function clear(folder: string): void {
  for (const name of readdirSync(folder)) {
    if (!name.startsWith(STAGE) || name === LOCK) continue;
    const pid = Number(name.slice(STAGE.length).split("-")[0]);
    if (pid === process.pid || !alive(pid)) rmSync(path.join(folder, name), { recursive: true, force: true });
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

function intact(c: Pick<Compiled, "manifest" | "files">, folder: string): boolean {
  return [...c.files.keys()].every((name) => {
    const file = path.join(folder, name);
    return existsSync(file) && createHash("sha256").update(readFileSync(file)).digest("hex") === c.manifest.files[name];
  });
}

/** Writes into the user's cache, under a name made from the content; gives the folder. */
export function cacheArtifact(c: Compiled): string {
  const folder = path.join(cacheFolder(), createHash("sha256").update(manifestText(c)).digest("hex").slice(0, 24));
  writeArtifact(c, folder);
  return folder;
}
