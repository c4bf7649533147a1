// Kernels that move whole rows: embedding, the last row of a sequence, rows in the order of their experts.
import { kernel, x, type Body } from "../../ir/kernel/build.ts";
import type { Arg } from "../../ir/kernel/catalogue.ts";
import type { BufferParam, Index, Kernel } from "../../ir/kernel/stmt.ts";
import { family, one, strided } from "../family.ts";
import { act, asRows, float, floatOrCodes, num, result } from "../layouts.ts";
import { when } from "../text.ts";

const WIDE = 512;

/** Row `from` of one buffer to row `to` of another, columns in steps. */
export function copyRow(k: Body, src: BufferParam, from: Index[], dst: BufferParam, to: Index[], width: number): void {
  const step = Math.min(WIDE, width);
  k.loop("c", 0, width, step, () => {
    const [sa, da] = [from.length, to.length];
    const v = k.load("v", 1, step, src, { at: [...from, "c"], cols: sa, colLimit: width });
    k.store(v, dst, { at: [...to, "c"], cols: da, colLimit: width });
  });
}

function embed(p: { vocab: number; d: number; table: "f32" | "bf16"; y?: "bf16" }): Kernel {
  return kernel({
    name: `embed_${p.d}`,
    summary: "Rows of the table by token id.",
    params: {
      ids: { dtype: "i32", shape: ["T"] },
      table: { dtype: p.table, shape: [p.vocab, p.d] },
      y: { dtype: p.y ?? "f32", shape: ["T", p.d], access: "out" },
    },
    dims: ["T"],
    body(k, { ids, table, y }) {
      k.grid({ i: ["T", 1] });
      copyRow(k, table, [k.scalar("id", ids, ["i"])], y, ["i"], p.d);
    },
  });
}

export const embedFamily = family({
  name: "embed",
  serves: ["embed"],
  match({ ins, outs }) {
    const [vocab, d] = ins[1].shape.map(num);
    return one({ vocab, d, table: float(ins[1]), ...result(outs[0]) }, [{ in: 0 }, { in: 1 }, { out: 0 }], [outs[0].shape[0]]);
  },
  kernel: embed,
});

function lastRows(p: { d: number; xStride: number; act?: "bf16" }): Kernel {
  return kernel({
    name: `last_rows_${p.d}`,
    summary: "The last row of every sequence.",
    params: {
      x: { dtype: p.act ?? "f32", shape: ["T", p.d], strides: [p.xStride, 1] },
      starts: { dtype: "i32", shape: [x.add("B", 1)] },
      y: { dtype: p.act ?? "f32", shape: ["B", p.d], access: "out" },
    },
    dims: ["T", "B"],
    body(k, { x: xs, starts, y }) {
      k.grid({ b: ["B", 1] });
      const end = k.scalar("end", starts, [x.add("b", 1)]);
      copyRow(k, xs, [x.sub(end, 1)], y, ["b"], p.d);
    },
  });
}

export const lastRowsFamily = family({
  name: "last_rows",
  serves: ["last_rows"],
  match({ ins, outs }) {
    const xs = asRows(ins[0]);
    if (!xs) return strided;
    return one(
      { d: num(ins[0].shape[1]), xStride: xs.stride, ...act(ins[0]) },
      [{ in: 0 }, { batch: "starts" }, { out: 0 }],
      [ins[0].shape[0], outs[0].shape[0]],
    );
  },
  kernel: lastRows,
});

export interface GatherProblem {
  d: number;
  per: number;
  x: "f32" | "bf16" | "e4m3";
  xStride: number;
}

/** Rows of x by sorted pair: row i is token order[i] / per. */
function gatherRows(p: GatherProblem): Kernel {
  const kb = Math.ceil(p.d / 128);
  const scaled = p.x === "e4m3";
  return kernel({
    name: `gather_rows_${p.d}${when(scaled, "_e4m3")}`,
    summary: "Rows in sorted pair order: row i is token order[i] / k.",
    params: {
      x: { dtype: p.x, shape: ["T", p.d], strides: [p.xStride, 1] },
      ...(scaled ? { x_scale: { dtype: "f32", shape: ["T", kb] } as const } : {}),
      order: { dtype: "i32", shape: ["r"] },
      y: { dtype: p.x, shape: ["r", p.d], access: "out" },
      ...(scaled ? { y_scale: { dtype: "f32", shape: ["r", kb], access: "out" } as const } : {}),
    },
    dims: ["T", "r"],
    body(k, { x: xs, x_scale: xScale, order, y, y_scale: yScale }) {
      k.grid({ i: ["r", 1] });
      const token = x.div(k.scalar("pair", order, ["i"]), p.per);
      copyRow(k, xs, [token], y, ["i"], p.d);
      if (xScale && yScale) copyRow(k, xScale, [token], yScale, ["i"], kb);
    },
  });
}

export const gatherRowsFamily = family({
  name: "gather_rows",
  serves: ["gather_rows"],
  match({ ins, attrs }) {
    const xs = asRows(ins[0]);
    if (!xs) return strided;
    const problem = { d: num(ins[0].shape[1]), per: num(attrs.per), x: floatOrCodes(ins[0]), xStride: xs.stride };
    const args: Arg[] =
      ins[0].scaled === undefined
        ? [{ in: 0 }, { in: 1 }, { out: 0 }]
        : [{ in: 0 }, { in: 0, part: "scales" }, { in: 1 }, { out: 0 }, { out: 0, part: "scales" }];
    return one(problem, args, [ins[0].shape[0], ins[1].shape[0]]);
  },
  kernel: gatherRows,
});
