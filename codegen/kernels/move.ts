// Kernels that move rows: embedding, gathers, copies, the paged cache.
import { f, kernel, x, type Body } from "../../ir/kernel/build.ts";
import type { BufferParam, Index, Kernel, Tile } from "../../ir/kernel/stmt.ts";

const WIDE = 512;

/** Row `from` of one buffer to row `to` of another, columns in steps. */
function copyRow(k: Body, src: BufferParam, from: Index[], dst: BufferParam, to: Index[], width: number): void {
  const step = Math.min(WIDE, width);
  k.loop("c", 0, width, step, () => {
    const [sa, da] = [from.length, to.length];
    const v = k.load("v", 1, step, src, { at: [...from, "c"], cols: sa, colLimit: width });
    k.store(v, dst, { at: [...to, "c"], cols: da, colLimit: width });
  });
}

export function embed(p: { vocab: number; d: number; table: "f32" | "bf16"; y?: "bf16" }): Kernel {
  return kernel({
    name: `embed_${p.d}`,
    summary: "Rows of the table by token id.",
    params: { ids: { dtype: "i32", shape: ["T"] }, table: { dtype: p.table, shape: [p.vocab, p.d] }, y: { dtype: p.y ?? "f32", shape: ["T", p.d], access: "out" } },
    dims: ["T"],
    body(k, { ids, table, y }) {
      k.grid({ i: ["T", 1] });
      copyRow(k, table, [k.scalar("id", ids, ["i"])], y, ["i"], p.d);
    },
  });
}

export function lastRows(p: { d: number; xStride: number; act?: "bf16" }): Kernel {
  return kernel({
    name: `last_rows_${p.d}`,
    summary: "The last row of every sequence.",
    params: { x: { dtype: p.act ?? "f32", shape: ["T", p.d], strides: [p.xStride, 1] }, starts: { dtype: "i32", shape: [x.add("B", 1)] }, y: { dtype: p.act ?? "f32", shape: ["B", p.d], access: "out" } },
    dims: ["T", "B"],
    body(k, { x: xs, starts, y }) {
      k.grid({ b: ["B", 1] });
      const end = k.scalar("end", starts, [x.add("b", 1)]);
      copyRow(k, xs, [x.sub(end, 1)], y, ["b"], p.d);
    },
  });
}

export interface CopyProblem {
  /** Three axes; a string is a run-time dim. */
  shape: readonly (number | string)[];
  from: readonly (number | string)[];
  to: readonly (number | string)[];
  dims: readonly string[];
  /** Elements before the first of the result: where the second half of a concat begins. */
  offset?: number;
  act?: "bf16";
}

/** A strided copy of up to three axes. */
export function copy(p: CopyProblem): Kernel {
  return kernel({
    name: `copy_${p.shape.join("x")}${p.offset ? `_at_${p.offset}` : ""}`,
    summary: "The same elements under other strides.",
    params: { x: { dtype: p.act ?? "f32", shape: p.shape, strides: p.from }, y: { dtype: p.act ?? "f32", shape: p.shape, strides: p.to, access: "out" } },
    dims: p.dims,
    body(k, { x: xs, y }) {
      k.grid({ a: [p.shape[0], 1], b: [p.shape[1], 1], c: [p.shape[2], WIDE] });
      const v = k.load("v", 1, WIDE, xs, { at: ["a", "b", "c"], cols: 2, colLimit: p.shape[2] });
      const shift = p.offset ?? 0;
      k.store(v, y, { at: ["a", "b", x.add("c", shift)], cols: 2, colLimit: x.add(p.shape[2], shift) });
    },
  });
}

/** Rows of x by sorted pair: row i is token order[i] / per. */
export function gatherRows(p: { d: number; per: number; x: "f32" | "bf16" | "e4m3"; xStride: number }): Kernel {
  const kb = Math.ceil(p.d / 128);
  const scaled = p.x === "e4m3";
  return kernel({
    name: `gather_rows_${p.d}${scaled ? "_e4m3" : ""}`,
    summary: "Rows in sorted pair order: row i is token order[i] / k.",
    params: {
      x: { dtype: p.x, shape: ["T", p.d], strides: [p.xStride, 1] },
      ...(scaled ? { x_scale: { dtype: "f32", shape: ["T", kb] } as const } : {}),
      order: { dtype: "i32", shape: ["r"] },
      y: { dtype: p.x, shape: ["r", p.d], access: "out" },
      ...(scaled ? { y_scale: { dtype: "f32", shape: ["r", kb], access: "out" } as const } : {}),
    },
    dims: ["T", "r"],
    body(k, { x: xs, x_scale: xScale, order, y, y_scale: yScale }) {
      k.grid({ i: ["r", 1] });
      const token = x.div(k.scalar("pair", order, ["i"]), p.per);
      copyRow(k, xs, [token], y, ["i"], p.d);
      if (xScale && yScale) copyRow(k, xScale, [token], yScale, ["i"], kb);
    },
  });
}

/** The page table as kernels see it. */
const pagesParam = { dtype: "i32", shape: ["B", "P"] } as const;
const cacheParam = (rows: number, width: number, access: "in" | "inout", act?: "bf16"): { dtype: "f32" | "bf16"; shape: readonly Index[]; access: "in" | "inout" } => ({ dtype: act ?? "f32", shape: ["pages_count", rows, width], access });

export interface CacheProblem {
  r: number;
  d: number;
  pageRows: number;
  /** Dtype of the cache and of the rows that enter it, f32 unless said. */
  act?: "bf16";
}

/** Where token i's row lies: [page, row in page]. */
function place(k: Body, p: { pageRows: number }, positions: BufferParam, sequence: BufferParam, pages: BufferParam): Index[] {
  const pos = k.scalar("pos", positions, ["i"]);
  const seq = k.scalar("seq", sequence, ["i"]);
  const page = k.scalar("page", pages, [seq, x.div(pos, p.pageRows)]);
  return [page, x.mod(pos, p.pageRows)];
}

export function cacheAppend(p: CacheProblem & { cStride: number; kpStride: number }): Kernel {
  const w = p.r + p.d;
  return kernel({
    name: `cache_append_${p.r}_${p.d}`,
    summary: "Write the new rows [latent | rotated key] at their positions in the paged cache.",
    params: {
      cache: { ...cacheParam(p.pageRows, w, "inout", p.act), strides: [p.pageRows * w, w, 1] },
      c: { dtype: p.act ?? "f32", shape: ["T", p.r], strides: [p.cStride, 1] },
      kp: { dtype: p.act ?? "f32", shape: ["T", p.d], strides: [p.kpStride, 1] },
      positions: { dtype: "i32", shape: ["T"] },
      sequence: { dtype: "i32", shape: ["T"] },
      pages: pagesParam,
    },
    dims: ["T", "P"],
    body(k, { cache, c, kp, positions, sequence, pages }) {
      k.grid({ i: ["T", 1] });
      const at = place(k, p, positions, sequence, pages);
      k.loop("u", 0, p.r, 128, () => k.store(k.load("v", 1, 128, c, { at: ["i", "u"], cols: 1, colLimit: p.r }), cache, { at: [...at, "u"], cols: 2, colLimit: p.r }));
      k.store(k.load("w", 1, p.d, kp, { at: ["i", 0], cols: 1 }), cache, { at: [...at, p.r], cols: 2 });
    },
  });
}

/** The cos | sin halves of a table row. */
const turn = (k: Body, table: BufferParam, pos: Index, half: number): [Tile, Tile] => [
  k.load("cos", 1, half, table, { at: [pos, 0], cols: 1 }), k.load("sin", 1, half, table, { at: [pos, half], cols: 1 }),
];

/** Rotates pairs: lanes a, b by cos and sin; the result is [rotated a | rotated b]. */
function rotated(k: Body, [cos, sin]: readonly [Tile, Tile], a: Tile, b: Tile): [Tile, Tile] {
  return [k.map("left", f.sub(f.mul(a, cos), f.mul(b, sin))), k.map("right", f.add(f.mul(b, cos), f.mul(a, sin)))];
}

/** Strides of the pair axes [half, 2] within d lanes. */
const pairs = (d: number, interleaved: boolean): readonly [number, number] => (interleaved ? [2, 1] : [1, d / 2]);

export interface RopeProblem {
  heads: number;
  d: number;
  xStrides: readonly [number, number];
  interleaved: boolean;
  maxPositions: number;
  act?: "bf16";
}

export function rope(p: RopeProblem): Kernel {
  const half = p.d / 2;
  const rows = Math.min(p.heads, 16);
  return kernel({
    name: `rope_${p.heads}x${p.d}`,
    summary: "Rotate pairs of lanes by the row's position; the result is in half-split order.",
    params: {
      x: { dtype: p.act ?? "f32", shape: ["T", p.heads, half, 2], strides: [...p.xStrides, ...pairs(p.d, p.interleaved)] },
      table: { dtype: "f32", shape: [p.maxPositions, p.d] },
      positions: { dtype: "i32", shape: ["T"] },
      y: { dtype: p.act ?? "f32", shape: ["T", p.heads, p.d], access: "out" },
    },
    dims: ["T"],
    body(k, { x: xs, table, positions, y }) {
      k.grid({ i: ["T", 1], h: [p.heads, rows] });
      const pos = k.scalar("pos", positions, ["i"]);
      const a = k.load("a", rows, half, xs, { at: ["i", "h", 0, 0], rows: 1, cols: 2, rowLimit: p.heads });
      const b = k.load("b", rows, half, xs, { at: ["i", "h", 0, 1], rows: 1, cols: 2, rowLimit: p.heads });
      const [left, right] = rotated(k, turn(k, table, pos, half), a, b);
      k.store(left, y, { at: ["i", "h", 0], rows: 1, cols: 2, rowLimit: p.heads });
      k.store(right, y, { at: ["i", "h", half], rows: 1, cols: 2, rowLimit: p.heads });
    },
  });
}

export interface RopeAppendProblem extends CacheProblem {
  cStride: number;
  krStride: number;
  gain: "f32" | "bf16";
  eps: number;
  interleaved: boolean;
  maxPositions: number;
}

/** Norm of the latent, rotation of the shared key, append: one visit of the row that enters the cache. */
export function ropeAppend(p: RopeAppendProblem): Kernel {
  const [w, half] = [p.r + p.d, p.d / 2];
  return kernel({
    name: `rope_append_${p.r}_${p.d}`,
    summary: "Normalise the latent, rotate the shared key, append both to the paged cache.",
    params: {
      cache: { ...cacheParam(p.pageRows, w, "inout", p.act), strides: [p.pageRows * w, w, 1] },
      c: { dtype: p.act ?? "f32", shape: ["T", p.r], strides: [p.cStride, 1] },
      kr: { dtype: p.act ?? "f32", shape: ["T", half, 2], strides: [p.krStride, ...pairs(p.d, p.interleaved)] },
      gain: { dtype: p.gain, shape: [p.r] },
      table: { dtype: "f32", shape: [p.maxPositions, p.d] },
      positions: { dtype: "i32", shape: ["T"] },
      sequence: { dtype: "i32", shape: ["T"] },
      pages: pagesParam,
    },
    dims: ["T", "P"],
    body(k, { cache, c, kr, gain, table, positions, sequence, pages }) {
      k.grid({ i: ["T", 1] });
      const at = place(k, p, positions, sequence, pages);
      // What the end needs is read at the beginning: the row of the table lies far away.
      const a = k.load("a", 1, half, kr, { at: ["i", 0, 0], cols: 1 });
      const b = k.load("b", 1, half, kr, { at: ["i", 0, 1], cols: 1 });
      const angle = turn(k, table, "pos", half);
      const squares = k.fill("squares", 1, 1, 0);
      k.loop("u", 0, p.r, 128, () => {
        const v = k.load("v", 1, 128, c, { at: ["i", "u"], cols: 1, colLimit: p.r });
        k.set(squares, f.add(squares, k.reduce("sum", k.map("sq", f.mul(v, v)), "sum", "cols")));
      });
      const by = k.map("by", f.div(1, f.sqrt(f.add(f.div(squares, p.r), p.eps))));
      k.loop("u", 0, p.r, 128, () => {
        const v = k.load("v", 1, 128, c, { at: ["i", "u"], cols: 1, colLimit: p.r });
        const g = k.load("g", 1, 128, gain, { at: ["u"], cols: 0, colLimit: p.r });
        k.store(k.map("n", f.mul(f.mul(v, by), g)), cache, { at: [...at, "u"], cols: 2, colLimit: p.r });
      });
      const [left, right] = rotated(k, angle, a, b);
      k.store(left, cache, { at: [...at, p.r], cols: 2 });
      k.store(right, cache, { at: [...at, p.r + half], cols: 2 });
    },
  });
}

/** Cached rows 0 .. s of sequence b, contiguous. */
export function cacheRows(p: { width: number; pageRows: number; act?: "bf16" }): Kernel {
  return kernel({
    name: `cache_rows_${p.width}`,
    summary: "The cached rows of one sequence, through its page table, side by side.",
    params: {
      cache: { ...cacheParam(p.pageRows, p.width, "in", p.act), strides: [p.pageRows * p.width, p.width, 1] },
      pages: pagesParam,
      y: { dtype: p.act ?? "f32", shape: ["s", p.width], access: "out" },
    },
    dims: ["s", "b", "P"],
    body(k, { cache, pages, y }) {
      k.grid({ i: ["s", 1] });
      const page = k.scalar("page", pages, ["b", x.div("i", p.pageRows)]);
      copyRow(k, cache, [page, x.mod("i", p.pageRows)], y, ["i"], p.width);
    },
  });
}
