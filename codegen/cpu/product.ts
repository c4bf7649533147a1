// One tile of a b^T: packs the rows of a once, then walks 4x4 (or 1x4) blocks whose sums stay in registers over all of k.
// Sums go to an f32 tile in scratch. Edge rows of b repeat the last row, so that the block shape is fixed and no address
// leaves the buffer; their results are never stored by anyone.
import { bytesOf, deinterleave, dotRows, type Stored } from "./dot.ts";
import { sumLanes } from "./math.ts";
import { f32, get, i32, ins, load, plus, select, set, splat, store, times, type Expr, type Local } from "./wasm.ts";
import type { Writer } from "./writer.ts";

/** A multiplier per 128 columns: the f32 scale of a row in a block of columns. */
export type ScaleOf = (row: Expr, block: Expr) => Expr;

export interface Product {
  /** Largest and actual rows of a and b in this tile. */
  tile: { m: number; n: number };
  m: Expr;
  n: Expr;
  /** Columns: a number known when compiling. */
  k: number;
  a: {
    /** Eight consecutive columns, c a multiple of 8, as two f32 vectors. */
    eight(row: Expr, c: Expr): [Expr, Expr];
    one(row: Expr, c: Expr): Expr;
    /** Address of a row already f32 and contiguous: packing is left out where b is f32 too. */
    direct?: (row: Expr) => Expr;
    scale?: ScaleOf;
  };
  b: { dtype: Stored; address(row: Expr): Expr; scale?: ScaleOf };
  /** Address of the packed rows: packBytes(product). */
  packed: Expr;
  /** Address of the [tile.m, tile.n] f32 sums. */
  sums: Expr;
  /** Add to the sums that are there. */
  add?: boolean;
}

const padded = (k: number): number => Math.ceil(k / 8) * 8;

/** Scratch for the packed rows of a. */
export const packBytes = (tileM: number, k: number): number => tileM * padded(k) * 4;

/** Emits the product. */
export function product(w: Writer, p: Product): void {
  const direct = p.b.dtype === "f32" ? p.a.direct : undefined;
  const rowBytes = padded(p.k) * 4;
  const rowOf = direct ?? ((row: Expr): Expr => plus(p.packed, times(row, i32(rowBytes))));
  if (!direct) pack(w, p, rowBytes);
  w.note("four rows of b at a time; rows of a four by four, then one by one");
  w.loop("j", i32(0), p.n, 4, (j) => {
    const last = get(w.define("last", ins("i32.sub", p.n, i32(1))));
    const rows = [0, 1, 2, 3].map((d) => {
      const row = get(w.define("row", plus(j, i32(d))));
      return d === 0 ? row : get(w.define("row_b", select(ins("i32.lt_u", row, last), row, last)));
    });
    const bs = rows.map((row, d) => get(w.define(`b${d}`, p.b.address(row))));
    const whole = get(w.define("whole", ins("i32.and", p.m, i32(-4))));
    if (p.tile.m >= 4) w.loop("i", i32(0), whole, 4, (i) => block(w, p, [0, 1, 2, 3].map((d) => plus(i, i32(d))), j, rowOf, rows, bs));
    w.loop("i1", p.tile.m >= 4 ? whole : i32(0), p.m, 1, (i) => block(w, p, [i], j, rowOf, rows, bs));
  });
}

function pack(w: Writer, p: Product, rowBytes: number): void {
  w.note("pack the rows of a: even columns of every 8, then odd ones");
  const whole = p.k & ~7;
  w.loop("i", i32(0), p.m, 1, (i) => {
    const to = get(w.define("to", plus(p.packed, times(i, i32(rowBytes)))));
    w.loop("c", i32(0), i32(whole), 8, (c) => {
      const pair = p.a.eight(i, c).map((e) => get(w.define("x", e))) as [Expr, Expr];
      const at = get(w.define("at", plus(to, times(c, i32(4)))));
      const [lo, hi] = deinterleave(p.b.dtype, pair);
      w.push(store("v128.store", at, lo), store("v128.store", at, hi, 16));
    });
    w.loop("c", i32(whole), i32(p.k), 1, (c) => w.push(store("f32.store", plus(to, times(c, i32(4))), p.a.one(i, c))));
  });
}

function block(w: Writer, p: Product, is: Expr[], j: Expr, rowOf: (row: Expr) => Expr, rows: Expr[], bs: Expr[]): void {
  const as = is.map((i) => get(w.define("a", rowOf(i))));
  const make = (name: string): Local[][] => as.map((_, i) => bs.map((_, j) => w.local("v128", `${name}${i}${j}`)));
  const clear = (acc: Local[][]): void => acc.flat().forEach((l) => w.push(set(l, splat(0))));
  const total = make("sum");
  clear(total);
  const whole = p.k & ~7;
  const scaled = p.a.scale ?? p.b.scale;
  const multiplier = (r: number, c: number, blockOf: Expr): Expr => {
    const parts = [p.a.scale?.(is[r], blockOf), p.b.scale?.(rows[c], blockOf)].filter((e) => e !== undefined);
    return parts.length === 2 ? ins("f32.mul", parts[0], parts[1]) : parts[0];
  };
  if (!scaled) dotRows(w, { a: as, b: bs, dtype: p.b.dtype, columns: i32(whole), acc: total });
  else {
    const part = make("part");
    const blocks = Math.ceil(whole / 128);
    w.loop("block", i32(0), i32(blocks), 1, (g) => {
      clear(part);
      const from = get(w.define("from", times(g, i32(128))));
      const left = get(w.define("left", ins("i32.sub", i32(whole), from)));
      const columns = whole % 128 === 0 ? i32(128) : get(w.define("columns", select(ins("i32.lt_u", left, i32(128)), left, i32(128))));
      const shiftB = times(from, i32(bytesOf[p.b.dtype]));
      dotRows(w, {
        a: as.map((a) => get(w.define("a_block", plus(a, times(from, i32(4)))))),
        b: bs.map((b) => get(w.define("b_block", plus(b, shiftB)))),
        dtype: p.b.dtype,
        columns,
        acc: part,
      });
      // Scales change every 128 columns: each part is multiplied once, lanes still apart.
      const sb = rows.map((row) => (p.b.scale ? get(w.define("sb", p.b.scale(row, g))) : undefined));
      const sa = is.map((i) => (p.a.scale ? get(w.define("sa", p.a.scale(i, g))) : undefined));
      for (const [r, line] of part.entries())
        for (const [c, l] of line.entries()) {
          const s = sa[r] && sb[c] ? ins("f32.mul", sa[r], sb[c]) : (sa[r] ?? sb[c])!;
          w.push(set(total[r][c], ins("f32x4.add", get(total[r][c]), ins("f32x4.mul", get(l), ins("f32x4.splat", s)))));
        }
    });
  }
  for (const [r, line] of total.entries())
    for (const [c, l] of line.entries()) {
      const sum = w.define("dot", sumLanes(w, get(l)));
      if (whole < p.k)
        w.loop("c", i32(whole), i32(p.k), 1, (col) => {
          const x = load("f32.load", plus(as[r], times(col, i32(4))));
          const y = scalar(w, p.b.dtype, plus(bs[c], times(col, i32(bytesOf[p.b.dtype]))));
          const xy = ins("f32.mul", x, y);
          const term = scaled ? ins("f32.mul", xy, multiplier(r, c, ins("i32.shr_u", col, i32(7)))) : xy;
          w.push(set(sum, ins("f32.add", get(sum), term)));
        });
      const at = plus(p.sums, times(plus(times(is[r], i32(p.tile.n)), plus(j, i32(c))), i32(4)));
      const where = get(w.define("at", at));
      w.push(store("f32.store", where, p.add ? ins("f32.add", load("f32.load", where), get(sum)) : get(sum)));
    }
}

/** One stored value as f32. */
export function scalar(w: Writer, dtype: Stored, at: Expr): Expr {
  if (dtype === "f32") return load("f32.load", at);
  if (dtype === "bf16") return ins("f32.reinterpret_i32", ins("i32.shl", load("i32.load16_u", at), i32(16)));
  const code = get(w.define("code", load("i32.load8_u", at)));
  const magnitude = ins("i32.shl", ins("i32.and", code, i32(0x7f)), i32(20));
  const sign = ins("i32.shl", ins("i32.and", code, i32(0x80)), i32(24));
  return ins("f32.mul", ins("f32.reinterpret_i32", ins("i32.or", magnitude, sign)), f32(2 ** 120));
}
