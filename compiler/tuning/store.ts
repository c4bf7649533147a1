// What `dsc tune` measured, kept beside compiled kernels in the user's cache: a file for an architecture and a version of dsc, which
// names the card. Kernels of another version may take other times, so its file is not read.
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { TunedRow } from "../../codegen/cuda/tuned.ts";
import { cacheFolder } from "../../runtime/user-cache.ts";
import { version } from "../artifact/version.ts";

interface Tuning {
  /** The card, as its driver names it. */
  device: string;
  rows: TunedRow[];
}

/** Where the times of an architecture are kept. */
export const tuningFile = (arch: string): string => path.join(cacheFolder(), "tuning", `${arch}-${version}.json`);

/** What was measured for an architecture; null where nothing was, or the file is none of ours. */
export function readTuning(arch: string): Tuning | null {
  try {
    const read = JSON.parse(readFileSync(tuningFile(arch), "utf8")) as Partial<Tuning>;
    return typeof read.device === "string" && Array.isArray(read.rows) && read.rows.every(isRow)
      ? { device: read.device, rows: read.rows }
      : null;
  } catch {
    return null;
  }
}

const isRow = (r: Partial<TunedRow> | null): boolean =>
  typeof r === "object" &&
  r !== null &&
  typeof r.family === "string" &&
  typeof r.problem === "object" &&
  typeof r.schedule === "object" &&
  Number.isSafeInteger(r.rows) &&
  typeof r.us === "number" &&
  r.us > 0;

/** Keeps what was measured: rows of another card, or of the same problems, give way. */
export function writeTuning(arch: string, { device, rows }: Tuning): string {
  const keyOf = (r: TunedRow): string => `${r.family} ${JSON.stringify(r.problem)} ${r.rows}`;
  const now = new Set(rows.map(keyOf));
  const before = readTuning(arch);
  const kept = before?.device === device ? before.rows.filter((r) => !now.has(keyOf(r))) : [];
  const file = tuningFile(arch);
  mkdirSync(path.dirname(file), { recursive: true });
  const beside = `${file}.${process.pid}.tmp`;
  writeFileSync(beside, `${JSON.stringify({ device, rows: [...kept, ...rows] })}\n`);
  renameSync(beside, file);
  return file;
}
