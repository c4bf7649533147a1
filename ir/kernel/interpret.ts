// Runs a tile program on the host, one grid cell after another: the oracle of the printers and lowerings.
// f32 arithmetic rounds after every operation; exp and log are the host's, rounded once (targets stay within 2 ulp of them).
// Sums wider than the fixed tree, and dots, have no promised order: here they add from the left.
// Guarantees: every access is checked against its buffer, and a tile is never read before it is written.
import { bf16, e4m3Code, e4m3Values } from "../numeric.ts";
import { missingBuffer, noGrid, outOfBounds, unbound, unwritten, wrongBuffer } from "./diagnostics.ts";
import { compile } from "./expression.ts";
import type { BufferParam, Index, Kernel, Place, Stmt, Tile } from "./stmt.ts";

/** bf16 is kept as 16-bit codes, e4m3 as bytes. */
export type HostBuffer = Float32Array | Uint16Array | Uint8Array | Int32Array;

const kept = { f32: Float32Array, bf16: Uint16Array, e4m3: Uint8Array, i32: Int32Array } as const;
const word = new Uint32Array(1);
const real = new Float32Array(word.buffer);

const widen = (dtype: BufferParam["dtype"], code: number): number => {
  if (dtype === "e4m3") return e4m3Values[code];
  if (dtype !== "bf16") return code;
  word[0] = code << 16;
  return real[0];
};

const narrow = (dtype: BufferParam["dtype"], value: number): number => {
  if (dtype === "e4m3") return e4m3Code(value);
  if (dtype !== "bf16") return value;
  real[0] = bf16(value);
  return word[0] >>> 16;
};

/** Runs every cell of the grid on the given buffers, by parameter name; outputs are written in place. */
export function interpretKernel(kernel: Kernel, buffers: Record<string, HostBuffer>, dims: Record<string, number>): void {
  const grid = kernel.body[0];
  if (grid?.kind !== "grid") throw noGrid({ kernel: kernel.name });
  for (const p of kernel.params) {
    if (!buffers[p.name]) throw missingBuffer({ kernel: kernel.name, name: p.name });
    if (!(buffers[p.name] instanceof kept[p.dtype]))
      throw wrongBuffer({ kernel: kernel.name, name: p.name, dtype: p.dtype, want: kept[p.dtype].name });
  }
  const cell = new Cell(kernel, buffers, dims);
  const visit = (axis: number): void => {
    if (axis === grid.axes.length) return cell.run(kernel.body.slice(1));
    const { name, extent, tile } = grid.axes[axis];
    const end = cell.index(extent);
    for (let i = 0; i < end; i += tile) {
      cell.env.set(name, i);
      visit(axis + 1);
    }
    cell.env.delete(name);
  };
  visit(0);
}

/** Statements of a kind. */
type Of<K extends Stmt["kind"]> = Extract<Stmt, { kind: K }>;

class Cell {
  readonly env: Map<string, number>;
  private readonly tiles = new Map<string, Float32Array | Int32Array>();
  private readonly kernel: Kernel;
  private readonly buffers: Record<string, HostBuffer>;

  constructor(kernel: Kernel, buffers: Record<string, HostBuffer>, dims: Record<string, number>) {
    [this.kernel, this.buffers, this.env] = [kernel, buffers, new Map(kernel.dims.map((d) => [d, dims[d]]))];
    for (const d of kernel.dims)
      if (dims[d] === undefined) throw unbound({ kernel: kernel.name, name: d, known: Object.keys(dims) });
  }

  index(i: Index): number {
    if (typeof i === "number") return i;
    if (typeof i === "string") {
      const v = this.env.get(i);
      if (v === undefined) throw unbound({ kernel: this.kernel.name, name: i, known: [...this.env.keys()] });
      return v;
    }
    const [a, b] = [this.index(i.a), this.index(i.b)];
    switch (i.op) {
      case "add":
        return a + b;
      case "sub":
        return a - b;
      case "mul":
        return a * b;
      case "div":
        return Math.floor(a / b);
      case "mod":
        return a - b * Math.floor(a / b);
      case "min":
        return Math.min(a, b);
      case "max":
        return Math.max(a, b);
    }
  }

  private read(t: Tile): Float32Array | Int32Array {
    const data = this.tiles.get(t.name);
    if (!data) throw unwritten({ kernel: this.kernel.name, tile: t.name });
    return data;
  }

  private write(t: Tile): Float32Array | Int32Array {
    let data = this.tiles.get(t.name);
    if (!data) this.tiles.set(t.name, (data = new (t.dtype === "f32" ? Float32Array : Int32Array)(t.rows * t.cols)));
    return data;
  }

  /** Element of the buffer under (r, c) of a tile, or -1 where it is masked. */
  private place(
    p: Place,
    param: BufferParam,
    strides: readonly number[],
    at: readonly number[],
    t: Tile,
    rows: ArrayLike<number> | undefined,
    r: number,
    c: number,
  ): number {
    const position = at.slice();
    if (p.rows !== undefined) {
      position[p.rows] = rows ? rows[t.rows === 1 ? 0 : r] : position[p.rows] + r;
      if (p.rowLimit !== undefined && (position[p.rows] >= this.index(p.rowLimit) || position[p.rows] < 0)) return -1;
    }
    if (p.cols !== undefined) {
      position[p.cols] += c;
      if (p.colLimit !== undefined && position[p.cols] >= this.index(p.colLimit)) return -1;
    }
    const element = position.reduce((sum, i, axis) => sum + i * strides[axis], 0);
    const { length } = this.buffers[param.name];
    if (!(element >= 0 && element < length))
      throw outOfBounds({ kernel: this.kernel.name, name: param.name, indices: position, element, length });
    return element;
  }

  /** Visits the elements of a tile that lies at a place: element of the buffer (-1 where masked), element of the tile. */
  private visit(p: Place, t: Tile, f: (param: BufferParam, data: HostBuffer, element: number, own: number) => void): void {
    const param = this.kernel.params.find((b) => b.name === p.buffer);
    if (!param) throw missingBuffer({ kernel: this.kernel.name, name: p.buffer });
    const strides = param.strides.map((s) => this.index(s));
    const at = p.at.map((i) => this.index(i));
    const rows = p.rowIndex ? this.read(p.rowIndex) : undefined;
    for (let r = 0; r < t.rows; r++)
      for (let c = 0; c < t.cols; c++)
        f(param, this.buffers[p.buffer], this.place(p, param, strides, at, t, rows, r, c), r * t.cols + c);
  }

  run(list: readonly Stmt[]): void {
    for (const s of list) this.statement(s);
  }

  private statement(s: Stmt): void {
    switch (s.kind) {
      case "grid":
        throw noGrid({ kernel: this.kernel.name });
      case "loop":
        return this.loop(s);
      case "when": {
        const [a, b] = [this.index(s.a), this.index(s.b)];
        if (s.test === "lt" ? a < b : s.test === "le" ? a <= b : s.test === "eq" ? a === b : a !== b) this.run(s.body);
        return;
      }
      case "scalar":
        return this.visit(
          { buffer: s.buffer, at: s.at },
          { name: s.name, rows: 1, cols: 1, dtype: "i32" },
          (_, data, element) => void this.env.set(s.name, data[element]),
        );
      case "peek":
        return void this.env.set(s.name, this.read(s.from)[0]);
      case "load": {
        const dst = this.write(s.dst);
        return this.visit(
          s.from,
          s.dst,
          (param, data, element, own) => void (dst[own] = element < 0 ? s.fill : widen(param.dtype, data[element])),
        );
      }
      case "store": {
        const src = this.read(s.src);
        return this.visit(s.to, s.src, (param, data, element, own) => {
          if (element >= 0) data[element] = narrow(param.dtype, src[own]);
        });
      }
      case "fill":
        return void this.write(s.dst).fill(s.value);
      case "iota":
        return this.iota(s);
      case "map":
        return this.map(s);
      case "reduce":
        return this.reduce(s);
      case "dot":
        return this.dot(s);
      case "accumulate":
        return this.accumulate(s);
      case "scan":
        return this.scan(s);
    }
  }

  private loop(s: Of<"loop">): void {
    const [from, to] = [this.index(s.from), this.index(s.to)];
    for (let i = from; i < to; i += s.step) {
      this.env.set(s.name, i);
      this.run(s.body);
    }
    this.env.delete(s.name);
  }

  private iota(s: Of<"iota">): void {
    const [dst, from] = [this.write(s.dst), this.index(s.from)];
    for (let i = 0; i < dst.length; i++) dst[i] = from + (s.along === "rows" ? Math.floor(i / s.dst.cols) : i % s.dst.cols);
  }

  private map(s: Of<"map">): void {
    const element = compile(s.expr, s.dst.dtype, { tile: (t) => this.read(t), index: (i) => this.index(i) });
    const { rows, cols } = s.dst;
    const dst = this.write(s.dst);
    for (let r = 0; r < rows; r++) for (let c = 0; c < cols; c++) dst[r * cols + c] = element(r, c);
  }

  private dot(s: Of<"dot">): void {
    const [a, b, dst, k] = [this.read(s.a), this.read(s.b), this.write(s.dst), s.a.cols];
    for (let i = 0; i < s.dst.rows; i++)
      for (let j = 0; j < s.dst.cols; j++) {
        let sum = 0;
        for (let q = 0; q < k; q++)
          sum = Math.fround(sum + Math.fround(a[i * k + q] * b[s.form === "nt" ? j * k + q : q * s.b.cols + j]));
        dst[i * s.dst.cols + j] = sum;
      }
  }

  private accumulate(s: Of<"accumulate">): void {
    const value = (t: Tile) => compile({ t }, "f32", { tile: (x) => this.read(x), index: () => 0 });
    const [part, by, acc, { cols }] = [value(s.part), s.by.map(value), this.read(s.acc), s.acc];
    for (let i = 0; i < acc.length; i++) {
      const [r, c] = [Math.floor(i / cols), i % cols];
      acc[i] += by.reduce((v, f) => Math.fround(v * f(r, c)), part(r, c));
    }
  }

  private scan(s: Of<"scan">): void {
    const [src, dst] = [this.read(s.src), this.write(s.dst)];
    for (let i = 0, sum = 0; i < src.length; i++) {
      const v = src[i];
      dst[i] = sum;
      sum = (sum + v) | 0;
    }
  }

  private reduce(s: Of<"reduce">): void {
    const [src, dst, { rows, cols }] = [this.read(s.src), this.write(s.dst), s.src];
    const float = s.src.dtype === "f32";
    const lines = s.along === "cols" ? rows : cols;
    for (let i = 0; i < lines; i++) {
      const line = Array.from(
        { length: s.along === "cols" ? cols : rows },
        (_, j) => src[s.along === "cols" ? i * cols + j : j * cols + i],
      );
      if (s.op === "argmax") dst[i] = line.reduce((best, v, j) => (v > line[best] ? j : best), 0);
      else if (s.op !== "sum") dst[i] = line.reduce((a, b) => (s.op === "max" ? Math.max(a, b) : Math.min(a, b)));
      else if (!float) dst[i] = line.reduce((a, b) => (a + b) | 0);
      else dst[i] = s.along === "cols" && cols <= 128 ? treeSum(line) : line.reduce((a, b) => Math.fround(a + b));
    }
  }
}

/** The fixed tree: lane j to lane j + n/2, halving n, padded with zeros to a power of two. */
function treeSum(line: number[]): number {
  let n = 2 ** Math.ceil(Math.log2(line.length));
  while (line.length < n) line.push(0);
  for (n /= 2; n >= 1; n /= 2) for (let j = 0; j < n; j++) line[j] = Math.fround(line[j] + line[j + n]);
  return line[0];
}
