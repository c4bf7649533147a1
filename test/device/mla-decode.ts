// Absorbed attention on the card: every row of the public table, ragged batches, odd lengths and pages in random order, against
// float64 on sampled heads; then times with cold caches beside the floor and FlashMLA's figure.
import { selectNatives } from "../../codegen/cuda/select.ts";
import { mlaDecodeNative } from "../../codegen/cuda/sm90/attention/natives.ts";
import { mlaDecodeFixed } from "../../codegen/cuda/sm90/attention/mla-decode-cluster.ts";
import { mlaDecode } from "../../codegen/cuda/sm90/attention/mla-decode.ts";
import { fixedSchedule, fixedScheduleName, type MlaFixedSchedule } from "../../codegen/cuda/sm90/attention/schedule.ts";
import type { MlaAttendProblem } from "../../codegen/kernels/attention.ts";
import type { Cases, View } from "../../ir/kernel/catalogue.ts";
import { evaluate, type Size } from "../../ir/size.ts";
import type { Cuda, CudaKernel } from "../../runtime/devices/cuda/index.ts";
import { bf16At, median, next, poolBytes, put, POOL, values } from "./bf16-pool.ts";
import type { Row } from "./device.ts";
import { h200 } from "../../codegen/cuda/arch/h200.ts";

const [R, D, W, PAGE] = [512, 64, 576, 64];
const SCALE = 0.1352337788608801;

/** Batch, cached tokens, query tokens of each sequence, and FlashMLA's microseconds (H200, cold caches, with its combine). */
const TABLE: readonly [number, number, number, number][] = [
  [1, 1024, 1, 13.5],
  [1, 4096, 1, 19.2],
  [1, 8192, 1, 24.9],
  [1, 32768, 1, 40],
  [16, 1024, 1, 22.2],
  [16, 4096, 1, 43.1],
  [16, 8192, 1, 68.7],
  [16, 32768, 1, 226.4],
  [64, 1024, 1, 42.4],
  [64, 4096, 1, 119.2],
  [64, 8192, 1, 222.9],
  [64, 32768, 1, 877.9],
  [128, 1024, 1, 71.7],
  [128, 4096, 1, 228.1],
  [128, 8192, 1, 485.4],
  [128, 32768, 1, 1997.4],
  [64, 4096, 2, 229.6],
  [1, 1024, 2, 15.1],
];

const putInts = (cuda: Cuda, list: Int32Array): number => {
  const at = cuda.alloc(Math.max(list.byteLength, 4));
  cuda.upload(at, new Uint8Array(list.buffer));
  return at;
};

/** A cache of many pages and queries for many rows; a case takes pages of it in random order. */
interface Arena {
  pages: number;
  cache: number;
  order: Int32Array;
  ql: number;
  qp: number;
  y: number;
  rows: number;
}

const HEADS = 128;

export function shuffled(n: number): Int32Array {
  const order = Int32Array.from({ length: n }, (_, i) => i);
  for (let i = n - 1; i > 0; i--) {
    const j = next() % (i + 1);
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

export function arena(cuda: Cuda, pages: number, rows: number): Arena {
  // Latent and rotary queries of one row lie apart, as the projections leave them: 512 lanes a head, and 64 behind each 128.
  return {
    pages,
    cache: put(cuda, pages * PAGE * W * 2),
    order: shuffled(pages),
    ql: put(cuda, rows * HEADS * R * 2),
    qp: put(cuda, rows * HEADS * 192 * 2),
    y: cuda.alloc(rows * HEADS * R * 2),
    rows,
  };
}
export function release(cuda: Cuda, a: Arena): void {
  for (const at of [a.cache, a.ql, a.qp, a.y]) cuda.free(at);
}

interface Batch {
  /** Cached tokens of each sequence, and how many of them are queries. */
  lengths: number[];
  queries: number;
  table: Int32Array;
  P: number;
  T: number;
  positions: Int32Array;
  sequence: Int32Array;
}

/** Sequences over the arena's pages from the `skip`th on; the table is as wide as the runtime makes it. */
export function batchOf(a: Arena, lengths: number[], queries: number, skip = 0): Batch {
  const P = Math.max(16, 2 ** Math.ceil(Math.log2(Math.max(...lengths.map((n) => Math.ceil(n / PAGE))))));
  const table = new Int32Array(lengths.length * P);
  let at = skip;
  for (const [b, n] of lengths.entries())
    for (let p = 0; p < Math.ceil(n / PAGE); p++) table[b * P + p] = a.order[at++ % a.pages];
  const rows = lengths.flatMap((n, b) => Array.from({ length: queries }, (_, i) => [n - queries + i, b]));
  return {
    lengths,
    queries,
    table,
    P,
    T: rows.length,
    positions: Int32Array.from(rows, (r) => r[0]),
    sequence: Int32Array.from(rows, (r) => r[1]),
  };
}

const problem = (heads: number): MlaAttendProblem => ({
  heads,
  r: R,
  d: D,
  pageRows: PAGE,
  ql: [heads * R, R],
  qp: [heads * 192, 192],
  scale: SCALE,
});

export function buffersOf(cuda: Cuda, a: Arena, b: Batch): Record<string, number> {
  return {
    ql: a.ql,
    qp: a.qp + 256,
    cache: a.cache,
    positions: putInts(cuda, b.positions),
    sequence: putInts(cuda, b.sequence),
    pages: putInts(cuda, b.table),
    y: a.y,
  };
}

/** A stretch of the pool, which begins again at its end. */
function stretch(from: number, length: number): Float32Array {
  const start = from % POOL;
  if (start + length <= POOL) return values.subarray(start, start + length);
  return Float32Array.from({ length }, (_, i) => values[(start + i) % POOL]);
}

/** One head of one row in float64. */
function reference(b: Batch, heads: number, row: number, head: number): Float64Array {
  const n = b.positions[row] + 1;
  const q = Float64Array.from([...stretch((row * heads + head) * R, R), ...stretch((row * heads + head) * 192 + 128, D)]);
  const cached = (c: number): Float32Array =>
    stretch((b.table[b.sequence[row] * b.P + Math.floor(c / PAGE)] * PAGE + (c % PAGE)) * W, W);
  const scores = new Float64Array(n);
  let top = -Infinity;
  for (let c = 0; c < n; c++) {
    const k = cached(c);
    let sum = 0;
    for (let i = 0; i < W; i++) sum += q[i] * k[i];
    top = Math.max(top, (scores[c] = sum * SCALE));
  }
  const out = new Float64Array(R);
  let total = 0;
  for (let c = 0; c < n; c++) {
    const p = Math.exp(scores[c] - top);
    const v = cached(c);
    total += p;
    for (let i = 0; i < R; i++) out[i] += p * v[i];
  }
  return out.map((v) => v / total);
}

/** The kernels of absorbed attention. */
export const forms = {
  balanced: (heads: number) => mlaDecode(problem(heads), h200),
  fixed24: (heads: number) => mlaDecodeFixed(problem(heads), fixedSchedule(24), h200),
  fixed16: (heads: number) => mlaDecodeFixed(problem(heads), fixedSchedule(16), h200),
  fixed16x16: (heads: number) => mlaDecodeFixed(problem(heads), fixedSchedule(16, 16), h200),
  fixed32x16: (heads: number) => mlaDecodeFixed(problem(heads), fixedSchedule(32, 16), h200),
  fixed32: (heads: number) => mlaDecodeFixed(problem(heads), fixedSchedule(32), h200),
  fixed16x2a: (heads: number) => mlaDecodeFixed(problem(heads), fixedSchedule(16, 2, "apart"), h200),
  fixed16x4a: (heads: number) => mlaDecodeFixed(problem(heads), fixedSchedule(16, 4, "apart"), h200),
  fixed16x8a: (heads: number) => mlaDecodeFixed(problem(heads), fixedSchedule(16, 8, "apart"), h200),
  fixed24x2a: (heads: number) => mlaDecodeFixed(problem(heads), fixedSchedule(24, 2, "apart"), h200),
  fixed24x4a: (heads: number) => mlaDecodeFixed(problem(heads), fixedSchedule(24, 4, "apart"), h200),
  fixed24x8a: (heads: number) => mlaDecodeFixed(problem(heads), fixedSchedule(24, 8, "apart"), h200),
  fixed32x8a: (heads: number) => mlaDecodeFixed(problem(heads), fixedSchedule(32, 8, "apart"), h200),
};
export type Form = keyof typeof forms;

type DecodeSchedule = MlaFixedSchedule | { split: "balanced" };

/** The form that a decode step takes, by the target's own choice. */
export function formOf(heads: number, { T, P }: Batch): Form {
  const view = (shape: Size[], strides: Size[]): View => ({ dtype: "bf16", shape, strides });
  const latent = view(["T", heads, R], [heads * R, R, 1]);
  const choice = selectNatives(
    {
      op: "mla_attend",
      attrs: { scale: SCALE },
      ins: [latent, view(["T", heads, D], [heads * 192, 192, 1])],
      outs: [latent],
      caches: [{ name: "latent", width: W, pageRows: 64 }],
    },
    [mlaDecodeNative],
    h200,
  ) as Cases;
  const on = evaluate(choice.on, { T, P });
  const { problem } = choice.cases.find(({ most }) => most === null || on <= most)!.launches[0];
  const { schedule: s } = problem as { schedule: DecodeSchedule };
  return s.split === "fixed" ? (fixedScheduleName(s).replace(/x8$/, "") as Form) : "balanced";
}

const compiled = new Map<string, CudaKernel>();
export function kernel(cuda: Cuda, heads: number, form: Form): CudaKernel {
  const name = `${form} ${heads}`;
  if (!compiled.has(name)) compiled.set(name, cuda.compile(forms[form](heads)));
  return compiled.get(name)!;
}

/** Runs a batch twice into a poisoned output; the error over sampled heads, whether bits repeat and nothing is left unwritten. */
export function checkOne(cuda: Cuda, a: Arena, b: Batch, heads: number, what: string, form: Form = formOf(heads, b)): Row {
  // What lies behind a sequence's last row in its page must not matter.
  const tails = b.lengths.flatMap((n, s) =>
    n % PAGE ? [{ page: b.table[s * b.P + Math.floor(n / PAGE)], from: n % PAGE }] : [],
  );
  const rowsAt = (page: number, from: number): [number, number] => [(page * PAGE + from) * W * 2, (PAGE - from) * W * 2];
  for (const { page, from } of tails) {
    const [at, bytes] = rowsAt(page, from);
    cuda.fill(a.cache + at, 0xff, bytes);
  }
  const buffers = buffersOf(cuda, a, b);
  const bytes = b.T * heads * R * 2;
  const run = (): Uint16Array => {
    cuda.fill(a.y, 0xff, bytes);
    cuda.launch(kernel(cuda, heads, form), buffers, { T: b.T, P: b.P });
    cuda.synchronize();
    return new Uint16Array(cuda.download(a.y, bytes).buffer);
  };
  const [first, y] = [run(), run()];
  const same = Buffer.compare(Buffer.from(first.buffer), Buffer.from(y.buffer)) === 0;
  let unwritten = 0;
  for (let i = 0; i < y.length; i++) if ((y[i] & 0x7fff) > 0x7f80) unwritten++;
  const work = b.positions.reduce((n, p) => n + p + 1, 0) / b.T;
  const samples = Math.max(3, Math.min(8, Math.round(40_000 / work)));
  let [error, norm] = [0, 0];
  for (let i = 0; i < samples; i++) {
    const [row, head] = i === 0 ? [b.T - 1, heads - 1] : [next() % b.T, next() % heads];
    const want = reference(b, heads, row, head);
    for (const [c, w] of want.entries()) {
      error += (bf16At(y, (row * heads + head) * R + c) - w) ** 2;
      norm += w ** 2;
    }
  }
  for (const { page, from } of tails) {
    const [at, length] = rowsAt(page, from);
    for (let done = 0; done < length;) {
      const from2 = ((at + done) / 2) % POOL;
      const part = Math.min(length - done, (POOL - from2) * 2);
      cuda.upload(a.cache + at + done, poolBytes.subarray(from2 * 2, from2 * 2 + part));
      done += part;
    }
  }
  for (const name of ["positions", "sequence", "pages"]) cuda.free(buffers[name]);
  const relative = Math.sqrt(error / norm);
  return { what, heads, form, relative, unwritten, same, ok: relative < 4e-3 && unwritten === 0 && same };
}

export async function check(cuda: Cuda): Promise<Row[]> {
  const most = Math.max(...TABLE.map(([batch, s]) => batch * (s / PAGE)));
  const a = arena(cuda, most, 1200);
  const out: Row[] = [];
  const one = (lengths: number[], queries: number, heads = HEADS, form?: Form): void => {
    const short = lengths.length > 6 ? `${lengths.length} sequences to ${Math.max(...lengths)}` : lengths.join(" ");
    out.push(checkOne(cuda, a, batchOf(a, lengths, queries, next() % most), heads, `${short}, ${queries} each`, form));
  };
  const ragged = Array.from({ length: 37 }, () => 1 + (next() % 3000));
  for (const heads of [HEADS, 64]) {
    for (const form of ["balanced", "fixed16", "fixed32"] as const) {
      for (const n of [1, 63, 64, 65, 128, 1000, 4097]) one([n], 1, heads, form);
      one([1, 63, 64, 65, 1000], 1, heads, form);
      one([2, 3, 64, 65, 66, 1000, 5000], 2, heads, form);
    }
    one(ragged, 1, heads);
    one(
      Array.from({ length: 128 }, (_, i) => (i === 5 ? 20_000 : 1 + (next() % 900))),
      1,
      heads,
    );
    // More rows than are balanced one by one.
    for (const rows of [300, 1100])
      one(
        Array.from({ length: rows }, () => 1 + (next() % 100)),
        1,
        heads,
      );
  }
  for (const [batch, s, queries] of TABLE) one(Array<number>(batch).fill(s), queries);
  release(cuda, a);
  return out;
}

/** Operations and bytes (each cached row once for all queries of its sequence) of a uniform batch. */
export const floorOf = (
  batch: number,
  s: number,
  queries: number,
  heads: number,
): { us: number; flops: number; bytes: number } => {
  const flops = 2 * batch * queries * s * heads * (2 * R + D);
  const bytes = batch * s * W * 2 + batch * queries * heads * (W + R) * 2;
  return { us: Math.max(bytes / (h200.bandwidth / 1e6), flops / (h200.peaks.bf16 / 1e6)), flops, bytes };
};

/** Microseconds of one launch: a graph of launches over caches that, together, L2 cannot hold. */
export function time(cuda: Cuda, f: CudaKernel, { T, P }: Batch, sets: Record<string, number>[]): number {
  const go = (i: number): void => cuda.launch(f, sets[i % sets.length], { T, P });
  const launches = Math.max(sets.length, 6);
  for (let i = 0; i < launches; i++) go(i);
  cuda.synchronize();
  const graph = cuda.capture(() => {
    for (let i = 0; i < launches; i++) go(i);
  });
  graph.time(2);
  const us = median(graph.time(9)) / launches;
  graph.destroy();
  return us;
}

export async function measure(cuda: Cuda): Promise<Row[]> {
  const most = Math.max(...TABLE.map(([batch, s]) => batch * (s / PAGE)));
  const a = arena(cuda, most, 128);
  const out: Row[] = [];
  const ratios: number[] = [];
  for (const [batch, s, queries, published] of TABLE) {
    const pages = batch * (s / PAGE);
    const copies = Math.min(Math.ceil(150e6 / (pages * PAGE * W * 2)) + 1, Math.floor(most / pages));
    // As in a model: every layer has a cache of its own under the same page table.
    const b = batchOf({ ...a, pages, order: shuffled(pages) }, Array<number>(batch).fill(s), queries);
    const buffers = buffersOf(cuda, a, b);
    const sets = Array.from({ length: Math.max(copies, 1) }, (_, i) => ({
      ...buffers,
      cache: a.cache + i * pages * PAGE * W * 2,
    }));
    const form = formOf(HEADS, b);
    const us = time(cuda, kernel(cuda, HEADS, form), b, sets);
    for (const name of ["positions", "sequence", "pages"]) cuda.free(buffers[name]);
    const floor = floorOf(batch, s, queries, HEADS);
    ratios.push(published / us);
    out.push({
      batch,
      cached: s,
      queries,
      form,
      us,
      floor_us: floor.us,
      public_us: published,
      public_over_ours: published / us,
      tflops: floor.flops / us / 1e6,
      gb_per_s: floor.bytes / us / 1e3,
    });
  }
  out.push({
    what: "FlashMLA over ours, geometric mean",
    public_over_ours: Math.exp(ratios.reduce((n, r) => n + Math.log(r), 0) / ratios.length),
  });
  release(cuda, a);
  return out;
}
