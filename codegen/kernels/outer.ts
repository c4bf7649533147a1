// Products without a sum: an einsum that contracts no axis, such as a weight times a number for each of its columns, "nk,k->nk".
import { f, kernel } from "../../ir/kernel/build.ts";
import type { BufferParam, Kernel, Tile } from "../../ir/kernel/stmt.ts";
import type { Body } from "../../ir/kernel/build.ts";
import type { View } from "../../ir/kernel/catalogue.ts";
import { parseSpec } from "../../ir/ops/math.ts";
import type { Size } from "../../ir/size.ts";
import { family, one, refuse, type Match, type Refusal } from "../family.ts";
import { float, result, runTimeSizes } from "../layouts.ts";

const WIDE = 512;

export interface OuterProblem {
  /** Three axes of the result; a string is a run-time dim. */
  shape: readonly (number | string)[];
  /** Strides of the operands along them, 0 where an operand lacks the axis, and of the result. */
  a: readonly (number | string)[];
  b: readonly (number | string)[];
  y: readonly (number | string)[];
  aType: "f32" | "bf16";
  bType: "f32" | "bf16";
  yType?: "bf16";
  dims: readonly string[];
}

/** y[u, v, w] = a[u, v, w] b[u, v, w], each operand without the axes that it lacks. */
function outer(p: OuterProblem): Kernel {
  return kernel({
    name: `outer_${p.shape.join("x")}`,
    summary: "The product of two operands, element by element along the axes that they have.",
    params: {
      a: { dtype: p.aType, shape: p.shape, strides: p.a },
      b: { dtype: p.bType, shape: p.shape, strides: p.b },
      y: { dtype: p.yType ?? "f32", shape: p.shape, strides: p.y, access: "out" },
    },
    dims: p.dims,
    body(k, { a, b, y }) {
      k.grid({ u: [p.shape[0], 1], v: [p.shape[1], 1], w: [p.shape[2], WIDE] });
      const product = k.map("p", f.mul(side(k, "a", a, p), side(k, "b", b, p)));
      k.store(product, y, { at: ["u", "v", "w"], cols: 2, colLimit: p.shape[2] });
    },
  });
}

/** The tile of one operand: one number where it lacks the last axis. */
function side(k: Body, name: string, buffer: BufferParam, p: OuterProblem): Tile {
  if (buffer.strides[2] === 0) return k.load(name, 1, 1, buffer, { at: ["u", "v", 0] });
  return k.load(name, 1, WIDE, buffer, { at: ["u", "v", "w"], cols: 2, colLimit: p.shape[2] });
}

/** An einsum without a sum: every axis of the operands is one of the result's. */
function matchOuter(spec: string, a: View, b: View, y: View): Match<OuterProblem>[] | Refusal {
  const s = parseSpec(spec)!;
  const summed = [...new Set(s.a + s.b)].filter((c) => !s.out.includes(c));
  if (summed.length) return refuse(`einsum ${spec} sums over ${summed.join(", ")}`);
  if (s.out.length > 3) return refuse(`einsum ${spec} has more than three axes`);
  if (/(.).*\1/.test(s.a) || /(.).*\1/.test(s.b)) return refuse(`einsum ${spec} reads a diagonal`);
  const axes = [...s.out.padStart(3, " ")];
  const { dims, values, dim } = runTimeSizes();
  const along = (name: string, word: string, v: View): (number | string)[] =>
    axes.map((c, i) => dim(`${name}${i}`, word.includes(c) ? v.strides[word.indexOf(c)] : 0));
  const extent = (c: string): Size => (c === " " ? 1 : y.shape[s.out.indexOf(c)]);
  const problem: OuterProblem = {
    shape: axes.map((c, i) => dim(`n${i}`, extent(c))),
    a: along("a", s.a, a),
    b: along("b", s.b, b),
    y: along("y", s.out, y),
    aType: float(a),
    bType: float(b),
    ...(result(y).y ? { yType: "bf16" } : {}),
    dims,
  };
  return one(problem, [{ in: 0 }, { in: 1 }, { out: 0 }], values);
}

export const outerFamily = family({
  name: "outer",
  serves: ["einsum"],
  match: ({ ins, outs, attrs }) => matchOuter(String(attrs.spec), ins[0], ins[1], outs[0]),
  kernel: outer,
});
