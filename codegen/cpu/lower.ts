// A tile program becomes one WebAssembly function: run(begin, end, scratch, ...buffers, ...dims) visits grid cells begin .. end
// with the last axis fastest. Any thread may take any cells; scratch is the thread's own.
import type { Kernel, Stmt as TileStmt } from "../../ir/kernel/stmt.ts";
import type { Segment } from "../../ir/kernel/catalogue.ts";
import { ownerOf } from "../../ir/kernel/owner.ts";
import type { Size } from "../../ir/size.ts";
import { contract, contraction, dot } from "./contract.ts";
import { needsGrid } from "./diagnostics.ts";
import { encode } from "./encode.ts";
import { factsOf } from "../tile-facts.ts";
import { cellsOf, divide } from "./indices.ts";
import { keep } from "./math.ts";
import { address, store1, store4, unitStride } from "./place.ts";
import { reduce, scan } from "./reduce.ts";
import { constantOf, Tiles } from "./tiles.ts";
import { get, i32, ins, load, plus, times, withImm, type Expr } from "./wasm.ts";
import { wat } from "./wat.ts";
import { Writer } from "./writer.ts";
import { when } from "../text.ts";

export interface Lowered {
  wasm: Uint8Array;
  /** The same module as text. */
  text: string;
  /** What the lines of the text are. */
  segments: readonly Segment[];
  /** Number of grid cells, over the kernel's dims. */
  cells: Size;
  /** Scratch each thread must provide. */
  scratchBytes: number;
}

/** Lowers a kernel. Throws a diagnostic (DSC42xx) for a tile program that names what it does not have. */
export function lowerToWasm(kernel: Kernel): Lowered {
  const grid = kernel.body[0];
  if (grid?.kind !== "grid") throw needsGrid({ kernel: kernel.name });
  const names = [...kernel.params.map((p) => p.name), ...kernel.dims];
  const w = new Writer("run", [["begin", "i32"], ["end", "i32"], ["scratch", "i32"], ...names.map((n) => [n, "i32"] as const)]);
  const bases = kernel.params.map((_, i) => w.param(3 + i));
  const env = new Map<string, Expr>(kernel.dims.map((d, i) => [d, w.param(3 + kernel.params.length + i)]));
  const k = new Tiles(w, kernel, factsOf(kernel), w.param(2), bases, env);
  const counts = grid.axes.map((a) => {
    const extent = k.index(a.extent);
    return keep(w, a.tile === 1 ? extent : divide("div", plus(extent, i32(a.tile - 1)), i32(a.tile), false), `cells_${a.name}`);
  });
  noteOf(w, grid);
  w.loop("cell", w.param(0), w.param(1), 1, (cell) => {
    let rest = cell;
    for (let i = grid.axes.length - 1; i >= 0; i--) {
      const a = grid.axes[i];
      const turn = i === 0 ? rest : divide("mod", rest, counts[i], false);
      k.env.set(a.name, keep(w, times(turn, i32(a.tile)), a.name));
      k.note(a.name, a.extent, a.tile);
      if (i > 0) rest = keep(w, divide("div", rest, counts[i], false), "rest");
    }
    statements(k, kernel.body.slice(1));
  });
  const module = { header: [kernel.summary], funcs: [w.func] };
  const text = wat(module);
  return {
    wasm: encode(module),
    text: text.toString(),
    segments: text.segments,
    cells: cellsOf(grid.axes),
    scratchBytes: k.bytes,
  };
}

function noteOf(w: Writer, s: TileStmt): void {
  const { name, ops } = ownerOf(s);
  w.note(name, ops);
}

function statements(k: Tiles, list: readonly TileStmt[]): void {
  for (const s of list) statement(k, s);
}

function statement(k: Tiles, s: TileStmt): void {
  const { w } = k;
  if ("dst" in s && k.facts.lazy.get(s.dst.name) === s) return;
  noteOf(w, s);
  switch (s.kind) {
    case "grid":
      throw needsGrid({ kernel: k.kernel.name });
    case "loop": {
      const found = contraction(k, s);
      if (found) return contract(k, found);
      const outer = k.env;
      w.loop(s.name, k.index(s.from), k.index(s.to), s.step, (i) => {
        k.env = new Map(outer).set(s.name, i);
        if (s.from === 0) k.note(s.name, s.to, s.step);
        else k.even.delete(s.name);
        statements(k, s.body);
      });
      k.env = outer;
      return;
    }
    case "when":
      return w.when(ins(`i32.${s.test}${when(s.test === "lt" || s.test === "le", "_s")}`, k.index(s.a), k.index(s.b)), () =>
        statements(k, s.body),
      );
    case "scalar": {
      const at = address(k.env, k.buffer(s.buffer), { buffer: s.buffer, at: s.at }, undefined, undefined);
      k.env.set(s.name, get(w.define(s.name, load("i32.load", at))));
      return;
    }
    case "peek":
      k.env.set(s.name, get(w.define(s.name, withImm("i32x4.extract_lane", [0], k.value(s.from, i32(0), i32(0), 1)))));
      return;
    case "load":
      return k.fillWith(s.dst, k.masksOf(s), (r, c, count) => k.evaluate(s, s.dst, r, c, count));
    case "store":
      return storeTile(k, s);
    case "fill":
      return k.fillWith(s.dst, [], () => constantOf(s.dst, s.value));
    case "iota":
      return k.fillWith(s.dst, [], (r, c, count) => k.evaluate(s, s.dst, r, c, count));
    case "map":
      return k.fillWith(s.dst, k.masksOf(s), (r, c, count) => k.expression(s.expr, s.dst, r, c, count));
    case "reduce":
      return reduce(k, s);
    case "dot":
      return dot(k, s);
    case "accumulate":
      return k.fillWith(
        s.acc,
        [s.part, ...s.by].flatMap((t) => k.masks(t)),
        (r, c, count) => {
          const term = s.by.reduce((v, t) => ins("f32x4.mul", v, k.value(t, r, c, count)), k.value(s.part, r, c, count));
          return ins("f32x4.add", k.value(s.acc, r, c, count), term);
        },
      );
    case "scan":
      k.home(s.dst);
      return scan(k, s);
  }
}

function storeTile(k: Tiles, { src, to }: Extract<TileStmt, { kind: "store" }>): void {
  const { w } = k;
  const b = k.buffer(to.buffer);
  const { dtype } = b.param;
  const rows =
    src.rows === 1 || to.rowIndex || to.rowLimit === undefined
      ? i32(src.rows)
      : k.extent({ at: to.at[to.rows!], limit: to.rowLimit }, src.rows);
  const own = to.cols !== undefined && to.colLimit !== undefined ? { at: to.at[to.cols], limit: to.colLimit } : undefined;
  const masks = k.masks(src);
  const outer = k.inside;
  // Columns that are not stored need no fill.
  k.inside = masks.every((m) => JSON.stringify(m) === JSON.stringify(own));
  w.loop(`r_${to.buffer}`, i32(0), rows, 1, (r) => {
    const { row, ok } = to.rowIndex
      ? k.rowOf(to, src, r)
      : { row: to.rows === undefined ? undefined : plus(k.index(to.at[to.rows]), r), ok: undefined };
    const end = own ? k.extent(own, src.cols) : i32(src.cols);
    const write = (c: Expr, count: 1 | 4): void => {
      const value = k.value(src, r, c, count);
      const at = keep(w, address(k.env, b, to, row, src.cols > 1 ? c : undefined), "at");
      w.push(count === 4 ? store4(w, dtype, at, value) : store1(w, dtype, at, value));
    };
    const visit = (): void => {
      if (src.cols === 1 || unitStride(b, to)) k.columns(src.cols, k.inside ? [] : masks, write, end);
      else w.loop("c", i32(0), end, 1, (c) => k.element(() => write(c, 1)));
    };
    if (ok) w.when(ok, visit);
    else visit();
  });
  k.inside = outer;
}
