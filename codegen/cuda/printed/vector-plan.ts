// Which rows of a tile program a warp can take four columns a lane at a time, for loads and stores of 8 or 16 bytes: rows of whole
// blocks of 128 columns, all of whose places in memory begin at multiples of four elements. Buffers do (the planner sees to it).
import type { Index, Kernel, Place, Stmt, Tile } from "../../../ir/kernel/stmt.ts";
import { flatten, paramOf, tilesIn, tilesRead, tileWritten } from "../../../ir/kernel/walk.ts";

/** Columns of a lane that lie side by side. */
export const WIDE = 4;

/** Tiles that meet have one shape, so a layout belongs to a shape. */
export const shapeKey = (t: Tile): string => `${t.rows} ${t.cols}`;

/** The largest power of two, up to four, that divides n. */
const power = (n: number): number => (n % 4 === 0 ? 4 : n % 2 === 0 ? 2 : 1);

function powerOf(i: Index, known: ReadonlyMap<string, number>): number {
  if (typeof i === "number") return power(i);
  if (typeof i === "string") return known.get(i) ?? 1;
  const [a, b] = [powerOf(i.a, known), powerOf(i.b, known)];
  if (i.op === "mul") return Math.min(4, a * b);
  return i.op === "div" || i.op === "mod" ? 1 : Math.min(a, b);
}

function begins(kernel: Kernel, p: Place, known: ReadonlyMap<string, number>): boolean {
  const b = paramOf(kernel, p.buffer);
  if (!b || p.rowIndex || p.cols === undefined || b.strides[p.cols] !== 1) return false;
  return p.at.every((at, axis) => at === 0 || powerOf(at, known) * powerOf(b.strides[axis], known) >= 4);
}

/** Shapes laid out four columns a lane, by `shapeKey`. */
export function wideShapes(kernel: Kernel): ReadonlySet<string> {
  const stmts = flatten(kernel.body);
  const known = new Map<string, number>();
  for (const s of stmts) {
    if (s.kind === "grid") for (const a of s.axes) known.set(a.name, power(a.tile));
    if (s.kind === "loop") known.set(s.name, Math.min(powerOf(s.from, known), power(s.step)));
  }
  const wide = new Set(
    tilesIn(kernel)
      .filter((t) => t.rows === 1 && t.cols % 128 === 0)
      .map(shapeKey),
  );
  const tilesOf = (s: Stmt): Tile[] => [...tilesRead(s), tileWritten(s)].filter((t): t is Tile => t !== undefined && t !== null);
  for (const s of stmts) {
    const place = s.kind === "load" ? s.from : s.kind === "store" ? s.to : undefined;
    const bad = s.kind === "scan" || (place !== undefined && !begins(kernel, place, known));
    const own = s.kind === "load" ? [s.dst] : s.kind === "store" ? [s.src] : tilesOf(s);
    if (bad) for (const t of own) wide.delete(shapeKey(t));
  }
  return wide;
}
