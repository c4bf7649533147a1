// The transposed product: rows of b are mixed with weights from a row of a. Lanes are columns, so nothing is added across lanes.
import { bytesOf, widen8InOrder, type Stored } from "./dot.ts";
import { keep } from "./math.ts";
import { get, i32, ins, load, plus, select, set, splat, store, times, type Expr, type Local } from "./wasm.ts";
import type { Writer } from "./writer.ts";

/** Rows in scratch: the first, and bytes from one to the next. */
interface Rows {
  at: Expr;
  stride: number;
}

/** The mixed side: addresses of its rows, bytes between them where known, and how many there are. */
export interface Mixed {
  dtype: Stored;
  row: (s: Expr) => Expr;
  stride?: number;
  rows: Expr;
}

const add = (w: Writer, to: Local, a: Expr, b: Expr): void => w.push(set(to, ins("f32x4.add", get(to), ins("f32x4.mul", a, b))));

/** dst = a b for four rows of a and eight columns from `c` on: eight sums in registers over all rows of b. */
export function mixBlock(w: Writer, a: Rows, b: Mixed, dst: Rows, c: Expr): void {
  const sums = [0, 1, 2, 3].map((i) => [0, 1].map((v) => w.local("v128", `mix${i}${v}`)));
  for (const l of sums.flat()) w.push(set(l, splat(0)));
  const shift = keep(w, times(c, i32(bytesOf[b.dtype])), "shift");
  const weights = w.define("weights", a.at);
  const moving = b.stride === undefined ? undefined : w.define("row", plus(b.row(i32(0)), shift));
  w.loop("s", i32(0), b.rows, 1, (s) => {
    const at = moving ? get(moving) : keep(w, plus(b.row(s), shift), "row");
    const values = widen8InOrder(w, b.dtype, at, 0, "v");
    for (const [i, pair] of sums.entries()) {
      const p = get(w.define("p", load("v128.load32_splat", get(weights), i * a.stride)));
      for (const half of [0, 1] as const) add(w, pair[half], values[half], p);
    }
    w.push(set(weights, plus(get(weights), i32(4))));
    if (moving) w.push(set(moving, plus(get(moving), i32(b.stride!))));
  });
  const to = keep(w, plus(dst.at, times(c, i32(4))), "to");
  for (const [i, pair] of sums.entries())
    for (const half of [0, 1] as const) w.push(store("v128.store", to, get(pair[half]), i * dst.stride + 16 * half));
}

/** Rows of b that one row of a takes at a time. */
const TOGETHER = 8;

/**
 * dst = a b for one row of a: bound by memory. Eight rows of b are read at a time, and they lie far apart, so that each is the next
 * part of a long run that the processor fetches ahead; the sums wait in the first-level cache.
 */
export function mixRow(w: Writer, a: Expr, b: Mixed, dst: Expr, columns: number): void {
  const wide = Math.ceil(columns / 8) * 8;
  const to = keep(w, dst, "to");
  const from = keep(w, a, "weights");
  w.loop("c", i32(0), i32(wide), 4, (c) => w.push(store("v128.store", plus(to, times(c, i32(4))), splat(0))));
  const gap = keep(w, ins("i32.shr_u", plus(b.rows, i32(TOGETHER - 1)), i32(Math.log2(TOGETHER))), "gap");
  const last = keep(w, ins("i32.sub", b.rows, i32(1)), "last");
  w.loop("s", i32(0), gap, 1, (s) => {
    const rows = Array.from({ length: TOGETHER }, (_, d) => (d === 0 ? s : keep(w, plus(s, times(gap, i32(d))), "row")));
    // Past the last row the last is read again, with no weight.
    const inside = rows.map((r, d) => (d === 0 ? r : keep(w, select(ins("i32.lt_u", r, last), r, last), "row_b")));
    const weights = inside.map((r, d) => {
      const p = load("v128.load32_splat", plus(from, times(r, i32(4))));
      return keep(w, d === 0 ? p : select(ins("i32.le_u", rows[d], last), p, splat(0)), "p");
    });
    const bases = inside.map((r) => keep(w, b.row(r), "b"));
    w.loop("c", i32(0), i32(wide), 8, (c) => {
      const here = get(w.define("here", plus(to, times(c, i32(4)))));
      const sums = [0, 1].map((half) => w.define("sum", load("v128.load", here, 16 * half)));
      const bytes = get(w.define("bytes", times(c, i32(bytesOf[b.dtype]))));
      for (const [d, base] of bases.entries())
        for (const [half, v] of widen8InOrder(w, b.dtype, plus(base, bytes), 0, "v").entries()) add(w, sums[half], v, weights[d]);
      for (const [half, l] of sums.entries()) w.push(store("v128.store", here, get(l), 16 * half));
    });
  });
}
