// Indices of a tile program as expressions of i64.
import type { Index } from "../../ir/kernel/stmt.ts";
import { unboundName } from "../cpu/diagnostics.ts";
import { divide, greater, int, lesser, minus, plus, times, type Expr } from "./ir.ts";

/** Values of the names in scope: dims, axes, scalars. */
export type Env = ReadonlyMap<string, Expr>;

/** Whether every name of the index is in scope. */
export const inScope = (env: Env, i: Index): boolean =>
  typeof i === "number" || (typeof i === "string" ? env.has(i) : inScope(env, i.a) && inScope(env, i.b));

export function index(env: Env, i: Index): Expr {
  if (typeof i === "number") return int(i);
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
      return minus(a, b);
    case "mul":
      return times(a, b);
    case "div":
    case "mod":
      return divide(i.op, a, b);
    case "min":
      return lesser(a, b);
    case "max":
      return greater(a, b);
  }
}
