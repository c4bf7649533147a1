// What in a folder dsc provably wrote: regular files that an artifact's manifest names, with the bytes it gives the digest of, in
// folders that are no links. The manifest counts only as dsc wrote it (its own digest holds). Nothing else is moved or removed.
import { lstatSync, readdirSync, rmSync, rmdirSync } from "node:fs";
import path from "node:path";
import { readRegularSync, readTextSync } from "../../runtime/files.ts";
import { MANIFEST, filesOfManifest, isOwnPath, sha256 } from "../../runtime/manifest-text.ts";
import { LOCK, STAGE, alive } from "./lock.ts";

/** A writer's own folder inside an artifact's: its process id, and letters that make it new. */
const STAGE_NAME = new RegExp(`^\\${STAGE}(\\d+)-\\w+$`);

const isStage = (name: string): boolean => STAGE_NAME.test(name);

export type Kind = "file" | "folder" | "other";

/** What lies at a place itself; links are not followed. Below a file lies nothing. */
export function kindAt(at: string): Kind | undefined {
  const stat = unlessGone(() => lstatSync(at, { throwIfNoEntry: false }));
  return stat && (stat.isFile() ? "file" : stat.isDirectory() ? "folder" : "other");
}

/** What `look` gives, or nothing where what it looks at is gone: another writer moves files at any moment. */
export function unlessGone<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch (e) {
    const { code } = e as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw e;
  }
}

function manifestAt(folder: string): ReadonlyMap<string, string> | undefined {
  const file = path.join(folder, MANIFEST);
  return kindAt(file) === "file" ? unlessGone(() => filesOfManifest(readTextSync(file))) : undefined;
}

/**
 * Digests that files of a folder have if dsc wrote them, by path: its manifest's, and those of writers that were killed there
 * or are at work.
 */
export class Ours {
  readonly folder: string;
  private readonly digests = new Map<string, Set<string>>();
  /** Whether manifest.json is an artifact's. */
  readonly manifest: boolean;
  readonly stages: readonly string[];

  constructor(folder: string) {
    this.folder = folder;
    this.stages = readdirSync(folder).filter((n) => isStage(n) && kindAt(path.join(folder, n)) === "folder");
    const own = manifestAt(folder);
    this.manifest = own !== undefined;
    for (const [name, digest] of [
      own,
      ...this.stages.flatMap((s) => [manifestAt(path.join(folder, s)), manifestAt(path.join(folder, s, "old"))]),
    ].flatMap((m) => [...(m ?? [])]))
      this.digests.set(name, (this.digests.get(name) ?? new Set()).add(digest));
  }

  get names(): Iterable<string> {
    return this.digests.keys();
  }

  /** Why a place cannot be taken by a file of an artifact; nothing where it is free or holds a file that dsc wrote. */
  obstacle(name: string): string | undefined {
    const parts = name.split("/");
    for (let n = 1; n < parts.length; n++) {
      const kind = kindAt(path.join(this.folder, ...parts.slice(0, n)));
      if (kind === undefined) return undefined;
      if (kind !== "folder") return `${parts.slice(0, n).join("/")} is no folder that dsc made`;
    }
    const kind = kindAt(path.join(this.folder, name));
    if (kind === undefined) return undefined;
    if (kind !== "file") return `${name} is no file that dsc wrote`;
    if (!this.digests.has(name)) return `${name} is not from dsc`;
    const data = unlessGone(() => readRegularSync(path.join(this.folder, name), Infinity));
    return data === undefined || this.digests.get(name)!.has(sha256(data)) ? undefined : `${name} was changed since dsc wrote it`;
  }

  /** A file that dsc did not write, anywhere in the folder but in its writers' own; the search ends at the first. */
  foreign(): string | undefined {
    const within = (at: string): string | undefined => {
      for (const e of unlessGone(() => readdirSync(path.join(this.folder, at), { withFileTypes: true })) ?? []) {
        const name = at === "" ? e.name : `${at}/${e.name}`;
        if (at === "" && (e.name.startsWith(LOCK) || this.stages.includes(e.name))) continue;
        const found = e.isDirectory()
          ? within(name)
          : this.digests.has(name) && this.obstacle(name) === undefined
            ? undefined
            : name;
        if (found !== undefined) return found;
      }
      return undefined;
    };
    return within("");
  }
}

/** Removes what finished and killed writers left: their own files, and folders that are empty then. Folders of those at work stay. */
export function clearStages(folder: string): void {
  for (const name of readdirSync(folder)) {
    const pid = Number(STAGE_NAME.exec(name)?.[1]);
    const stage = path.join(folder, name);
    if (!Number.isNaN(pid) && kindAt(stage) === "folder" && (pid === process.pid || !alive(pid))) clearStage(stage);
  }
}

/**
 * A writer's folder. Files there have paths that an artifact's have, or are a manifest; what else was put there stays, and
 * the folder with it.
 */
export function clearStage(stage: string): void {
  for (const part of [path.join(stage, "old"), stage]) {
    if (kindAt(part) !== "folder") continue;
    for (const below of ["edits", "graph", "kernels", "reports"]) clearFolder(path.join(part, below), () => true);
    clearFolder(part, (n) => n === MANIFEST || isOwnPath(n));
  }
}

function clearFolder(folder: string, ours: (name: string) => boolean): void {
  if (kindAt(folder) !== "folder") return;
  for (const name of readdirSync(folder))
    if (ours(name) && kindAt(path.join(folder, name)) === "file") rmSync(path.join(folder, name), { force: true });
  removeIfEmpty(folder);
}

export function removeIfEmpty(folder: string): void {
  try {
    if (readdirSync(folder).length === 0) rmdirSync(folder);
  } catch {
    // Another writer removed it, or put something there.
  }
}
