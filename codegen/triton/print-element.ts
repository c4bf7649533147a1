// Values, indices and places of a tile program as Triton expressions over whole tiles. A tile is a scalar, a vector (where every
// tile of the kernel is a row) or a matrix; extents are padded to powers of two, and padding is masked wherever it could be seen.
import type { BufferParam, Index, Kernel, MapExpr, Place, Tile } from "../../ir/kernel/stmt.ts";
import { comparedAs, flatten, operands, paramOf, tilesIn, tilesOf, typeOf, type Scalar } from "../../ir/kernel/walk.ts";
import { unknownBuffer } from "./diagnostics.ts";
import { when } from "../text.ts";
import { tileNames, type Names } from "../tile-names.ts";

export const isSingle = (t: Tile): boolean => t.rows === 1 && t.cols === 1;
export const tlType = (t: { dtype: Scalar }): string => (t.dtype === "f32" ? "tl.float32" : "tl.int32");
export const pointerTypes: Readonly<Record<BufferParam["dtype"], string>> = {
  f32: "*fp32",
  bf16: "*bf16",
  e4m3: "*u8",
  i32: "*i32",
};

/** A constant; f32 constants are written with a point, so that they stay floating. */
export function literal(v: number, type: Scalar): string {
  if (type === "i32") return String(v);
  const f = Math.fround(v);
  if (!Number.isFinite(f)) return f !== f ? 'float("nan")' : `float("${when(f < 0, "-")}inf")`;
  for (let digits = 1; digits <= 9; digits++) {
    const short = Number(f.toPrecision(digits));
    if (Math.fround(short) === f) return Number.isInteger(short) && Math.abs(short) < 1e9 ? `${short}.0` : String(short);
  }
  return String(f);
}

const words = new Set(
  (
    "and as assert break class continue def del elif else except finally for from global if import in is lambda " +
    "nonlocal not or pass raise return try while with yield None True False tl triton range min max sum wide cell r " +
    "c"
  ).split(" "),
);
const mayBeNegative = (i: Index): boolean =>
  typeof i === "object" ? i.op === "sub" || mayBeNegative(i.a) || mayBeNegative(i.b) : typeof i === "number" && i < 0;
const padded = (n: number, least: number): number => (n === 1 ? 1 : Math.max(least, 2 ** Math.ceil(Math.log2(n))));

export class Elements {
  readonly kernel: Kernel;
  /** Every tile is a row: tiles are vectors. */
  readonly flat: boolean;
  private readonly least: number;
  private readonly names: Names;
  readonly ranges = new Map<string, string>();
  private readonly even = new Map<string, { limit: Index; step: number }>();

  constructor(kernel: Kernel) {
    this.kernel = kernel;
    this.flat = tilesIn(kernel).every((t) => t.rows === 1);
    // Products want at least 16 of everything.
    this.least = flatten(kernel.body).some((s) => s.kind === "dot") ? 16 : 1;
    const taken = [...words, ...tilesIn(kernel).flatMap((t) => [`r${this.rows(t)}`, `c${this.cols(t)}`])];
    this.names = tileNames(kernel, taken, "_ptr");
  }

  of(name: string): string {
    return this.names.of(name);
  }

  tile(t: Tile): string {
    return this.names.tile(t.name);
  }

  rows(t: Tile): number {
    return padded(t.rows, this.least);
  }

  cols(t: Tile): number {
    return padded(t.cols, this.least);
  }

  /** Shape of a tile that is no scalar. */
  shape(t: Tile): string {
    return this.flat ? `(${this.cols(t)},)` : `(${this.rows(t)}, ${this.cols(t)})`;
  }

  /** Numbers of a tile's rows and columns, shaped to broadcast: names that the kernel defines once. */
  r(t: Tile): string {
    if (t.rows === 1) return "0";
    this.ranges.set(`r${this.rows(t)}`, `tl.arange(0, ${this.rows(t)})[:, None]`);
    return `r${this.rows(t)}`;
  }

  c(t: Tile): string {
    if (t.cols === 1) return "0";
    this.ranges.set(`c${this.cols(t)}`, `tl.arange(0, ${this.cols(t)})${when(!this.flat, "[None, :]")}`);
    return `c${this.cols(t)}`;
  }

  /** Conditions that leave the padding out. */
  padding(t: Tile): string[] {
    return [
      ...(this.rows(t) !== t.rows ? [`(${this.r(t)} < ${t.rows})`] : []),
      ...(this.cols(t) !== t.cols ? [`(${this.c(t)} < ${t.cols})`] : []),
    ];
  }

  note(name: string, from: Index, limit: Index, step: number): void {
    if (from === 0 && (step === 1 || (typeof limit === "number" && limit % step === 0))) this.even.set(name, { limit, step });
    else this.even.delete(name);
  }

  index(i: Index, outer: "" | "+" | "*" = ""): string {
    if (typeof i === "number") return i < 0 && outer ? `(${i})` : String(i);
    if (typeof i === "string") return this.of(i);
    if (i.op === "min" || i.op === "max") return `tl.${i.op}imum(${this.index(i.a)}, ${this.index(i.b)})`;
    if ((i.op === "div" || i.op === "mod") && mayBeNegative(i.a)) return `floor_${i.op}(${this.index(i.a)}, ${this.index(i.b)})`;
    const sum = i.op === "add" || i.op === "sub";
    const sign = { add: "+", sub: "-", mul: "*", div: "//", mod: "%" }[i.op];
    const wrap = typeof i.b === "object" && i.op !== "add" && i.b.op !== "min" && i.b.op !== "max";
    const right = wrap ? `(${this.index(i.b)})` : this.index(i.b, i.op === "add" ? "+" : "*");
    const text = `${this.index(i.a, sum ? "+" : "*")} ${sign} ${right}`;
    return outer === "*" && i.op !== "mul" ? `(${text})` : text;
  }

  buffer(name: string): BufferParam {
    const p = paramOf(this.kernel, name);
    if (!p) throw unknownBuffer({ kernel: this.kernel.name, name });
    return p;
  }

  private inside(at: Index, limit: Index | undefined, extent: number): boolean {
    if (limit === undefined) return true;
    if (typeof at === "number" && typeof limit === "number") return at + extent <= limit;
    const even = typeof at === "string" ? this.even.get(at) : undefined;
    return !!even && extent <= even.step && JSON.stringify(even.limit) === JSON.stringify(limit);
  }

  /** Pointers of a tile's elements, and the mask of those that exist ("" where all do). */
  place(p: Place, t: Tile): { pointers: string; mask: string } {
    const b = this.buffer(p.buffer);
    const masks = this.padding(t);
    const terms: string[] = [];
    for (const [axis, at] of p.at.entries()) {
      let text: string;
      if (axis === p.rows && p.rowIndex) {
        text = this.tile(p.rowIndex);
        if (p.rowLimit !== undefined) masks.push(`(${text} >= 0)`, `(${text} < ${this.index(p.rowLimit, "+")})`);
      } else {
        const move = axis === p.rows && t.rows > 1 ? this.r(t) : axis === p.cols && t.cols > 1 ? this.c(t) : "";
        const limit = axis === p.rows ? p.rowLimit : axis === p.cols ? p.colLimit : undefined;
        text = !move ? this.index(at) : at === 0 ? move : `${this.index(at, "+")} + ${move}`;
        if (!this.inside(at, limit, !move ? 1 : axis === p.rows ? t.rows : t.cols))
          masks.push(`(${text} < ${this.index(limit!, "+")})`);
      }
      const stride = b.strides[axis];
      if (stride === 0 || text === "0") continue;
      const wrapped = /^\w+$/.test(text) ? text : `(${text})`;
      terms.push(stride === 1 ? text : `wide * ${wrapped} * ${this.index(stride, "*")}`);
    }
    return { pointers: [this.of(p.buffer), ...terms].join(" + "), mask: masks.join(" & ") };
  }

  /** The values of a load, widened. */
  loaded(p: Place, t: Tile, fill: number): string {
    const { dtype } = this.buffer(p.buffer);
    const { pointers, mask } = this.place(p, t);
    if (!mask) return widened(dtype, `tl.load(${pointers})`);
    if (dtype !== "e4m3" && (dtype !== "bf16" || fill === 0))
      return widened(dtype, `tl.load(${pointers}, mask=${mask}, other=${literal(fill, dtype === "i32" ? "i32" : "f32")})`);
    const raw = widened(dtype, `tl.load(${pointers}, mask=${mask}, other=0)`);
    return fill === 0 ? raw : `tl.where(${mask}, ${raw}, ${literal(fill, "f32")})`;
  }

  /** Name of a tile in its stored dtype. */
  asStored(t: Tile): string {
    return `${this.tile(t)}_stored`;
  }

  /** The values of a load in their stored dtype, zero where masked. */
  raw(p: Place, t: Tile): string {
    const { pointers, mask } = this.place(p, t);
    const value = `tl.load(${pointers}${when(mask, `, mask=${mask}, other=0`)})`;
    return this.buffer(p.buffer).dtype === "e4m3" ? `${value}.to(tl.float8e4nv, bitcast=True)` : value;
  }

  stored(p: Place, t: Tile): string {
    const { dtype } = this.buffer(p.buffer);
    const { pointers, mask } = this.place(p, t);
    const value =
      dtype === "e4m3" ? `to_e4m3(${this.tile(t)})` : dtype === "bf16" ? `${this.tile(t)}.to(tl.bfloat16)` : this.tile(t);
    return `tl.store(${pointers}, ${value}${when(mask, `, mask=${mask}`)})`;
  }

  /** The extents of an expression before broadcasting. */
  extents(e: MapExpr): [number, number] {
    return tilesOf(e).reduce<[number, number]>(([r, c], t) => [Math.max(r, t.rows), Math.max(c, t.cols)], [1, 1]);
  }

  value(e: MapExpr, want: Scalar): string {
    const own = typeOf(e) ?? want;
    const text = this.typed(e, own);
    return own === want ? text : `(${text}).to(${tlType({ dtype: want })})`;
  }

  private truth(e: MapExpr): string {
    const op = "op" in e ? (e.op as string) : "";
    const [a, b] = operands(e);
    const sign = { lt: "<", le: "<=", eq: "==" }[op];
    if (sign) {
      const type = comparedAs(a, b);
      return `(${this.value(a, type)} ${sign} ${this.value(b, type)})`;
    }
    const join = { and: "&", or: "|" }[op];
    if (join) return `(${this.truth(a)} ${join} ${this.truth(b)})`;
    return `(${this.value(e, "i32")} != 0)`;
  }

  private typed(e: MapExpr, type: Scalar): string {
    if ("t" in e) return this.tile(e.t);
    if ("c" in e) return literal(e.c, type);
    if ("index" in e) return type === "f32" ? `(wide * (${this.index(e.index)})).to(tl.float32)` : `(${this.index(e.index)})`;
    const op: string = e.op;
    if (op === "select") {
      const [test, a, b] = operands(e);
      return `tl.where(${this.truth(test)}, ${this.value(a, type)}, ${this.value(b, type)})`;
    }
    if (["lt", "le", "eq", "and", "or"].includes(op)) return `${this.truth(e)}.to(tl.int32)`;
    const [a, b] = operands(e).map((o) => this.value(o, op === "float" ? "f32" : op === "int" ? "i32" : type));
    const calls: Readonly<Record<string, string>> = type === "f32" ? real : integer;
    if (op === "float" || op === "int") return a;
    if (op === "neg") return `(-${a})`;
    if (b === undefined) return `${calls[op]}(${a})`;
    const sign = { add: "+", sub: "-", mul: "*" }[op];
    if (sign) return `(${a} ${sign} ${b})`;
    const keepsNan = type === "f32" && (op === "max" || op === "min");
    return `${calls[op]}(${a}, ${b}${when(keepsNan, ", propagate_nan=tl.PropagateNan.ALL")})`;
  }
}

const widened = (dtype: BufferParam["dtype"], raw: string): string =>
  dtype === "bf16" ? `${raw}.to(tl.float32)` : dtype === "e4m3" ? `from_e4m3(${raw})` : raw;

const real: Readonly<Record<string, string>> = {
  abs: "tl.abs",
  exp: "tl.exp",
  log: "tl.log",
  sqrt: "tl.sqrt_rn",
  floor: "tl.floor",
  pow2ceil: "pow2_ceil",
  div: "tl.div_rn",
  mod: "remainder_f32",
  max: "tl.maximum",
  min: "tl.minimum",
};
const integer: Readonly<Record<string, string>> = {
  abs: "tl.abs",
  div: "quotient",
  mod: "remainder_i32",
  max: "tl.maximum",
  min: "tl.minimum",
};
