// Where tiles live while a kernel is lowered: a local for a single element, scratch memory for the rest, or nowhere for a tile
// that its one use evaluates lane by lane. Also the two ways to visit a tile: four lanes at a time where all four are inside
// every mask, else one by one.
import type { Index, Kernel, MapExpr, Place, Stmt, Tile } from "../../ir/kernel/stmt.ts";
import { firstLane, lanes } from "./arith.ts";
import { undefinedTile, unknownBuffer } from "./diagnostics.ts";
import { tilesOf, type Facts } from "../tile-facts.ts";
import { greater, index, inScope, lesser } from "./indices.ts";
import { keep } from "./math.ts";
import { address, load1, load4, surelyInside, unitStride, type Buffer } from "./place.ts";
import {
  constant,
  get,
  i32,
  ins,
  load,
  plus,
  select,
  set,
  splat,
  splatI,
  store,
  times,
  withImm,
  type Expr,
  type Local,
} from "./wasm.ts";
import type { Writer } from "./writer.ts";

type Home = { kind: "local"; local: Local } | { kind: "memory"; at: number; rowBytes: number };

/** Row stride of a tile in scratch: eight lanes at a time are read and written by products. A column of anything else is dense. */
const rowElements = (cols: number, padded: boolean): number => (cols === 1 && !padded ? 1 : Math.ceil(cols / 8) * 8);

/** Bounds of a visit along the columns: start and limit of a masked access. */
export interface Mask {
  at: Index;
  limit: Index;
}

export class Tiles {
  readonly w: Writer;
  readonly kernel: Kernel;
  readonly facts: Facts;
  readonly scratch: Expr;
  /** Names in scope. Loops push and pop. */
  env: Map<string, Expr>;
  /** Lazy definitions ignore column masks: the visitor knows its columns to be inside. */
  inside = false;
  /** Axes and loop variables that step evenly to a fixed end: what starts there and is no wider than a step never crosses it. */
  readonly even = new Map<string, { limit: Index; step: number }>();
  bytes = 0;
  private readonly buffers = new Map<string, Buffer>();
  private readonly homes = new Map<string, Home>();
  private readonly settled = new Set<string>();
  /** Values already computed for the element at hand, of lazy tiles read twice. */
  private seen: Map<string, Expr> | undefined;

  constructor(w: Writer, kernel: Kernel, facts: Facts, scratch: Expr, bases: readonly Expr[], env: Map<string, Expr>) {
    [this.w, this.kernel, this.facts, this.scratch, this.env] = [w, kernel, facts, scratch, env];
    for (const [i, param] of kernel.params.entries()) this.buffers.set(param.name, { param, base: bases[i] });
  }

  buffer(name: string): Buffer {
    const b = this.buffers.get(name);
    if (!b) throw unknownBuffer({ kernel: this.kernel.name, name });
    return b;
  }

  index(i: Index): Expr {
    return index(this.env, i);
  }

  /** Reserves scratch, aligned to 64 bytes; gives its offset. */
  reserve(bytes: number): number {
    const at = this.bytes;
    this.bytes += Math.ceil(bytes / 64) * 64;
    return at;
  }

  lazy(t: Tile): Stmt | undefined {
    return this.settled.has(t.name) ? undefined : this.facts.lazy.get(t.name);
  }

  /** Gives a lazy tile a home after all: its one use turned out to need it in memory. */
  settle(t: Tile, write: () => void): void {
    write();
    this.settled.add(t.name);
  }

  /** The home of a tile that is about to be written. */
  home(t: Tile): Home {
    let h = this.homes.get(t.name);
    if (!h) {
      const padded = this.facts.padded.has(t.name);
      if (t.rows === 1 && t.cols === 1 && !padded) h = { kind: "local", local: this.w.local(t.dtype, t.name) };
      else {
        const rowBytes = rowElements(t.cols, padded) * 4;
        h = { kind: "memory", at: this.reserve(t.rows * rowBytes), rowBytes };
      }
      this.homes.set(t.name, h);
    }
    return h;
  }

  /** Address of a row of a tile in scratch. */
  rowAt(t: Tile, row: Expr): Expr {
    const h = this.home(t);
    if (h.kind === "local") throw undefinedTile({ kernel: this.kernel.name, name: t.name });
    return plus(plus(this.scratch, times(row, i32(h.rowBytes))), i32(h.at));
  }

  rowBytes(t: Tile): number {
    const h = this.home(t);
    return h.kind === "memory" ? h.rowBytes : 4;
  }

  /** Rows that matter now; all of them where that is not known here. */
  rowCount(t: Tile): Expr {
    const key = this.facts.rows.get(t.name);
    if (t.rows === 1 || !key || !inScope(this.env, key.at) || !inScope(this.env, key.limit)) return i32(t.rows);
    return this.extent(key, t.rows);
  }

  /** Whether columns or rows at .. at + extent can be shown to lie below the limit. */
  certain(m: Mask, extent: number): boolean {
    if (surelyInside(this.index(m.at), this.index(m.limit), extent)) return true;
    const even = typeof m.at === "string" ? this.even.get(m.at) : undefined;
    return !!even && extent <= even.step && JSON.stringify(even.limit) === JSON.stringify(m.limit);
  }

  /** Notes an axis that runs from a multiple of `step` to `limit` in whole steps. */
  note(name: string, limit: Index, step: number): void {
    if (step === 1 || (typeof limit === "number" && limit % step === 0)) this.even.set(name, { limit, step });
    else this.even.delete(name);
  }

  /** min(max(limit - at, 0), extent) */
  extent(m: Mask, extent: number): Expr {
    if (this.certain(m, extent)) return i32(extent);
    const [at, limit] = [this.index(m.at), this.index(m.limit)];
    const left = constant(at) !== undefined ? plus(limit, i32(-constant(at)!)) : ins("i32.sub", limit, at);
    const l = keep(this.w, left, "left");
    return keep(this.w, lesser(greater(l, i32(0)), i32(extent)), "count");
  }

  /** Lanes of a tile at (r, c): columns c .. c + 3, or column c in every lane. */
  value(t: Tile, r: Expr, c: Expr, count: 1 | 4): Expr {
    const def = this.lazy(t);
    if (def) {
      const known = this.seen?.get(t.name);
      if (known) return known;
      const v = keep(this.w, this.evaluate(def, t, r, c, count), t.name);
      this.seen?.set(t.name, v);
      return v;
    }
    const h = this.homes.get(t.name);
    if (!h) throw undefinedTile({ kernel: this.kernel.name, name: t.name });
    if (h.kind === "local") return ins(t.dtype === "f32" ? "f32x4.splat" : "i32x4.splat", get(h.local));
    const row = this.rowAt(t, t.rows === 1 ? i32(0) : r);
    if (t.cols === 1) return load("v128.load32_splat", row);
    const at = plus(row, times(c, i32(4)));
    return load(count === 4 ? "v128.load" : "v128.load32_splat", at);
  }

  /** Runs `f` for one element, so that lazy tiles read twice are computed once. */
  element<T>(f: () => T): T {
    const outer = this.seen;
    this.seen = new Map();
    const out = f();
    this.seen = outer;
    return out;
  }

  /** Lanes of what a defining statement gives at (r, c). */
  evaluate(s: Stmt, t: Tile, r: Expr, c: Expr, count: 1 | 4): Expr {
    switch (s.kind) {
      case "fill":
        return t.dtype === "f32" ? splat(s.value) : splatI(s.value);
      case "iota": {
        const first = ins("i32x4.splat", plus(this.index(s.from), s.along === "rows" ? r : c));
        if (s.along === "rows" || count === 1) return first;
        return ins("i32x4.add", first, withImm("v128.const", [...new Uint8Array(Int32Array.of(0, 1, 2, 3).buffer)]));
      }
      case "map":
        return this.expression(s.expr, t, r, c, count);
      case "load":
        return this.loaded(s.from, t, s.fill, r, c, count);
      default:
        throw undefinedTile({ kernel: this.kernel.name, name: t.name });
    }
  }

  expression(e: MapExpr, t: Tile, r: Expr, c: Expr, count: 1 | 4): Expr {
    return lanes(this.w, e, t.dtype, { tile: (x) => this.value(x, r, c, count), index: (i) => this.index(i) });
  }

  private loaded(p: Place, t: Tile, fill: number, r: Expr, c: Expr, count: 1 | 4): Expr {
    const b = this.buffer(p.buffer);
    if (count === 4 && t.cols > 1 && !unitStride(b, p)) {
      // Columns apart in memory: four single loads.
      let out = this.loaded(p, t, fill, r, c, 1);
      for (const i of [1, 2, 3]) {
        const one = this.loaded(p, t, fill, r, plus(c, i32(i)), 1);
        out = withImm("i32x4.replace_lane", [i], out, withImm("i32x4.extract_lane", [0], one));
      }
      return keep(this.w, out, t.name);
    }
    const { row, ok } = this.rowOf(p, t, r);
    const col = t.cols > 1 ? c : undefined;
    let fine = ok;
    if (count === 1 && t.cols > 1 && p.colLimit !== undefined && !this.inside) {
      const mask = { at: p.at[p.cols!], limit: p.colLimit };
      if (!this.certain(mask, t.cols)) fine = both(fine, ins("i32.lt_s", plus(this.index(mask.at), c), this.index(mask.limit)));
    }
    let at = address(this.env, b, p, row, col);
    if (!fine) return count === 4 && t.cols > 1 ? load4(this.w, b.param.dtype, at) : load1(this.w, b.param.dtype, at);
    const good = keep(this.w, fine, "ok");
    at = select(good, at, b.base);
    const value = count === 4 && t.cols > 1 ? load4(this.w, b.param.dtype, at) : load1(this.w, b.param.dtype, at);
    return select(good, value, t.dtype === "f32" ? splat(fill) : splatI(fill));
  }

  /** Absolute index along the rows axis, and the condition for it to be inside, absent where that is certain. */
  rowOf(p: Place, t: Tile, r: Expr): { row?: Expr; ok?: Expr } {
    if (p.rows === undefined && !p.rowIndex) return {};
    const axis = p.rows!;
    if (p.rowIndex) {
      const row = keep(this.w, withImm("i32x4.extract_lane", [0], this.value(p.rowIndex, r, i32(0), 1)), "row");
      return { row, ...(p.rowLimit !== undefined ? { ok: ins("i32.lt_u", row, this.index(p.rowLimit)) } : {}) };
    }
    const row = plus(this.index(p.at[axis]), r);
    if (p.rowLimit === undefined) return { row };
    const key = this.facts.rows.get(t.name);
    const known = key && JSON.stringify(key) === JSON.stringify({ at: p.at[axis], limit: p.rowLimit });
    if (known || this.certain({ at: p.at[axis], limit: p.rowLimit }, t.rows)) return { row };
    return { row, ok: ins("i32.lt_s", row, this.index(p.rowLimit)) };
  }

  /** Column masks of the lazy loads that evaluating a tile meets. */
  masks(t: Tile): Mask[] {
    const def = this.lazy(t);
    return def ? this.masksOf(def) : [];
  }

  masksOf(s: Stmt): Mask[] {
    if (s.kind === "load")
      return s.from.colLimit !== undefined && s.dst.cols > 1 ? [{ at: s.from.at[s.from.cols!], limit: s.from.colLimit }] : [];
    if (s.kind === "map") return tilesOf(s.expr).flatMap((t) => this.masks(t));
    return [];
  }

  /**
   * Visits columns [0, end) of `cols`: in fours while inside every mask, then singly. `end` defaults to cols, and is where
   * a masked store stops.
   */
  columns(cols: number, masks: readonly Mask[], visit: (c: Expr, count: 1 | 4) => void, end?: Expr): void {
    const stop = end ?? i32(cols);
    if (cols === 1) {
      this.w.when(ins("i32.gt_s", stop, i32(0)), () => visit(i32(0), 1));
      return;
    }
    const distinct = [...new Map(masks.map((m) => [JSON.stringify(m), m])).values()];
    let fours: Expr = stop;
    for (const m of distinct) fours = lesser(fours, this.extent(m, cols));
    const known = constant(fours);
    const whole = known !== undefined ? i32(known & ~3) : keep(this.w, ins("i32.and", fours, i32(-4)), "whole");
    this.w.loop("c", i32(0), whole, 4, (c) => this.element(() => visit(c, 4)));
    this.w.loop("c1", whole, stop, 1, (c) => this.element(() => visit(c, 1)));
  }

  /** Writes every element of a tile that matters. */
  fillWith(t: Tile, masks: readonly Mask[], f: (r: Expr, c: Expr, count: 1 | 4) => Expr): void {
    const h = this.home(t);
    if (h.kind === "local") {
      const v = this.element(() => f(i32(0), i32(0), 1));
      this.w.push(set(h.local, firstLane(v, t.dtype)));
      return;
    }
    this.w.loop(`r_${t.name}`, i32(0), this.rowCount(t), 1, (r) => {
      this.columns(t.cols, masks, (c, count) => this.put(t, r, c, count, f(r, c, count)));
    });
  }

  /** Writes one or four elements of a tile in scratch. */
  put(t: Tile, r: Expr, c: Expr, count: 1 | 4, value: Expr): void {
    const at = plus(this.rowAt(t, r), times(c, i32(4)));
    this.w.push(count === 4 ? store("v128.store", at, value) : store("i32.store", at, withImm("i32x4.extract_lane", [0], value)));
  }
}

/** Sets a constant of the tile's type in every lane. */
export const constantOf = (t: Tile, n: number): Expr => (t.dtype === "f32" ? splat(n) : splatI(n));

function both(a: Expr | undefined, b: Expr): Expr {
  return a ? ins("i32.and", a, b) : b;
}
