// The product of many rows with bf16 weights on a processor that multiplies tiles of bf16: 16 rows by 32 columns of a side in a
// register, 16 by 16 sums in f32 in another. An activation is the sum of two bf16 numbers to 2^-17 of itself, and products of
// bf16 are exact in f32, so two products are as near to the sum over f32 as f32 is. Tiles of a side lie one after the other in a
// panel: rows of a as they are, the first part and then the second; rows of b as pairs of columns, a tile's rows side by side,
// as the instruction reads them.
import { constantOf, divide, f32, i64, int, lesser, minus, op, plus, times, type Expr, type Memory } from "./ir.ts";
import { loadOf, type Product } from "./product-type.ts";
import type { LoopSchedule } from "./schedule.ts";
import type { Tiles } from "./tiles.ts";

/** Rows and columns of a tile of bf16, and rows that a block of the product has of either side. */
const [ROWS, COLUMNS, BLOCK] = [16, 32, 32];
const TILE = ROWS * COLUMNS;

/** Whether a product goes by tiles. */
export const byMatrix = ({ matrix, lanes }: LoopSchedule, p: Product, whole: number): boolean =>
  matrix === true &&
  lanes === ROWS &&
  p.b.memory.element === "bf16" &&
  !p.a.scale &&
  !p.b.scale &&
  whole % COLUMNS === 0 &&
  p.tile.m % BLOCK === 0 &&
  p.tile.n % BLOCK === 0;

/** Whether the system lets the process use them. */
export const ready: Expr = { kind: "call", name: "matrix_ready", args: [constantOf(0, i64)], type: { of: "bool", lanes: 1 } };

/** Columns of a panel. */
const panelOf = ({ panel }: LoopSchedule, whole: number): number => Math.min(whole, panel);

/** Elements of f32 that the panels of both sides take. */
export const matrixElements = (s: LoopSchedule, { m, n }: Product["tile"], whole: number): number =>
  ((2 * m + n) * panelOf(s, whole)) / 2;

/** Emits the product over the first `whole` columns. */
export function byTiles(k: Tiles, p: Product, whole: number, scratch: Memory): void {
  const { w, schedule, lanes } = k;
  const width = panelOf(schedule, whole);
  const tiles = width / COLUMNS;
  const a = k.part(scratch, "tiles_a", 0, "bf16");
  const b = k.part(scratch, "tiles_b", 2 * 2 * p.tile.m * width, "bf16");
  const up = (n: Expr): Expr => w.keep(times(divide("div", plus(n, int(BLOCK - 1)), int(BLOCK)), int(BLOCK)), "rows");
  w.loop("from", int(0), int(whole), width, (from) => {
    const columns = whole % width === 0 ? int(width) : w.keep(lesser(minus(int(whole), from), int(width)), "columns");
    w.note("a in two bf16 parts, in tiles");
    const [lastA, lastB] = [p.m, p.n].map((n) => w.keep(minus(n, int(1)), "last"));
    w.loop("r", int(0), up(p.m), 1, (r) => {
      const row = w.keep(lesser(r, lastA), "row");
      const { lying } = p.a;
      const base = lying && w.keep(plus(lying.at(row), from), "base");
      const first = times(divide("div", r, int(ROWS)), int(2 * tiles * TILE));
      const begin = w.keep(plus(first, times(divide("mod", r, int(ROWS)), int(COLUMNS))), "to");
      w.loop("t", int(0), divide("div", columns, int(COLUMNS)), 1, (t) => {
        const to = w.keep(plus(begin, times(t, int(2 * TILE))), "at");
        for (let half = 0; half < COLUMNS; half += lanes) {
          const c = plus(times(t, int(COLUMNS)), int(half));
          const read =
            base && lying ? loadOf(lying, plus(base, c), lanes) : k.element(() => p.a.lanes(row, plus(from, c), lanes));
          const v = w.keep(read, "v");
          const [high, low] = [0, TILE].map((part) => plus(to, int(part + half)));
          w.push({ kind: "store", to: a, at: high, value: v });
          w.push({ kind: "store", to: a, at: low, value: op("sub", v, { kind: "load", from: a, at: high, type: f32(lanes) }) });
        }
      });
    });
    w.note("b in tiles");
    w.loop("r", int(0), up(p.n), 1, (r) => {
      const row = w.keep(lesser(r, lastB), "row");
      w.push({ kind: "matrixRow", to: b, from: p.b.memory, at: plus(p.b.at(row), from), row: r, columns, tiles });
    });
    const { memory: sums, stride } = p.sums;
    w.push({ kind: "matrixProduct", a, b, sums, stride, m: p.m, n: p.n, columns, tiles });
  });
}
