// Element arithmetic on four lanes. Each expression has a type, f32 or i32, taken from its tiles; constants and indices adopt
// the type of what they meet. Comparisons are lane masks until something needs the number 0 or 1.
import type { Index, MapExpr, Tile } from "../../ir/kernel/stmt.ts";
import { divide } from "./indices.ts";
import { exp, keep, log, powerCeil, type Temps } from "./math.ts";
import { ins, splat, splatI, withImm, type Expr } from "./wasm.ts";

type Type = "f32" | "i32";

/** What leaves of an expression are. */
export interface Leaves {
  tile(t: Tile): Expr;
  index(i: Index): Expr;
}

const compares = new Set(["lt", "le", "eq"]);
const logic = new Set(["and", "or"]);

/** The type an expression has by itself, or undefined when it would take any. */
function typeOf(e: MapExpr): Type | undefined {
  if ("t" in e) return e.t.dtype;
  if (!("op" in e)) return "c" in e && !Number.isInteger(e.c) ? "f32" : undefined;
  if (e.op === "select") return typeOf(e.a) ?? typeOf(e.b);
  if (e.op === "float") return "f32";
  if (e.op === "int" || compares.has(e.op) || logic.has(e.op)) return "i32";
  if ("b" in e) return typeOf(e.a) ?? typeOf(e.b);
  if (e.op === "exp" || e.op === "log" || e.op === "sqrt" || e.op === "floor" || e.op === "pow2ceil") return "f32";
  return typeOf(e.a);
}

/** Lanes of an expression, converted to the wanted type. */
export function lanes(o: Temps, e: MapExpr, want: Type, leaves: Leaves): Expr {
  const own = typeOf(e);
  const value = evaluate(o, e, own ?? want, leaves);
  if (own === undefined || own === want) return value;
  return want === "f32" ? ins("f32x4.convert_i32x4_s", value) : ins("i32x4.trunc_sat_f32x4_s", value);
}

/** All ones where the expression is true. */
function mask(o: Temps, e: MapExpr, leaves: Leaves): Expr {
  if ("op" in e && compares.has(e.op)) {
    const { op, a, b } = e as { op: "lt" | "le" | "eq"; a: MapExpr; b: MapExpr };
    const type = typeOf(a) ?? typeOf(b) ?? "i32";
    const [x, y] = [lanes(o, a, type, leaves), lanes(o, b, type, leaves)];
    const signed = type === "i32" && op !== "eq" ? "_s" : "";
    return ins(`${type}x4.${op}${signed}`, x, y);
  }
  if ("op" in e && logic.has(e.op)) {
    const { op, a, b } = e as { op: "and" | "or"; a: MapExpr; b: MapExpr };
    return ins(op === "and" ? "v128.and" : "v128.or", mask(o, a, leaves), mask(o, b, leaves));
  }
  return ins("i32x4.ne", lanes(o, e, "i32", leaves), splatI(0));
}

function evaluate(o: Temps, e: MapExpr, type: Type, leaves: Leaves): Expr {
  if ("t" in e) return leaves.tile(e.t);
  if ("c" in e) return type === "f32" ? splat(e.c) : splatI(e.c);
  if ("index" in e) {
    const i = leaves.index(e.index);
    return type === "f32" ? ins("f32x4.splat", ins("f32.convert_i32_s", i)) : ins("i32x4.splat", i);
  }
  if (e.op === "select") {
    const m = keep(o, mask(o, (e as { if: MapExpr }).if, leaves), "mask");
    return ins("v128.bitselect", lanes(o, e.a, type, leaves), lanes(o, (e as { b: MapExpr }).b, type, leaves), m);
  }
  if (compares.has(e.op) || logic.has(e.op)) return ins("v128.and", mask(o, e, leaves), splatI(1));
  if (e.op === "float") return lanes(o, e.a, "f32", leaves);
  if (e.op === "int") return lanes(o, e.a, "i32", leaves);
  const a = lanes(o, e.a, type, leaves);
  if ("b" in e) return binary(o, e.op as string, type, a, lanes(o, e.b, type, leaves));
  switch (e.op) {
    case "neg":
      return type === "f32" ? ins("f32x4.neg", a) : ins("i32x4.sub", splatI(0), a);
    case "abs":
      return type === "f32" ? ins("f32x4.abs", a) : ins("i32x4.max_s", keep(o, a), ins("i32x4.sub", splatI(0), keep(o, a)));
    case "exp":
      return exp(o, a);
    case "log":
      return log(o, a);
    case "sqrt":
      return ins("f32x4.sqrt", a);
    case "floor":
      return ins("f32x4.floor", a);
    default:
      return powerCeil(o, a);
  }
}

function binary(o: Temps, op: string, type: Type, a: Expr, b: Expr): Expr {
  if (op === "add" || op === "sub" || op === "mul") return ins(`${type}x4.${op}`, a, b);
  if (op === "max" || op === "min") return ins(type === "f32" ? `f32x4.${op}` : `i32x4.${op}_s`, a, b);
  if (type === "f32") {
    if (op === "div") return ins("f32x4.div", a, b);
    // a - b floor(a / b), for the rare remainder of floats.
    const [x, y] = [keep(o, a, "x"), keep(o, b, "y")];
    return ins("f32x4.sub", x, ins("f32x4.mul", y, ins("f32x4.floor", ins("f32x4.div", x, y))));
  }
  // No vector division of integers: lane by lane. A zero divisor, which only an unused lane may have, becomes one.
  const [x, y] = [keep(o, a, "x"), keep(o, ins("i32x4.max_s", b, splatI(1)), "y")];
  const lane = (e: Expr, i: number): Expr => withImm("i32x4.extract_lane", [i], e);
  let out: Expr = ins("i32x4.splat", divide(op as "div" | "mod", lane(x, 0), lane(y, 0), true));
  for (const i of [1, 2, 3])
    out = withImm("i32x4.replace_lane", [i], out, divide(op as "div" | "mod", lane(x, i), lane(y, i), true));
  return keep(o, out, "quotient");
}

/** The first lane as a scalar of the tile's type. */
export const firstLane = (e: Expr, type: Type): Expr =>
  withImm(type === "f32" ? "f32x4.extract_lane" : "i32x4.extract_lane", [0], e);
