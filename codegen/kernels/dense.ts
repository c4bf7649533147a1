// Matrix products: plain, block-scaled, grouped by expert. All, and the batched product of bmm.ts, share one loop
// over the contracted width in steps of 128, the width a block scale is constant on.
import { kernel, x, type Body, type Where } from "../../ir/kernel/build.ts";
import type { Arg } from "../../ir/kernel/catalogue.ts";
import type { BufferParam, Index, Kernel, Tile } from "../../ir/kernel/stmt.ts";
import { mul } from "../../ir/size.ts";
import { family, one, strided } from "../family.ts";
import { act, asRows, float, floatOrCodes, isPacked, num, result } from "../layouts.ts";
import { when } from "../text.ts";

const STEP = 128;

/** Rows and columns of one cell: weights stream once per so many rows of x. A target that wants others says so. */
export interface Tiled {
  tile?: readonly [rows: number, columns: number];
}
export const tileOf = (p: Tiled): readonly [number, number] => p.tile ?? [32, 32];

interface Side {
  buffer: BufferParam;
  /** Index of the tile's first row, and where the columns start, per buffer axis; `rows` and `cols` name the axes. */
  at: (p: Index) => Where;
}

/** acc[m, n] = sum over 128-wide steps of (a b^T), each step times its scales when there are any. */
export function contract(
  k: Body,
  m: number,
  n: number,
  width: Index,
  a: Side,
  b: Side,
  form: "nt" | "nn",
  scales: (p: Index) => Tile[],
): Tile {
  const acc = k.fill("acc", m, n, 0);
  k.loop("p", 0, width, STEP, () => {
    const u = k.load("a", m, STEP, a.buffer, a.at("p"));
    const w = form === "nt" ? k.load("b", n, STEP, b.buffer, b.at("p")) : k.load("b", STEP, n, b.buffer, b.at("p"));
    k.accumulate(acc, k.dot("part", u, w, form), ...scales("p"));
  });
  return acc;
}

export interface LinearProblem extends Tiled {
  n: number;
  k: number;
  xStride: number;
  yStride: number;
  w: "f32" | "bf16";
  /** Dtype of x and of y, f32 unless said. */
  act?: "bf16";
  y?: "bf16";
}

/** y [m, n] = x [m, k] w [n, k]^T */
function linear(p: LinearProblem): Kernel {
  const [rows, columns] = tileOf(p);
  return kernel({
    name: `linear_${p.n}x${p.k}`,
    summary: "y = x w^T, weights packed as stored.",
    params: {
      x: { dtype: p.act ?? "f32", shape: ["m", p.k], strides: [p.xStride, 1] },
      w: { dtype: p.w, shape: [p.n, p.k] },
      y: { dtype: p.y ?? "f32", shape: ["m", p.n], strides: [p.yStride, 1], access: "out" },
    },
    dims: ["m"],
    body(k, { x: xs, w, y }) {
      k.grid({ i: ["m", rows], j: [p.n, columns] });
      const acc = contract(
        k,
        rows,
        columns,
        p.k,
        { buffer: xs, at: (q) => ({ at: ["i", q], rows: 0, cols: 1, rowLimit: "m", colLimit: p.k }) },
        { buffer: w, at: (q) => ({ at: ["j", q], rows: 0, cols: 1, rowLimit: p.n, colLimit: p.k }) },
        "nt",
        () => [],
      );
      k.store(acc, y, { at: ["i", "j"], rows: 0, cols: 1, rowLimit: "m", colLimit: p.n });
    },
  });
}

export const linearFamily = family({
  name: "linear",
  serves: ["linear"],
  match({ ins, outs }) {
    const [xs, w] = ins;
    const [x, y] = [asRows(xs), asRows(outs[0], w.shape.length - 1)];
    if (!x || !y || !isPacked(w)) return strided;
    const n = num(mul(...w.shape.slice(0, -1)));
    const problem = {
      n,
      k: num(w.shape.at(-1)),
      xStride: x.stride,
      yStride: y.stride,
      w: float(w),
      ...act(xs),
      ...result(outs[0]),
    };
    return one(problem, [{ in: 0 }, { in: 1 }, { out: 0 }], [x.rows]);
  },
  kernel: linear,
});

export interface BlockLinearProblem extends Tiled {
  parts: number;
  n: number;
  k: number;
  /** "e4m3": codes with a scale per 128 columns, contiguous. "f32", "bf16": exact rows. */
  x: "e4m3" | "f32" | "bf16";
  xStride: number;
  y?: "bf16";
}

/** y [m, parts, n] = x [m, k] times each part of w, scales applied once per 128 columns. */
function blockLinear(p: BlockLinearProblem): Kernel {
  const [rows, columns] = tileOf(p);
  const [kb, nb] = [Math.ceil(p.k / 128), Math.ceil(p.n / 128)];
  return kernel({
    name: `block_linear_${when(p.parts > 1, `${p.parts}x`)}${p.n}x${p.k}${when(p.x !== "e4m3", "_exact")}`,
    summary: "y = x w^T on e4m3 codes, promoted to f32 and scaled once per 128 columns.",
    params: {
      x: { dtype: p.x, shape: ["m", p.k], strides: [p.xStride, 1] },
      ...(p.x === "e4m3" ? { x_scale: { dtype: "f32", shape: ["m", kb] } as const } : {}),
      w: { dtype: "e4m3", shape: [p.parts, p.n, p.k] },
      w_scale: { dtype: "f32", shape: [p.parts, nb, kb] },
      y: { dtype: p.y ?? "f32", shape: ["m", p.parts, p.n], access: "out" },
    },
    dims: ["m"],
    body(k, { x: xs, x_scale: xScale, w, w_scale: wScale, y }) {
      k.grid({ i: ["m", rows], q: [p.parts, 1], j: [p.n, columns] });
      const acc = contract(
        k,
        rows,
        columns,
        p.k,
        { buffer: xs, at: (c) => ({ at: ["i", c], rows: 0, cols: 1, rowLimit: "m", colLimit: p.k }) },
        { buffer: w, at: (c) => ({ at: ["q", "j", c], rows: 1, cols: 2, rowLimit: p.n, colLimit: p.k }) },
        "nt",
        // The columns of a tile divide 128, so one scale serves it.
        (c) => [
          ...(xScale ? [k.load("sx", rows, 1, xScale, { at: ["i", x.div(c, 128)], rows: 0, rowLimit: "m" })] : []),
          k.load("sw", 1, 1, wScale, { at: ["q", x.div("j", 128), x.div(c, 128)] }),
        ],
      );
      k.store(acc, y, { at: ["i", "q", "j"], rows: 0, cols: 2, rowLimit: "m", colLimit: p.n });
    },
  });
}

export const blockLinearFamily = family({
  name: "block_linear",
  serves: ["block_linear"],
  match({ ins, outs }) {
    const x = asRows(ins[0]);
    if (!x) return strided;
    const w = ins[1].shape;
    const problem = {
      parts: num(mul(...w.slice(0, -2))),
      n: num(w.at(-2)),
      k: num(w.at(-1)),
      x: floatOrCodes(ins[0]),
      xStride: x.stride,
      ...result(outs[0]),
    };
    const scales: Arg[] = ins[0].scaled === "1x128" ? [{ in: 0, part: "scales" }] : [];
    return one(problem, [{ in: 0 }, ...scales, { in: 1 }, { in: 1, part: "scales" }, { out: 0 }], [x.rows]);
  },
  kernel: blockLinear,
});

export interface GroupedProblem extends Tiled {
  experts: number;
  parts: number;
  n: number;
  k: number;
  x: "e4m3" | "f32" | "bf16";
  w: "e4m3" | "bf16" | "f32";
  xStride: number;
  y?: "bf16";
}

/** Rows offsets[e] .. offsets[e+1] of x meet matrix e: counts are read on the device. */
function groupedLinear(p: GroupedProblem): Kernel {
  const [rows, columns] = tileOf(p);
  const [kb, nb] = [Math.ceil(p.k / 128), Math.ceil(p.n / 128)];
  return kernel({
    name: `grouped_linear_${p.experts}x${when(p.parts > 1, `${p.parts}x`)}${p.n}x${p.k}`,
    summary: "Rows sorted by expert, each group by its own matrix; the counts are read from offsets.",
    params: {
      x: { dtype: p.x, shape: ["r", p.k], strides: [p.xStride, 1] },
      ...(p.x === "e4m3" ? { x_scale: { dtype: "f32", shape: ["r", kb] } as const } : {}),
      w: { dtype: p.w, shape: [p.experts, p.parts, p.n, p.k] },
      ...(p.w === "e4m3" ? { w_scale: { dtype: "f32", shape: [p.experts, p.parts, nb, kb] } as const } : {}),
      offsets: { dtype: "i32", shape: [p.experts + 1] },
      y: { dtype: p.y ?? "f32", shape: ["r", p.parts, p.n], access: "out" },
    },
    dims: ["r"],
    body(k, { x: xs, x_scale: xScale, w, w_scale: wScale, offsets, y }) {
      // Experts vary fastest: a thread's share of cells then holds a part of every expert, busy or not.
      k.grid({ j: [p.n, columns], q: [p.parts, 1], e: [p.experts, 1] });
      const from = k.scalar("from", offsets, ["e"]);
      const to = k.scalar("to", offsets, [x.add("e", 1)]);
      k.loop("i", from, to, rows, () => {
        const acc = contract(
          k,
          rows,
          columns,
          p.k,
          { buffer: xs, at: (c) => ({ at: ["i", c], rows: 0, cols: 1, rowLimit: to, colLimit: p.k }) },
          { buffer: w, at: (c) => ({ at: ["e", "q", "j", c], rows: 2, cols: 3, rowLimit: p.n, colLimit: p.k }) },
          "nt",
          (c) => [
            ...(xScale ? [k.load("sx", rows, 1, xScale, { at: ["i", x.div(c, 128)], rows: 0, rowLimit: to })] : []),
            ...(wScale ? [k.load("sw", 1, 1, wScale, { at: ["e", "q", x.div("j", 128), x.div(c, 128)] })] : []),
          ],
        );
        k.store(acc, y, { at: ["i", "q", "j"], rows: 0, cols: 2, rowLimit: to, colLimit: p.n });
      });
    },
  });
}

export const groupedLinearFamily = family({
  name: "grouped_linear",
  serves: ["grouped_linear"],
  match({ ins, outs }) {
    const x = asRows(ins[0]);
    if (!x) return strided;
    const w = ins[1].shape;
    const sizes = { experts: num(w[0]), parts: num(mul(...w.slice(1, -2))), n: num(w.at(-2)), k: num(w.at(-1)) };
    const problem = { ...sizes, x: floatOrCodes(ins[0]), w: floatOrCodes(ins[1]), xStride: x.stride, ...result(outs[0]) };
    const scales: Arg[] = ins[0].scaled === "1x128" ? [{ in: 0, part: "scales" }] : [];
    const wScales: Arg[] = ins[1].scaled ? [{ in: 1, part: "scales" }] : [];
    return one(problem, [{ in: 0 }, ...scales, { in: 1 }, ...wScales, { in: 2 }, { out: 0 }], [x.rows]);
  },
  kernel: groupedLinear,
});
