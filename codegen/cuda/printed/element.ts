// One element of a tile as CUDA C++: indices, places in buffers, and arithmetic. Arithmetic is IEEE, rounded after each operation
// (the __f*_rn forms never contract to FMA), so results have the bits of every other target; expf and logf are CUDA's, within 2 ulp.
import type { BufferParam, Index, Kernel, MapExpr, Place, Tile, Stmt } from "../../../ir/kernel/stmt.ts";
import { comparedAs, operands, paramOf, typeOf, type Scalar } from "../../../ir/kernel/walk.ts";
import { unknownBuffer } from "./diagnostics.ts";
import type { Names } from "./names.ts";

export const cType: Readonly<Record<BufferParam["dtype"], string>> = { f32: "float", bf16: "u16", e4m3: "u8", i32: "int" };
export const registerType = (t: { dtype: Scalar }): string => (t.dtype === "f32" ? "float" : "int");

/** A constant of a register type. */
export function literal(v: number, type: Scalar): string {
  if (type === "i32") return String(v);
  const f = Math.fround(v);
  if (!Number.isFinite(f))
    return f !== f ? "__int_as_float(0x7fffffff)" : f > 0 ? "__int_as_float(0x7f800000)" : "__int_as_float(0xff800000)";
  if (Number.isInteger(f) && Math.abs(f) < 1e9) return `${f}.0f`;
  for (let digits = 1; digits <= 9; digits++)
    if (Math.fround(Number(f.toPrecision(digits))) === f) return `${Number(f.toPrecision(digits))}f`;
  return `${f}f`;
}

const mayBeNegative = (i: Index): boolean =>
  typeof i === "object" ? i.op === "sub" || mayBeNegative(i.a) || mayBeNegative(i.b) : typeof i === "number" && i < 0;

/** What an expression's tiles are for the element at hand. */
export type TileText = (t: Tile) => string;

export class Elements {
  readonly kernel: Kernel;
  readonly names: Names;
  /** Loop variables and axes that step evenly to a fixed end: what starts there and is no wider than a step stays inside. */
  readonly even = new Map<string, { limit: Index; step: number }>();

  constructor(kernel: Kernel, names: Names) {
    [this.kernel, this.names] = [kernel, names];
  }

  /** An index as an int expression, parenthesised as an operand of `outer`. */
  index(i: Index, outer: "" | "+" | "*" = ""): string {
    if (typeof i === "number") return i < 0 && outer ? `(${i})` : String(i);
    if (typeof i === "string") return this.names.of(i);
    if (i.op === "min" || i.op === "max") return `${i.op}(${this.index(i.a)}, ${this.index(i.b)})`;
    if ((i.op === "div" || i.op === "mod") && mayBeNegative(i.a)) return `floor_${i.op}(${this.index(i.a)}, ${this.index(i.b)})`;
    const sum = i.op === "add" || i.op === "sub";
    const sign = { add: "+", sub: "-", mul: "*", div: "/", mod: "%" }[i.op];
    const right = i.op === "add" ? "+" : "*";
    const wrapRight = typeof i.b === "object" && i.op !== "add" && i.b.op !== "min" && i.b.op !== "max";
    const text = `${this.index(i.a, sum ? "+" : "*")} ${sign} ${wrapRight ? `(${this.index(i.b)})` : this.index(i.b, right)}`;
    return (outer === "*" && sum) || (outer === "*" && (i.op === "div" || i.op === "mod")) ? `(${text})` : text;
  }

  /** Notes a variable that runs from 0 to `limit` in whole steps; forgets it otherwise. */
  note(name: string, from: Index, limit: Index, step: number): void {
    if (from === 0 && (step === 1 || (typeof limit === "number" && limit % step === 0))) this.even.set(name, { limit, step });
    else this.even.delete(name);
  }

  private inside(at: Index, limit: Index | undefined, extent: number): boolean {
    if (limit === undefined) return true;
    if (typeof at === "number" && typeof limit === "number") return at + extent <= limit;
    const even = typeof at === "string" ? this.even.get(at) : undefined;
    return !!even && extent <= even.step && JSON.stringify(even.limit) === JSON.stringify(limit);
  }

  /** Whether a lane's four columns lie on one side of the limit, wherever the tile begins (at a multiple of four). */
  wholeWords(p: Place): boolean {
    return typeof p.colLimit === "number" && p.colLimit % 4 === 0;
  }

  /** Columns from c = 0 of a row tile to the limit, where the tile may reach past it. */
  columnsLeft(p: Place, t: Tile): string | null {
    const at = p.at[p.cols!];
    if (this.inside(at, p.colLimit, t.cols)) return null;
    const limit = this.index(p.colLimit!, "+");
    return at === 0
      ? limit
      : `${limit} - ${typeof at === "string" || typeof at === "number" ? this.index(at) : `(${this.index(at)})`}`;
  }

  buffer(name: string): BufferParam {
    const p = paramOf(this.kernel, name);
    if (!p) throw unknownBuffer({ kernel: this.kernel.name, name });
    return p;
  }

  /** The element that a scalar is read from. */
  scalar(s: Extract<Stmt, { kind: "scalar" }>, tile: TileText): string {
    const single = { name: "", rows: 1, cols: 1, dtype: "i32" } as const;
    const { at } = this.place({ buffer: s.buffer, at: s.at }, single, "r", "c", tile);
    return `${this.names.of(s.buffer)}[${at}]`;
  }

  /** Where element (r, c) of a tile lies: `at` indexes the buffer, `masks` are conditions that must hold. r and c are C++ names. */
  place(p: Place, t: Tile, r: string, c: string, tile: TileText): { at: string; masks: string[] } {
    const b = this.buffer(p.buffer);
    const masks: string[] = [];
    const terms: string[] = [];
    for (const [axis, at] of p.at.entries()) {
      let text: string;
      if (axis === p.rows && p.rowIndex) {
        text = tile(p.rowIndex);
        if (p.rowLimit !== undefined) masks.push(`(u32)${text} < (u32)${this.index(p.rowLimit, "*")}`);
      } else {
        const moves: [boolean, string, Index | undefined, number][] = [
          [axis === p.rows && t.rows > 1, r, p.rowLimit, t.rows],
          [axis === p.cols && t.cols > 1, c, p.colLimit, t.cols],
        ];
        const move = moves.find(([on]) => on);
        const limit = move ? move[2] : axis === p.rows ? p.rowLimit : axis === p.cols ? p.colLimit : undefined;
        text = move ? (at === 0 ? move[1] : `${this.index(at, "+")} + ${move[1]}`) : this.index(at);
        if (!this.inside(at, limit, move ? move[3] : 1)) masks.push(`${text} < ${this.index(limit!, "+")}`);
      }
      const stride = b.strides[axis];
      if (stride === 0 || text === "0") continue;
      const wrapped = /^\w+$/.test(text) ? text : `(${text})`;
      terms.push(
        stride === 1
          ? text
          : /^\d+$/.test(text) && typeof stride === "number"
            ? `${Number(text) * stride}`
            : `(i64)${wrapped} * ${this.index(stride, "*")}`,
      );
    }
    return { at: terms.join(" + ") || "0", masks };
  }

  /** The value a load gives at (r, c). */
  loaded(p: Place, t: Tile, fill: number, r: string, c: string, tile: TileText): string {
    const { dtype } = this.buffer(p.buffer);
    const { at, masks } = this.place(p, t, r, c, tile);
    const raw = `${this.names.of(p.buffer)}[${at}]`;
    const value = dtype === "bf16" || dtype === "e4m3" ? `from_${dtype}(${raw})` : raw;
    return masks.length ? `${masks.join(" && ")} ? ${value} : ${literal(fill, t.dtype)}` : value;
  }

  /** Statement that stores `value`, f32 or i32, at (r, c). */
  stored(p: Place, t: Tile, value: string, r: string, c: string, tile: TileText): string {
    const { dtype } = this.buffer(p.buffer);
    const { at, masks } = this.place(p, t, r, c, tile);
    const write = `${this.names.of(p.buffer)}[${at}] = ${dtype === "bf16" || dtype === "e4m3" ? `to_${dtype}(${value})` : value};`;
    return masks.length ? `if (${masks.join(" && ")}) ${write}` : write;
  }

  /** An expression as a value of the wanted type. */
  value(e: MapExpr, want: Scalar, tile: TileText): string {
    const own = typeOf(e) ?? want;
    const text = this.typed(e, own, tile);
    return own === want ? text : want === "f32" ? `(float)(${text})` : `__float2int_rz(${text})`;
  }

  /** An expression as a condition. */
  private truth(e: MapExpr, tile: TileText): string {
    const op = "op" in e ? (e.op as string) : "";
    const [a, b] = operands(e);
    const sign = { lt: "<", le: "<=", eq: "==" }[op];
    if (sign) {
      const type = comparedAs(a, b);
      return `${this.value(a, type, tile)} ${sign} ${this.value(b, type, tile)}`;
    }
    const join = { and: "&&", or: "||" }[op];
    if (join) return `(${this.truth(a, tile)}) ${join} (${this.truth(b, tile)})`;
    return `${this.value(e, "i32", tile)} != 0`;
  }

  private typed(e: MapExpr, type: Scalar, tile: TileText): string {
    if ("t" in e) return tile(e.t);
    if ("c" in e) return literal(e.c, type);
    if ("index" in e) return type === "f32" ? `(float)(${this.index(e.index)})` : `(${this.index(e.index)})`;
    const op: string = e.op;
    if (op === "select") {
      const [test, a, b] = operands(e);
      return `(${this.truth(test, tile)} ? ${this.value(a, type, tile)} : ${this.value(b, type, tile)})`;
    }
    if (["lt", "le", "eq", "and", "or"].includes(op)) return `(int)(${this.truth(e, tile)})`;
    const [a, b] = operands(e).map((o) => this.value(o, op === "float" ? "f32" : op === "int" ? "i32" : type, tile));
    if (op === "float" || op === "int") return a;
    if (b === undefined) return type === "f32" ? unary[op](a) : op === "neg" ? `(-${a})` : `abs(${a})`;
    return (type === "f32" ? binary : integer)[op](a, b);
  }
}

const call =
  (name: string) =>
  (...args: string[]): string =>
    `${name}(${args.join(", ")})`;
const infix =
  (sign: string) =>
  (a: string, b: string): string =>
    `(${a} ${sign} ${b})`;
const unary: Readonly<Record<string, (a: string) => string>> = {
  neg: (a) => `-${a}`,
  abs: call("fabsf"),
  exp: call("expf"),
  log: call("logf"),
  sqrt: call("__fsqrt_rn"),
  floor: call("floorf"),
  pow2ceil: call("pow2_ceil"),
};
const binary: Readonly<Record<string, (a: string, b: string) => string>> = {
  add: call("__fadd_rn"),
  sub: call("__fsub_rn"),
  mul: call("__fmul_rn"),
  div: call("__fdiv_rn"),
  mod: call("remainder_f32"),
  max: call("larger"),
  min: call("smaller"),
};
const integer: Readonly<Record<string, (a: string, b: string) => string>> = {
  add: infix("+"),
  sub: infix("-"),
  mul: infix("*"),
  div: call("quotient"),
  mod: call("remainder_i32"),
  max: call("max"),
  min: call("min"),
};
