// C++ names for the names of a tile program: as written where nothing else has that name, with a suffix where something does.
import type { Kernel } from "../../../ir/kernel/stmt.ts";
import { flatten, tilesIn } from "../../../ir/kernel/walk.ts";

/** Words that generated text uses itself, and keywords that are likely names. */
const reserved = new Set(
  (
    "auto bool break case char class const continue default delete do double else enum extern false float for goto " +
    "if inline int long new operator private public register return short signed sizeof static struct switch " +
    "template this throw true try typedef union unsigned using void volatile while u8 u16 u32 i64 min max abs expf " +
    "logf floorf fabsf fmaf lane warp cell turn step q e r c shared threadIdx blockIdx"
  ).split(" "),
);

export interface Names {
  /** Of a buffer, dim, axis, loop variable or scalar. */
  of(name: string): string;
  tile(name: string): string;
}

/** Chooses all names of a kernel. Loop variables keep short names: `r`, `c`, `e` and `q` of generated loops are avoided. */
export function namesOf(kernel: Kernel): Names {
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
  for (const p of kernel.params) give(plain, p.name, "_buffer");
  for (const d of kernel.dims) give(plain, d, "_");
  for (const s of flatten(kernel.body)) {
    if (s.kind === "grid") for (const a of s.axes) give(plain, a.name, "_at");
    if (s.kind === "loop") give(plain, s.name, "_at");
    if (s.kind === "scalar" || s.kind === "peek") give(plain, s.name, "_");
  }
  for (const t of tilesIn(kernel)) give(tiles, t.name, "_tile");
  return { of: (name) => plain.get(name) ?? name, tile: (name) => tiles.get(name)! };
}
