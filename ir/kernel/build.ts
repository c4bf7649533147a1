// Writing tile programs: a builder that names tiles, checks extents as statements are written, and keeps the text short.
import type { BinaryOp, BufferParam, Index, Kernel, MapExpr, Place, Stmt, Tile, UnaryOp } from "./stmt.ts";
import { notePart } from "./parts.ts";
import { operands } from "./walk.ts";

type Operand = Tile | number | MapExpr;

const isTile = (v: unknown): v is Tile => typeof v === "object" && v !== null && "rows" in v && "cols" in v;
const expr = (v: Operand): MapExpr => (typeof v === "number" ? { c: v } : isTile(v) ? { t: v } : v);

const unary =
  (op: UnaryOp) =>
  (a: Operand): MapExpr => ({ op, a: expr(a) });
const binary =
  (op: BinaryOp) =>
  (a: Operand, b: Operand): MapExpr => ({ op, a: expr(a), b: expr(b) });

/** Element arithmetic: f.mul(x, f.exp(y)). */
export const f = {
  neg: unary("neg"),
  abs: unary("abs"),
  exp: unary("exp"),
  log: unary("log"),
  sqrt: unary("sqrt"),
  floor: unary("floor"),
  pow2ceil: unary("pow2ceil"),
  float: unary("float"),
  int: unary("int"),
  add: binary("add"),
  sub: binary("sub"),
  mul: binary("mul"),
  div: binary("div"),
  mod: binary("mod"),
  max: binary("max"),
  min: binary("min"),
  lt: binary("lt"),
  le: binary("le"),
  eq: binary("eq"),
  and: binary("and"),
  or: binary("or"),
  select: (c: Operand, a: Operand, b: Operand): MapExpr => ({ op: "select", if: expr(c), a: expr(a), b: expr(b) }),
  index: (i: Index): MapExpr => ({ index: i }),
};

/** Integer arithmetic on indices; constants fold. */
const arithmetic =
  (op: "add" | "sub" | "mul" | "div" | "mod" | "min" | "max", fold: (a: number, b: number) => number, unit?: number) =>
  (a: Index, b: Index): Index =>
    typeof a === "number" && typeof b === "number" ? fold(a, b) : b === unit ? a : { op, a, b };
/** Index arithmetic of a tile program. */
export const x = {
  add: arithmetic("add", (a, b) => a + b, 0),
  sub: arithmetic("sub", (a, b) => a - b, 0),
  mul: arithmetic("mul", (a, b) => a * b, 1),
  div: arithmetic("div", (a, b) => Math.floor(a / b), 1),
  mod: arithmetic("mod", (a, b) => a % b),
  min: arithmetic("min", Math.min),
  max: arithmetic("max", Math.max),
};

/** A place given as axes: { at, rows, cols, ... } with defaults filled in. */
export type Where = Omit<Place, "buffer">;

/** Builds the statements of a tile program, in order. */
export class Body {
  #stmts: Stmt[] = [];
  #next = new Map<string, number>();
  #part: string | undefined;

  get stmts(): Stmt[] {
    return this.#stmts;
  }

  /** What `body` writes is of one op of a fused op's graph. */
  of<T>(op: string, body: () => T): T {
    const outer = this.#part;
    this.#part = op;
    try {
      return body();
    } finally {
      this.#part = outer;
    }
  }

  #push(s: Stmt): void {
    if (this.#part !== undefined) notePart(s, this.#part);
    this.#stmts.push(s);
  }

  #tile(name: string, rows: number, cols: number, dtype: "f32" | "i32"): Tile {
    const n = this.#next.get(name) ?? 0;
    this.#next.set(name, n + 1);
    return { name: n === 0 ? name : `${name}${n}`, rows, cols, dtype };
  }

  /** Axes of the launch, each { name: [extent, tile] }. */
  grid(axes: Record<string, [Index, number]>): void {
    this.#push({ kind: "grid", axes: Object.entries(axes).map(([name, [extent, tile]]) => ({ name, extent, tile })) });
  }

  loop(name: string, from: Index, to: Index, step: number, body: () => void): void {
    this.#push({ kind: "loop", name, from, to, step, body: this.#inside(body) });
  }

  when(a: Index, test: "lt" | "le" | "eq" | "ne", b: Index, body: () => void): void {
    this.#push({ kind: "when", a, test, b, body: this.#inside(body) });
  }

  #inside(body: () => void): Stmt[] {
    const outer = this.#stmts;
    this.#stmts = [];
    body();
    const inner = this.#stmts;
    this.#stmts = outer;
    return inner;
  }

  scalar(name: string, buffer: BufferParam, at: Index[]): string {
    this.#push({ kind: "scalar", name, buffer: buffer.name, at });
    return name;
  }

  peek(name: string, from: Tile): string {
    this.#push({ kind: "peek", name, from });
    return name;
  }

  load(name: string, rows: number, cols: number, buffer: BufferParam, where: Where, fill = 0): Tile {
    const dst = this.#tile(name, rows, cols, buffer.dtype === "i32" ? "i32" : "f32");
    this.#push({ kind: "load", dst, from: { buffer: buffer.name, ...where }, fill });
    return dst;
  }

  store(src: Tile, buffer: BufferParam, where: Where): void {
    this.#push({ kind: "store", src, to: { buffer: buffer.name, ...where } });
  }

  fill(name: string, rows: number, cols: number, value: number, dtype: "f32" | "i32" = "f32"): Tile {
    const dst = this.#tile(name, rows, cols, dtype);
    this.#push({ kind: "fill", dst, value });
    return dst;
  }

  iota(name: string, rows: number, cols: number, along: "rows" | "cols", from: Index = 0): Tile {
    const dst = this.#tile(name, rows, cols, "i32");
    this.#push({ kind: "iota", dst, along, from });
    return dst;
  }

  /** A new tile from an expression; its extents are the largest of the tiles in it. */
  map(name: string, e: Operand, dtype: "f32" | "i32" = "f32"): Tile {
    const [rows, cols] = extents(expr(e));
    const dst = this.#tile(name, rows, cols, dtype);
    this.#push({ kind: "map", dst, expr: expr(e) });
    return dst;
  }

  /** Writes an existing tile: state carried across iterations. */
  set(dst: Tile, e: Operand): void {
    this.#push({ kind: "map", dst, expr: expr(e) });
  }

  reduce(name: string, src: Tile, op: "sum" | "max" | "min" | "argmax", along: "rows" | "cols"): Tile {
    const dst = this.#tile(
      name,
      along === "cols" ? src.rows : 1,
      along === "cols" ? 1 : src.cols,
      op === "argmax" ? "i32" : src.dtype,
    );
    this.#push({ kind: "reduce", dst, src, op, along });
    return dst;
  }

  dot(name: string, a: Tile, b: Tile, form: "nt" | "nn" = "nt"): Tile {
    const [n, k] = form === "nt" ? [b.rows, b.cols] : [b.cols, b.rows];
    if (a.cols !== k) throw new RangeError(`dot ${form}: a is [${a.rows}, ${a.cols}], b is [${b.rows}, ${b.cols}]`);
    const dst = this.#tile(name, a.rows, n, "f32");
    this.#push({ kind: "dot", dst, a, b, form });
    return dst;
  }

  accumulate(acc: Tile, part: Tile, ...by: Tile[]): void {
    this.#push({ kind: "accumulate", acc, part, by });
  }

  scan(name: string, src: Tile): Tile {
    const dst = this.#tile(name, src.rows, src.cols, src.dtype);
    this.#push({ kind: "scan", dst, src });
    return dst;
  }
}

function extents(e: MapExpr): [number, number] {
  if ("t" in e) return [e.t.rows, e.t.cols];
  return operands(e)
    .map(extents)
    .reduce(([r, c], [r2, c2]) => [Math.max(r, r2), Math.max(c, c2)], [1, 1]);
}

type Params = Record<string, BufferParam>;
type ParamSpec = {
  dtype: BufferParam["dtype"];
  shape: readonly Index[];
  strides?: readonly Index[];
  access?: BufferParam["access"];
};

/** Declares a kernel: parameters in launch order, run-time dims, and the body written with a builder. */
export function kernel<const P extends Record<string, ParamSpec>>(spec: {
  name: string;
  summary: string;
  params: P;
  dims: readonly string[];
  body: (k: Body, p: { [K in keyof P]: BufferParam }) => void;
}): Kernel {
  const params: Params = {};
  for (const [name, p] of Object.entries(spec.params))
    params[name] = { name, dtype: p.dtype, access: p.access ?? "in", shape: p.shape, strides: p.strides ?? packed(p.shape) };
  const k = new Body();
  spec.body(k, params as { [K in keyof P]: BufferParam });
  return { name: spec.name, summary: spec.summary, params: Object.values(params), dims: spec.dims, body: k.stmts };
}

/** Row-major strides; extents may be dims. */
export function packed(shape: readonly Index[]): Index[] {
  const out: Index[] = [];
  let n: Index = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    out[i] = n;
    n = x.mul(shape[i], n);
  }
  return out;
}
