// Indices of the tile program as i32 expressions and, for the number of grid cells, as sizes the runtime can evaluate.
import { add, ceildiv, mul, type Size } from "../../ir/size.ts";
import type { Index } from "../../ir/kernel/stmt.ts";
import { constant, i32, ins, plus, select, times, type Expr } from "./wasm.ts";
import { unboundName } from "./diagnostics.ts";

/** Values of the names in scope: dims, axes, scalars. */
export type Env = ReadonlyMap<string, Expr>;

/** Whether every name of the index is in scope. */
export function inScope(env: Env, i: Index): boolean {
  return typeof i === "number" || (typeof i === "string" ? env.has(i) : inScope(env, i.a) && inScope(env, i.b));
}

const mayBeNegative = (i: Index): boolean =>
  typeof i === "object" ? i.op === "sub" || mayBeNegative(i.a) || mayBeNegative(i.b) : typeof i === "number" && i < 0;

/** An index as an expression. Division and remainder floor; they are unsigned where nothing is subtracted. */
export function index(env: Env, i: Index): Expr {
  if (typeof i === "number") return i32(i);
  if (typeof i === "string") {
    const e = env.get(i);
    if (!e) throw unboundName({ name: i, known: [...env.keys()] });
    return e;
  }
  const [a, b] = [index(env, i.a), index(env, i.b)];
  switch (i.op) {
    case "add":
      return plus(a, b);
    case "sub":
      return constant(b) !== undefined ? plus(a, i32(-constant(b)!)) : ins("i32.sub", a, b);
    case "mul":
      return times(a, b);
    case "div":
    case "mod":
      return divide(i.op, a, b, mayBeNegative(i.a));
    case "min":
      return lesser(a, b);
    case "max":
      return greater(a, b);
  }
}

export function lesser(a: Expr, b: Expr): Expr {
  const [x, y] = [constant(a), constant(b)];
  return x !== undefined && y !== undefined ? i32(Math.min(x, y)) : select(ins("i32.lt_s", a, b), a, b);
}

export function greater(a: Expr, b: Expr): Expr {
  const [x, y] = [constant(a), constant(b)];
  return x !== undefined && y !== undefined ? i32(Math.max(x, y)) : select(ins("i32.gt_s", a, b), a, b);
}

/** Flooring division or remainder of i32 expressions. */
export function divide(op: "div" | "mod", a: Expr, b: Expr, signed: boolean): Expr {
  const [x, y] = [constant(a), constant(b)];
  if (x !== undefined && y !== undefined && y !== 0) return i32(op === "div" ? Math.floor(x / y) : x - y * Math.floor(x / y));
  if (y !== undefined && y > 0 && (y & (y - 1)) === 0)
    return op === "mod"
      ? ins("i32.and", a, i32(y - 1))
      : y === 1
        ? a
        : ins(signed ? "i32.shr_s" : "i32.shr_u", a, i32(31 - Math.clz32(y)));
  if (!signed) return ins(op === "div" ? "i32.div_u" : "i32.rem_u", a, b);
  const rest = ins("i32.rem_s", ins("i32.add", ins("i32.rem_s", a, b), b), b);
  return op === "mod" ? rest : ins("i32.div_s", ins("i32.sub", a, rest), b);
}

/** An index over dims alone as a size. */
function size(i: Index): Size {
  if (typeof i !== "object") return i;
  const [a, b] = [size(i.a), size(i.b)];
  switch (i.op) {
    case "add":
      return add(a, b);
    case "sub":
      return add(a, mul(-1, b));
    case "mul":
      return mul(a, b);
    case "div":
      return { op: "div", of: [a, b] };
    case "mod":
      return add(a, mul(-1, b, { op: "div", of: [a, b] }));
    default:
      return { op: i.op, of: [a, b] };
  }
}

/** Cells of a grid. */
export function cellsOf(axes: readonly { extent: Index; tile: number }[]): Size {
  return mul(...axes.map((x) => ceildiv(size(x.extent), x.tile)));
}
