// Expressions of loops as TIR. What an expression needs a name for, and what TIR has no node for (functions of vectors, floored
// division, extremes of NaN), is bound before the statement that it stands in.
import { functionOf, type FunctionName } from "../loops/functions.ts";
import type { Expr, Op, Stmt, Type } from "../loops/ir.ts";
import {
  across,
  binary,
  cast,
  imm,
  intrinsic,
  load,
  not,
  reinterpret,
  select,
  withLanes,
  type Binary,
  type DType,
  type TirExpr,
} from "./ir.ts";

const scalars = { f32: "float32", i32: "int32", i64: "int64", bool: "bool" } as const;
const dtypeOf = ({ of, lanes }: Type): DType => withLanes(scalars[of], lanes);
/** As elements lie in memory. */
export const stored = { f32: "float32", bf16: "uint16", e4m3: "uint8", i32: "int32" } as const;

const words = new Set(
  (
    "False None True and as assert async await break class continue def del elif else except finally for from global if import in is " +
    "lambda nonlocal not or pass raise return try while with range T I"
  ).split(" "),
);
/** A name that Python leaves free. */
export const nameOf = (name: string): string => (words.has(name) ? `${name}_` : name);

const plain: Partial<Record<Op, Binary>> = {
  add: "Add",
  sub: "Sub",
  mul: "Mul",
  lt: "LT",
  le: "LE",
  eq: "EQ",
  and: "And",
  or: "Or",
  bitand: "bitwise_and",
  bitor: "bitwise_or",
  shl: "left_shift",
  shr: "right_shift",
};

/** What an expression is written with. */
export interface Place {
  /** Whether the processor multiplies and adds at once. */
  fma: boolean;
  /** Names that are registers. */
  registers: ReadonlySet<string>;
  /** A name for a value, here. */
  keep(hint: string, value: TirExpr): TirExpr;
}

/** A mask that has a name. */
export function maskOf(name: string, dtype: DType): TirExpr {
  const lanes = dtype.replace("bool", "int32");
  return binary("NE", { kind: "register", name, dtype: lanes }, imm(0, lanes));
}

const range = (n: number, from = 0): number[] => Array.from({ length: n }, (_, i) => i + from);

/** An expression of loops as one of TIR. */
export function expression(p: Place, e: Expr): TirExpr {
  const dtype = dtypeOf(e.type);
  switch (e.kind) {
    case "const":
      return imm(e.type.of === "f32" ? Math.fround(e.value) : e.value, dtype);
    case "name":
      if (e.type.of === "bool" && e.type.lanes > 1) return maskOf(nameOf(e.name), dtype);
      return { kind: p.registers.has(nameOf(e.name)) ? "register" : "var", name: nameOf(e.name), dtype };
    case "call":
      return called(p, e.name as FunctionName, expression(p, e.args[0]), e.args[0].type.lanes);
    case "iota":
      return { kind: "ramp", from: imm(0, "int32"), stride: imm(1, "int32"), lanes: e.type.lanes, dtype };
    case "shuffle":
      return { kind: "shuffle", vectors: e.args.map((a) => expression(p, a)), lanes: [...e.lanes], dtype };
    case "load":
      return loaded(p, e);
    case "op":
      return operation(p, e);
  }
}

/** A function of vectors, written out. */
export function called(p: Place, name: FunctionName, x: TirExpr, lanes: number): TirExpr {
  const { params, body, result } = functionOf(name, lanes);
  const names = new Map<string, TirExpr>([[params[0].name, p.keep(params[0].name, x)]]);
  const inside = (e: Expr): TirExpr => (e.kind === "name" ? names.get(e.name)! : expression(p, e));
  const replaced = (e: Expr): TirExpr => substituted(p, e, inside);
  for (const s of body as (Stmt & { kind: "let" })[]) names.set(s.name, p.keep(`${name}_${s.name}`, replaced(s.value)));
  return p.keep(name, replaced(result));
}

/** An expression whose names mean something else. */
function substituted(p: Place, e: Expr, name: (e: Expr) => TirExpr): TirExpr {
  if (e.kind === "name") return name(e);
  return e.kind === "op" ? operation(p, e, (a) => substituted(p, a, name)) : expression(p, e);
}

function loaded(p: Place, e: Expr & { kind: "load" }): TirExpr {
  const { from, at, stride, type } = e;
  const element = withLanes(stored[from.element], type.lanes);
  const index = expression(p, at);
  const value: TirExpr = stride
    ? { kind: "load", from: nameOf(from.name), at: across(index, type.lanes, expression(p, stride)), dtype: element }
    : load(nameOf(from.name), index, element);
  const wide = (of: string): DType => withLanes(of, type.lanes);
  if (from.element === "bf16")
    return reinterpret(dtypeOf(type), binary("left_shift", cast(wide("uint32"), value), imm(16, wide("uint32"))));
  if (from.element === "e4m3") return called(p, "value_e4m3", cast(wide("int32"), value), type.lanes);
  return value;
}

function operation(p: Place, e: Expr & { kind: "op" }, sub: (a: Expr) => TirExpr = (a) => expression(p, a)): TirExpr {
  const { op, args } = e;
  const dtype = dtypeOf(e.type);
  const { of, lanes } = args[0].type;
  const [a, b, c] = args.map(sub);
  const simple = plain[op];
  if (simple) return binary(simple, a, b);
  switch (op) {
    case "ne":
      // TVM's != of floats is false of NaN.
      return of === "f32" ? not(binary("EQ", a, b)) : binary("NE", a, b);
    case "div":
    case "mod":
      return of === "f32" ? binary("Div", a, b) : divided(p, op, a, b);
    case "min":
    case "max":
      return extreme(p, op === "min" ? "Min" : "Max", of, a, b);
    case "neg":
      return binary("Sub", imm(of === "f32" ? -0 : 0, dtype), a);
    case "abs":
      if (of === "f32") return intrinsic("llvm.fabs", dtype, a);
      return select(binary("LT", a, imm(0, dtype)), binary("Sub", imm(0, dtype), a), a);
    case "sqrt":
    case "floor":
      return intrinsic(`llvm.${op}`, dtype, a);
    case "round":
      return intrinsic("llvm.nearbyint", dtype, a);
    case "fma":
      return p.fma ? intrinsic("llvm.fma", dtype, a, b, c) : binary("Add", binary("Mul", a, b), c);
    case "toF32":
    case "toI64":
      return cast(dtype, a);
    case "toI32":
      return of === "f32" ? whole(p, a, lanes) : cast(dtype, a);
    case "asF32":
    case "asI32":
      return reinterpret(dtype, a);
    case "select":
      return select(a, b, c);
    case "splat":
      return { kind: "broadcast", a, lanes: e.type.lanes, dtype };
    case "low":
    case "high":
      return { kind: "shuffle", vectors: [a], lanes: range(lanes / 2, op === "low" ? 0 : lanes / 2), dtype };
    case "lane":
      return { kind: "shuffle", vectors: [a], lanes: [0], dtype };
    default:
      throw new TypeError(`no TIR for ${op}`);
  }
}

/** NaN where either is; of two equal the second, as vector instructions have it. */
function extreme(p: Place, op: "Min" | "Max", of: Type["of"], a: TirExpr, b: TirExpr): TirExpr {
  if (of !== "f32") return binary(op, a, b);
  const x = p.keep("a", a);
  return select(binary("EQ", x, x), binary(op, x, b), x);
}

/** Division that floors, or what it leaves. */
function divided(p: Place, op: "div" | "mod", a: TirExpr, b: TirExpr): TirExpr {
  const { dtype } = a;
  const by = b.kind === "const" ? b.value : b.kind === "broadcast" && b.a.kind === "const" ? b.a.value : 0;
  if (by > 0 && Number.isInteger(Math.log2(by)))
    return op === "div" ? binary("right_shift", a, imm(Math.log2(by), dtype)) : binary("bitwise_and", a, imm(by - 1, dtype));
  const [x, y] = [p.keep("x", a), by === 0 ? p.keep("y", b) : b];
  const zero = imm(0, dtype);
  const rest = p.keep("rest", binary("Mod", x, y));
  const below = binary("LT", rest, zero);
  const unlike = (): TirExpr =>
    binary("Or", binary("And", below, binary("LT", zero, y)), binary("And", binary("LT", zero, rest), binary("LT", y, zero)));
  const off = by > 0 ? below : unlike();
  if (op === "mod") return select(off, binary("Add", rest, y), rest);
  return binary("Sub", binary("Div", x, y), select(off, imm(1, dtype), zero));
}

/** f32 to i32: truncates and saturates, NaN gives 0. LLVM's instruction for it takes lanes apart. */
function whole(p: Place, value: TirExpr, lanes: number): TirExpr {
  const dtype = withLanes("int32", lanes);
  if (lanes === 1) return intrinsic("llvm.fptosi.sat", dtype, value);
  const x = p.keep("x", value);
  const f = (v: number): TirExpr => imm(v, x.dtype);
  const inside = binary("And", binary("LT", f(-2147483648), x), binary("LT", x, f(2147483648)));
  const near = cast(dtype, select(inside, x, f(0)));
  const low = select(binary("LE", x, f(-2147483648)), imm(-2147483648, dtype), near);
  return select(binary("LE", f(2147483648), x), imm(2147483647, dtype), low);
}
