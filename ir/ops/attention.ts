// Positions, the latent cache, and attention: plain, per sequence, and over all keys at once.
import { attr } from "../attr.ts";
import { op } from "../op.ts";
import { tensorOf, type Tensor } from "../interpret.ts";
import type { Bindings } from "../signature.ts";
import { partsOf, tensor, type Type } from "../types.ts";

/** table rows are [cos_0 .. cos_{d/2-1} | sin_0 ..] per position. Pairs are lanes (2j, 2j+1) when interleaved, else (j, j + d/2). */
function ropeRows(x: Tensor, table: Tensor, positions: readonly number[], interleaved: boolean): Tensor {
  const d = x.shape.at(-1)!;
  const half = d / 2;
  const perToken = x.data.length / positions.length;
  const out = new Float64Array(x.data.length);
  for (let i = 0; i < x.data.length; i += d) {
    const row = positions[Math.floor(i / perToken)] * d;
    for (let j = 0; j < half; j++) {
      const [a, b] = interleaved ? [x.data[i + 2 * j], x.data[i + 2 * j + 1]] : [x.data[i + j], x.data[i + half + j]];
      const [cos, sin] = [table.data[row + j], table.data[row + half + j]];
      out[i + j] = a * cos - b * sin;
      out[i + half + j] = b * cos + a * sin;
    }
  }
  return tensorOf(x.shape, out, x.dtype);
}

/** Lanes are rotated two by two. */
const pairs = (b: Bindings): string | null =>
  typeof b.dims.d === "number" && b.dims.d % 2 === 1 ? `lanes are rotated in pairs, and there are ${b.dims.d}` : null;

export const rope = op("rope", {
  summary: "Rotate pairs of lanes by the row's position; the result is in half-split order, for queries and keys alike.",
  ins: { x: "[T, ..h, d] a", table: "[p, d] f32", batch: "batch" },
  attrs: { interleaved: attr.bool(true) },
  traits: { reads: { table: "tokens" }, whole: "d" },
  check: pairs,
  out: "[T, ..h, d] a",
  flops: (z) => 3 * z.elements,
  reference: ({ x, table }, { interleaved }, env) => ropeRows(x, table, env.positions, interleaved),
});

function append(cache: Tensor, c: Tensor, kp: Tensor, env: { batch: { starts: number[]; lengths: number[] } }): Tensor {
  const [r, d] = [c.shape[1], kp.shape[1]];
  const rows = env.batch.lengths.map((length, b) => {
    const [from, to] = [env.batch.starts[b], env.batch.starts[b + 1]];
    const out = new Float64Array(length * (r + d));
    out.set((cache.rows?.[b] ?? new Float64Array()).subarray(0, (length - (to - from)) * (r + d)));
    for (let t = from; t < to; t++) {
      const at = (length - (to - t)) * (r + d);
      out.set(c.data.subarray(t * r, (t + 1) * r), at);
      out.set(kp.data.subarray(t * d, (t + 1) * d), at + r);
    }
    return out;
  });
  return { ...cache, rows };
}

export const cacheAppend = op("cache_append", {
  summary: "Write the new rows [latent | rotated key] at their positions; gives the cache after.",
  ins: { cache: "cache", c: "[T, r] a", kp: "[T, d] a", batch: "batch" },
  traits: { appends: true },
  infer({ cache: c }, attrs, b): Type | string {
    // In the pattern of a rule widths are letters, and there is nothing to add up.
    if (typeof b.dims.r !== "number" || typeof b.dims.d !== "number") return c;
    const width = b.dims.r + b.dims.d;
    return c.width === width ? c : `cache rows have ${c.width} lanes, but the new ones ${width}`;
  },
  reference: ({ cache, c, kp }, attrs, env) => append(cache, c, kp, env),
});

/** Region twin of map_experts: operands [T, ..] appear as [t, ..], a cache as its rows [s, r + d]. */
export const mapSequences = op("map_sequences", {
  summary: "Evaluate the region once per sequence; results are packed again.",
  ins: { batch: "batch", "...xs": "[..b] a" },
  traits: { region: "sequences" },
  infer(types, attrs, b, region): Type[] | string {
    if (!region) return "needs a region";
    return region.results.map((v) => {
      const t = v.type;
      return t.kind === "tensor" ? tensor([partsOf(t.dims[0]).symbol === "t" ? "T" : t.dims[0], ...t.dims.slice(1)], t.dtype) : t;
    });
  },
  reference({ xs }, attrs, env) {
    const { starts, lengths } = env.batch;
    const parts = lengths.map((s, b) => {
      const [from, to] = [starts[b], starts[b + 1]];
      const params = xs.map((x) => {
        if (x.rows) return tensorOf([s, s === 0 ? 0 : x.rows[b].length / s], x.rows[b], x.dtype);
        const per = x.data.length / starts.at(-1)!;
        return { ...x, shape: [to - from, ...x.shape.slice(1)], data: x.data.slice(from * per, to * per) };
      });
      return env.run(env.region!, params)[0];
    });
    const data = new Float64Array(parts.reduce((n, p) => n + p.data.length, 0));
    let at = 0;
    for (const p of parts) {
      data.set(p.data, at);
      at += p.data.length;
    }
    return tensorOf([starts.at(-1)!, ...parts[0].shape.slice(1)], data, parts[0].dtype);
  },
});

/** What a region parameter looks like for an operand of map_sequences. */
export function perSequence(t: Type): Type {
  if (t.kind === "cache") return tensor(["s", t.width], t.dtype);
  if (t.kind === "tensor") return tensor(["t", ...t.dims.slice(1)], t.dtype);
  return t;
}

function softmaxRow(row: Float64Array): void {
  let max = -Infinity;
  for (const v of row) max = Math.max(max, v);
  let sum = 0;
  for (let i = 0; i < row.length; i++) sum += row[i] = Math.exp(row[i] - max);
  for (let i = 0; i < row.length; i++) row[i] /= sum;
}

/**
 * Pairs of a query and a key that the causal mask leaves, of t rows of a sequence with s cached ones, these included: row i sees
 * s - t + i + 1. One row sees all. With the size `everyPair` the mask is not looked at.
 */
function pairsOf({ t = 1, s = 1, everyPair = 0 }: Readonly<Record<string, number>>): number {
  const rows = Math.min(t, s);
  return t * s - (everyPair ? 0 : (rows * (rows - 1)) / 2);
}

export const softmaxCausal = op("softmax_causal", {
  summary: "Softmax over the cached rows a query may see: row i of t sees rows 0 .. s - t + i.",
  ins: { x: "[t, h, s] a" },
  traits: { whole: "s" },
  out: "[t, h, s] a",
  flops: (z) => 5 * z.of.h * pairsOf(z.of),
  reference({ x }) {
    const [t, h, s] = x.shape;
    const out = new Float64Array(x.data.length);
    for (let i = 0; i < t; i++)
      for (let j = 0; j < h; j++) {
        const at = (i * h + j) * s;
        const row = x.data.slice(at, at + s - t + i + 1);
        softmaxRow(row);
        out.set(row, at);
      }
    return tensorOf(x.shape, out, x.dtype);
  },
});

interface Keys {
  t: number;
  h: number;
  s: number;
  score(i: number, j: number, c: number): number;
  value(c: number, j: number, l: number): number;
  v: number;
}

function attendRows(k: Keys, scale: number): Float64Array {
  const out = new Float64Array(k.t * k.h * k.v);
  for (let i = 0; i < k.t; i++)
    for (let j = 0; j < k.h; j++) {
      const row = Float64Array.from({ length: k.s - k.t + i + 1 }, (_, c) => k.score(i, j, c) * scale);
      softmaxRow(row);
      const at = (i * k.h + j) * k.v;
      for (const [c, p] of row.entries()) for (let l = 0; l < k.v; l++) out[at + l] += p * k.value(c, j, l);
    }
  return out;
}

const dot = (a: Float64Array, at: number, b: Float64Array, bt: number, n: number): number => {
  let sum = 0;
  for (let i = 0; i < n; i++) sum += a[at + i] * b[bt + i];
  return sum;
};

/** Keys per head [s, h, n] or shared latents [s, n]; values likewise [s, h, v] or [s, v]. */
export const attend = op("attend", {
  summary: "Causal attention of one sequence: softmax((q·k + qp·kp) * scale) v, scores never stored.",
  ins: { q: "[t, h, n] a", qp: "[t, h, d] a", k: "[s, ..g, n] a", kp: "[s, d] a", v: "[s, ..g, v] a" },
  attrs: { scale: attr.f32() },
  out: "[t, h, v] a",
  flops: (z) => 2 * pairsOf(z.of) * z.of.h * (z.of.n + z.of.d + z.of.v),
  reference({ q, qp, k, kp, v }, { scale }) {
    const [t, h, n] = q.shape;
    const d = qp.shape[2];
    const width = v.shape.at(-1)!;
    const [kh, vh] = [k.shape.length === 3, v.shape.length === 3];
    const s = kp.shape[0];
    const out = attendRows(
      {
        t,
        h,
        s,
        v: width,
        score: (i, j, c) =>
          dot(q.data, (i * h + j) * n, k.data, (kh ? c * h + j : c) * n, n) + dot(qp.data, (i * h + j) * d, kp.data, c * d, d),
        value: (c, j, l) => v.data[(vh ? c * h + j : c) * width + l],
      },
      scale,
    );
    return tensorOf([t, h, width], out, q.dtype);
  },
});

export const mlaAttend = op("mla_attend", {
  summary: "Absorbed attention of every sequence over its cached latents; keys and values are the same rows.",
  ins: { ql: "[T, h, r] a", qp: "[T, h, d] a", cache: "cache", batch: "batch" },
  attrs: { scale: attr.f32() },
  out: "[T, h, r] a",
  // Sequences have t rows each, one in a step.
  flops: (z) => (2 * z.of.T * pairsOf(z.of) * z.of.h * (2 * z.of.r + z.of.d)) / (z.of.t ?? 1),
  reference({ ql, qp, cache }, { scale }, env) {
    const [T, h, r] = ql.shape;
    const d = qp.shape[2];
    const out = new Float64Array(T * h * r);
    for (const [b, s] of env.batch.lengths.entries()) {
      const [from, to] = [env.batch.starts[b], env.batch.starts[b + 1]];
      const rows = cache.rows![b];
      const w = r + d;
      const part = attendRows(
        {
          t: to - from,
          h,
          s,
          v: r,
          score: (i, j, c) =>
            dot(ql.data, ((from + i) * h + j) * r, rows, c * w, r) + dot(qp.data, ((from + i) * h + j) * d, rows, c * w + r, d),
          value: (c, j, l) => rows[c * w + l],
        },
        scale,
      );
      out.set(part, from * h * r);
    }
    return tensorOf([T, h, r], out, ql.dtype);
  },
});
