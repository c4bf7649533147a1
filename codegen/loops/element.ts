// Element arithmetic of `map`. An expression is f32 or i32 by its tiles; constants and indices adopt the type of what they meet.
// Comparisons are masks until something needs the number 0 or 1.
import type { Index, MapExpr, Tile } from "../../ir/kernel/stmt.ts";
import { comparedAs, operands, typeOf, type Scalar } from "../../ir/kernel/walk.ts";
import { call } from "./functions.ts";
import { constantOf, op, splat, type Expr } from "./ir.ts";
import type { Writer } from "./writer.ts";

/** What leaves of an expression are, and how many lanes there are. */
export interface Leaves {
  lanes: number;
  tile(t: Tile): Expr;
  index(i: Index): Expr;
}

const compares = new Set(["lt", "le", "eq"]);
const logic = new Set(["and", "or"]);

/** Lanes of an expression, converted to the wanted type. */
export function lanesOf(w: Writer, e: MapExpr, want: Scalar, leaves: Leaves): Expr {
  const own = typeOf(e);
  const value = evaluate(w, e, own ?? want, leaves);
  if (own === undefined || own === want) return value;
  return op(want === "f32" ? "toF32" : "toI32", value);
}

function mask(w: Writer, e: MapExpr, leaves: Leaves): Expr {
  if ("op" in e && compares.has(e.op)) {
    const { op: name, a, b } = e as { op: "lt" | "le" | "eq"; a: MapExpr; b: MapExpr };
    const type = comparedAs(a, b);
    return op(name, lanesOf(w, a, type, leaves), lanesOf(w, b, type, leaves));
  }
  if ("op" in e && logic.has(e.op)) {
    const { op: name, a, b } = e as { op: "and" | "or"; a: MapExpr; b: MapExpr };
    return op(name, mask(w, a, leaves), mask(w, b, leaves));
  }
  const value = lanesOf(w, e, "i32", leaves);
  return op("ne", value, constantOf(0, value.type));
}

function evaluate(w: Writer, e: MapExpr, of: Scalar, leaves: Leaves): Expr {
  const type = { of, lanes: leaves.lanes };
  if ("t" in e) return leaves.tile(e.t);
  if ("c" in e) return constantOf(of === "f32" ? Math.fround(e.c) : e.c, type);
  if ("index" in e) return splat(op(of === "f32" ? "toF32" : "toI32", leaves.index(e.index)), leaves.lanes);
  if (e.op === "select") {
    const [test, a, b] = operands(e);
    return op("select", w.keep(mask(w, test, leaves), "mask"), lanesOf(w, a, of, leaves), lanesOf(w, b, of, leaves));
  }
  if (compares.has(e.op) || logic.has(e.op))
    return op("select", mask(w, e, leaves), constantOf(1, { ...type, of: "i32" }), constantOf(0, { ...type, of: "i32" }));
  if (e.op === "float") return lanesOf(w, e.a, "f32", leaves);
  if (e.op === "int") return lanesOf(w, e.a, "i32", leaves);
  const a = lanesOf(w, e.a, of, leaves);
  if ("b" in e) return binary(w, e.op as string, of, a, lanesOf(w, (e as { b: MapExpr }).b, of, leaves));
  switch (e.op) {
    case "exp":
    case "log":
    case "pow2ceil":
      return w.keep(call(e.op, a), e.op);
    case "neg":
    case "abs":
    case "sqrt":
    case "floor":
      return op(e.op, a);
  }
}

function binary(w: Writer, name: string, of: Scalar, a: Expr, b: Expr): Expr {
  if (name === "add" || name === "sub" || name === "mul" || name === "max" || name === "min") return op(name, a, b);
  if (of === "f32") {
    if (name === "div") return op("div", a, b);
    // a - b floor(a / b), for the rare remainder of floats.
    const [x, y] = [w.keep(a, "x"), w.keep(b, "y")];
    return op("sub", x, op("mul", y, op("floor", op("div", x, y))));
  }
  // A zero divisor, which only an unused lane may have, becomes one.
  return op(name as "div" | "mod", a, op("max", b, constantOf(1, b.type)));
}
