// Ops that move or rename elements without computing.
import { attr } from "../attr.ts";
import { op } from "../op.ts";
import { tensorOf, type Tensor } from "../interpret.ts";
import { isDim, isScaled, overOf, partsOf, product, tensor, type Dim, type Type } from "../types.ts";

export const reshape = op("reshape", {
  summary: "The same elements under other axes.",
  ins: { x: "[..b] a" },
  attrs: { dims: attr.list() },
  traits: { view: "strides", linear: true },
  infer({ x: t }, { dims }, b): Type | string {
    // "?n" is a letter in the pattern of a rule, for a product of others.
    if (dims.some((d) => String(d).startsWith("?"))) return tensor(dims, b.dtypes.a);
    const bad = dims.find((d) => !isDim(d));
    if (bad !== undefined) return `${JSON.stringify(bad)} is no size`;
    if (isScaled(t.dtype)) return "a scaled tensor cannot be reshaped: its blocks would move";
    if (!keepsOutermost(t.dims, dims)) return `[${t.dims.join(", ")}] as [${dims.join(", ")}] would move parts between ranks`;
    return product(t.dims.map(undivided)) === product(dims.map(undivided)) && product(dims.map(undivided)) !== undefined
      ? tensor(dims, b.dtypes.a)
      : `[${t.dims.join(", ")}] has not as many elements as [${dims.join(", ")}]`;
  },
  reference({ x }, { dims }) {
    const known = dims.map((d) => (typeof d === "number" ? d : 0));
    const total = x.data.length;
    const fixed = known.reduce((a, d) => a * (d || 1), 1);
    return { ...x, shape: known.map((d, i) => d || (partsOf(dims[i]).symbol !== "" ? total / fixed : 0)) };
  },
});

const undivided = (d: Dim): Dim => (overOf(d) === undefined ? d : partsOf(d).times);

/** Whether what lies before a divided axis is the same on both sides: a rank then has the same elements under either. */
function keepsOutermost(from: readonly Dim[], to: readonly Dim[]): boolean {
  const before = (dims: readonly Dim[]): Dim | undefined | null => {
    const at = dims.findIndex((d) => overOf(d) !== undefined);
    return at < 0 ? null : product(dims.slice(0, at));
  };
  const over = (dims: readonly Dim[]): string => dims.flatMap((d) => overOf(d) ?? []).join();
  return before(from) === before(to) && over(from) === over(to);
}

export const split = op("split", {
  summary: "Two parts of an axis: before and from `at`.",
  ins: { x: "[..b] a" },
  attrs: { at: attr.int(), axis: attr.int(-1) },
  outs: { left: "[..b] a", right: "[..b] a" },
  traits: { view: "strides", linear: true },
  infer({ x: t }, { at, axis }): Type[] | string {
    if (isScaled(t.dtype)) return "block scales are applied before a tensor is split: a part may straddle blocks";
    const i = t.dims.length + axis;
    const n = t.dims[i];
    if (n === undefined) return `there is no axis ${axis} of ${t.dims.length}: axes count from the last, which is -1`;
    if (typeof n !== "number" || at <= 0 || at >= n) return `cannot split axis ${axis} of ${n} at ${at}`;
    const part = (d: Dim): Type =>
      tensor(
        t.dims.map((x, j) => (j === i ? d : x)),
        t.dtype,
      );
    return [part(at), part(n - at)];
  },
  reference({ x }, { at, axis }) {
    const i = x.shape.length + axis;
    const inner = x.shape.slice(i + 1).reduce((a, b) => a * b, 1);
    const n = x.shape[i];
    const cut = (from: number, to: number): Tensor => {
      const w = (to - from) * inner;
      const outer = x.data.length / (n * inner);
      const out = new Float64Array(outer * w);
      for (let o = 0; o < outer; o++) out.set(x.data.subarray(o * n * inner + from * inner, o * n * inner + to * inner), o * w);
      return tensorOf(
        x.shape.map((d, j) => (j === i ? to - from : d)),
        out,
        x.dtype,
      );
    };
    return { left: cut(0, at), right: cut(at, n) };
  },
});

export const concat = op("concat", {
  summary: "Two tensors side by side along the last axis.",
  ins: { a: "[..b, m] a", b: "[..b, n] a" },
  traits: { linear: true },
  infer: (types, attrs, b): Type | string =>
    typeof b.dims.m === "number" && typeof b.dims.n === "number"
      ? tensor([...b.rests.b, b.dims.m + b.dims.n], b.dtypes.a)
      : "widths must be numbers",
  reference({ a, b }) {
    const [m, n] = [a.shape.at(-1)!, b.shape.at(-1)!];
    const rows = a.shape.slice(0, -1).reduce((x, y) => x * y, 1);
    const out = new Float64Array(rows * (m + n));
    for (let r = 0; r < rows; r++) {
      out.set(a.data.subarray(r * m, (r + 1) * m), r * (m + n));
      out.set(b.data.subarray(r * n, (r + 1) * n), r * (m + n) + m);
    }
    return tensorOf([...a.shape.slice(0, -1), m + n], out, a.dtype);
  },
});

/** Packs two weights of one shape; each keeps its own scale blocks. Placement turns it into bytes read where they belong. */
export const stack = op("stack", {
  summary: "Two weights as parts of one: [..p, 2, n, k].",
  ins: { a: "[..p, n, k] w", b: "[..p, n, k] w" },
  traits: { view: "load" },
  out: "[..p, 2, n, k] w",
  reference({ a, b }) {
    const per = a.shape.at(-1)! * a.shape.at(-2)!;
    const weave = (x: Float64Array, y: Float64Array, size: number): Float64Array => {
      const out = new Float64Array(2 * x.length);
      for (let i = 0; i * size < x.length; i++) {
        out.set(x.subarray(i * size, (i + 1) * size), 2 * i * size);
        out.set(y.subarray(i * size, (i + 1) * size), (2 * i + 1) * size);
      }
      return out;
    };
    const shape = [...a.shape.slice(0, -2), 2, ...a.shape.slice(-2)];
    const blocks = a.scales ? a.scales.length / (a.data.length / per) : 0;
    return tensorOf(shape, weave(a.data, b.data, per), a.dtype, a.scales ? weave(a.scales, b.scales!, blocks) : undefined);
  },
});

/** Rows of two weights, one below the other: their products share one pass over x. Placement reads both where they belong. */
export const joinRows = op("join_rows", {
  summary: "Rows of one weight, then those of another: [n + m, k].",
  ins: { a: "[n, k] w", b: "[m, k] w" },
  // A scale block covers 128 rows of one matrix: the second has to begin where a block does.
  traits: { view: "load" },
  check: (b) =>
    isScaled(b.dtypes.w) && typeof b.dims.n === "number" && b.dims.n % 128 !== 0
      ? `a block of scales would cover rows of both: ${b.dims.n} is no multiple of 128`
      : null,
  infer: (types, attrs, b): Type | string =>
    typeof b.dims.n === "number" && typeof b.dims.m === "number"
      ? tensor([b.dims.n + b.dims.m, b.dims.k], b.dtypes.w)
      : "heights must be numbers",
  reference: ({ a, b }) => joined(a, b, [a.shape[0] + b.shape[0], a.shape[1]]),
});

/** Zeros after the last row (axis -2) or column (axis -1) of a weight. Placement leaves them where no tensor is read to. */
export const pad = op("pad", {
  summary: "A weight with zeros after its last rows (axis -2) or columns (axis -1).",
  ins: { x: "[..p, n, k] w" },
  attrs: { axis: attr.int(-1), to: attr.int() },
  infer(types, { axis, to }, b): Type | string {
    const size = axis === -1 ? b.dims.k : b.dims.n;
    if (axis !== -1 && axis !== -2) return `axis is ${axis}; it is -1 or -2`;
    if (isScaled(b.dtypes.w)) return "a scaled weight has no zeros to add";
    if (typeof size !== "number" || size > to) return `${size} does not fit ${to}`;
    return tensor(axis === -1 ? [...b.rests.p, b.dims.n, to] : [...b.rests.p, to, b.dims.k], b.dtypes.w);
  },
  reference({ x }, { axis, to }) {
    const [n, k] = x.shape.slice(-2);
    const [rows, width] = axis === -1 ? [n, to] : [to, k];
    const count = x.data.length / (n * k);
    const out = new Float64Array(count * rows * width);
    for (let p = 0; p < count; p++)
      for (let r = 0; r < n; r++) out.set(x.data.subarray((p * n + r) * k, (p * n + r + 1) * k), (p * rows + r) * width);
    return tensorOf([...x.shape.slice(0, -2), rows, width], out, x.dtype);
  },
});

/** One expert behind a stack of experts; each matrix keeps its own scale blocks. Placement reads it where it belongs. */
export const joinExperts = op("join_experts", {
  summary: "A stack of experts and one more, [e + 1, n, k]; or several more, whose rows or columns make up b: [e + parts, n, k].",
  ins: { a: "[e, n, k] w", b: "[p, q] w" },
  attrs: { parts: attr.int(1), of: attr.word(["rows", "columns"], "rows") },
  traits: { view: "load" },
  infer(types, { parts, of }, b): Type | string {
    const { e, n, k, p, q } = b.dims;
    if (typeof e !== "number") return "the number of experts must be a number";
    const some = (d: Dim): Dim => (parts === 1 ? d : Number(d) * parts);
    const want = of === "rows" ? [some(n), k] : [n, some(k)];
    if (String([p, q]) !== String(want)) return `b is [${p}, ${q}], and ${parts} of [${n}, ${k}] are [${want.join(", ")}]`;
    return tensor([e + parts, n, k], b.dtypes.w);
  },
  reference({ a, b }, { parts, of }) {
    const [e, n, k] = a.shape;
    const cut = of === "rows" ? b : { ...b, data: columnsOf(b.data, n, k, parts) };
    return joined(a, cut, [e + parts, n, k]);
  },
});

/** Columns of a matrix [n, k parts] in equal parts, one after another. */
const columnsOf = (m: Float64Array, n: number, k: number, parts: number): Float64Array =>
  m.map((_, i) => m[(Math.floor(i / k) % n) * k * parts + Math.floor(i / (n * k)) * k + (i % k)]);

function joined(a: Tensor, b: Tensor, shape: number[]): Tensor {
  const both = (x: Float64Array, y: Float64Array): Float64Array => {
    const out = new Float64Array(x.length + y.length);
    out.set(x);
    out.set(y, x.length);
    return out;
  };
  return tensorOf(shape, both(a.data, b.data), a.dtype, a.scales ? both(a.scales, b.scales!) : undefined);
}

export const lastRows = op("last_rows", {
  summary: "The last row of every sequence.",
  ins: { x: "[T, d] a", batch: "batch" },
  traits: { reads: { x: "sequences" }, linear: true },
  infer: (types, attrs, b): Type => tensor(["B", b.dims.d], b.dtypes.a),
  reference({ x }, attrs, env) {
    const d = x.shape[1];
    const ends = env.batch.starts.slice(1);
    const out = new Float64Array(ends.length * d);
    ends.forEach((e, i) => out.set(x.data.subarray((e - 1) * d, e * d), i * d));
    return tensorOf([ends.length, d], out, x.dtype);
  },
});
