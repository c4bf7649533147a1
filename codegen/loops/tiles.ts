// Where tiles live while a kernel is lowered: a register for a single element, scratch memory for the rest, or nowhere for a tile that
// its one use evaluates lane by lane. Also the two ways to visit a tile: a vector at a time where all its lanes are inside every mask,
// else one element at a time.
import type { BufferParam, Index, Kernel, MapExpr, Place, Stmt, Tile } from "../../ir/kernel/stmt.ts";
import { undefinedTile, unknownBuffer } from "../cpu/diagnostics.ts";
import { tilesOf, type Facts } from "../tile-facts.ts";
import { lanesOf } from "./element.ts";
import { inScope, index } from "./indices.ts";
import { constantOf, greater, int, known, lesser, minus, op, plus, splat, times, wholes } from "./ir.ts";
import type { Expr, Memory } from "./ir.ts";
import type { LoopSchedule } from "./schedule.ts";
import type { Writer } from "./writer.ts";

type Home = { kind: "register"; name: Expr } | { kind: "memory"; memory: Memory; stride: number };

/** Bounds of a visit along an axis: start and limit of a masked access. */
export interface Mask {
  at: Index;
  limit: Index;
}

/** A buffer of the kernel. */
export interface Buffer {
  param: BufferParam;
  memory: Memory;
}

const up = (n: number, step: number): number => Math.ceil(n / step) * step;

export class Tiles {
  readonly w: Writer;
  readonly kernel: Kernel;
  readonly facts: Facts;
  readonly schedule: LoopSchedule;
  /** Names in scope. Loops push and pop. */
  env: Map<string, Expr>;
  /** Lazy definitions ignore column masks: the visitor knows its columns to be inside. */
  inside = false;
  /** Axes and loop variables that step evenly to a fixed end: what starts there and is no wider than a step never crosses it. */
  readonly even = new Map<string, { limit: Index; step: number }>();
  bytes = 0;
  readonly scratch: Memory[] = [];
  readonly #buffers = new Map<string, Buffer>();
  readonly #homes = new Map<string, Home>();
  readonly #settled = new Set<string>();
  /** Values already computed for the element at hand, of lazy tiles read twice. */
  #seen: Map<string, Expr> | undefined;

  constructor(
    w: Writer,
    kernel: Kernel,
    facts: Facts,
    schedule: LoopSchedule,
    memories: readonly Memory[],
    env: Map<string, Expr>,
  ) {
    [this.w, this.kernel, this.facts, this.schedule, this.env] = [w, kernel, facts, schedule, env];
    for (const [i, param] of kernel.params.entries()) this.#buffers.set(param.name, { param, memory: memories[i] });
  }

  get lanes(): number {
    return this.schedule.lanes;
  }

  buffer(name: string): Buffer {
    const b = this.#buffers.get(name);
    if (!b) throw unknownBuffer({ kernel: this.kernel.name, name });
    return b;
  }

  index(i: Index): Expr {
    return index(this.env, i);
  }

  /** A part of scratch, at a multiple of 64 bytes. */
  reserve(hint: string, elements: number, element: "f32" | "i32" = "f32"): Memory {
    const memory = { name: this.w.fresh(hint), element, scratch: this.bytes };
    this.bytes += up(elements * 4, 64);
    this.scratch.push(memory);
    return memory;
  }

  /** The same bytes of scratch from byte `from` on, as other elements. */
  part(of: Memory, hint: string, from: number, element: Memory["element"]): Memory {
    const memory = { name: this.w.fresh(hint), element, scratch: of.scratch! + from };
    this.scratch.push(memory);
    return memory;
  }

  lazy(t: Tile): Stmt | undefined {
    return this.#settled.has(t.name) ? undefined : this.facts.lazy.get(t.name);
  }

  /** Gives a lazy tile a home after all: its one use turned out to need it in memory. */
  settle(t: Tile): void {
    const def = this.lazy(t);
    if (!def) return;
    this.fillWith(t, this.masksOf(def), (r, c, count) => this.evaluate(def, t, r, c, count));
    this.#settled.add(t.name);
  }

  /** The home of a tile that is about to be written. What products read or write has room for whole blocks. */
  home(t: Tile): Home {
    let h = this.#homes.get(t.name);
    if (!h) {
      const padded = this.facts.padded.has(t.name);
      if (t.rows === 1 && t.cols === 1 && !padded)
        h = { kind: "register", name: this.w.global(t.name, { of: t.dtype, lanes: 1 }) };
      else {
        const { rowsA, rowsB, lanes, mixRows } = this.schedule;
        // Rows a multiple of 4096 bytes apart would share a few lines of the first-level cache.
        const wide = up(up(t.cols, rowsB), lanes) + (t.rows > 1 && t.cols > 1 ? lanes : 0);
        const stride = padded ? wide : t.cols === 1 ? 1 : up(t.cols, lanes);
        const rows = padded ? Math.max(up(t.rows, rowsA), up(t.rows, mixRows)) : t.rows;
        h = { kind: "memory", memory: this.reserve(t.name, rows * stride, t.dtype), stride };
      }
      this.#homes.set(t.name, h);
    }
    return h;
  }

  /** A tile in scratch: its memory, and elements from one row to the next. */
  stored(t: Tile): { memory: Memory; stride: number } {
    const h = this.home(t);
    if (h.kind === "register") throw undefinedTile({ kernel: this.kernel.name, name: t.name });
    return h;
  }

  /** Rows that matter now; all of them where that is not known here. */
  rowCount(t: Tile): Expr {
    const key = this.facts.rows.get(t.name);
    if (t.rows === 1 || !key || !inScope(this.env, key.at) || !inScope(this.env, key.limit)) return int(t.rows);
    return this.extent(key, t.rows);
  }

  /** Whether columns or rows at .. at + extent can be shown to lie below the limit. */
  certain(m: Mask, extent: number): boolean {
    const [a, l] = [known(this.index(m.at)), known(this.index(m.limit))];
    if (a !== undefined && l !== undefined && a + extent <= l) return true;
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
    if (this.certain(m, extent)) return int(extent);
    return this.w.keep(lesser(greater(minus(this.index(m.limit), this.index(m.at)), int(0)), int(extent)), "count");
  }

  /** Lanes of a tile at (r, c): columns c, c + 1 ..., `count` of them. */
  value(t: Tile, r: Expr, c: Expr, count: number): Expr {
    const def = this.lazy(t);
    if (def) {
      const seen = this.#seen?.get(t.name);
      if (seen) return seen;
      const v = this.w.keep(this.evaluate(def, t, r, c, count), t.name);
      this.#seen?.set(t.name, v);
      return v;
    }
    const h = this.#homes.get(t.name);
    if (!h) throw undefinedTile({ kernel: this.kernel.name, name: t.name });
    if (h.kind === "register") return splat(h.name, count);
    const row = times(t.rows === 1 ? int(0) : r, int(h.stride));
    const of = t.dtype;
    if (t.cols === 1) return splat({ kind: "load", from: h.memory, at: row, type: { of, lanes: 1 } }, count);
    return { kind: "load", from: h.memory, at: plus(row, c), type: { of, lanes: count } };
  }

  /** Runs `f` for one visit, so that lazy tiles read twice are computed once. */
  element<T>(f: () => T): T {
    const outer = this.#seen;
    this.#seen = new Map();
    const out = f();
    this.#seen = outer;
    return out;
  }

  /** Lanes of what a defining statement gives at (r, c). */
  evaluate(s: Stmt, t: Tile, r: Expr, c: Expr, count: number): Expr {
    const type = { of: t.dtype, lanes: count };
    switch (s.kind) {
      case "fill":
        return constantOf(s.value, type);
      case "iota": {
        const first = op("toI32", plus(this.index(s.from), s.along === "rows" ? r : c));
        if (s.along === "rows" || count === 1) return splat(first, count);
        return op("add", splat(first, count), { kind: "iota", type });
      }
      case "map":
        return this.expression(s.expr, t, r, c, count);
      case "load":
        return this.#loaded(s.from, t, s.fill, r, c, count);
      default:
        throw undefinedTile({ kernel: this.kernel.name, name: t.name });
    }
  }

  expression(e: MapExpr, t: Tile, r: Expr, c: Expr, count: number): Expr {
    return lanesOf(this.w, e, t.dtype, { lanes: count, tile: (x) => this.value(x, r, c, count), index: (i) => this.index(i) });
  }

  /** The element of a buffer that a place means, where row is the absolute index along the rows axis. */
  elementAt(p: Place, row: Expr | undefined, col: Expr | undefined): Expr {
    const { param } = this.buffer(p.buffer);
    let at: Expr = int(0);
    for (const [axis, i] of p.at.entries()) {
      let own = axis === p.rows && row ? row : this.index(i);
      if (axis === p.cols && col) own = plus(own, col);
      at = plus(at, times(own, this.index(param.strides[axis])));
    }
    return at;
  }

  /** Whether neighbouring columns are neighbours in memory. */
  unitStride(p: Place): boolean {
    return p.cols !== undefined && this.buffer(p.buffer).param.strides[p.cols] === 1;
  }

  #loaded(p: Place, t: Tile, fill: number, r: Expr, c: Expr, count: number): Expr {
    const { memory, param } = this.buffer(p.buffer);
    const { row, ok } = this.rowOf(p, t, r);
    let fine = ok;
    if (count === 1 && t.cols > 1 && p.colLimit !== undefined && !this.inside) {
      const mask = { at: p.at[p.cols!], limit: p.colLimit };
      if (!this.certain(mask, t.cols)) {
        const below = op("lt", plus(this.index(mask.at), c), this.index(mask.limit));
        fine = fine ? op("and", fine, below) : below;
      }
    }
    let at = this.elementAt(p, row, t.cols > 1 ? c : undefined);
    const read = (from: Expr): Expr => {
      if (t.cols === 1) return splat({ kind: "load", from: memory, at: from, type: { of: t.dtype, lanes: 1 } }, count);
      const stride = this.unitStride(p) || count === 1 ? {} : { stride: this.index(param.strides[p.cols!]) };
      return { kind: "load", from: memory, at: from, ...stride, type: { of: t.dtype, lanes: count } };
    };
    if (!fine) return read(at);
    const good = this.w.keep(fine, "ok");
    at = this.w.keep(op("select", good, at, int(0)), "at");
    const value = this.w.keep(read(at), t.name);
    return op("select", count === 1 ? good : splat(good, count), value, constantOf(fill, value.type));
  }

  /** Absolute index along the rows axis, and the condition for it to be inside, absent where that is certain. */
  rowOf(p: Place, t: Tile, r: Expr): { row?: Expr; ok?: Expr } {
    if (p.rows === undefined && !p.rowIndex) return {};
    if (p.rowIndex) {
      const row = this.w.keep(op("toI64", this.value(p.rowIndex, r, int(0), 1)), "row");
      if (p.rowLimit === undefined) return { row };
      return { row, ok: op("and", op("le", int(0), row), op("lt", row, this.index(p.rowLimit))) };
    }
    const at = p.at[p.rows!];
    const row = plus(this.index(at), r);
    if (p.rowLimit === undefined) return { row };
    const key = this.facts.rows.get(t.name);
    const held = key && JSON.stringify(key) === JSON.stringify({ at, limit: p.rowLimit });
    if (held || this.certain({ at, limit: p.rowLimit }, t.rows)) return { row };
    return { row, ok: op("lt", row, this.index(p.rowLimit)) };
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
   * Visits columns [0, end) of `cols`: in vectors while inside every mask, then singly. `end` defaults to cols, and is where
   * a masked store stops.
   */
  columns(cols: number, masks: readonly Mask[], visit: (c: Expr, count: number) => void, end: Expr = int(cols)): void {
    const { w, lanes } = this;
    if (cols === 1)
      return w.when(known(end) === 1 ? constantOf(1, { of: "bool", lanes: 1 }) : op("lt", int(0), end), () => visit(int(0), 1));
    const distinct = [...new Map(masks.map((m) => [JSON.stringify(m), m])).values()];
    let inside: Expr = end;
    for (const m of distinct) inside = lesser(inside, this.extent(m, cols));
    const whole = w.keep(wholes(inside, lanes), "whole");
    w.loop("c", int(0), whole, lanes, (c) => this.element(() => visit(c, lanes)));
    w.loop("c1", whole, end, 1, (c) => this.element(() => visit(c, 1)));
  }

  /** Writes every element of a tile that matters. */
  fillWith(t: Tile, masks: readonly Mask[], f: (r: Expr, c: Expr, count: number) => Expr): void {
    const h = this.home(t);
    if (h.kind === "register")
      return this.w.set(
        h.name,
        this.element(() => f(int(0), int(0), 1)),
      );
    this.w.loop("r", int(0), this.rowCount(t), 1, (r) =>
      this.columns(t.cols, masks, (c, count) => {
        const value = f(r, c, count);
        this.w.push({ kind: "store", to: h.memory, at: plus(times(r, int(h.stride)), c), value });
      }),
    );
  }
}
