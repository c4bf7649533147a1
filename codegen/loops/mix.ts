// The transposed product: rows of b are mixed with weights from a row of a. Lanes are columns, so nothing is added across lanes.
import {
  divide,
  f32,
  int,
  lesser,
  loadF32,
  minus,
  op,
  plus,
  splat,
  times,
  wholes,
  constantOf,
  type Expr,
  type Memory,
} from "./ir.ts";
import type { Tile } from "../../ir/kernel/stmt.ts";
import type { Lying } from "./product-type.ts";
import type { Tiles } from "./tiles.ts";

/** Rows in scratch: elements from one to the next. */
interface Stored {
  memory: Memory;
  stride: number;
}

const up = (n: number, step: number): number => Math.ceil(n / step) * step;

/** dst = a b over the first m rows of a. */
export function mix(k: Tiles, a: Stored, b: Lying & { count: Expr }, dst: Stored, m: Expr, { rows, cols }: Tile): void {
  const { w, lanes, schedule } = k;
  const { mixRows, mixVectors } = schedule;
  const wide = up(cols, lanes);
  const blocked = rows >= mixRows ? w.keep(wholes(m, mixRows), "blocked") : int(0);
  if (rows >= mixRows) {
    const most = mixVectors * lanes;
    const main = Math.floor(wide / most) * most;
    w.note(`${mixRows} rows of a by ${most} columns`);
    w.loop("i", int(0), blocked, mixRows, (i) => {
      w.loop("c", int(0), int(main), most, (c) => block(k, a, b, dst, i, c, mixRows, mixVectors));
      w.loop("c", int(main), int(wide), lanes, (c) => block(k, a, b, dst, i, c, mixRows, 1));
    });
  }
  w.loop("i", blocked, m, 1, (i) => mixRow(k, a, b, dst, i, wide));
}

/** Sums of some rows of a and some vectors of columns stay in registers over all rows of b. */
function block(
  k: Tiles,
  a: Stored,
  b: Lying & { count: Expr },
  dst: Stored,
  i: Expr,
  c: Expr,
  rows: number,
  vectors: number,
): void {
  const { w, lanes } = k;
  const sums = Array.from({ length: rows }, () =>
    Array.from({ length: vectors }, () => w.register("mix", constantOf(0, f32(lanes)))),
  );
  w.loop("s", int(0), b.count, 1, (s) => {
    const at = w.keep(plus(b.at(s), c), "at");
    const values = Array.from({ length: vectors }, (_, v) => w.keep(loadF32(b.memory, plus(at, int(v * lanes)), lanes), "v"));
    for (const [r, line] of sums.entries()) {
      const p = w.keep(splat(loadF32(a.memory, plus(times(plus(i, int(r)), int(a.stride)), s)), lanes), "p");
      for (const [v, sum] of line.entries()) w.set(sum, op("fma", values[v], p, sum));
    }
  });
  for (const [r, line] of sums.entries())
    for (const [v, sum] of line.entries()) {
      const at = plus(plus(times(plus(i, int(r)), int(dst.stride)), c), int(v * lanes));
      w.push({ kind: "store", to: dst.memory, at, value: sum });
    }
}

/** Rows of b that one row of a takes at a time. */
const TOGETHER = 8;

/**
 * One row of a: bound by memory. Eight rows of b are read at a time, and they lie far apart, so that each is the next part of a long run
 * that the processor fetches ahead; the sums wait in the first-level cache.
 */
function mixRow(k: Tiles, a: Stored, b: Lying & { count: Expr }, dst: Stored, i: Expr, wide: number): void {
  const { w, lanes } = k;
  const to = w.keep(times(i, int(dst.stride)), "to");
  const from = w.keep(times(i, int(a.stride)), "from");
  w.loop("c", int(0), int(wide), lanes, (c) =>
    w.push({ kind: "store", to: dst.memory, at: plus(to, c), value: constantOf(0, f32(lanes)) }),
  );
  const gap = w.keep(divide("div", plus(b.count, int(TOGETHER - 1)), int(TOGETHER)), "gap");
  const last = w.keep(minus(b.count, int(1)), "last");
  w.loop("s", int(0), gap, 1, (s) => {
    const rows = Array.from({ length: TOGETHER }, (_, d) => w.keep(plus(s, times(gap, int(d))), `s${d}`));
    // Past the last row the last is read again, with no weight.
    const inside = rows.map((r, d) => (d === 0 ? r : w.keep(lesser(r, last), `row${d}`)));
    const weights = inside.map((r, d) => {
      const p = loadF32(a.memory, plus(from, r));
      return w.keep(splat(d === 0 ? p : op("select", op("le", rows[d], last), p, constantOf(0, f32())), lanes), `p${d}`);
    });
    const bases = inside.map((r, d) => w.keep(b.at(r), `b${d}`));
    w.loop("c", int(0), int(wide), lanes, (c) => {
      let sum = loadF32(dst.memory, plus(to, c), lanes);
      for (const [d, base] of bases.entries()) sum = op("fma", loadF32(b.memory, plus(base, c), lanes), weights[d], sum);
      w.push({ kind: "store", to: dst.memory, at: plus(to, c), value: sum });
    });
  });
}
