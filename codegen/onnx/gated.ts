// Gates in ONNX: act(gate) * up. An activation that is an operator there is written as that, any other by its element arithmetic.
import { activationNamed, type ActivationName, type Gating } from "../../ir/activation.ts";
import type { MapExpr } from "../../ir/kernel/stmt.ts";
import { gated, gatedPair } from "../../ir/ops/index.ts";
import type { Node } from "../../ir/graph.ts";
import { as, given, resultElem, type Lower, type Lowering } from "./lowering.ts";
import { elem, type Elem } from "./proto.ts";
import type { Scope } from "./scope.ts";

const operators: Readonly<Partial<Record<ActivationName, (s: Scope, x: string) => string>>> = {
  // Swish is an operator from opset 24 on.
  silu: (s, x) => s.op("Mul", [x, s.op("Sigmoid", [x])], {}, "silu"),
  gelu_pytorch_tanh: (s, x) => s.op("Gelu", [x], { approximate: "tanh" }),
};

const arithmetic: Readonly<Record<string, string>> = {
  neg: "Neg",
  abs: "Abs",
  exp: "Exp",
  log: "Log",
  sqrt: "Sqrt",
  floor: "Floor",
  add: "Add",
  sub: "Sub",
  mul: "Mul",
  div: "Div",
  max: "Max",
  min: "Min",
};

/** A number as a constant of an element type. */
const constant = (s: Scope, v: number, type: Elem): string => s.cast(s.floats(v), elem.FLOAT, type);

/** Element arithmetic over one value. */
export function written(s: Scope, e: MapExpr, x: string, type: Elem): string {
  if ("t" in e) return x;
  if ("c" in e) return constant(s, e.c, type);
  if (!("op" in e) || !(e.op in arithmetic)) throw new TypeError(`ONNX has no word for ${JSON.stringify(e)}`);
  const operands = "b" in e ? [e.a, e.b] : [e.a];
  return s.op(
    arithmetic[e.op],
    operands.map((o) => written(s, o, x, type)),
  );
}

const activation = (s: Scope, act: ActivationName, x: string, type: Elem): string =>
  operators[act]?.(s, x) ?? written(s, activationNamed(act).tile({ name: "x", rows: 1, cols: 1, dtype: "f32" }), x, type);

function gate(at: Lowering, n: Node, g: string, u: string, { act, limit }: Gating): ReturnType<Lower> {
  const { s } = at;
  const type = resultElem(at, n);
  const [most, least] = [limit, -limit].map((v) => (limit === 0 ? "" : constant(s, v, type)));
  const [inner, outer] = limit === 0 ? [g, u] : [s.op("Min", [g, most]), s.op("Max", [s.op("Min", [u, most]), least])];
  return [given(at, n, s.op("Mul", [activation(s, act, inner, type), outer], {}, "gated"))];
}

export const gates: Readonly<Record<string, Lower>> = {
  gated(at, n, [g, u]) {
    if (!gated.made(n)) throw new TypeError("no gated");
    const type = resultElem(at, n);
    return gate(at, n, as(at, g, type), as(at, u, type), n.attrs);
  },
  gated_pair(at, n, [x]) {
    if (!gatedPair.made(n)) throw new TypeError("no gated_pair");
    const both = as(at, x, resultElem(at, n));
    const [g, u] = ["gate", "up"].map((word, i) => at.s.op("Gather", [both, at.s.ints(i)], { axis: -2 }, word));
    return gate(at, n, g, u, n.attrs);
  },
};
