// Strided copies: one view into another of the same shape, and two side by side.
import { kernel, x } from "../../ir/kernel/build.ts";
import type { Site, View } from "../../ir/kernel/catalogue.ts";
import type { Kernel } from "../../ir/kernel/stmt.ts";
import { mul, type Size } from "../../ir/size.ts";
import { family, one, refuse, type Match, type Refusal } from "../family.ts";
import { act, num, runTimeSizes } from "../layouts.ts";
import { when } from "../text.ts";

const WIDE = 512;

export interface CopyProblem {
  /** Three axes; a string is a run-time dim. */
  shape: readonly (number | string)[];
  from: readonly (number | string)[];
  to: readonly (number | string)[];
  dims: readonly string[];
  /** Elements before the first of the result: where the second half of a concat begins. */
  offset?: number;
  act?: "bf16";
}

/** A strided copy of up to three axes. */
function copy(p: CopyProblem): Kernel {
  return kernel({
    name: `copy_${p.shape.join("x")}${when(p.offset, `_at_${p.offset}`)}`,
    summary: "The same elements under other strides.",
    params: {
      x: { dtype: p.act ?? "f32", shape: p.shape, strides: p.from },
      y: { dtype: p.act ?? "f32", shape: p.shape, strides: p.to, access: "out" },
    },
    dims: p.dims,
    body(k, { x: xs, y }) {
      k.grid({ a: [p.shape[0], 1], b: [p.shape[1], 1], c: [p.shape[2], WIDE] });
      const v = k.load("v", 1, WIDE, xs, { at: ["a", "b", "c"], cols: 2, colLimit: p.shape[2] });
      const shift = p.offset ?? 0;
      k.store(v, y, { at: ["a", "b", x.add("c", shift)], cols: 2, colLimit: x.add(p.shape[2], shift) });
    },
  });
}

/** The launch that copies one view into another of the same shape. */
export function matchCopy(from: View, to: View): Match<CopyProblem>[] | Refusal {
  if (from.dtype !== to.dtype || (from.dtype !== "f32" && from.dtype !== "bf16"))
    return refuse(`a copy of ${from.dtype} into ${to.dtype}`);
  // Fold leading axes that lie alike in both, until three are left.
  const fold = (shape: Size[], a: Size[], b: Size[]): [Size[], Size[], Size[]] => {
    if (shape.length <= 3) {
      const pad = 3 - shape.length;
      return [
        [...Array<Size>(pad).fill(1), ...shape],
        [...Array<Size>(pad).fill(0), ...a],
        [...Array<Size>(pad).fill(0), ...b],
      ];
    }
    const merges = (s: Size[]): boolean => JSON.stringify(s[0]) === JSON.stringify(mul(s[1], shape[1]));
    return merges(a) && merges(b) ? fold([mul(shape[0], shape[1]), ...shape.slice(2)], a.slice(1), b.slice(1)) : [shape, a, b];
  };
  const [shape, a, b] = fold(from.shape, from.strides, to.strides);
  if (shape.length > 3) return refuse("a copy has more than three separate axes");
  const { dims, values, dim } = runTimeSizes();
  const named = (v: Size): number | string => dim(`n${dims.length}`, v);
  const problem = { shape: shape.map(named), from: a.map(named), to: b.map(named), ...act(from), dims };
  return one(problem, [{ in: 0 }, { out: 0 }], values);
}

/** Each half goes beside the other: the same rows of the result, from its own column on. */
function matchConcat({ ins, outs }: Site): Match<CopyProblem>[] | Refusal {
  const width = num(ins[0].shape.at(-1));
  const launches: Match<CopyProblem>[] = [];
  for (const [i, v] of ins.entries()) {
    const copies = matchCopy(v, { ...outs[0], shape: v.shape });
    if ("reason" in copies) return copies;
    const [{ problem, dims }] = copies;
    launches.push({ problem: { ...problem, offset: i * width }, args: [{ in: i }, { out: 0 }], dims });
  }
  return launches;
}

export const copyFamily = family({ name: "copy", serves: ["concat"], match: matchConcat, kernel: copy });
