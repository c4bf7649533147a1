// Routing and experts: plain (map_experts) and dispatched (sort, grouped, combine).
import { attr } from "../attr.ts";
import { op } from "../op.ts";
import { tensorOf, type Tensor } from "../interpret.ts";
import { tensor, times, type Type } from "../types.ts";

/** Attributes of a choice of experts. */
export const routing = {
  topk: attr.int(),
  groups: attr.int(1),
  kept: attr.int(1),
  scoring: attr.word(["sigmoid", "softmax"], "sigmoid"),
  method: attr.word(["noaux_tc", "greedy", "group_limited_greedy"], "noaux_tc"),
  normalise: attr.bool(true),
  factor: attr.f32(1),
  // Experts behind the routed ones that every token visits, with weight 1.
  shared: attr.int(0),
};

export const route = op("route", {
  summary: "Choose experts per token and weigh them (DeepSeek-V2 softmax, V3 sigmoid with correction bias and groups).",
  ins: { logits: "[T, e] a", "bias?": "[e] f32" },
  attrs: routing,
  outs: { indices: "[T, k] i32", weights: "[T, k] f32" },
  infer(types, attrs, b): Type[] {
    // In the pattern of a rule these are holes.
    const slots = typeof attrs.topk === "number" ? attrs.topk + attrs.shared : "j";
    return [tensor([b.dims.T, slots], "i32"), tensor([b.dims.T, slots], "f32")];
  },
  reference({ logits, bias }, attrs) {
    const [T, e] = logits.shape;
    const { shared } = attrs;
    const k = attrs.topk + shared;
    const indices = new Float64Array(T * k);
    const weights = new Float64Array(T * k).fill(1);
    for (let t = 0; t < T; t++) {
      const scores = score(logits.data.subarray(t * e, (t + 1) * e), attrs.scoring);
      const chosen = choose(scores, bias?.data, attrs).sort((a, b) => a - b);
      let w = chosen.map((i) => scores[i]);
      if (attrs.normalise) {
        const sum = w.reduce((a, b) => a + b, 0) + 1e-20;
        w = w.map((v) => v / sum);
      }
      indices.set([...chosen, ...Array.from({ length: shared }, (_, i) => e + i)], t * k);
      weights.set(
        w.map((v) => v * attrs.factor),
        t * k,
      );
    }
    return { indices: tensorOf([T, k], indices, "i32"), weights: tensorOf([T, k], weights) };
  },
});

interface Routing {
  topk: number;
  groups: number;
  kept: number;
  method: string;
}

function score(row: Float64Array, how: string): Float64Array {
  if (how === "sigmoid") return row.map((v) => 1 / (1 + Math.exp(-v)));
  const max = Math.max(...row);
  const e = row.map((v) => Math.exp(v - max));
  const sum = e.reduce((a, b) => a + b, 0);
  return e.map((v) => v / sum);
}

/** Indices of the n largest, first come first on ties. */
function largest(values: ArrayLike<number>, n: number): number[] {
  return Array.from(values, (_, i) => i)
    .sort((a, b) => values[b] - values[a] || a - b)
    .slice(0, n);
}

function choose(scores: Float64Array, bias: Float64Array | undefined, r: Routing): number[] {
  const c = bias ? scores.map((v, i) => v + bias[i]) : scores.slice();
  if (r.method !== "greedy" && r.groups > 1) {
    const width = c.length / r.groups;
    // V3 ranks a group by the sum of its two best, V2 by its best.
    const rank = Array.from({ length: r.groups }, (_, g) => {
      const best = Array.from(c.subarray(g * width, (g + 1) * width)).sort((a, b) => b - a);
      return r.method === "noaux_tc" ? best[0] + (best[1] ?? 0) : best[0];
    });
    const kept = new Set(largest(rank, r.kept));
    // -inf, not 0: with negative biased scores a zero would win.
    for (let i = 0; i < c.length; i++) if (!kept.has(Math.floor(i / width))) c[i] = -Infinity;
  }
  return largest(c, r.topk);
}

/** Region parameters: the expert's rows [m, ..] for `x`, then its slice of every stacked weight [e, ..]. One result [m, ..]. */
export const mapExperts = op("map_experts", {
  summary: "Sum over a token's experts of weight * region(token): the region is one expert.",
  ins: { indices: "[T, k] i32", weights: "[T, k] f32", x: "[T, d] a", "...stacked": "[e, ..w] w" },
  traits: { region: "experts", reads: { stacked: "experts" } },
  infer(types, attrs, b, region): Type | string {
    const out = region?.results[0].type;
    if (out?.kind !== "tensor") return "needs a region with one tensor result";
    return tensor([b.dims.T, ...out.dims.slice(1)], out.dtype);
  },
  reference({ indices, weights, x, stacked }, attrs, env) {
    const [T, k] = indices.shape;
    const experts = stacked[0].shape[0];
    let out: Float64Array | undefined;
    let width = 0;
    for (let e = 0; e < experts; e++) {
      const pairs: number[] = [];
      indices.data.forEach((v, i) => v === e && pairs.push(i));
      if (!pairs.length) continue;
      const rows = rowsOf(
        x,
        pairs.map((p) => Math.floor(p / k)),
      );
      const [y] = env.run(env.region!, [rows, ...stacked.map((w) => leading(w, e))]);
      width = y.data.length / pairs.length;
      out ??= new Float64Array(T * width);
      for (const [i, p] of pairs.entries())
        for (let j = 0; j < width; j++) out[Math.floor(p / k) * width + j] += weights.data[p] * y.data[i * width + j];
    }
    return tensorOf([T, width], out ?? new Float64Array(), x.dtype);
  },
});

/** What a region parameter looks like for an operand of map_experts. */
export function perExpert(t: Type, rows: boolean): Type {
  return t.kind === "tensor" ? tensor(rows ? ["m", ...t.dims.slice(1)] : t.dims.slice(1), t.dtype) : t;
}

function leading(w: Tensor, e: number): Tensor {
  const cut = (a: Float64Array): Float64Array => a.subarray((e * a.length) / w.shape[0], ((e + 1) * a.length) / w.shape[0]);
  return { shape: w.shape.slice(1), dtype: w.dtype, data: cut(w.data), ...(w.scales ? { scales: cut(w.scales) } : {}) };
}

function rowsOf(x: Tensor, rows: number[]): Tensor {
  const take = (a: Float64Array): Float64Array => {
    const per = a.length / x.shape[0];
    const out = new Float64Array(rows.length * per);
    rows.forEach((r, i) => out.set(a.subarray(r * per, (r + 1) * per), i * per));
    return out;
  };
  return {
    shape: [rows.length, ...x.shape.slice(1)],
    dtype: x.dtype,
    data: take(x.data),
    ...(x.scales ? { scales: take(x.scales) } : {}),
  };
}

export const sortExperts = op("sort_experts", {
  summary: "Pairs (token, slot) sorted by expert, stably; offsets[e] is where expert e begins, places[p] where pair p went.",
  ins: { indices: "[T, k] i32" },
  attrs: { experts: attr.int() },
  outs: { order: "[r] i32", offsets: "[f] i32", places: "[r] i32" },
  infer(types, attrs, b): Type[] | string {
    // In the pattern of a rule the number of experts is a hole, and sizes are letters.
    if (typeof attrs.experts !== "number") return [tensor(["r"], "i32"), tensor(["f"], "i32"), tensor(["r"], "i32")];
    if (typeof b.dims.k !== "number") return "k must be a number";
    const pairs = tensor([times(b.dims.T, b.dims.k)], "i32");
    return [pairs, tensor([attrs.experts + 1], "i32"), pairs];
  },
  reference({ indices }, { experts }) {
    const outside = indices.data.find((e) => !(e >= 0 && e < experts));
    if (outside !== undefined) throw new RangeError(`expert ${outside} is none of ${experts}`);
    const pairs = Array.from(indices.data.keys()).sort((a, b) => indices.data[a] - indices.data[b] || a - b);
    const offsets = Array.from({ length: experts + 1 }, (_, e) => pairs.filter((p) => indices.data[p] < e).length);
    const places = new Float64Array(pairs.length);
    for (const [i, p] of pairs.entries()) places[p] = i;
    return {
      order: tensorOf([pairs.length], pairs, "i32"),
      offsets: tensorOf([offsets.length], offsets, "i32"),
      places: tensorOf([pairs.length], places, "i32"),
    };
  },
});

export const gatherRows = op("gather_rows", {
  summary: "Rows of x in sorted pair order: row i is token order[i] / k.",
  ins: { x: "[T, d] a", order: "[r] i32" },
  attrs: { per: attr.int() },
  out: "[r, d] a",
  reference: ({ x, order }, { per }) =>
    rowsOf(
      x,
      Array.from(order.data, (p) => Math.floor(p / per)),
    ),
});

/** Row places[t k + j] of ys belongs to slot j of token t; slots are in ascending expert order. */
function combineRows(ys: Tensor, places: Tensor, weights: Tensor): Float64Array {
  const d = ys.shape[1];
  const [T, k] = weights.shape;
  const out = new Float64Array(T * d);
  for (let p = 0; p < T * k; p++)
    for (let j = 0, at = places.data[p] * d, to = Math.floor(p / k) * d; j < d; j++)
      out[to + j] += weights.data[p] * ys.data[at + j];
  return out;
}

export const combine = op("combine", {
  summary: "Back to tokens: y[t] = sum over slots of weight * its expert's row, in ascending expert order.",
  ins: { ys: "[r, d] a", places: "[r] i32", weights: "[T, k] f32" },
  out: "[T, d] a",
  flops: (z) => 2 * z.elements,
  reference: ({ ys, places, weights }) => tensorOf([weights.shape[0], ys.shape[1]], combineRows(ys, places, weights), ys.dtype),
});
