// What instructions this machine has, as Linux names them. Where there is no /proc/cpuinfo nothing is known, and only what every machine
// of the architecture has is counted on.
import { readFileSync } from "node:fs";

let known: readonly string[] | undefined;

/** Flags of the first processor that is listed. */
export function machineFlags(): readonly string[] {
  if (known) return known;
  let text = "";
  try {
    text = readFileSync("/proc/cpuinfo", "utf8");
  } catch {
    // Not Linux.
  }
  const line = /^(?:flags|Features)\s*:\s*(.*)$/m.exec(text);
  return (known = line ? line[1].trim().split(/\s+/) : []);
}

/** What of these this machine does not have. */
export const missingOf = (requires: readonly string[]): string[] => {
  const flags = machineFlags();
  return requires.filter((f) => !flags.includes(f));
};
