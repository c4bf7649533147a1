// One tile of a b^T: blocks whose sums stay in registers over a run of columns. With few rows of a (here) weights stream once and
// widen as they pass; with many (product-many.ts) both sides are packed first. Sums go to an f32 tile in scratch. Edge rows of b
// repeat the last row, so that the block shape is fixed and no address leaves the buffer; their results are never stored.
import { bytesOf, deinterleave, dotRows, type Stored } from "./dot.ts";
import { keep, sumLanes } from "./math.ts";
import { many, panelBytes } from "./product-many.ts";
import { sumAt, type Product } from "./product-type.ts";
import { f32, get, i32, ins, load, plus, select, set, splat, store, times, type Expr, type Local } from "./wasm.ts";
import type { Writer } from "./writer.ts";

/** From this many rows on, weights are widened once for all of them (product-many.ts). */
const MANY = 4;

const padded = (k: number): number => Math.ceil(k / 8) * 8;

/** Scratch for packed rows: of a while they are few, panels of both sides when they are many. */
export function packBytes(tileM: number, tileN: number, k: number): number {
  const few = Math.min(tileM, MANY - 1) * padded(k) * 4;
  return tileM < MANY ? few : Math.max(few, panelBytes(tileM, tileN, k));
}

/** Rows of a and of b that a block has. */
interface Shape {
  a: number;
  b: number;
}

/** Emits the product. */
export function product(w: Writer, p: Product): void {
  const whole = p.k & ~7;
  if (!p.add) clearSums(w, p);
  if (whole > 0) {
    if (p.tile.m < MANY) few(w, p, whole);
    else
      w.when(
        ins("i32.ge_u", p.m, i32(MANY)),
        () => many(w, p, whole),
        () => few(w, p, whole),
      );
  }
  if (whole < p.k) tail(w, p, whole);
}

/**
 * One to three rows of a: bound by memory. Weights widen in registers as they stream, and a processor fetches ahead by stream: the
 * rows of b in a block lie far apart, each the next part of a long run. Eight sums and their operands fit the sixteen vector
 * registers there are; with scales there are two sets of sums.
 */
function few(w: Writer, p: Product, whole: number): void {
  const direct = p.b.dtype === "f32" ? p.a.direct : undefined;
  const rowOf = direct ?? ((i: Expr): Expr => plus(p.packed, times(i, i32(whole * 4))));
  if (!direct) pack(w, p, whole, rowOf);
  const most = Math.min(p.a.scale || p.b.scale ? 4 : 8, Math.max(1, p.tile.n));
  const shapes: Shape[] = [{ a: 1, b: most }];
  if (p.tile.m > 1) shapes.unshift({ a: 2, b: Math.min(4, most) });
  let done: Expr = i32(0);
  for (const shape of shapes) {
    const end = shape.a === 1 ? p.m : keep(w, ins("i32.and", p.m, i32(-shape.a)), "end");
    w.note(`${shape.a} of a by ${shape.b} of b`);
    w.loop("i", done, end, shape.a, (i) =>
      blocks(
        w,
        p,
        whole,
        rowOf,
        Array.from({ length: shape.a }, (_, d) => plus(i, i32(d))),
        shape.b,
      ),
    );
    done = end;
  }
}

function clearSums(w: Writer, p: Product): void {
  w.loop("i", i32(0), p.m, 1, (i) =>
    w.loop("j", i32(0), i32(p.tile.n), 4, (j) => w.push(store("v128.store", sumAt(p, i, j), splat(0)))),
  );
}

function pack(w: Writer, p: Product, whole: number, rowOf: (i: Expr) => Expr): void {
  w.note("pack the rows of a: even columns of every 8, then odd ones");
  w.loop("i", i32(0), p.m, 1, (i) => {
    const to = get(w.define("to", rowOf(i)));
    w.loop("c", i32(0), i32(whole), 8, (c) => {
      const pair = p.a.eight(i, c).map((e) => get(w.define("x", e))) as [Expr, Expr];
      const at = get(w.define("at", plus(to, times(c, i32(4)))));
      const [lo, hi] = deinterleave(p.b.dtype, pair);
      w.push(store("v128.store", at, lo), store("v128.store", at, hi, 16));
    });
  });
}

/** All rows of b against some rows of a; past the last row of b the last is repeated, its sums going where no one looks. */
function blocks(w: Writer, p: Product, whole: number, rowOf: (i: Expr) => Expr, is: Expr[], most: number): void {
  const as = is.map((i) => get(w.define("a", rowOf(i))));
  const last = get(w.define("last", ins("i32.sub", p.n, i32(1))));
  const gap = most > 1 ? keep(w, ins("i32.div_u", plus(p.n, i32(most - 1)), i32(most)), "gap") : p.n;
  w.loop("j", i32(0), gap, 1, (j) => {
    const js = Array.from({ length: most }, (_, d) => (d === 0 ? j : keep(w, plus(j, times(gap, i32(d))), "row")));
    const rows = js.map((row, d) => (d === 0 ? row : get(w.define("row_b", select(ins("i32.lt_u", row, last), row, last)))));
    block(
      w,
      p,
      whole,
      is,
      js,
      as,
      rows,
      rows.map((row, d) => get(w.define(`b${d}`, p.b.address(row)))),
    );
  });
}

function block(w: Writer, p: Product, whole: number, is: Expr[], js: Expr[], as: Expr[], rows: Expr[], bs: Expr[]): void {
  const total = as.map((_, i) => bs.map((_, j) => w.local("v128", `sum${i}${j}`)));
  for (const l of total.flat()) w.push(set(l, splat(0)));
  if (!p.a.scale && !p.b.scale) dotRows(w, { a: as, b: bs, dtype: p.b.dtype, columns: i32(whole), acc: total });
  else scaledBlocks(w, p, whole, is, as, rows, bs, total);
  addSums(w, p, is, js, total);
}

/** Adds the lanes of every sum of a block to where the sums are kept. */
function addSums(w: Writer, p: Product, is: Expr[], js: Expr[], total: Local[][]): void {
  for (const [r, line] of total.entries())
    for (const [c, l] of line.entries()) {
      const where = get(w.define("at", sumAt(p, is[r], js[c])));
      w.push(store("f32.store", where, ins("f32.add", load("f32.load", where), sumLanes(w, get(l)))));
    }
}

/** Scales change every 128 columns: each part is multiplied once, lanes still apart. */
function scaledBlocks(
  w: Writer,
  p: Product,
  whole: number,
  is: Expr[],
  as: Expr[],
  rows: Expr[],
  bs: Expr[],
  total: Local[][],
): void {
  const part = as.map((_, i) => bs.map((_, j) => w.local("v128", `part${i}${j}`)));
  w.loop("block", i32(0), i32(whole), 128, (from) => {
    for (const l of part.flat()) w.push(set(l, splat(0)));
    const left = get(w.define("left", ins("i32.sub", i32(whole), from)));
    const columns = get(w.define("columns", select(ins("i32.lt_u", left, i32(128)), left, i32(128))));
    dotRows(w, {
      a: as.map((a) => get(w.define("a_block", plus(a, times(from, i32(4)))))),
      b: bs.map((b) => get(w.define("b_block", plus(b, times(from, i32(bytesOf[p.b.dtype])))))),
      dtype: p.b.dtype,
      columns,
      acc: part,
    });
    const g = get(w.define("group", ins("i32.shr_u", from, i32(7))));
    const sb = rows.map((row) => (p.b.scale ? get(w.define("sb", p.b.scale(row, g))) : undefined));
    const sa = is.map((i) => (p.a.scale ? get(w.define("sa", p.a.scale(i, g))) : undefined));
    for (const [r, line] of part.entries())
      for (const [c, l] of line.entries()) {
        const s = sa[r] && sb[c] ? ins("f32.mul", sa[r], sb[c]) : (sa[r] ?? sb[c])!;
        w.push(set(total[r][c], ins("f32x4.add", get(total[r][c]), ins("f32x4.mul", get(l), ins("f32x4.splat", s)))));
      }
  });
}

/** The last k mod 8 columns, one by one. */
function tail(w: Writer, p: Product, whole: number): void {
  w.note("columns after the last whole group of eight");
  w.loop("i", i32(0), p.m, 1, (i) =>
    w.loop("j", i32(0), p.n, 1, (j) => {
      const b = get(w.define("b", p.b.address(j)));
      const where = get(w.define("at", sumAt(p, i, j)));
      const sum = w.define("sum", load("f32.load", where));
      w.loop("c", i32(whole), i32(p.k), 1, (c) => {
        let term = ins("f32.mul", p.a.one(i, c), scalar(w, p.b.dtype, plus(b, times(c, i32(bytesOf[p.b.dtype])))));
        const g = ins("i32.shr_u", c, i32(7));
        for (const scale of [p.a.scale?.(i, g), p.b.scale?.(j, g)]) if (scale) term = ins("f32.mul", term, scale);
        w.push(set(sum, ins("f32.add", get(sum), term)));
      });
      w.push(store("f32.store", where, get(sum)));
    }),
  );
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
