// Kernels that treat every element alike: arithmetic, gating, one vector on every row.
import { f, kernel, type Body } from "../../ir/kernel/build.ts";
import type { Site } from "../../ir/kernel/catalogue.ts";
import type { BufferParam, Index, Kernel, MapExpr, Tile } from "../../ir/kernel/stmt.ts";
import { family, one, refuse, strided, type Match, type Refusal } from "../family.ts";
import { act, asRows, elements, float, isPacked, num } from "../layouts.ts";
import { quantiseBlock, rows, type RowsProblem } from "./rows.ts";
import { when } from "../text.ts";

/** Columns an elementwise cell covers. */
const WIDE = 512;

/** silu(gate) * up of columns p.. of row i; x holds gate and up side by side. */
function gated(k: Body, xs: BufferParam, n: number, width: number, p: Index): Tile {
  const gate = k.load("gate", 1, width, xs, { at: ["i", 0, p], cols: 2, colLimit: n });
  const up = k.load("up", 1, width, xs, { at: ["i", 1, p], cols: 2, colLimit: n });
  return k.map("act", f.mul(silu(gate), up));
}

const silu = (v: Tile): MapExpr => f.div(v, f.add(1, f.exp(f.neg(v))));

function siluMul(p: { n: number; xStride: number; yStride: number; act?: "bf16" }): Kernel {
  return kernel({
    name: `silu_mul_${p.n}`,
    summary: "silu(gate) * up, on rows that hold both side by side.",
    params: {
      x: { dtype: p.act ?? "f32", shape: ["m", 2, p.n], strides: [p.xStride, p.n, 1] },
      y: { ...rows(p.n, p.yStride, p.act), access: "out" },
    },
    dims: ["m"],
    body(k, { x: xs, y }) {
      k.grid({ i: ["m", 1], p: [p.n, WIDE] });
      k.store(gated(k, xs, p.n, WIDE, "p"), y, { at: ["i", "p"], cols: 1, colLimit: p.n });
    },
  });
}

export const siluMulFamily = family({
  name: "silu_mul",
  serves: ["silu_mul"],
  match({ ins, outs }) {
    const [xs, y] = [asRows(ins[0], 2), asRows(outs[0])];
    if (!xs || !y) return strided;
    return one(
      { n: num(ins[0].shape.at(-1)), xStride: xs.stride, yStride: y.stride, ...act(ins[0]) },
      [{ in: 0 }, { out: 0 }],
      [xs.rows],
    );
  },
  kernel: siluMul,
});

function siluMulQuant(p: { n: number; xStride: number; ue8m0: boolean; act?: "bf16" }): Kernel {
  return kernel({
    name: `silu_mul_quant_${p.n}${when(p.ue8m0, "_ue8m0")}`,
    summary: "silu(gate) * up, quantised as it is made.",
    params: {
      x: { dtype: p.act ?? "f32", shape: ["m", 2, p.n], strides: [p.xStride, p.n, 1] },
      codes: { dtype: "e4m3", shape: ["m", p.n], access: "out" },
      scales: { dtype: "f32", shape: ["m", Math.ceil(p.n / 128)], access: "out" },
    },
    dims: ["m"],
    body(k, { x: xs, codes, scales }) {
      k.grid({ i: ["m", 1], p: [p.n, 128] });
      quantiseBlock(k, gated(k, xs, p.n, 128, "p"), codes, scales, "i", "p", p.n, p.ue8m0);
    },
  });
}

export const siluMulQuantFamily = family({
  name: "silu_mul_quant",
  serves: ["silu_mul_quant"],
  match({ ins, attrs }) {
    const xs = asRows(ins[0], 2);
    if (!xs) return strided;
    const problem = { n: num(ins[0].shape.at(-1)), xStride: xs.stride, ue8m0: attrs.scale === "ue8m0", ...act(ins[0]) };
    return one(problem, [{ in: 0 }, { out: 0 }, { out: 0, part: "scales" }], [xs.rows]);
  },
  kernel: siluMulQuant,
});

export interface FlatProblem {
  op: "add" | "mul" | "scale" | "silu";
  by?: number;
  act?: "bf16";
}

/** add, mul of two tensors, or scale, silu of one; all contiguous, n elements. */
function flat(p: FlatProblem): Kernel {
  const two = p.op === "add" || p.op === "mul";
  const vector = { dtype: p.act ?? "f32", shape: ["n"] } as const;
  const body = (k: Body, a: BufferParam, b: BufferParam | null, y: BufferParam): void => {
    k.grid({ j: ["n", WIDE] });
    const at = { at: ["j"], cols: 0, colLimit: "n" } as const;
    const u = k.load("u", 1, WIDE, a, at);
    const e =
      p.op === "silu"
        ? silu(u)
        : p.op === "scale"
          ? f.mul(u, p.by!)
          : p.op === "add"
            ? f.add(u, k.load("w", 1, WIDE, b!, at))
            : f.mul(u, k.load("w", 1, WIDE, b!, at));
    k.store(k.map("v", e), y, at);
  };
  const name = p.op;
  const summary = `${{ add: "Sum", mul: "Product", scale: "Multiple", silu: "silu" }[p.op]} of every element.`;
  return two
    ? kernel({
        name,
        summary,
        params: { a: vector, b: vector, y: { ...vector, access: "out" } },
        dims: ["n"],
        body: (k, { a, b, y }) => body(k, a, b, y),
      })
    : kernel({
        name,
        summary,
        params: { a: vector, y: { ...vector, access: "out" } },
        dims: ["n"],
        body: (k, { a, y }) => body(k, a, null, y),
      });
}

/** The ops of one element each, over contiguous tensors. */
const FLAT = ["add", "mul", "silu", "scale"] as const;

function matchFlat({ op, ins, outs, attrs }: Site): Match<FlatProblem>[] | Refusal {
  const name = FLAT.find((n) => n === op);
  if (!name || ![...ins, ...outs].every(isPacked)) return refuse("an operand is a strided view");
  const problem = { op: name, ...(name === "scale" ? { by: num(attrs.by) } : {}), ...act(ins[0]) };
  return one(problem, [...ins.map((_, i) => ({ in: i })), { out: 0 }], [elements(outs[0])]);
}

export const flatFamily = family({ name: "flat", serves: FLAT, match: matchFlat, kernel: flat });

export type AddBiasProblem = RowsProblem & { bias: "f32" | "bf16" };

function addBias(p: AddBiasProblem): Kernel {
  return kernel({
    name: `add_bias_${p.d}`,
    summary: "Add one vector to every row.",
    params: {
      x: rows(p.d, p.xStride, p.act),
      bias: { dtype: p.bias, shape: [p.d] },
      y: { ...rows(p.d, p.yStride, p.act), access: "out" },
    },
    dims: ["m"],
    body(k, { x: xs, bias, y }) {
      k.grid({ i: ["m", 1], p: [p.d, WIDE] });
      const v = k.load("v", 1, WIDE, xs, { at: ["i", "p"], cols: 1, colLimit: p.d });
      const b = k.load("b", 1, WIDE, bias, { at: ["p"], cols: 0, colLimit: p.d });
      k.store(k.map("s", f.add(v, b)), y, { at: ["i", "p"], cols: 1, colLimit: p.d });
    },
  });
}

export const addBiasFamily = family({
  name: "add_bias",
  serves: ["add_bias"],
  match({ ins, outs }) {
    const [xs, y] = [asRows(ins[0]), asRows(outs[0])];
    if (!xs || !y) return strided;
    const problem = { d: num(ins[0].shape.at(-1)), xStride: xs.stride, yStride: y.stride, bias: float(ins[1]), ...act(ins[0]) };
    return one(problem, [{ in: 0 }, { in: 1 }, { out: 0 }], [xs.rows]);
  },
  kernel: addBias,
});
