// The rotation of keys and queries, and the paged cache: rows that enter it, and the rows of one sequence side by side.
import { f, kernel, x, type Body } from "../../ir/kernel/build.ts";
import type { Arg } from "../../ir/kernel/catalogue.ts";
import type { BufferParam, Index, Kernel, Tile } from "../../ir/kernel/stmt.ts";
import { family, one } from "../family.ts";
import { act, float, num } from "../layouts.ts";
import { copyRow } from "./move.ts";

/** The place of a token's row: its position, its sequence, and the pages of that. */
const AT: Arg[] = [{ batch: "positions" }, { batch: "sequence" }, { batch: "pages" }];

/** The page table as kernels see it. */
const pagesParam = { dtype: "i32", shape: ["B", "P"] } as const;
const cacheParam = (
  rows: number,
  width: number,
  access: "in" | "inout",
  act?: "bf16",
): { dtype: "f32" | "bf16"; shape: readonly Index[]; access: "in" | "inout" } => ({
  dtype: act ?? "f32",
  shape: ["pages_count", rows, width],
  access,
});

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

function cacheAppend(p: CacheProblem & { cStride: number; kpStride: number }): Kernel {
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
      k.loop("u", 0, p.r, 128, () =>
        k.store(k.load("v", 1, 128, c, { at: ["i", "u"], cols: 1, colLimit: p.r }), cache, {
          at: [...at, "u"],
          cols: 2,
          colLimit: p.r,
        }),
      );
      k.store(k.load("w", 1, p.d, kp, { at: ["i", 0], cols: 1 }), cache, { at: [...at, p.r], cols: 2 });
    },
  });
}

export const cacheAppendFamily = family({
  name: "cache_append",
  serves: ["cache_append"],
  match({ ins: [c, kp], caches }) {
    const problem = {
      r: num(c.shape[1]),
      d: num(kp.shape[1]),
      pageRows: caches![0].pageRows,
      cStride: num(c.strides[0]),
      kpStride: num(kp.strides[0]),
      ...act(c),
    };
    return one(problem, [{ cache: caches![0].name }, { in: 0 }, { in: 1 }, ...AT], [c.shape[0], "P"]);
  },
  kernel: cacheAppend,
});

/** The cos | sin halves of a table row. */
const turn = (k: Body, table: BufferParam, pos: Index, half: number): [Tile, Tile] => [
  k.load("cos", 1, half, table, { at: [pos, 0], cols: 1 }),
  k.load("sin", 1, half, table, { at: [pos, half], cols: 1 }),
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

function rope(p: RopeProblem): Kernel {
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

export const ropeFamily = family({
  name: "rope",
  serves: ["rope"],
  match({ ins: [xs, table], attrs }) {
    const [heads, d] = xs.shape.length === 3 ? [num(xs.shape[1]), num(xs.shape[2])] : [1, num(xs.shape[1])];
    const xStrides = [num(xs.strides[0]), xs.shape.length === 3 ? num(xs.strides[1]) : d] as const;
    const problem = {
      heads,
      d,
      xStrides,
      interleaved: attrs.interleaved === true,
      maxPositions: num(table.shape[0]),
      ...act(xs),
    };
    return one(problem, [{ in: 0 }, { in: 1 }, { batch: "positions" }, { out: 0 }], [xs.shape[0]]);
  },
  kernel: rope,
});

export interface RopeAppendProblem extends CacheProblem {
  cStride: number;
  krStride: number;
  gain: "f32" | "bf16";
  eps: number;
  interleaved: boolean;
  maxPositions: number;
}

/** Norm of the latent, rotation of the shared key, append: one visit of the row that enters the cache. */
function ropeAppend(p: RopeAppendProblem): Kernel {
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
      const at = k.of("cache_append", () => place(k, p, positions, sequence, pages));
      // What the end needs is read at the beginning: the row of the table lies far away.
      const [a, b, angle] = k.of("rope", () => {
        const left = k.load("a", 1, half, kr, { at: ["i", 0, 0], cols: 1 });
        const right = k.load("b", 1, half, kr, { at: ["i", 0, 1], cols: 1 });
        return [left, right, turn(k, table, "pos", half)] as const;
      });
      const by = k.of("rms_norm", () => {
        const squares = k.fill("squares", 1, 1, 0);
        k.loop("u", 0, p.r, 128, () => {
          const v = k.load("v", 1, 128, c, { at: ["i", "u"], cols: 1, colLimit: p.r });
          k.set(squares, f.add(squares, k.reduce("sum", k.map("sq", f.mul(v, v)), "sum", "cols")));
        });
        return k.map("by", f.div(1, f.sqrt(f.add(f.div(squares, p.r), p.eps))));
      });
      k.loop("u", 0, p.r, 128, () => {
        const n = k.of("rms_norm", () => {
          const v = k.load("v", 1, 128, c, { at: ["i", "u"], cols: 1, colLimit: p.r });
          const g = k.load("g", 1, 128, gain, { at: ["u"], cols: 0, colLimit: p.r });
          return k.map("n", f.mul(f.mul(v, by), g));
        });
        k.of("cache_append", () => k.store(n, cache, { at: [...at, "u"], cols: 2, colLimit: p.r }));
      });
      const [left, right] = k.of("rope", () => rotated(k, angle, a, b));
      k.of("cache_append", () => {
        k.store(left, cache, { at: [...at, p.r], cols: 2 });
        k.store(right, cache, { at: [...at, p.r + half], cols: 2 });
      });
    },
  });
}

export const ropeAppendFamily = family({
  name: "rope_append",
  serves: ["rope_append"],
  match({ ins: [c, kr, gain, table], attrs, caches }) {
    const problem = {
      r: num(c.shape[1]),
      d: num(kr.shape[1]),
      pageRows: caches![0].pageRows,
      cStride: num(c.strides[0]),
      krStride: num(kr.strides[0]),
      gain: float(gain),
      eps: num(attrs.eps),
      interleaved: attrs.interleaved === true,
      maxPositions: num(table.shape[0]),
      ...act(c),
    };
    return one(problem, [{ cache: caches![0].name }, { in: 0 }, { in: 1 }, { in: 2 }, { in: 3 }, ...AT], [c.shape[0], "P"]);
  },
  kernel: ropeAppend,
});

/** Cached rows 0 .. s of sequence b, contiguous. */
function cacheRows(p: { width: number; pageRows: number; act?: "bf16" }): Kernel {
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

export const cacheRowsFamily = family({
  name: "cache_rows",
  serves: ["cache_rows"],
  match({ outs: [y], caches }) {
    const [{ width, pageRows }] = caches!;
    return one(
      { width, pageRows, ...act(y) },
      [{ cache: caches![0].name }, { batch: "pages" }, { out: 0 }],
      [y.shape[0], "b", "P"],
    );
  },
  kernel: cacheRows,
});
