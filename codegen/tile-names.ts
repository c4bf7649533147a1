// Names of a printed kernel for the names of a tile program: as written where nothing else has that name, with a suffix where
// something does.
import type { Kernel } from "../ir/kernel/stmt.ts";
import { flatten, tilesIn } from "../ir/kernel/walk.ts";

export interface Names {
  /** Of a buffer, dim, axis, loop variable or scalar. */
  of(name: string): string;
  tile(name: string): string;
}

/** Chooses all names of a kernel; none is a `reserved` word, and a buffer that may not keep its own gets the suffix `buffer`. */
export function tileNames(kernel: Kernel, reserved: Iterable<string>, buffer: string): Names {
  const taken = new Set(reserved);
  const plain = new Map<string, string>();
  const tiles = new Map<string, string>();
  const give = (map: Map<string, string>, name: string, suffix: string): void => {
    if (map.has(name)) return;
    let word = name.replace(/\W/g, "_");
    while (taken.has(word)) word += suffix;
    taken.add(word);
    map.set(name, word);
  };
  for (const p of kernel.params) give(plain, p.name, buffer);
  for (const d of kernel.dims) give(plain, d, "_");
  for (const s of flatten(kernel.body)) {
    if (s.kind === "grid") for (const a of s.axes) give(plain, a.name, "_at");
    if (s.kind === "loop") give(plain, s.name, "_at");
    if (s.kind === "scalar" || s.kind === "peek") give(plain, s.name, "_");
  }
  for (const t of tilesIn(kernel)) give(tiles, t.name, "_tile");
  return { of: (name) => plain.get(name) ?? name, tile: (name) => tiles.get(name)! };
}
