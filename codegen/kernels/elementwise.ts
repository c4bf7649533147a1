// Kernels that treat every element alike: arithmetic, gating, one vector on every row.
import { f, kernel, type Body } from "../../ir/kernel/build.ts";
import type { Site } from "../../ir/kernel/catalogue.ts";
import type { BufferParam, Index, Kernel, Tile } from "../../ir/kernel/stmt.ts";
import { family, one, refuse, strided, type Match, type Refusal } from "../family.ts";
import { gatedTile, gatingName, gatingOf, gatingWords, type GatingProblem } from "../gating.ts";
import { act, asRows, elements, float, isPacked, num, result } from "../layouts.ts";
import { quantiseBlock, rows, type RowsProblem } from "./rows.ts";
import { when } from "../text.ts";

/** Columns an elementwise cell covers. */
const WIDE = 512;

/** The gated value of columns p.. of row i; x holds gate and up side by side. */
function gatedRow(k: Body, xs: BufferParam, n: number, width: number, p: Index, by: GatingProblem): Tile {
  const gate = k.load("gate", 1, width, xs, { at: ["i", 0, p], cols: 2, colLimit: n });
  const up = k.load("up", 1, width, xs, { at: ["i", 1, p], cols: 2, colLimit: n });
  return gatedTile(k, gate, up, by);
}

type GatedProblem = GatingProblem & { act?: "bf16" };

/** act(gate) * up over packed elements. */
function gated(p: GatedProblem): Kernel {
  const vector = { dtype: p.act ?? "f32", shape: ["n"] } as const;
  return kernel({
    name: gatingName(p),
    summary: `${gatingWords(p)}, element by element.`,
    params: { gate: vector, up: vector, y: { ...vector, access: "out" } },
    dims: ["n"],
    body(k, { gate: gates, up: ups, y }) {
      k.grid({ j: ["n", WIDE] });
      const at = { at: ["j"], cols: 0, colLimit: "n" } as const;
      const gate = k.load("gate", 1, WIDE, gates, at);
      k.store(gatedTile(k, gate, k.load("up", 1, WIDE, ups, at), p), y, at);
    },
  });
}

export const gatedFamily = family({
  name: "gated",
  serves: ["gated"],
  match({ ins, outs, attrs }) {
    if (![...ins, ...outs].every(isPacked)) return refuse("an operand is a strided view");
    return one({ ...gatingOf(attrs), ...act(ins[0]) }, [{ in: 0 }, { in: 1 }, { out: 0 }], [elements(outs[0])]);
  },
  kernel: gated,
});

function gatedPair(p: GatingProblem & { n: number; xStride: number; yStride: number; act?: "bf16" }): Kernel {
  return kernel({
    name: `${gatingName(p)}_${p.n}`,
    summary: `${gatingWords(p)}, on rows that hold both side by side.`,
    params: {
      x: { dtype: p.act ?? "f32", shape: ["m", 2, p.n], strides: [p.xStride, p.n, 1] },
      y: { ...rows(p.n, p.yStride, p.act), access: "out" },
    },
    dims: ["m"],
    body(k, { x: xs, y }) {
      k.grid({ i: ["m", 1], p: [p.n, WIDE] });
      k.store(gatedRow(k, xs, p.n, WIDE, "p", p), y, { at: ["i", "p"], cols: 1, colLimit: p.n });
    },
  });
}

export const gatedPairFamily = family({
  name: "gated_pair",
  serves: ["gated_pair"],
  match({ ins, outs, attrs }) {
    const [xs, y] = [asRows(ins[0], 2), asRows(outs[0])];
    if (!xs || !y) return strided;
    return one(
      { n: num(ins[0].shape.at(-1)), xStride: xs.stride, yStride: y.stride, ...gatingOf(attrs), ...act(ins[0]) },
      [{ in: 0 }, { out: 0 }],
      [xs.rows],
    );
  },
  kernel: gatedPair,
});

function gatedQuant(p: GatingProblem & { n: number; xStride: number; ue8m0: boolean; act?: "bf16" }): Kernel {
  return kernel({
    name: `${gatingName(p)}_quant_${p.n}${when(p.ue8m0, "_ue8m0")}`,
    summary: `${gatingWords(p)}, quantised as it is made.`,
    params: {
      x: { dtype: p.act ?? "f32", shape: ["m", 2, p.n], strides: [p.xStride, p.n, 1] },
      codes: { dtype: "e4m3", shape: ["m", p.n], access: "out" },
      scales: { dtype: "f32", shape: ["m", Math.ceil(p.n / 128)], access: "out" },
    },
    dims: ["m"],
    body(k, { x: xs, codes, scales }) {
      k.grid({ i: ["m", 1], p: [p.n, 128] });
      const y = k.of("gated_pair", () => gatedRow(k, xs, p.n, 128, "p", p));
      k.of("quantize", () => quantiseBlock(k, y, codes, scales, "i", "p", p.n, p.ue8m0));
    },
  });
}

export const gatedQuantFamily = family({
  name: "gated_quant",
  serves: ["gated_quant"],
  match({ ins, attrs }) {
    const xs = asRows(ins[0], 2);
    if (!xs) return strided;
    const problem = {
      n: num(ins[0].shape.at(-1)),
      xStride: xs.stride,
      ue8m0: attrs.scale === "ue8m0",
      ...gatingOf(attrs),
      ...act(ins[0]),
    };
    return one(problem, [{ in: 0 }, { out: 0 }, { out: 0, part: "scales" }], [xs.rows]);
  },
  kernel: gatedQuant,
});

export interface FlatProblem {
  op: "add" | "mul" | "scale";
  by?: number;
  act?: "bf16";
}

/** add, mul of two tensors, or scale of one; all contiguous, n elements. */
function flat(p: FlatProblem): Kernel {
  const two = p.op === "add" || p.op === "mul";
  const vector = { dtype: p.act ?? "f32", shape: ["n"] } as const;
  const body = (k: Body, a: BufferParam, b: BufferParam | null, y: BufferParam): void => {
    k.grid({ j: ["n", WIDE] });
    const at = { at: ["j"], cols: 0, colLimit: "n" } as const;
    const u = k.load("u", 1, WIDE, a, at);
    const e =
      p.op === "scale"
        ? f.mul(u, p.by!)
        : p.op === "add"
          ? f.add(u, k.load("w", 1, WIDE, b!, at))
          : f.mul(u, k.load("w", 1, WIDE, b!, at));
    k.store(k.map("v", e), y, at);
  };
  const name = p.op;
  const summary = `${{ add: "Sum", mul: "Product", scale: "Multiple" }[p.op]} of every element.`;
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
const FLAT = ["add", "mul", "scale"] as const;

function matchFlat({ op, ins, outs, attrs }: Site): Match<FlatProblem>[] | Refusal {
  const name = FLAT.find((n) => n === op);
  if (!name || ![...ins, ...outs].every(isPacked)) return refuse("an operand is a strided view");
  const problem = { op: name, ...(name === "scale" ? { by: num(attrs.by) } : {}), ...act(ins[0]) };
  return one(problem, [...ins.map((_, i) => ({ in: i })), { out: 0 }], [elements(outs[0])]);
}

export const flatFamily = family({ name: "flat", serves: FLAT, match: matchFlat, kernel: flat });

export interface ConstantProblem {
  value: number;
  y?: "bf16";
}

function constantKernel(p: ConstantProblem): Kernel {
  return kernel({
    name: `constant_${String(p.value).replace(/\W/g, "_")}`,
    summary: "A tensor of one number.",
    params: { y: { dtype: p.y ?? "f32", shape: ["n"], access: "out" } },
    dims: ["n"],
    body(k, { y }) {
      k.grid({ p: ["n", WIDE] });
      k.store(k.fill("v", 1, WIDE, p.value), y, { at: ["p"], cols: 0, colLimit: "n" });
    },
  });
}

export const constantFamily = family({
  name: "constant",
  serves: ["constant"],
  match: ({ outs, attrs }) =>
    isPacked(outs[0])
      ? one({ value: num(attrs.value), ...result(outs[0]) }, [{ out: 0 }], [elements(outs[0])])
      : refuse("the result is a strided view"),
  kernel: constantKernel,
});

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
