// The tile program: what a kernel does, saying nothing of threads, barriers or vectors. About twenty statements over dense
// tiles of static extent; buffers are f32, bf16, e4m3 or i32, registers are f32 or i32. A load widens, a store rounds
// (to nearest even; e4m3 saturates), so conversion is where memory is. Grid cells are independent: they may run in any order.

/**
 * An integer known when a statement runs: a constant, a dim ("m"), a grid or loop axis, a scalar, or arithmetic over them.
 * Division floors.
 */
export type Index = number | string | { op: "add" | "sub" | "mul" | "div" | "mod" | "min" | "max"; a: Index; b: Index };

/**
 * A buffer parameter. Shape and strides are numbers, dims or arithmetic over dims; strides, in elements, need not be contiguous.
 */
export interface BufferParam {
  name: string;
  dtype: "f32" | "bf16" | "e4m3" | "i32";
  access: "in" | "out" | "inout";
  shape: readonly Index[];
  strides: readonly Index[];
}

/**
 * A tile register: [rows, cols], row-major. A row is [1, n], a column [m, 1], a scalar [1, 1]. Extents of 1 broadcast in `map`.
 */
export interface Tile {
  name: string;
  rows: number;
  cols: number;
  dtype: "f32" | "i32";
}

/**
 * Where a tile meets a buffer. `at` has one index per buffer axis; the tile's rows run along buffer axis `rows`, its columns
 * along `cols` (either absent when that extent is 1). Elements at or past `rowLimit` / `colLimit` of those axes are masked.
 */
export interface Place {
  buffer: string;
  at: readonly Index[];
  rows?: number;
  cols?: number;
  /** Exclusive bound of the absolute index along the rows axis; absent: the whole tile is inside. */
  rowLimit?: Index;
  colLimit?: Index;
  /** Row r of the tile uses this i32 column's value as its index along the rows axis, in place of at + r (gather, scatter). */
  rowIndex?: Tile;
}

/** Arithmetic per element. `t` names a tile (extents of 1 broadcast), `index` an integer made f32 or i32 as the result needs. */
export type MapExpr =
  | { t: Tile }
  | { c: number }
  | { index: Index }
  | { op: UnaryOp; a: MapExpr }
  | { op: BinaryOp; a: MapExpr; b: MapExpr }
  | { op: "select"; if: MapExpr; a: MapExpr; b: MapExpr };

/** f32: neg abs exp log sqrt floor; silu and sigmoid are written with exp. pow2ceil: least power of two not below. */
export type UnaryOp = "neg" | "abs" | "exp" | "log" | "sqrt" | "floor" | "pow2ceil" | "float" | "int";
/** Comparisons give i32 1 or 0. div is IEEE for f32, floors for i32. mod is i32. */
export type BinaryOp = "add" | "sub" | "mul" | "div" | "mod" | "max" | "min" | "lt" | "le" | "eq" | "and" | "or";

/** One statement of a tile program. */
export type Stmt =
  /** Always first: cells of the launch. Axis `name` takes values 0, tile, 2 tile ... below extent. */
  | { kind: "grid"; axes: readonly { name: string; extent: Index; tile: number }[] }
  /** for (name = from; name < to; name += step). */
  | { kind: "loop"; name: string; from: Index; to: Index; step: number; body: Stmt[] }
  | { kind: "when"; a: Index; test: "lt" | "le" | "eq" | "ne"; b: Index; body: Stmt[] }
  /** An i32 from memory as an Index. */
  | { kind: "scalar"; name: string; buffer: string; at: readonly Index[] }
  /** The i32 in element [0, 0] of a tile as an Index. */
  | { kind: "peek"; name: string; from: Tile }
  /** dst = buffer, widened; masked elements take `fill`. */
  | { kind: "load"; dst: Tile; from: Place; fill: number }
  /** buffer = src, rounded to the buffer's dtype; masked elements are not written. */
  | { kind: "store"; src: Tile; to: Place }
  | { kind: "fill"; dst: Tile; value: number }
  /** i32: from, from + 1, ... along rows or columns. */
  | { kind: "iota"; dst: Tile; along: "rows" | "cols"; from: Index }
  /** dst = expr, also used to carry state: dst may appear in the expression. */
  | { kind: "map"; dst: Tile; expr: MapExpr }
  /**
   * Along cols: [m, n] -> [m, 1]; along rows: [m, n] -> [1, n]. Sums of up to 128 columns add in one fixed tree: lane j to lane
   * j + n/2, halving n (padded with zeros to a power of two), so every target gets the same bits; argmax gives the first.
   */
  | { kind: "reduce"; dst: Tile; src: Tile; op: "sum" | "max" | "min" | "argmax"; along: "rows" | "cols" }
  /** dst [m, n] = a [m, k] b, b [n, k] for "nt", [k, n] for "nn". f32. */
  | { kind: "dot"; dst: Tile; a: Tile; b: Tile; form: "nt" | "nn" }
  /** acc += part * by[0] * by[1]: by are tiles broadcast to part ([m, 1], [1, n] or [1, 1]). */
  | { kind: "accumulate"; acc: Tile; part: Tile; by: readonly Tile[] }
  /** Exclusive running sum of a row [1, n] or a column [n, 1], i32. */
  | { kind: "scan"; dst: Tile; src: Tile };

/** A tile program: name, buffers, run-time sizes, grid and statements. */
export interface Kernel {
  name: string;
  /** One sentence, first line of the printed text. */
  summary: string;
  params: readonly BufferParam[];
  /** Run-time integers, passed after the buffers in this order. */
  dims: readonly string[];
  body: readonly Stmt[];
}

/** Number of statement kinds is part of the design: a target that lacks one does not compile. */
export type StmtKind = Stmt["kind"];
