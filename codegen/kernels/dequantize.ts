// Codes times their scales, where a value is wanted as it is: by rows, as activations are quantised, and by blocks, as weights
// are.
import { kernel, x, type Body } from "../../ir/kernel/build.ts";
import type { Arg } from "../../ir/kernel/catalogue.ts";
import type { Kernel, Tile } from "../../ir/kernel/stmt.ts";
import { mul } from "../../ir/size.ts";
import { family, one, refuse } from "../family.ts";
import { num, result } from "../layouts.ts";
import { when } from "../text.ts";

const OPERANDS: Arg[] = [{ in: 0 }, { in: 0, part: "scales" }, { out: 0 }];

/** Codes times scales: rows [m, k] with a scale per 128 columns. */
function dequantizeRows(p: { k: number; y?: "bf16" }): Kernel {
  return kernel({
    name: `dequantize_${p.k}`,
    summary: "Codes times the scale of their 128 columns.",
    params: {
      x: { dtype: "e4m3", shape: ["m", p.k] },
      x_scale: { dtype: "f32", shape: ["m", Math.ceil(p.k / 128)] },
      y: { dtype: p.y ?? "f32", shape: ["m", p.k], access: "out" },
    },
    dims: ["m"],
    body(k, { x: xs, x_scale: s, y }) {
      k.grid({ i: ["m", 1], c: [p.k, 128] });
      k.store(
        times(
          k,
          k.load("code", 1, 128, xs, { at: ["i", "c"], cols: 1, colLimit: p.k }),
          k.load("s", 1, 1, s, { at: ["i", x.div("c", 128)] }),
        ),
        y,
        { at: ["i", "c"], cols: 1, colLimit: p.k },
      );
    },
  });
}

export const dequantizeRowsFamily = family({
  name: "dequantize_rows",
  serves: ["dequantize"],
  match({ ins: [x], outs }) {
    if (x.scaled !== "1x128") return refuse("its scales are those of blocks of 128 x 128");
    return one({ k: num(x.shape.at(-1)), ...result(outs[0]) }, OPERANDS, [mul(...x.shape.slice(0, -1))]);
  },
  kernel: dequantizeRows,
});

/** Codes times scales: matrices [batch, n, k] with a scale per 128x128 block. */
function dequantizeBlocks(p: { batch: number; n: number; k: number; y?: "bf16" }): Kernel {
  return kernel({
    name: `dequantize_${when(p.batch > 1, `${p.batch}x`)}${p.n}x${p.k}`,
    summary: "Codes times the scale of their block of 128x128.",
    params: {
      x: { dtype: "e4m3", shape: [p.batch, p.n, p.k] },
      x_scale: { dtype: "f32", shape: [p.batch, Math.ceil(p.n / 128), Math.ceil(p.k / 128)] },
      y: { dtype: p.y ?? "f32", shape: [p.batch, p.n, p.k], access: "out" },
    },
    dims: [],
    body(k, { x: xs, x_scale: s, y }) {
      k.grid({ z: [p.batch, 1], j: [p.n, 1], c: [p.k, 128] });
      const where = { at: ["z", "j", "c"], cols: 2, colLimit: p.k } as const;
      k.store(
        times(k, k.load("code", 1, 128, xs, where), k.load("s", 1, 1, s, { at: ["z", x.div("j", 128), x.div("c", 128)] })),
        y,
        where,
      );
    },
  });
}

export const dequantizeBlocksFamily = family({
  name: "dequantize_blocks",
  serves: ["dequantize"],
  match({ ins: [x], outs }) {
    if (x.scaled !== "128x128") return refuse("its scales are those of 128 columns of a row");
    return one(
      { batch: num(mul(...x.shape.slice(0, -2))), n: num(x.shape.at(-2)), k: num(x.shape.at(-1)), ...result(outs[0]) },
      OPERANDS,
      [],
    );
  },
  kernel: dequantizeBlocks,
});

function times(k: Body, a: Tile, b: Tile): Tile {
  return k.map("v", { op: "mul", a: { t: a }, b: { t: b } });
}
