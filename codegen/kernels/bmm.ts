// The batched product of strided operands: what an einsum of two operands is.
import { kernel } from "../../ir/kernel/build.ts";
import type { View } from "../../ir/kernel/catalogue.ts";
import type { Kernel } from "../../ir/kernel/stmt.ts";
import { parseSpec } from "../../ir/ops/math.ts";
import { mul, type Size } from "../../ir/size.ts";
import { family, one, refuse, type Match, type Refusal } from "../family.ts";
import { float, runTimeSizes } from "../layouts.ts";
import { contract, tileOf, type Tiled } from "./dense.ts";

/** Extents (a number, or the name of a run-time dim) and strides in a, b and y, 0 where an operand lacks the axis. */
export interface BmmProblem extends Tiled {
  batch: number | string;
  m: number | string;
  n: number | string;
  k: number | string;
  /** Strides of [batch, m, k]; a string is a run-time dim. */
  a: readonly (number | string)[];
  /** Strides of [batch, n, k]. */
  b: readonly (number | string)[];
  /** Strides of [batch, m, n]. */
  y: readonly (number | string)[];
  aType: "f32" | "bf16";
  bType: "f32" | "bf16";
  yType?: "bf16";
  /** Names of run-time strides, in the order they are passed. */
  dims: readonly string[];
}

/** y[b, i, j] = sum over p of a[b, i, p] b[b, j, p], any strides. */
function bmm(p: BmmProblem): Kernel {
  const [rows, columns] = tileOf(p);
  const form = p.b[2] === 1 || p.b[1] !== 1 ? "nt" : "nn";
  return kernel({
    name: `bmm_${form}_${p.batch}x${p.m}x${p.n}x${p.k}`,
    summary: "Batched product of strided operands: what an einsum of two operands is.",
    params: {
      a: { dtype: p.aType, shape: [p.batch, p.m, p.k], strides: p.a },
      b: { dtype: p.bType, shape: [p.batch, p.n, p.k], strides: p.b },
      y: { dtype: p.yType ?? "f32", shape: [p.batch, p.m, p.n], strides: p.y, access: "out" },
    },
    dims: p.dims,
    body(k, { a, b, y }) {
      k.grid({ z: [p.batch, 1], i: [p.m, rows], j: [p.n, columns] });
      const acc = contract(
        k,
        rows,
        columns,
        p.k,
        { buffer: a, at: (c) => ({ at: ["z", "i", c], rows: 1, cols: 2, rowLimit: p.m, colLimit: p.k }) },
        form === "nt"
          ? { buffer: b, at: (c) => ({ at: ["z", "j", c], rows: 1, cols: 2, rowLimit: p.n, colLimit: p.k }) }
          : { buffer: b, at: (c) => ({ at: ["z", "j", c], rows: 2, cols: 1, rowLimit: p.k, colLimit: p.n }) },
        form,
        () => [],
      );
      k.store(acc, y, { at: ["z", "i", "j"], rows: 1, cols: 2, rowLimit: p.m, colLimit: p.n });
    },
  });
}

/** An einsum of two operands as a batched product: one letter contracted, the last of each operand's own as rows or columns. */
export function matchBmm(spec: string, a: View, b: View, y: View): Match<BmmProblem>[] | Refusal {
  const s = parseSpec(spec)!;
  const stride = (word: string, v: View, c: string): Size => (word.includes(c) ? v.strides[word.indexOf(c)] : 0);
  const extent = (c: string): Size => (s.a.includes(c) ? a.shape[s.a.indexOf(c)] : b.shape[s.b.indexOf(c)]);
  const summed = [...new Set(s.a + s.b)].filter((c) => !s.out.includes(c));
  if (summed.length !== 1) return refuse(`einsum ${spec} contracts ${summed.length} axes`);
  const k = summed[0];
  const onlyA = [...s.out].filter((c) => s.a.includes(c) && !s.b.includes(c));
  const onlyB = [...s.out].filter((c) => s.b.includes(c) && !s.a.includes(c));
  const both = [...s.out].filter((c) => s.a.includes(c) && s.b.includes(c));
  if (!onlyA.length || !onlyB.length) return refuse(`einsum ${spec} is no product of two matrices`);
  // Rows are the axis with a varying extent where there is one; what is left over is the batch.
  const m = onlyA.find((c) => typeof extent(c) !== "number") ?? onlyA.at(-1)!;
  const n = onlyB.find((c) => typeof extent(c) !== "number") ?? onlyB.at(-1)!;
  const batch = [...both, ...onlyA.filter((c) => c !== m), ...onlyB.filter((c) => c !== n)];
  if (batch.length > 1) return refuse(`einsum ${spec} has ${batch.length} batch axes`);
  const z = batch[0];
  const { dims, values, dim } = runTimeSizes();
  const strides = (name: string, word: string, v: View, axes: (string | undefined)[]): (number | string)[] =>
    axes.map((c, i) => (c === undefined ? 0 : dim(`${name}${i}`, stride(word, v, c))));
  const problem: BmmProblem = {
    batch: z === undefined ? 1 : dim("batch", extent(z)),
    m: dim("m", extent(m)),
    n: dim("n", extent(n)),
    k: dim("k", extent(k)),
    a: strides("a", s.a, a, [z, m, k]),
    b: strides("b", s.b, b, [z, n, k]),
    y: strides("y", s.out, y, [z, m, n]),
    aType: float(a),
    bType: float(b),
    ...(y.dtype === "bf16" ? { yType: "bf16" } : {}),
    dims,
  };
  return one(problem, [{ in: 0 }, { in: 1 }, { out: 0 }], values);
}

export const bmmFamily = family({
  name: "bmm",
  serves: ["einsum"],
  match: ({ ins, outs, attrs }) => matchBmm(String(attrs.spec), ins[0], ins[1], outs[0]),
  kernel: bmm,
});

/** What an einsum of these operands would write: contiguous, in the dtype of a. */
export function headsOf(spec: string, a: View, b: View): View {
  const s = parseSpec(spec)!;
  const shape = [...s.out].map((c) => (s.a.includes(c) ? a.shape[s.a.indexOf(c)] : b.shape[s.b.indexOf(c)]));
  return { dtype: a.dtype, shape, strides: shape.map((_, i) => mul(...shape.slice(i + 1))) };
}
