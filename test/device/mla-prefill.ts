// Attention over expanded heads on the card: odd lengths, cached prefixes and strided operands against float64 on sampled rows;
// then times beside the floor.
import { mlaPrefill } from "../../codegen/cuda/sm90/attention/mla-prefill.ts";
import type { AttendProblem } from "../../codegen/kernels/attention.ts";
import type { Cuda, CudaKernel } from "../../runtime/devices/cuda/index.ts";
import { bf16At, median, next, POOL, put, values } from "./bf16-pool.ts";
import type { Row } from "./device.ts";
import { h200 } from "../../codegen/cuda/arch/h200.ts";

/** Heads, and their lanes: of keys beside the rotary ones, and of values. */
interface Heads {
  heads: number;
  n: number;
  v: number;
}

const D = 64;
const r1 = (heads: number): Heads => ({ heads, n: 128, v: 128 });
/** GLM-4.7-Flash's. */
const wide: Heads = { heads: 20, n: 192, v: 256 };
const SCALE = 0.1352337788608801;

/** Operands as the projections leave them: q [t, h, n + 64], kv [s, h, n + v], the rotary key behind 512 latents. */
const problem = ({ heads, n, v }: Heads): AttendProblem => ({
  heads,
  n,
  d: D,
  v,
  scale: SCALE,
  q: [heads * (n + D), n + D],
  qp: [heads * (n + D), n + D],
  k: [heads * (n + v), n + v],
  kp: 576,
  vStrides: [heads * (n + v), n + v],
  y: [heads * v, v],
});

interface Operands {
  q: number;
  kv: number;
  c: number;
  y: number;
}
const place = (cuda: Cuda, t: number, s: number, { heads, n, v }: Heads): Operands => ({
  q: put(cuda, t * heads * (n + D) * 2),
  kv: put(cuda, s * heads * (n + v) * 2),
  c: put(cuda, s * 1152),
  y: cuda.alloc(t * heads * v * 2),
});
const buffersOf = ({ n }: Heads, { q, kv, c, y }: Operands): Record<string, number> => ({
  q,
  qp: q + 2 * n,
  keys: kv,
  kp: c + 1024,
  values: kv + 2 * n,
  y,
});

/** One head of one row in float64. */
function reference(t: number, s: number, { heads, n, v: lanes }: Heads, row: number, head: number): Float64Array {
  const seen = s - t + row + 1;
  const q = Float64Array.from({ length: n + D }, (_, i) => values[((row * heads + head) * (n + D) + i) % POOL]);
  const scores = new Float64Array(seen);
  let top = -Infinity;
  for (let c = 0; c < seen; c++) {
    let sum = 0;
    const k = (c * heads + head) * (n + lanes);
    for (let i = 0; i < n; i++) sum += q[i] * values[(k + i) % POOL];
    for (let i = 0; i < D; i++) sum += q[n + i] * values[(c * 576 + 512 + i) % POOL];
    top = Math.max(top, (scores[c] = sum * SCALE));
  }
  const out = new Float64Array(lanes);
  let total = 0;
  for (let c = 0; c < seen; c++) {
    const p = Math.exp(scores[c] - top);
    const v = (c * heads + head) * (n + lanes) + n;
    total += p;
    for (let i = 0; i < lanes; i++) out[i] += p * values[(v + i) % POOL];
  }
  return out.map((x) => x / total);
}

const compiled = new Map<string, CudaKernel>();
function kernel(cuda: Cuda, h: Heads): CudaKernel {
  const key = `${h.heads} ${h.n} ${h.v}`;
  if (!compiled.has(key)) compiled.set(key, cuda.compile(mlaPrefill(problem(h), h200)));
  return compiled.get(key)!;
}

export async function check(cuda: Cuda): Promise<Row[]> {
  const out: Row[] = [];
  const sizes = [
    [1, 1],
    [5, 5],
    [64, 64],
    [127, 127],
    [128, 128],
    [129, 129],
    [1, 300],
    [2, 129],
    [77, 1000],
    [130, 1000],
    [1000, 1000],
    [257, 4096],
    [4096, 4096],
  ];
  for (const h of [r1(16), r1(128), wide])
    for (const [t, s] of h.heads === 128 ? sizes.slice(-3) : sizes) {
      const { heads, v } = h;
      const o = place(cuda, t, s, h);
      const bytes = t * heads * v * 2;
      const run = (): Uint16Array => {
        cuda.fill(o.y, 0xff, bytes);
        cuda.launch(kernel(cuda, h), buffersOf(h, o), { t, s });
        cuda.synchronize();
        return new Uint16Array(cuda.download(o.y, bytes).buffer);
      };
      const [first, y] = [run(), run()];
      const same = Buffer.compare(Buffer.from(first.buffer), Buffer.from(y.buffer)) === 0;
      let unwritten = 0;
      for (let i = 0; i < y.length; i++) if ((y[i] & 0x7fff) > 0x7f80) unwritten++;
      let [error, norm] = [0, 0];
      const rows = [0, 63, 64, 127, 128, t - 1].filter((r) => r < t);
      for (let i = 0; i < 24; i++) {
        const [row, head] = [rows[i] ?? next() % t, next() % heads];
        for (const [c, w] of reference(t, s, h, row, head).entries()) {
          error += (bf16At(y, (row * heads + head) * v + c) - w) ** 2;
          norm += w ** 2;
        }
      }
      for (const at of Object.values(o)) cuda.free(at);
      const relative = Math.sqrt(error / norm);
      out.push({ heads, v, t, s, relative, unwritten, same, ok: relative < 4e-3 && unwritten === 0 && same });
    }
  return out;
}

const SIZES = [
  [512, 512],
  [1024, 1024],
  [2048, 2048],
  [4096, 4096],
  [1024, 8192],
  [8192, 8192],
] as const;
/** cuDNN's microseconds on such a card, through torch 2.11's scaled_dot_product_attention, by rows. */
const CUDNN: Readonly<Record<number, number>> = { 1024: 125.1, 4096: 1161.2 };

export async function measure(cuda: Cuda): Promise<Row[]> {
  const out: Row[] = [];
  for (const h of [r1(128), r1(16), wide])
    for (const [t, s] of SIZES) {
      const { heads, n, v } = h;
      // Two sets of operands, each more than L2 holds from 1024 rows on.
      const sets = [place(cuda, t, s, h), place(cuda, t, s, h)];
      const f = kernel(cuda, h);
      const go = (i: number): void => cuda.launch(f, buffersOf(h, sets[i % 2]), { t, s });
      go(0);
      const graph = cuda.capture(() => {
        for (let i = 0; i < 4; i++) go(i);
      });
      graph.time(2);
      const us = median(graph.time(9)) / 4;
      graph.destroy();
      for (const o of sets) for (const at of Object.values(o)) cuda.free(at);
      const pairs = t * (s - t) + (t * (t + 1)) / 2;
      const flops = 2 * heads * (n + D + v) * pairs;
      const bytes = 2 * (t * heads * (n + D + v) + s * heads * (n + v) + s * D);
      const published: Row = heads === 128 && t === s && CUDNN[t] ? { public_us: CUDNN[t], public_over_ours: CUDNN[t] / us } : {};
      out.push({
        heads,
        v,
        t,
        s,
        us,
        floor_us: Math.max(flops / (h200.peaks.bf16 / 1e6), bytes / (h200.bandwidth / 1e6)),
        ...published,
        tflops: flops / us / 1e6,
      });
    }
  return out;
}
