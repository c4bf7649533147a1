// Products and copies of strided operands: an einsum as a batched product, and any copy of up to three separate axes.
import { parseSpec } from "../ir/ops/math.ts";
import type { Chosen, Problem, View } from "../ir/kernel/catalogue.ts";
import { mul, type Size } from "../ir/size.ts";
import { act, one, refuse } from "./views.ts";

/** An einsum of two operands as a batched product: one letter contracted, the last of each operand's own as rows or columns. */
export function bmm(spec: string, a: View, b: View, y: View): Chosen[] | { reason: string } {
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
  const names = new Map<string, string>();
  const values: Size[] = [];
  const dim = (name: string, v: Size): number | string => {
    if (typeof v === "number") return v;
    const key = JSON.stringify(v);
    if (!names.has(key)) {
      names.set(key, name);
      values.push(v);
    }
    return names.get(key)!;
  };
  const problem: Record<string, number | string | readonly (number | string)[]> = {
    batch: z === undefined ? 1 : dim("batch", extent(z)), m: dim("m", extent(m)), n: dim("n", extent(n)), k: dim("k", extent(k)),
  };
  const strides = (name: string, word: string, v: View, axes: (string | undefined)[]): (number | string)[] => axes.map((c, i) => (c === undefined ? 0 : dim(`${name}${i}`, stride(word, v, c))));
  problem.a = strides("a", s.a, a, [z, m, k]);
  problem.b = strides("b", s.b, b, [z, n, k]);
  problem.y = strides("y", s.out, y, [z, m, n]);
  problem.aType = a.dtype;
  problem.bType = b.dtype;
  if (y.dtype === "bf16") problem.yType = "bf16";
  problem.dims = [...names.values()];
  return one("bmm", problem as Problem, [{ in: 0 }, { in: 1 }, { out: 0 }], values);
}

/** What an einsum of these operands would write: contiguous, in the dtype of a. */
export function headsOf(spec: string, a: View, b: View): View {
  const s = parseSpec(spec)!;
  const shape = [...s.out].map((c) => (s.a.includes(c) ? a.shape[s.a.indexOf(c)] : b.shape[s.b.indexOf(c)]));
  return { dtype: a.dtype, shape, strides: shape.map((_, i) => mul(...shape.slice(i + 1))) };
}

export function copyOf(from: View, to: View): Chosen[] | { reason: string } {
  if (from.dtype !== to.dtype || (from.dtype !== "f32" && from.dtype !== "bf16")) return refuse(`a copy of ${from.dtype} into ${to.dtype}`);
  // Fold leading axes that lie alike in both, until three are left.
  const fold = (shape: Size[], a: Size[], b: Size[]): [Size[], Size[], Size[]] => {
    if (shape.length <= 3) {
      const pad = 3 - shape.length;
      return [[...Array<Size>(pad).fill(1), ...shape], [...Array<Size>(pad).fill(0), ...a], [...Array<Size>(pad).fill(0), ...b]];
    }
    const merges = (s: Size[]): boolean => JSON.stringify(s[0]) === JSON.stringify(mul(s[1], shape[1]));
    return merges(a) && merges(b) ? fold([mul(shape[0], shape[1]), ...shape.slice(2)], a.slice(1), b.slice(1)) : [shape, a, b];
  };
  const [shape, a, b] = fold(from.shape, from.strides, to.strides);
  if (shape.length > 3) return refuse("a copy has more than three separate axes");
  const names = new Map<string, string>();
  const values: Size[] = [];
  const dim = (v: Size): number | string => {
    if (typeof v === "number") return v;
    const key = JSON.stringify(v);
    if (!names.has(key)) {
      names.set(key, `n${names.size}`);
      values.push(v);
    }
    return names.get(key)!;
  };
  const problem = { shape: shape.map(dim), from: a.map(dim), to: b.map(dim), ...act(from) };
  return one("copy", { ...problem, dims: [...names.values()] } as unknown as Problem, [{ in: 0 }, { out: 0 }], values);
}
