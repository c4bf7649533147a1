// Writes an artifact so that a reader, at any moment and whatever was killed, finds the old one or the new one whole.
//   1. everything is written beside, into OUT/.dsc-PID-*/
//   2. under a lock, files of an older artifact move into that folder's old/ and the new ones take their places; manifest.json last
//   3. the folder goes
// Between the moves of step 2 the manifest in place may name files that lie in such a folder: readers look there, by digest.
// Files move one by one, and only those that dsc provably wrote (ours.ts): whatever else lies in OUT stays as it is, and where it
// stands in the way, nothing is written at all.
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, rmdirSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { DiagnosticError, type Diagnostic } from "../../ir/diagnostic.ts";
import { readRegularSync, readTextSync } from "../../runtime/files.ts";
import { MANIFEST, filesOfManifest, isOwnPath, manifestText as textOf, sha256 } from "../../runtime/manifest-text.ts";
import { cacheFolder } from "../../runtime/user-cache.ts";
import type { Compiled } from "../driver/pack.ts";
import { makeFolder } from "./make-folder.ts";
import { cannotWrite, cacheInTemporary, notOurs, usage } from "../diagnostics.ts";
import { STAGE, locked } from "./lock.ts";
import { Ours, clearStage, clearStages, kindAt, removeIfEmpty, unlessGone } from "./ours.ts";

export const manifestText = (c: Pick<Compiled, "manifest">): string => textOf(c.manifest);

/**
 * Writes `c` into `folder`, replacing an older artifact there. Refuses, before anything is changed, where something else
 * would have to go.
 */
export function writeArtifact(c: Pick<Compiled, "manifest" | "files">, folder: string): void {
  const text = manifestText(c);
  const stranger = [...c.files.keys()].find((name) => !isOwnPath(name));
  if (stranger !== undefined)
    throw new DiagnosticError(cannotWrite({ where: folder, problem: `${stranger} is no place for a file of an artifact` }));
  withDiagnostics(folder, () => {
    checkOut(folder, [...c.files.keys()]);
    if (textAt(folder, MANIFEST) === text && intact(c, folder)) return;
    const fresh = !existsSync(folder);
    makeFolder(folder);
    let stage: string | undefined;
    try {
      stage = mkdtempSync(path.join(folder, `${STAGE}${process.pid}-`));
      // The manifest first: by it another writer knows what a killed one left.
      for (const [name, data] of [[MANIFEST, text] as const, ...c.files]) {
        const to = path.join(stage, name);
        mkdirSync(path.dirname(to), { recursive: true });
        writeFileSync(to, data, { flag: "wx" });
      }
      locked(folder, () => commit(folder, stage!, [...c.files.keys()]));
      locked(folder, () => clearStages(folder));
    } catch (e) {
      if (stage !== undefined) clearStage(stage);
      if (fresh) removeIfEmpty(folder);
      throw e;
    }
  });
}

/** Runs what touches a folder; what the system refuses is a diagnostic. */
function withDiagnostics(folder: string, body: () => void): void {
  try {
    body();
  } catch (e) {
    throw e instanceof DiagnosticError ? e : new DiagnosticError(cannotWrite({ where: folder, problem: (e as Error).message }));
  }
}

/** Says before any work, for the names known then, whether an artifact may be written into a folder. */
export function checkOut(folder: string, names: Iterable<string> = []): void {
  if (folder.trim() === "") throw new DiagnosticError(usage({ problem: "-o is empty", help: "name a folder" }));
  withDiagnostics(folder, () => {
    if (!existsSync(folder)) {
      if (kindAt(folder) !== undefined)
        throw new DiagnosticError(cannotWrite({ where: folder, problem: "it is a link to nothing", help: "choose another -o" }));
      return;
    }
    if (!statSync(folder).isDirectory())
      throw new DiagnosticError(cannotWrite({ where: folder, problem: "it is a file", help: "choose another -o" }));
    const ours = new Ours(folder);
    const wrong = obstacleIn(ours, names);
    if (wrong === undefined) return;
    // Another writer may be half-way: what lies in an artifact counts when none is at it.
    if (ours.manifest || ours.stages.length) locked(folder, () => expectOurs(new Ours(folder), names));
    else throw new DiagnosticError(notOurs(folder, wrong));
  });
}

function expectOurs(ours: Ours, names: Iterable<string>): void {
  const wrong = obstacleIn(ours, names);
  if (wrong !== undefined) throw new DiagnosticError(notOurs(ours.folder, wrong));
}

/** What lies in a folder where an artifact may not go; nothing for an artifact, an empty folder, or what a killed compile left of one. */
function obstacleIn(ours: Ours, names: Iterable<string>): string | undefined {
  if (!ours.manifest) {
    const there = readdirSync(ours.folder);
    if (there.length === 0) return undefined;
    if (there.includes(MANIFEST)) return "its manifest.json is not as dsc wrote one: it is another program's, or it was changed";
    const stranger = ours.stages.length ? ours.foreign() : there[0];
    if (stranger !== undefined) return `it is a folder that is no artifact: it holds ${stranger}`;
  }
  for (const name of new Set([...ours.names, ...names])) {
    const why = ours.obstacle(name);
    if (why !== undefined) return why;
  }
  return undefined;
}

const textAt = (folder: string, name: string): string | undefined => {
  const file = path.join(folder, name);
  return kindAt(file) === "file" ? unlessGone(() => readTextSync(file)) : undefined;
};

/** The moves. What fails half-way is moved back. */
function commit(folder: string, stage: string, fresh: readonly string[]): void {
  // Again, now that no other writer is at it.
  const ours = new Ours(folder);
  expectOurs(ours, fresh);
  const old = path.join(stage, "old");
  mkdirSync(old);
  const before = textAt(folder, MANIFEST);
  // With it a later writer knows the files in old/ for dsc's, should this one be killed.
  if (before !== undefined) writeFileSync(path.join(old, MANIFEST), before);
  const done: [from: string, to: string][] = [];
  const move = (name: string, from: string, to: string): void => {
    mkdirSync(path.dirname(path.join(to, name)), { recursive: true });
    renameSync(path.join(from, name), path.join(to, name));
    done.unshift([path.join(from, name), path.join(to, name)]);
  };
  const wanted = new Set(fresh);
  try {
    for (const name of new Set([...ours.names, ...fresh])) {
      if (kindAt(path.join(folder, name)) !== undefined) move(name, folder, old);
      if (wanted.has(name)) move(name, stage, folder);
    }
    renameSync(path.join(stage, MANIFEST), path.join(folder, MANIFEST));
  } catch (e) {
    for (const [from, to] of done) renameSync(to, from);
    throw e;
  }
  for (const name of new Set([...ours.names].map((n) => path.dirname(n))))
    if (name !== ".") removeIfEmpty(path.join(folder, name));
}

function intact(c: Pick<Compiled, "manifest" | "files">, folder: string): boolean {
  return [...c.files.keys()].every((name) => {
    const file = path.join(folder, name);
    const data = kindAt(file) === "file" ? unlessGone(() => readRegularSync(file, Infinity)) : undefined;
    return data !== undefined && sha256(data) === c.manifest.files[name];
  });
}

/**
 * Writes into the user's cache, under a name made from the content; gives the folder. Where that cannot be, into a temporary
 * one, with a note.
 */
export function cacheArtifact(c: Compiled, note: (d: Diagnostic) => void = () => {}): string {
  const folder = path.join(cacheFolder(), sha256(manifestText(c)).slice(0, 24));
  try {
    writeArtifact(c, folder);
    return folder;
  } catch (e) {
    if (!(e instanceof DiagnosticError)) throw e;
    const instead = mkdtempSync(path.join(tmpdir(), "dsc-"));
    process.on("exit", () => removeArtifact(instead));
    writeArtifact(c, instead);
    note(cacheInTemporary({ cache: folder, instead, why: e.diagnostics[0].title }));
    return instead;
  }
}

/** Removes an artifact, and its folder if nothing else lies there. */
function removeArtifact(folder: string): void {
  for (const name of filesOfManifest(textAt(folder, MANIFEST) ?? "")?.keys() ?? [])
    rmSync(path.join(folder, name), { force: true });
  for (const name of ["edits", "graph", "kernels", "reports"])
    if (kindAt(path.join(folder, name)) === "folder") removeIfEmpty(path.join(folder, name));
  rmSync(path.join(folder, MANIFEST), { force: true });
  if (existsSync(folder) && readdirSync(folder).length === 0) rmdirSync(folder);
}
