// A tile program becomes one function of loops over vectors, which visits grid cells begin .. end with the last axis fastest.
import type { Kernel, Stmt as TileStmt } from "../../ir/kernel/stmt.ts";
import { ownerOf } from "../../ir/kernel/owner.ts";
import { flatten } from "../../ir/kernel/walk.ts";
import { needsGrid } from "../cpu/diagnostics.ts";
import { factsOf } from "../tile-facts.ts";
import { contract, contraction, dot } from "./contract.ts";
import { constantOf, divide, i64, int, named, op, plus, times, type Expr, type LoopKernel, type Memory } from "./ir.ts";
import { reduce, scan } from "./reduce.ts";
import type { LoopSchedule } from "./schedule.ts";
import { Tiles } from "./tiles.ts";
import { Writer } from "./writer.ts";

/** Names of a kernel's parameters beside its buffers and dims. */
export const BEGIN = "begin";
export const END = "end";
export const SCRATCH = "scratch";

/** Lowers a kernel. Throws a diagnostic (DSC42xx) for a tile program that names what it does not have. */
export function lowerToLoops(kernel: Kernel, schedule: LoopSchedule): LoopKernel {
  const grid = kernel.body[0];
  if (grid?.kind !== "grid") throw needsGrid({ kernel: kernel.name });
  const buffers = kernel.params.map((p) => ({ name: p.name, element: p.dtype, access: p.access }));
  const w = new Writer([BEGIN, END, SCRATCH, ...kernel.params.map((p) => p.name), ...kernel.dims]);
  const env = new Map<string, Expr>(kernel.dims.map((d) => [d, named(d, i64)]));
  const facts = factsOf(kernel);
  // Sums of whole blocks are added to an accumulator, also past its last column.
  const sums = flatten(kernel.body).flatMap((s) => (s.kind === "accumulate" ? [s.acc.name] : []));
  const k = new Tiles(w, kernel, { ...facts, padded: new Set([...facts.padded, ...sums]) }, schedule, buffers, env);
  noteOf(w, grid);
  const counts = grid.axes.map((a) =>
    w.keep(divide("div", plus(k.index(a.extent), int(a.tile - 1)), int(a.tile)), `cells_${a.name}`),
  );
  w.loop("cell", named(BEGIN, i64), named(END, i64), 1, (cell) => {
    let rest = cell;
    for (let i = grid.axes.length - 1; i >= 0; i--) {
      const a = grid.axes[i];
      const turn = i === 0 ? rest : divide("mod", rest, counts[i]);
      k.env.set(a.name, w.keep(times(turn, int(a.tile)), a.name));
      k.note(a.name, a.extent, a.tile);
      if (i > 0) rest = w.keep(divide("div", rest, counts[i]), "rest");
    }
    statements(k, kernel.body.slice(1));
  });
  return {
    name: kernel.name,
    summary: kernel.summary,
    buffers,
    dims: kernel.dims,
    scratch: k.scratch,
    scratchBytes: k.bytes,
    body: [...w.registers, ...w.body],
  };
}

function noteOf(w: Writer, s: TileStmt): void {
  const owner = ownerOf(s);
  w.note(owner.name, owner);
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
    case "loop":
      return loop(k, s);
    case "when":
      return w.when(op(s.test, k.index(s.a), k.index(s.b)), () => statements(k, s.body));
    case "scalar": {
      const from: Memory = k.buffer(s.buffer).memory;
      const at = k.elementAt({ buffer: s.buffer, at: s.at }, undefined, undefined);
      k.env.set(s.name, w.keep(op("toI64", { kind: "load", from, at, type: { of: "i32", lanes: 1 } }), s.name));
      return;
    }
    case "peek":
      k.env.set(s.name, w.keep(op("toI64", k.value(s.from, int(0), int(0), 1)), s.name));
      return;
    case "load":
    case "iota":
    case "map":
      return k.fillWith(s.dst, k.masksOf(s), (r, c, count) => k.evaluate(s, s.dst, r, c, count));
    case "fill":
      return k.fillWith(s.dst, [], (_, __, count) => constantOf(s.value, { of: s.dst.dtype, lanes: count }));
    case "store":
      return storeTile(k, s);
    case "reduce":
      return reduce(k, s);
    case "dot":
      return dot(k, s);
    case "accumulate":
      return k.fillWith(
        s.acc,
        [s.part, ...s.by].flatMap((t) => k.masks(t)),
        (r, c, count) => {
          const term = s.by.reduce((v, t) => op("mul", v, k.value(t, r, c, count)), k.value(s.part, r, c, count));
          return op("add", k.value(s.acc, r, c, count), term);
        },
      );
    case "scan":
      return scan(k, s);
  }
}

function loop(k: Tiles, s: Extract<TileStmt, { kind: "loop" }>): void {
  const found = contraction(k, s);
  if (found) return contract(k, found);
  const outer = k.env;
  k.w.loop(s.name, k.index(s.from), k.index(s.to), s.step, (i) => {
    k.env = new Map(outer).set(s.name, i);
    if (s.from === 0) k.note(s.name, s.to, s.step);
    else k.even.delete(s.name);
    statements(k, s.body);
  });
  k.env = outer;
}

function storeTile(k: Tiles, { src, to }: Extract<TileStmt, { kind: "store" }>): void {
  const { w } = k;
  const { memory } = k.buffer(to.buffer);
  const rows =
    src.rows === 1 || to.rowIndex || to.rowLimit === undefined
      ? int(src.rows)
      : k.extent({ at: to.at[to.rows!], limit: to.rowLimit }, src.rows);
  const own = to.cols !== undefined && to.colLimit !== undefined ? { at: to.at[to.cols], limit: to.colLimit } : undefined;
  const masks = k.masks(src);
  const outer = k.inside;
  // Columns that are not stored need no fill.
  k.inside = masks.every((m) => JSON.stringify(m) === JSON.stringify(own));
  w.loop("r", int(0), rows, 1, (r) => {
    const { row, ok } = to.rowIndex
      ? k.rowOf(to, src, r)
      : { row: to.rows === undefined ? undefined : plus(k.index(to.at[to.rows]), r), ok: undefined };
    const end = own ? k.extent(own, src.cols) : int(src.cols);
    const write = (c: Expr, count: number): void => {
      const value = k.value(src, r, c, count);
      w.push({ kind: "store", to: memory, at: k.elementAt(to, row, src.cols > 1 ? c : undefined), value });
    };
    const visit = (): void => {
      if (src.cols === 1 || k.unitStride(to)) k.columns(src.cols, k.inside ? [] : masks, write, end);
      else w.loop("c", int(0), end, 1, (c) => k.element(() => write(c, 1)));
    };
    if (ok) w.when(ok, visit);
    else visit();
  });
  k.inside = outer;
}
