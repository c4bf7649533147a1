// Attention: softmax alone, one sequence over expanded heads or latents, and all sequences over the paged cache.
// Scores never leave registers; the softmax is carried across blocks of keys (running maximum and sum).
import { f, kernel, x, type Body } from "../../ir/kernel/build.ts";
import type { Arg, View } from "../../ir/kernel/catalogue.ts";
import type { Index, Kernel, Tile } from "../../ir/kernel/stmt.ts";
import { family, one, strided } from "../family.ts";
import { act, isPacked, num } from "../layouts.ts";

/** A score that no softmax can see; -inf would make -inf - -inf where a whole block is masked. */
const MASKED = -3e38;

/** softmax over columns 0 .. s - t + i of row [i, h]; zero beyond. */
function softmaxCausal(p: { heads: number; act?: "bf16" }): Kernel {
  return kernel({
    name: `softmax_causal_${p.heads}`,
    summary: "Softmax over the cached rows a query may see.",
    params: {
      x: { dtype: p.act ?? "f32", shape: ["t", p.heads, "s"] },
      y: { dtype: p.act ?? "f32", shape: ["t", p.heads, "s"], access: "out" },
    },
    dims: ["t", "s"],
    body(k, { x: xs, y }) {
      k.grid({ i: ["t", 1], h: [p.heads, 1] });
      const seen = x.add(x.sub("s", "t"), x.add("i", 1));
      const load = (): Tile => k.load("v", 1, 128, xs, { at: ["i", "h", "c"], cols: 2, colLimit: seen }, MASKED);
      const max = k.fill("max", 1, 1, MASKED);
      k.loop("c", 0, seen, 128, () => k.set(max, f.max(max, k.reduce("m", load(), "max", "cols"))));
      const sum = k.fill("sum", 1, 1, 0);
      k.loop("c", 0, seen, 128, () =>
        k.set(sum, f.add(sum, k.reduce("e", k.map("p", f.exp(f.sub(load(), max))), "sum", "cols"))),
      );
      k.loop("c", 0, "s", 128, () =>
        k.store(k.map("p", f.div(f.exp(f.sub(load(), max)), sum)), y, { at: ["i", "h", "c"], cols: 2, colLimit: "s" }),
      );
    },
  });
}

export const softmaxCausalFamily = family({
  name: "softmax_causal",
  serves: ["softmax_causal"],
  match: ({ ins, outs }) =>
    isPacked(ins[0]) && isPacked(outs[0])
      ? one({ heads: num(ins[0].shape[1]), ...act(ins[0]) }, [{ in: 0 }, { out: 0 }], [ins[0].shape[0], ins[0].shape[2]])
      : strided,
  kernel: softmaxCausal,
});

/** State of a softmax over blocks: running maximum, sum, and the mixed values. */
interface Running {
  max: Tile;
  sum: Tile;
  acc: Tile;
}

const begin = (k: Body, rows: number, width: number): Running => ({
  max: k.fill("max", rows, 1, MASKED),
  sum: k.fill("sum", rows, 1, 0),
  acc: k.fill("acc", rows, width, 0),
});

/** Takes a block of masked scores [rows, keys] and its values [keys, width]. */
function step(k: Body, r: Running, scores: Tile, values: Tile): void {
  const top = k.map("top", f.max(r.max, k.reduce("block_max", scores, "max", "cols")));
  const shrink = k.map("shrink", f.exp(f.sub(r.max, top)));
  const p = k.map("p", f.exp(f.sub(scores, top)));
  k.set(r.sum, f.add(f.mul(r.sum, shrink), k.reduce("block_sum", p, "sum", "cols")));
  k.set(r.acc, f.add(f.mul(r.acc, shrink), k.dot("mixed", p, values, "nn")));
  k.set(r.max, top);
}

export interface AttendProblem {
  /** Rows of a cell and keys of a block, 16 and 32 unless a target says so. */
  tile?: readonly [rows: number, keys: number];
  heads: number;
  n: number;
  d: number;
  v: number;
  /** Strides of [t, h] in q and qp; of [s, h] in k and v (0 where all heads share); of [s] in kp. */
  q: readonly [number, number];
  qp: readonly [number, number];
  k: readonly [number, number];
  kp: number;
  vStrides: readonly [number, number];
  /** Strides of [t, h] in the result. */
  y: readonly [number, number];
  scale: number;
  /** Dtype of every activation and of the cache, f32 unless said. */
  act?: "bf16";
}

/** One sequence: query row i of t sees rows 0 .. s - t + i. */
function attend(p: AttendProblem): Kernel {
  const [rows, keys] = p.tile ?? [16, 32];
  return kernel({
    name: `attend_${p.heads}x${p.n}_${p.d}_${p.v}`,
    summary: "Causal attention of one sequence; scores stay in registers.",
    params: {
      q: { dtype: p.act ?? "f32", shape: ["t", p.heads, p.n], strides: [...p.q, 1] },
      qp: { dtype: p.act ?? "f32", shape: ["t", p.heads, p.d], strides: [...p.qp, 1] },
      keys: { dtype: p.act ?? "f32", shape: ["s", p.heads, p.n], strides: [...p.k, 1] },
      kp: { dtype: p.act ?? "f32", shape: ["s", p.d], strides: [p.kp, 1] },
      values: { dtype: p.act ?? "f32", shape: ["s", p.heads, p.v], strides: [...p.vStrides, 1] },
      y: { dtype: p.act ?? "f32", shape: ["t", p.heads, p.v], strides: [...p.y, 1], access: "out" },
    },
    dims: ["t", "s"],
    body(k, { q, qp, keys: ks, kp, values, y }) {
      k.grid({ h: [p.heads, 1], i: ["t", rows] });
      const qc = k.load("qc", rows, p.n, q, { at: ["i", "h", 0], rows: 0, cols: 2, rowLimit: "t" });
      const qr = k.load("qr", rows, p.d, qp, { at: ["i", "h", 0], rows: 0, cols: 2, rowLimit: "t" });
      const r = begin(k, rows, p.v);
      const past = x.sub("s", "t");
      const row = k.iota("row", rows, 1, "rows", x.add(past, "i"));
      k.loop("c", 0, x.min("s", x.add(past, x.add("i", rows))), keys, () => {
        const kc = k.load("kc", keys, p.n, ks, { at: ["c", "h", 0], rows: 0, cols: 2, rowLimit: "s" });
        const kr = k.load("kr", keys, p.d, kp, { at: ["c", 0], rows: 0, cols: 1, rowLimit: "s" });
        const column = k.iota("column", 1, keys, "cols", "c");
        const raw = k.map("raw", f.mul(f.add(k.dot("latent", qc, kc), k.dot("rotary", qr, kr)), p.scale));
        const scores = k.map("scores", f.select(f.le(column, row), raw, MASKED));
        step(k, r, scores, k.load("vc", keys, p.v, values, { at: ["c", "h", 0], rows: 0, cols: 2, rowLimit: "s" }));
      });
      k.store(k.map("out", f.div(r.acc, r.sum)), y, { at: ["i", "h", 0], rows: 0, cols: 2, rowLimit: "t" });
    },
  });
}

/** Strides of token and head. Latents are shared by all heads: they have no head axis, so its stride is 0. */
const headStrides = (v: View): readonly [number, number] => [num(v.strides[0]), v.shape.length === 3 ? num(v.strides[1]) : 0];

export const attendFamily = family({
  name: "attend",
  serves: ["attend"],
  match({ ins, outs, attrs }) {
    const [q, qp, k, kp, v] = ins;
    if (ins.some((operand) => operand.strides.at(-1) !== 1)) return strided;
    const problem = {
      heads: num(q.shape[1]),
      n: num(q.shape[2]),
      d: num(qp.shape[2]),
      v: num(v.shape.at(-1)),
      q: headStrides(q),
      qp: headStrides(qp),
      k: headStrides(k),
      kp: num(kp.strides[0]),
      vStrides: headStrides(v),
      y: headStrides(outs[0]),
      scale: num(attrs.scale),
      ...act(q),
    };
    return one(problem, [{ in: 0 }, { in: 1 }, { in: 2 }, { in: 3 }, { in: 4 }, { out: 0 }], [q.shape[0], kp.shape[0]]);
  },
  kernel: attend,
});

export interface MlaAttendProblem {
  /** Rows of a cell and keys of a block, 16 and 32 unless a target says so. */
  tile?: readonly [rows: number, keys: number];
  heads: number;
  r: number;
  d: number;
  pageRows: number;
  ql: readonly [number, number];
  qp: readonly [number, number];
  scale: number;
  /** Dtype of every activation and of the cache, f32 unless said. */
  act?: "bf16";
}

/** Row i of the batch, at position pos of its sequence, sees cached rows 0 .. pos; keys and values are the same latents. */
function mlaAttend(p: MlaAttendProblem): Kernel {
  const w = p.r + p.d;
  const [heads, block] = p.tile ?? [16, 32];
  const rows = Math.min(heads, p.heads);
  const keys = Math.min(block, p.pageRows);
  return kernel({
    name: `mla_attend_${p.heads}x${p.r}_${p.d}`,
    summary: "Absorbed attention over the paged latent cache: every head reads the same rows, as keys and as values.",
    params: {
      ql: { dtype: p.act ?? "f32", shape: ["T", p.heads, p.r], strides: [...p.ql, 1] },
      qp: { dtype: p.act ?? "f32", shape: ["T", p.heads, p.d], strides: [...p.qp, 1] },
      cache: { dtype: p.act ?? "f32", shape: ["pages_count", p.pageRows, w], strides: [p.pageRows * w, w, 1] },
      positions: { dtype: "i32", shape: ["T"] },
      sequence: { dtype: "i32", shape: ["T"] },
      pages: { dtype: "i32", shape: ["B", "P"] },
      y: { dtype: p.act ?? "f32", shape: ["T", p.heads, p.r], access: "out" },
    },
    dims: ["T", "P"],
    body(k, { ql, qp, cache, positions, sequence, pages, y }) {
      k.grid({ i: ["T", 1], h: [p.heads, rows] });
      const pos = k.scalar("pos", positions, ["i"]);
      const seq = k.scalar("seq", sequence, ["i"]);
      const q = k.load("q", rows, p.r, ql, { at: ["i", "h", 0], rows: 1, cols: 2, rowLimit: p.heads });
      const qr = k.load("qr", rows, p.d, qp, { at: ["i", "h", 0], rows: 1, cols: 2, rowLimit: p.heads });
      const state = begin(k, rows, p.r);
      k.loop("c", 0, x.add(pos, 1), keys, () => {
        // A block never crosses a page: keys divides the page's rows.
        const page = k.scalar("page", pages, [seq, x.div("c", p.pageRows)]);
        const first: Index = x.mod("c", p.pageRows);
        // Rows after the last are whatever was there before, and not read: a zero weight would not make a NaN go away. Keys and
        // values are two loads of the same rows, so that either may be read where it lies.
        const rowLimit = x.add(first, x.sub(x.add(pos, 1), "c"));
        const keyRows = k.load("keys", keys, p.r, cache, { at: [page, first, 0], rows: 1, cols: 2, rowLimit });
        const kr = k.load("kr", keys, p.d, cache, { at: [page, first, p.r], rows: 1, cols: 2, rowLimit });
        const column = k.iota("column", 1, keys, "cols", "c");
        const raw = k.map("raw", f.mul(f.add(k.dot("latent", q, keyRows), k.dot("rotary", qr, kr)), p.scale));
        const scores = k.map("scores", f.select(f.le(column, f.index(pos)), raw, MASKED));
        step(k, state, scores, k.load("values", keys, p.r, cache, { at: [page, first, 0], rows: 1, cols: 2, rowLimit }));
      });
      k.store(k.map("out", f.div(state.acc, state.sum)), y, { at: ["i", "h", 0], rows: 1, cols: 2, rowLimit: p.heads });
    },
  });
}

export const mlaAttendFamily = family({
  name: "mla_attend",
  serves: ["mla_attend"],
  match({ ins: [ql, qp], attrs, caches }) {
    const problem = {
      heads: num(ql.shape[1]),
      r: num(ql.shape[2]),
      d: num(qp.shape[2]),
      pageRows: caches![0].pageRows,
      ql: headStrides(ql),
      qp: headStrides(qp),
      scale: num(attrs.scale),
      ...act(ql),
    };
    const args: Arg[] = [
      { in: 0 },
      { in: 1 },
      { cache: caches![0].name },
      { batch: "positions" },
      { batch: "sequence" },
      { batch: "pages" },
      { out: 0 },
    ];
    return one(problem, args, [ql.shape[0], "P"]);
  },
  kernel: mlaAttend,
});
