// Expressions of loops as C: operators of vector types where C has them, named functions of vectors.h for the rest.
import type { Expr, Memory, Op, Type } from "../loops/ir.ts";

const words = new Set(
  (
    "auto break case char const continue default do double else enum extern float for goto if inline int long register restrict return " +
    "short signed sizeof static struct switch typedef union unsigned void volatile while bf16 e4m3 asm typeof main"
  ).split(" "),
);

/** A name that C and vectors.h leave free. */
export const nameOf = (name: string): string => (words.has(name) || /_?[fi]32(x\d+)?$/.test(name) ? `${name}_` : name);

const scalars = { f32: "float", i32: "int32_t", i64: "int64_t", bool: "int" } as const;

/** What a function over such lanes is called by. A mask has lanes of i32. */
export const suffix = ({ of, lanes }: Type): string => {
  const scalar = of === "bool" ? "i32" : of;
  return lanes === 1 ? scalar : `${scalar}x${lanes}`;
};

/** A type as C; a mask has lanes of i32, all bits or none. */
export const typeOf = (t: Type): string => (t.lanes === 1 ? scalars[t.of] : suffix(t));

export const elements = { f32: "float", bf16: "bf16", e4m3: "e4m3", i32: "int32_t" } as const;

const infix: Partial<Record<Op, string>> = {
  add: "+",
  sub: "-",
  mul: "*",
  lt: "<",
  le: "<=",
  eq: "==",
  ne: "!=",
  bitand: "&",
  bitor: "|",
  shl: "<<",
  shr: ">>",
};

function number(value: number, { of }: Type): string {
  if (of !== "f32") return of === "i32" && value === -2147483648 ? "INT32_MIN" : String(value);
  if (Number.isNaN(value)) return "NAN";
  if (!Number.isFinite(value)) return value > 0 ? "INFINITY" : "-INFINITY";
  const text = Object.is(value, -0) ? "-0" : String(Math.fround(value));
  return `${/[.e]/.test(text) ? text : `${text}.0`}f`;
}

/** An element's address. */
export const pointer = (from: Memory, at: Expr): string => {
  const index = print(at);
  return index === "0" ? nameOf(from.name) : `${nameOf(from.name)} + ${index}`;
};

const list = (args: readonly Expr[]): string => args.map((a) => print(a)).join(", ");

/** An expression as C, in parentheses where it is an operation. */
export function print(e: Expr): string {
  const own = suffix(e.type);
  switch (e.kind) {
    case "const":
      return e.type.lanes === 1 ? number(e.value, e.type) : `splat_${own}(${number(e.value, e.type)})`;
    case "name":
      return nameOf(e.name);
    case "call":
      return `${e.name}_${suffix(e.args[0].type)}(${list(e.args)})`;
    case "iota":
      return `(${typeOf(e.type)}){${Array.from({ length: e.type.lanes }, (_, i) => i).join(", ")}}`;
    case "shuffle":
      return `__builtin_shufflevector(${list(e.args)}, ${e.lanes.join(", ")})`;
    case "load":
      return load(e);
    case "op":
      return operation(e);
  }
}

function load(e: Expr & { kind: "load" }): string {
  const { from, at, stride, type } = e;
  if (e.pinned) return `pinned_${suffix(type)}(${load({ kind: "load", from, at, type })})`;
  if (stride) return `gather_${from.element}x${type.lanes}(${pointer(from, at)}, ${print(stride)})`;
  if (type.lanes > 1) return `load_${from.element}x${type.lanes}(${pointer(from, at)})`;
  const element = `${nameOf(from.name)}[${print(at)}]`;
  return from.element === "bf16" || from.element === "e4m3" ? `value_${from.element}_i32(${element})` : element;
}

function operation({ op, args, type }: Expr & { kind: "op" }): string {
  const [a, b] = args;
  const of = a.type;
  const sign = infix[op];
  if (sign) return `(${print(a)} ${sign} ${print(b)})`;
  if (op === "div" && of.of === "f32") return `(${print(a)} / ${print(b)})`;
  if (op === "and" || op === "or") {
    const both = op === "and" ? "&" : "|";
    return `(${print(a)} ${of.lanes === 1 ? both + both : both} ${print(b)})`;
  }
  if (op === "neg") return `(-${print(a)})`;
  if (op === "toI64") return `((int64_t)${print(a)})`;
  // A mask has all bits set where a scalar is 1.
  if (op === "splat" && of.of === "bool") return `splat_${suffix(type)}(-${print(a)})`;
  if (op === "lane") return `(${print(a)}[0])`;
  if (op === "select" && type.lanes === 1) return `(${print(a)} ? ${print(b)} : ${print(args[2])})`;
  return `${functions[op] ?? op}_${suffix(op === "select" || op === "splat" ? type : of)}(${list(args)})`;
}

/** Where the function is not called as the operation is. */
const functions: Partial<Record<Op, string>> = { toF32: "to_f32", toI32: "to_i32", asF32: "as_f32", asI32: "as_i32" };
