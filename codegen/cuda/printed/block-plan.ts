// What must be known before a tile program is printed for a whole block: which tiles need no shared memory because their one user
// computes them element by element, where the others lie, and when threads must wait for each other.
import type { Kernel, Stmt, Tile } from "../../../ir/kernel/stmt.ts";
import { flatten, tilesIn, tilesRead, tileWritten } from "../../../ir/kernel/walk.ts";
import { isSingle } from "./warp-plan.ts";

/** Elements from one row of a tile to the next: odd, so that threads walking down a column meet different banks. */
export const rowStride = (t: Tile): number => (t.rows > 1 && t.cols > 1 ? t.cols + 1 - (t.cols % 2) : t.cols);

const sameShape = (a: Tile, b: Tile): boolean => a.rows === b.rows && a.cols === b.cols;
const elementwise = (s: Stmt): boolean => s.kind === "map" || s.kind === "store" || s.kind === "accumulate";

/** Tiles that their one user computes for each element it needs, with the statement that defines them. */
export function inlined(kernel: Kernel): ReadonlyMap<string, Stmt> {
  const all = flatten(kernel.body);
  const users = new Map<string, Stmt[]>();
  const writers = new Map<string, Stmt[]>();
  for (const s of all) {
    for (const n of new Set(tilesRead(s).map((t) => t.name))) users.set(n, [...(users.get(n) ?? []), s]);
    const w = tileWritten(s);
    if (w) writers.set(w.name, [...(writers.get(w.name) ?? []), s]);
  }
  const found = new Map<string, Stmt>();
  /** Position in its list where an inlined tile is finally computed. */
  const point = new Map<string, number>();
  const visit = (list: readonly Stmt[]): void => {
    for (let i = list.length - 1; i >= 0; i--) {
      const s = list[i];
      if ("body" in s) visit(s.body);
      const t = tileWritten(s);
      const [user] = t ? (users.get(t.name) ?? []) : [];
      if (!t || !user || isSingle(t) || users.get(t.name)!.length !== 1 || writers.get(t.name)!.length !== 1) continue;
      const at = list.indexOf(user);
      if (at <= i || !mayInline(s, t, user)) continue;
      const target = tileWritten(user);
      const end = target && found.get(target.name) === user ? point.get(target.name)! : at;
      const between = flatten(list.slice(i + 1, end));
      const needs = new Set(tilesRead(s).map((x) => x.name));
      const disturbed = between.some((b) => {
        const w = tileWritten(b);
        if (w && found.get(w.name) !== b && needs.has(w.name)) return true;
        return s.kind === "load" && b.kind === "store" && b.to.buffer === s.from.buffer;
      });
      if (disturbed) continue;
      found.set(t.name, s);
      point.set(t.name, end);
    }
  };
  visit(kernel.body);
  return found;
}

function mayInline(def: Stmt, t: Tile, user: Stmt): boolean {
  if (elementwise(user)) {
    const shape = user.kind === "store" ? user.src : tileWritten(user)!;
    if (user.kind === "store" && user.to.rowIndex?.name === t.name) return false;
    if (def.kind === "map" || def.kind === "dot") return sameShape(shape, t);
    return def.kind === "load" || def.kind === "fill" || def.kind === "iota";
  }
  // A product reads its operands many times: what is in memory is brought near first.
  return user.kind === "dot" && (def.kind === "map" || def.kind === "fill" || def.kind === "iota");
}

export interface Shared {
  /** First element of each tile, in floats (or ints). */
  at: ReadonlyMap<string, number>;
  bytes: number;
  tiles: Tile[];
}

/** Places every tile that is kept, one after another. */
export function layOut(kernel: Kernel, lazy: ReadonlyMap<string, Stmt>): Shared {
  const tiles = tilesIn(kernel).filter((t) => !isSingle(t) && !lazy.has(t.name));
  const at = new Map<string, number>();
  let elements = 0;
  for (const t of tiles) {
    at.set(t.name, elements);
    elements += Math.ceil((t.rows * rowStride(t)) / 4) * 4;
  }
  return { at, bytes: 4 * elements, tiles };
}

/** How threads touch a shared tile: each its own elements (the same for all tiles of a shape), or anyone's. */
export interface Access {
  tile: string;
  write: boolean;
  own: boolean;
}

/** Accesses since the last barrier. */
export class Pending {
  private readonly seen: Map<string, Access>;

  constructor(seen: Iterable<[string, Access]> = []) {
    this.seen = new Map(seen);
  }

  /** Whether threads must wait before these accesses: one of a pair writes, and not both keep to their own elements. */
  conflicts(list: readonly Access[]): boolean {
    return list.some((a) => [...this.seen.values()].some((b) => b.tile === a.tile && (a.write || b.write) && !(a.own && b.own)));
  }

  note(list: readonly Access[]): void {
    for (const a of list) this.seen.set(`${a.tile} ${a.write} ${a.own}`, a);
  }

  clear(): void {
    this.seen.clear();
  }

  copy(): Pending {
    return new Pending(this.seen);
  }

  /** Adds another's accesses; tells whether any was new. */
  join(other: Pending): boolean {
    const before = this.seen.size;
    for (const [key, access] of other.seen) this.seen.set(key, access);
    return this.seen.size > before;
  }
}
