// Matrix products of a tile program. The loop that every product is written as (load a, load b, dot, accumulate with scales) is
// recognised whole, so that sums stay in registers over the full contracted width and weights are widened as they stream. Any other dot
// multiplies the tiles it names.
import type { Stmt as TileStmt, Tile } from "../../ir/kernel/stmt.ts";
import { int, loadF32, op, times, type Expr } from "./ir.ts";
import { mix } from "./mix.ts";
import { product } from "./product.ts";
import type { Lying, ScaleOf } from "./product-type.ts";
import type { Tiles } from "./tiles.ts";

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
  const walks = (l: Load | undefined): l is Load =>
    !!l &&
    l.from.cols !== undefined &&
    l.from.at[l.from.cols] === name &&
    l.from.colLimit === to &&
    l.fill === 0 &&
    !l.from.rowIndex &&
    k.unitStride(l.from);
  const [a, b] = [of(dot.a), of(dot.b)];
  if (!walks(a) || !walks(b) || loads.length !== 2 + last.by.length) return undefined;
  if (k.buffer(b.from.buffer).param.dtype === "i32") return undefined;
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
  const memoryOf = (l: Load): Lying => ({
    memory: k.buffer(l.from.buffer).memory,
    at: (row) => k.elementAt(l.from, k.rowOf(l.from, l.dst, row).row, int(0)),
  });
  const count = (l: Load): Expr =>
    l.from.rowLimit === undefined || l.from.rows === undefined
      ? int(l.dst.rows)
      : k.extent({ at: l.from.at[l.from.rows], limit: l.from.rowLimit }, l.dst.rows);
  const scale = (l: Load | undefined): ScaleOf | undefined =>
    l &&
    ((row, block) =>
      bound(k, c.name, times(block, int(128)), () => {
        const at = k.elementAt(l.from, k.rowOf(l.from, l.dst, row).row, undefined);
        return loadF32(k.buffer(l.from.buffer).memory, at);
      }));
  bound(k, c.name, int(0), () => {
    const outer = k.inside;
    k.inside = true;
    product(k, {
      tile: { m: c.a.dst.rows, n: c.b.dst.rows },
      m: w.keep(count(c.a), "m"),
      n: w.keep(count(c.b), "n"),
      k: c.width,
      a: {
        lanes: (row, col, lanes) => k.evaluate(c.a, c.a.dst, row, col, lanes),
        lying: k.buffer(c.a.from.buffer).param.dtype === "f32" ? memoryOf(c.a) : undefined,
        scale: scale(c.aScale),
      },
      b: { ...memoryOf(c.b), scale: scale(c.bScale) },
      sums: k.stored(c.acc),
      add: true,
    });
    k.inside = outer;
  });
}

/** Rows of a tile where they lie, if they can be read there over all of its columns. */
function lying(k: Tiles, t: Tile): Lying | undefined {
  const def = k.lazy(t);
  if (!def) {
    const { memory, stride } = k.stored(t);
    return { memory, at: (r) => times(r, int(stride)) };
  }
  if (def.kind !== "load") return undefined;
  const p = def.from;
  const whole = p.colLimit === undefined || k.certain({ at: p.at[p.cols!], limit: p.colLimit }, t.cols);
  if (!whole || !k.unitStride(p) || p.rowIndex || k.buffer(p.buffer).param.dtype === "i32" || def.fill !== 0) return undefined;
  return { memory: k.buffer(p.buffer).memory, at: (r) => k.elementAt(p, k.rowOf(p, t, r).row, int(0)) };
}

/** Whether f32 rows can be read again and again where they lie: a multiple of 4096 bytes apart, they would share a few cache lines. */
function apartWell(k: Tiles, t: Tile): boolean {
  const def = k.lazy(t);
  const load = def?.kind === "load" ? def.from : undefined;
  if (def && !load) return false;
  const param = load && k.buffer(load.buffer).param;
  const stride =
    load && param ? param.dtype === "f32" && load.rows !== undefined && param.strides[load.rows] : k.stored(t).stride;
  return typeof stride === "number" && (4 * stride) % 4096 !== 0;
}

/** Rows of a load that are inside its bound; all rows of any other tile. */
function rowsInside(k: Tiles, t: Tile): Expr {
  const def = k.lazy(t);
  if (def?.kind !== "load" || def.from.rowLimit === undefined || def.from.rows === undefined) return k.rowCount(t);
  return k.extent({ at: def.from.at[def.from.rows], limit: def.from.rowLimit }, t.rows);
}

/** A tile's rows where they lie, and how many there are; what cannot be read in place is written to scratch first. */
function rowsOf(k: Tiles, t: Tile, ok: (l: Lying) => boolean = () => true): { rows: Lying; count: Expr } {
  const rows = lying(k, t);
  if (rows && ok(rows)) return { rows, count: rowsInside(k, t) };
  k.settle(t);
  return { rows: lying(k, t)!, count: k.facts.rows.has(t.name) ? k.rowCount(t) : int(t.rows) };
}

/** Emits dst = a b. */
export function dot(k: Tiles, { dst, a, b, form }: Dot): void {
  const { w } = k;
  if (form === "nn") {
    // A block reads whole vectors of columns.
    const side = rowsOf(k, b, () => b.cols % k.lanes === 0);
    k.settle(a);
    const { memory, stride } = k.stored(a);
    const m = w.keep(k.rowCount(dst), "m");
    return mix(k, { memory, stride }, { ...side.rows, count: w.keep(side.count, "mixed") }, k.stored(dst), m, dst);
  }
  const sideB = rowsOf(k, b);
  const rowsA = rowsOf(k, a, (l) => l.memory.element === "f32").rows;
  const sums = k.stored(dst);
  if (dst.cols > 1) w.note(`columns of ${dst.name} past the bound of ${b.name} are masked where they are read`);
  product(k, {
    tile: { m: dst.rows, n: b.rows },
    m: w.keep(k.rowCount(dst), "m"),
    n: w.keep(sideB.count, "n"),
    k: a.cols,
    a: { lanes: (row, c, lanes) => loadF32(rowsA.memory, op("add", rowsA.at(row), c), lanes), lying: rowsA },
    b: sideB.rows,
    inPlace: apartWell(k, a) && apartWell(k, b),
    sums,
    add: false,
  });
}
