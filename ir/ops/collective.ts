// What ranks do together, and what depends on the rank. References are over all ranks: a list of operands for each, in rank order.
// Types are those of a divided module ("[T, 7168] f32 + tp" becomes "[T, 7168] f32") and of the module of one rank, where sizes are
// what it holds and nothing is marked: `parts` says how many ranks there are.
import { attr } from "../attr.ts";
import { tensorOf, type Tensor } from "../interpret.ts";
import type { MeshAxis } from "../mesh.ts";
import { op } from "../op.ts";
import {
  dividedDim,
  isPlaced,
  overOf,
  partsOf,
  printType,
  tensor,
  times,
  type Dim,
  type TensorType,
  type Type,
} from "../types.ts";

const parts = attr.int();

/** A sum in rank order, which gives all ranks the same bits. */
function summed(of: readonly Tensor[]): Tensor {
  const data = Float64Array.from(of[0].data);
  for (const t of of.slice(1)) for (let i = 0; i < data.length; i++) data[i] += t.data[i];
  return { shape: of[0].shape, dtype: of[0].dtype, data };
}

const copyOf = (t: Tensor): Tensor => ({ ...t, data: Float64Array.from(t.data) });
/** One value for all: the interpreter writes to none, and ranks compute once what they make of the same operands. */
const everyRank = (of: readonly unknown[], t: Tensor): Tensor[] => of.map(() => t);

/** The type without its mark; a divided value that is no sum is refused. */
function reduced(t: TensorType, what: string): Type | string {
  if (!isPlaced(t)) return t;
  if (t.across?.kind !== "+" || t.across.axis !== "tp") return `${what} adds up what all ranks hold, and x is ${printType(t)}`;
  return tensor(t.dims, t.dtype);
}

const at = (t: TensorType, axis: number): number => t.dims.length + axis;
const withDim = (t: TensorType, axis: number, d: Dim): Type =>
  tensor(
    t.dims.map((x, i) => (i === at(t, axis) ? d : x)),
    t.dtype,
  );

/** The whole of a divided axis, in either kind of module. */
function gathered(t: TensorType, axis: number, parts: number): { whole: Dim } | string {
  const d = t.dims[at(t, axis)];
  if (d === undefined) return `there is no axis ${axis} of ${t.dims.length}: axes count from the last, which is -1`;
  if (t.dtype === "e4m3/1x128" && axis === -1)
    return "columns of codes are joined with their blocks, which may be ragged: gather rows";
  if (t.across) return `x is ${printType(t)}: a sum is added up, not gathered`;
  if (overOf(d) === "tp") return { whole: partsOf(d).times };
  // In the pattern of a rule, where attributes are holes.
  if (typeof parts !== "number") return { whole: "?gathered" };
  if (typeof d !== "number") return { whole: times(d, parts) };
  return t.dims.some((x) => overOf(x) !== undefined) ? `axis ${axis} is not divided over all ranks` : { whole: d * parts };
}

/** Joins the ranks' parts along an axis. */
function joinParts(of: readonly Tensor[], axis: number): Tensor {
  const [{ shape, dtype }] = of;
  const i = shape.length + axis;
  const inner = shape.slice(i).reduce((a, b) => a * b, 1);
  const outer = of[0].data.length / Math.max(1, inner);
  const data = new Float64Array(of[0].data.length * of.length);
  for (let o = 0; o < outer; o++)
    for (const [r, t] of of.entries()) data.set(t.data.subarray(o * inner, (o + 1) * inner), (o * of.length + r) * inner);
  return tensorOf(
    shape.map((d, j) => (j === i ? d * of.length : d)),
    data,
    dtype,
    of[0].scales && joinedScales(of, axis),
  );
}

/** Block scales of rows, of whose rows the ranks have parts. */
function joinedScales(of: readonly Tensor[], axis: number): ArrayLike<number> {
  const blocks = (t: Tensor): number[] => [...t.shape.slice(0, -1), t.scales!.length / (t.data.length / t.shape.at(-1)! || 1)];
  return joinParts(
    of.map((t) => tensorOf(blocks(t), t.scales!)),
    axis,
  ).data;
}

/** Part `index` of `count` along an axis. */
export function partOf(t: Tensor, axis: number, index: number, count: number): Tensor {
  const i = t.shape.length + axis;
  const inner = t.shape.slice(i + 1).reduce((a, b) => a * b, 1) * (t.shape[i] / count);
  const outer = t.data.length / (inner * count);
  const data = new Float64Array(outer * inner);
  for (let o = 0; o < outer; o++)
    data.set(t.data.subarray((o * count + index) * inner, (o * count + index + 1) * inner), o * inner);
  return tensorOf(
    t.shape.map((d, j) => (j === i ? d / count : d)),
    data,
    t.dtype,
  );
}

export const allReduce = op("all_reduce", {
  summary: "The sum of what the ranks hold, on every rank; added in rank order, so that all have the same bits.",
  ins: { x: "[..b] a" },
  traits: { meets: "exchange" },
  infer: ({ x }) => reduced(x, "all_reduce"),
  ranks: (all) => everyRank(all, summed(all.map(({ x }) => x))),
});

export const allGather = op("all_gather", {
  summary: "The parts of a divided axis side by side, on every rank.",
  ins: { x: "[..b] a" },
  attrs: { parts, axis: attr.int(-1) },
  traits: { meets: "exchange" },
  infer({ x }, { axis, parts }): Type | string {
    const all = gathered(x, axis, parts);
    return typeof all === "string" ? all : withDim(x, axis, all.whole);
  },
  ranks: (all, { axis }) =>
    everyRank(
      all,
      joinParts(
        all.map(({ x }) => x),
        axis,
      ),
    ),
});

export const reduceScatter = op("reduce_scatter", {
  summary: "The sum of what the ranks hold; every rank has its part of an axis of it.",
  ins: { x: "[..b] a" },
  attrs: { parts, axis: attr.int(-1) },
  traits: { meets: "exchange" },
  infer({ x }, { axis, parts }): Type | string {
    const sum = reduced(x, "reduce_scatter");
    if (typeof sum === "string") return sum;
    const d = x.dims[at(x, axis)];
    if (typeof d !== "number" || d % parts !== 0) return `axis ${axis} is ${d}, and ${parts} ranks share it`;
    return withDim(x, axis, x.across ? dividedDim(d, "tp") : d / parts);
  },
  ranks(all, { axis }) {
    const sum = summed(all.map(({ x }) => x));
    return all.map((_, r) => partOf(sum, axis, r, all.length));
  },
});

export const allToAll = op("all_to_all", {
  summary: "Another axis is divided: every rank gives each its part of axis `to`, and joins what it is given along axis `from`.",
  ins: { x: "[..b] a" },
  attrs: { parts, from: attr.int(), to: attr.int() },
  traits: { meets: "exchange" },
  infer({ x }, { from, to, parts }): Type | string {
    const all = gathered(x, from, parts);
    if (typeof all === "string") return all;
    const d = x.dims[at(x, to)];
    if (from === to || typeof d !== "number" || d % parts !== 0) return `axis ${to} is ${d}, and ${parts} ranks share it`;
    const divided = withDim(x, from, all.whole) as TensorType;
    return withDim(divided, to, isPlaced(x) ? dividedDim(d, "tp") : d / parts);
  },
  ranks: (all, { from, to }) =>
    all.map((_, r) =>
      joinParts(
        all.map(({ x }) => partOf(x, to, r, all.length)),
        from,
      ),
    ),
});

export const once = op("once", {
  summary: "Rank 0 keeps the value, the others have zeros: what every rank has, as parts of a sum.",
  ins: { x: "[..b] a" },
  traits: { meets: "own" },
  infer({ x }): Type | string {
    if (isPlaced(x)) return `x is ${printType(x)}, and once takes what is the same on every rank`;
    return x;
  },
  ranks: (all) => all.map(({ x }, r) => (r === 0 ? copyOf(x) : { ...x, data: new Float64Array(x.data.length) })),
});

export const pickMax = op("pick_max", {
  summary: "argmax of rows whose columns are divided: ranks exchange a value and a column for each row.",
  ins: { x: "[B, V] f32" },
  attrs: { parts },
  traits: { meets: "exchange" },
  infer({ x }, { parts }): Type | string {
    const all = gathered(x, -1, parts);
    return typeof all === "string" ? all : tensor([x.dims[0]], "i32");
  },
  ranks(all) {
    const whole = joinParts(
      all.map(({ x }) => x),
      -1,
    );
    const [rows, width] = whole.shape;
    const ids = Array.from({ length: rows }, (_, r) => {
      const row = whole.data.subarray(r * width, (r + 1) * width);
      const bad = row.findIndex((v) => !Number.isFinite(v));
      return bad < 0 ? row.reduce((best, v, i) => (v > row[best] ? i : best), 0) : -1 - bad;
    });
    return everyRank(all, tensorOf([rows], ids, "i32"));
  },
});

/** The choice of experts as one rank sees it. */
function ownChoice(
  { indices, weights }: { indices: Tensor; weights: Tensor },
  rank: number,
  { experts, width }: { experts: number; width: number },
): { indices: Tensor; weights: Tensor } {
  const first = Math.floor(rank / width) * experts;
  const mine = indices.data.map((e) => (e >= first && e < first + experts ? 1 : 0));
  return {
    indices: tensorOf(
      indices.shape,
      indices.data.map((e, i) => (mine[i] ? e - first : e % experts)),
      "i32",
    ),
    weights: tensorOf(
      weights.shape,
      weights.data.map((w, i) => (mine[i] ? w : 0)),
    ),
  };
}

export const ownExperts = op("own_experts", {
  summary:
    "The choice of experts, numbered as this rank holds them: `experts` of them, the same on `width` ranks that share their " +
    "widths. An expert of another rank has weight 0 here.",
  ins: { indices: "[T, k] i32", weights: "[T, k] f32" },
  attrs: { experts: attr.int(), width: attr.int(1), over: attr.word(["tp", "ep", ""], "") },
  traits: { meets: "own" },
  outs: { indices: "[T, k] i32", weights: "[T, k] f32" },
  infer({ indices, weights }, { over }): Type[] | string {
    if (isPlaced(indices) || isPlaced(weights)) return "the choice of experts is the same on every rank";
    const across = over === "" ? undefined : ({ kind: "per", axis: over as MeshAxis } as const);
    return [indices, weights].map((t) => tensor(t.dims, t.dtype, across));
  },
  ranks: (all, attrs) => all.map((choice, r) => ownChoice(choice, r, attrs)),
});
