// Matrix products of a tile program. The loop that every GEMM is written as (load a, load b, dot, accumulate with scales) is
// recognised whole, so that sums stay in registers over the full contracted width and weights are widened as they stream.
// Any other dot multiplies the tiles it names.
import type { Stmt as TileStmt, Tile } from "../../ir/kernel/stmt.ts";
import { bytesOf, type Stored } from "./dot.ts";
import { keep } from "./math.ts";
import { mixBlock, mixRow } from "./mix.ts";
import { address, unitStride } from "./place.ts";
import { packBytes, product } from "./product.ts";
import type { ScaleOf } from "./product-type.ts";
import type { Tiles } from "./tiles.ts";
import { i32, ins, load, plus, times, withImm, type Expr } from "./wasm.ts";

type Load = Extract<TileStmt, { kind: "load" }>;
type Dot = Extract<TileStmt, { kind: "dot" }>;
type Loop = Extract<TileStmt, { kind: "loop" }>;

interface Contraction {
  width: number;
  name: string;
  a: Load;
  b: Load;
  acc: Tile;
  /** Loads of [m, 1] scales of a and of the one scale of b, per 128 columns. */
  aScale?: Load;
  bScale?: Load;
}

/** The parts of a canonical contraction loop, or undefined. */
export function contraction(k: Tiles, s: Loop): Contraction | undefined {
  const { name, from, to, step, body } = s;
  const loads = body.filter((x): x is Load => x.kind === "load");
  const dot = body.find((x): x is Dot => x.kind === "dot");
  const last = body.at(-1);
  if (from !== 0 || typeof to !== "number" || step !== 128 || body.length !== loads.length + 2) return undefined;
  if (dot?.form !== "nt" || last?.kind !== "accumulate" || last.part.name !== dot.dst.name) return undefined;
  const of = (t: Tile): Load | undefined => loads.find((l) => l.dst.name === t.name);
  const [a, b] = [of(dot.a), of(dot.b)];
  const walks = (l: Load | undefined): l is Load =>
    !!l &&
    l.from.cols !== undefined &&
    l.from.at[l.from.cols] === name &&
    l.from.colLimit === to &&
    l.fill === 0 &&
    !l.from.rowIndex;
  if (!walks(a) || !walks(b) || loads.length !== 2 + last.by.length) return undefined;
  const stored = k.buffer(b.from.buffer);
  if (!unitStride(stored, b.from) || !unitStride(k.buffer(a.from.buffer), a.from) || stored.param.dtype === "i32")
    return undefined;
  const found: Contraction = { width: to, name, a, b, acc: last.acc };
  for (const t of last.by) {
    const scale = of(t);
    if (!scale || t.cols !== 1) return undefined;
    if (t.rows > 1 || a.dst.rows === 1) found.aScale ??= scale;
    else found.bScale ??= scale;
  }
  return last.by.length === [found.aScale, found.bScale].filter(Boolean).length ? found : undefined;
}

/** Runs `f` with the loop's variable bound. */
function bound<T>(k: Tiles, name: string, value: Expr, f: () => T): T {
  const outer = k.env;
  k.env = new Map(outer).set(name, value);
  const out = f();
  k.env = outer;
  return out;
}

/** Emits the whole loop as one product that adds to the accumulator. */
export function contract(k: Tiles, c: Contraction): void {
  const { w } = k;
  const at = (l: Load, row: Expr, col: Expr): Expr => {
    const { row: r } = k.rowOf(l.from, l.dst, row);
    return address(k.env, k.buffer(l.from.buffer), l.from, r, col);
  };
  const count = (l: Load): Expr =>
    l.from.rowLimit === undefined || l.from.rows === undefined
      ? i32(l.dst.rows)
      : k.extent({ at: l.from.at[l.from.rows], limit: l.from.rowLimit }, l.dst.rows);
  const scale = (l: Load | undefined): ScaleOf | undefined =>
    l &&
    ((row, block) =>
      bound(k, c.name, times(block, i32(128)), () =>
        load("f32.load", address(k.env, k.buffer(l.from.buffer), l.from, k.rowOf(l.from, l.dst, row).row, undefined)),
      ));
  bound(k, c.name, i32(0), () => {
    const outer = k.inside;
    k.inside = true;
    const a4 = (row: Expr, col: Expr): Expr => k.evaluate(c.a, c.a.dst, row, col, 4);
    product(w, {
      tile: { m: c.a.dst.rows, n: k.rowBytes(c.acc) / 4 },
      m: keep(w, count(c.a), "m"),
      n: keep(w, count(c.b), "n"),
      k: c.width,
      a: {
        eight: (row, col) => [a4(row, col), a4(row, plus(col, i32(4)))],
        one: (row, col) => withImm("f32x4.extract_lane", [0], k.evaluate(c.a, c.a.dst, row, col, 1)),
        ...(k.buffer(c.a.from.buffer).param.dtype === "f32" ? { direct: (row: Expr): Expr => at(c.a, row, i32(0)) } : {}),
        scale: scale(c.aScale),
      },
      b: {
        dtype: k.buffer(c.b.from.buffer).param.dtype as Stored,
        address: (row) => at(c.b, row, i32(0)),
        scale: scale(c.bScale),
      },
      packed: plus(k.scratch, i32(k.reserve(packBytes(c.a.dst.rows, k.rowBytes(c.acc) / 4, c.width)))),
      sums: k.rowAt(c.acc, i32(0)),
      add: true,
    });
    k.inside = outer;
  });
}

/** Rows where they lie; bytes from one to the next where that is known when compiling. */
interface Lying {
  dtype: Stored;
  row: (r: Expr) => Expr;
  stride?: number;
}

/** Rows of a tile where they lie, if they can be read there over all of its columns. */
function lying(k: Tiles, t: Tile): Lying | undefined {
  const def = k.lazy(t);
  if (!def) return { dtype: "f32", row: (r) => k.rowAt(t, r), stride: k.rowBytes(t) };
  if (def.kind !== "load") return undefined;
  const b = k.buffer(def.from.buffer);
  const p = def.from;
  const whole = p.colLimit === undefined || k.certain({ at: p.at[p.cols!], limit: p.colLimit }, t.cols);
  if (!whole || !unitStride(b, p) || p.rowIndex || b.param.dtype === "i32" || def.fill !== 0) return undefined;
  const apart = p.rows === undefined ? undefined : b.param.strides[p.rows];
  const row = (r: Expr): Expr => address(k.env, b, p, k.rowOf(p, t, r).row, i32(0));
  return { dtype: b.param.dtype, row, ...(typeof apart === "number" ? { stride: apart * bytesOf[b.param.dtype] } : {}) };
}

/** Whether rows can be read again and again where they lie: a multiple of 4096 bytes apart, they would share a few cache lines. */
const apartWell = (l: Lying): boolean => l.stride !== undefined && l.stride % 4096 !== 0;

/** Rows of a load that are inside its bound; all rows of any other tile. */
function rowsInside(k: Tiles, t: Tile): Expr {
  const def = k.lazy(t);
  if (def?.kind !== "load" || def.from.rowLimit === undefined || def.from.rows === undefined) return k.rowCount(t);
  return k.extent({ at: def.from.at[def.from.rows], limit: def.from.rowLimit }, t.rows);
}

/** Writes a lazy tile to scratch after all. */
function settle(k: Tiles, t: Tile): void {
  const def = k.lazy(t);
  if (def) k.settle(t, () => k.fillWith(t, k.masksOf(def), (r, c, count) => k.evaluate(def, t, r, c, count)));
}

/** Emits dst = a b. */
export function dot(k: Tiles, s: Dot): void {
  if (s.form === "nt") return dotNt(k, s);
  dotNn(k, s);
}

function dotNt(k: Tiles, { dst, a, b }: Dot): void {
  const { w } = k;
  let rowsB = lying(k, b);
  let n = rowsB ? rowsInside(k, b) : i32(b.rows);
  if (!rowsB) {
    settle(k, b);
    rowsB = lying(k, b)!;
    n = i32(b.rows);
  }
  let rowsA = lying(k, a);
  if (!rowsA || rowsA.dtype !== "f32") {
    settle(k, a);
    rowsA = lying(k, a)!;
  }
  const from = rowsA;
  const to = rowsB;
  k.home(dst);
  if (dst.cols > 1)
    w.note(`columns of ${dst.name} past the bound of ${b.name} keep what they hold; they are masked where they are read`);
  product(w, {
    tile: { m: dst.rows, n: k.rowBytes(dst) / 4 },
    m: keep(w, k.rowCount(dst), "m"),
    n: keep(w, n, "n"),
    k: a.cols,
    a: {
      eight: (row, c) => [
        load("v128.load", plus(from.row(row), times(c, i32(4)))),
        load("v128.load", plus(from.row(row), times(plus(c, i32(4)), i32(4)))),
      ],
      one: (row, c) => load("f32.load", plus(from.row(row), times(c, i32(4)))),
      direct: from.row,
    },
    inPlace: to.dtype === "f32" && apartWell(from) && apartWell(to),
    b: { dtype: to.dtype, address: to.row },
    packed: plus(k.scratch, i32(k.reserve(packBytes(dst.rows, k.rowBytes(dst) / 4, a.cols)))),
    sums: k.rowAt(dst, i32(0)),
  });
}

/** Rows of b are mixed with weights from a: lanes are columns. Four rows of a share what they read, one row streams by. */
function dotNn(k: Tiles, { dst, a, b }: Dot): void {
  const { w } = k;
  settle(k, a);
  let rows = lying(k, b);
  let count = rows ? rowsInside(k, b) : i32(b.rows);
  if (!rows || dst.cols % 8 !== 0 || (dst.rows >= 4 && !apartWell(rows))) {
    settle(k, b);
    rows = lying(k, b)!;
    if (k.facts.rows.has(b.name)) count = k.rowCount(b);
  }
  const { dtype, row, stride } = rows;
  k.home(dst);
  const mixed = keep(w, count, "mixed");
  const m = keep(w, k.rowCount(dst), "m");
  const fours = dst.rows >= 4 ? keep(w, ins("i32.and", m, i32(-4)), "fours") : i32(0);
  const side = { dtype, row, stride, rows: mixed };
  if (dst.rows >= 4)
    w.loop("c", i32(0), i32(dst.cols), 8, (c) =>
      w.loop("i", i32(0), fours, 4, (i) =>
        mixBlock(w, { at: k.rowAt(a, i), stride: k.rowBytes(a) }, side, { at: k.rowAt(dst, i), stride: k.rowBytes(dst) }, c),
      ),
    );
  w.loop("i1", fours, m, 1, (i) => mixRow(w, k.rowAt(a, i), side, k.rowAt(dst, i), dst.cols));
}
