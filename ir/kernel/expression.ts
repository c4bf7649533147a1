// Element arithmetic of `map` on the host: an expression becomes a function of (row, column), typed as every target types it.
// f32 rounds after each operation; i32 wraps, divides by flooring, and takes a zero divisor, which only a masked lane may have,
// as one.
import { pow2ceil } from "../numeric.ts";
import type { Index, MapExpr, Tile } from "./stmt.ts";
import { comparedAs, operands, typeOf, type Scalar } from "./walk.ts";

/** What the leaves of an expression are. */
export interface Leaves {
  tile(t: Tile): ArrayLike<number>;
  index(i: Index): number;
}

export type Element = (r: number, c: number) => number;

const toInt = (v: number): number => (v !== v ? 0 : Math.trunc(Math.min(Math.max(v, -2147483648), 2147483647)));
const floored = (a: number, b: number): number => Math.floor(a / Math.max(b, 1));

/** Compiles an expression whose result is wanted as f32 or i32. */
export function compile(e: MapExpr, want: Scalar, leaves: Leaves): Element {
  const own = typeOf(e) ?? want;
  const f = typed(e, own, leaves);
  if (own === want) return f;
  return want === "f32" ? (r, c) => Math.fround(f(r, c)) : (r, c) => toInt(f(r, c));
}

function typed(e: MapExpr, type: Scalar, leaves: Leaves): Element {
  if ("t" in e) {
    const [data, rs, cs] = [leaves.tile(e.t), e.t.rows === 1 ? 0 : e.t.cols, e.t.cols === 1 ? 0 : 1];
    return (r, c) => data[r * rs + c * cs];
  }
  if (!("op" in e)) {
    const v = "c" in e ? e.c : leaves.index(e.index);
    const constant = type === "f32" ? Math.fround(v) : v;
    return () => constant;
  }
  if (e.op === "select") {
    const [test, a, b] = operands(e);
    const [t, x, y] = [compile(test, "i32", leaves), compile(a, type, leaves), compile(b, type, leaves)];
    return (r, c) => (t(r, c) !== 0 ? x(r, c) : y(r, c));
  }
  const { op } = e as { op: string };
  const inner =
    op === "lt" || op === "le" || op === "eq"
      ? comparedAs(...(operands(e) as [MapExpr, MapExpr]))
      : op === "and" || op === "or"
        ? "i32"
        : type;
  const [a, b] = operands(e).map((x) => compile(x, op === "float" ? "f32" : op === "int" ? "i32" : inner, leaves));
  return b ? binary(op, inner, a, b) : unary(op, type, a);
}

function unary(op: string, type: Scalar, a: Element): Element {
  const f = type === "f32" ? Math.fround : (v: number): number => v | 0;
  switch (op) {
    case "neg":
      return (r, c) => f(-a(r, c));
    case "abs":
      return (r, c) => f(Math.abs(a(r, c)));
    case "exp":
      return (r, c) => f(Math.exp(a(r, c)));
    case "log":
      return (r, c) => f(Math.log(a(r, c)));
    case "sqrt":
      return (r, c) => f(Math.sqrt(a(r, c)));
    case "floor":
      return (r, c) => Math.floor(a(r, c));
    case "pow2ceil":
      return (r, c) => pow2ceil(a(r, c));
    default:
      return a;
  }
}

function binary(op: string, type: Scalar, a: Element, b: Element): Element {
  const float = type === "f32";
  const f = float ? Math.fround : (v: number): number => v | 0;
  switch (op) {
    case "add":
      return (r, c) => f(a(r, c) + b(r, c));
    case "sub":
      return (r, c) => f(a(r, c) - b(r, c));
    case "mul":
      return float ? (r, c) => f(a(r, c) * b(r, c)) : (r, c) => Math.imul(a(r, c), b(r, c));
    case "div":
      return float ? (r, c) => f(a(r, c) / b(r, c)) : (r, c) => floored(a(r, c), b(r, c));
    case "mod":
      // a - b floor(a / b), for floats with each step rounded.
      return float
        ? (r, c) => f(a(r, c) - f(b(r, c) * Math.floor(f(a(r, c) / b(r, c)))))
        : (r, c) => a(r, c) - Math.max(b(r, c), 1) * floored(a(r, c), b(r, c));
    case "max":
      return (r, c) => Math.max(a(r, c), b(r, c));
    case "min":
      return (r, c) => Math.min(a(r, c), b(r, c));
    case "lt":
      return (r, c) => +(a(r, c) < b(r, c));
    case "le":
      return (r, c) => +(a(r, c) <= b(r, c));
    case "eq":
      return (r, c) => +(a(r, c) === b(r, c));
    case "and":
      return (r, c) => +(a(r, c) !== 0 && b(r, c) !== 0);
    default:
      return (r, c) => +(a(r, c) !== 0 || b(r, c) !== 0);
  }
}
