// The one table of instructions and device functions that kernels call: of hand-written kernels, of printed tile programs, and of
// those that the runtime launches for itself. A kernel's text names what it needs, and those entries are printed above it, with
// what they call themselves; nothing else lists them.
import { cluster } from "./cluster.ts";
import { convert } from "./convert.ts";
import { cpAsync } from "./cp-async.ts";
import { dependent } from "./dependent.ts";
import { elements } from "./elements.ts";
import type { Entry } from "./entry.ts";
import { barriers } from "./mbarrier.ts";
import { global, shared } from "./memory.ts";
import { mma } from "./mma.ts";
import { pack } from "./pack.ts";
import { peer } from "./peer.ts";
import { tma } from "./tma.ts";
import { addresses, types } from "./types.ts";
import { warp } from "./warp.ts";
import { wgmma } from "./wgmma.ts";

export type { Entry } from "./entry.ts";

/** All entries, in the order they are printed: what an entry calls stands before it. */
export const table: readonly Entry[] = [
  ...types,
  ...addresses,
  ...dependent,
  ...convert,
  ...elements,
  ...pack,
  ...warp,
  ...shared,
  ...global,
  ...peer,
  ...barriers,
  ...cluster,
  ...tma,
  ...cpAsync,
  ...mma,
  ...wgmma,
];

const byName = new Map(table.map((e) => [e.name, e]));

/** Identifiers of a text, comments and strings aside. */
export function identifiers(text: string): Set<string> {
  const code = text.replaceAll(/\/\/[^\n]*|"(?:[^"\\\n]|\\.)*"/g, " ");
  return new Set(code.match(/\b[A-Za-z_]\w*/g));
}

const calls = new Map<Entry, readonly Entry[]>();

/** Entries whose names a text has. */
const named = (text: string): Entry[] => [...identifiers(text)].flatMap((i) => byName.get(i) ?? []);

/** Entries that an entry calls. */
export function callsOf(entry: Entry): readonly Entry[] {
  const known = calls.get(entry) ?? named(entry.text).filter((e) => e !== entry);
  calls.set(entry, known);
  return known;
}

/** Entries that a text needs, in the table's order: those it names, and those that these call. */
export function entriesFor(text: string): Entry[] {
  const needed = new Set<Entry>();
  const visit = (e: Entry): void => {
    if (needed.has(e)) return;
    needed.add(e);
    callsOf(e).forEach(visit);
  };
  named(text).forEach(visit);
  return table.filter((e) => needed.has(e));
}

/** The text of all that a kernel's text needs. */
export const helpersFor = (text: string): string =>
  entriesFor(text)
    .map((e) => e.text)
    .join("\n");
