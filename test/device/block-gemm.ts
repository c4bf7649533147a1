// The FP8 block GEMM on the card: every shape of R1, every schedule that suits it, against float64 on sampled outputs; then
// times with cold weights beside the floor and the best public figure.
import { blockGemm } from "../../codegen/cuda/block-gemm.ts";
import { candidates, choose, H200, illegal, scheduleName, type GemmSchedule } from "../../codegen/schedules/sm90-gemm.ts";
import type { Cuda, CudaKernel } from "../../runtime/devices/cuda/index.ts";
import type { Row } from "./device.ts";

const ROWS = [1, 8, 16, 64, 128, 256, 1024, 4096];

/** n, k, part of R1, and the best public time in microseconds for each of ROWS (H200, cold weights). */
const SHAPES: readonly [number, number, string, readonly number[]][] = [
  [2112, 7168, "q_a + kv_a", [12.37, 10.53, 10.55, 9.68, 10.44, 12.04, 31.07, 94.2]],
  [24576, 1536, "q_b", [14.25, 14.26, 14.38, 13.73, 14.43, 19.9, 63.16, 248.2]],
  [32768, 512, "kv_b", [8.3, 7.84, 7.73, 8.07, 9.47, 12.65, 36.03, 129]],
  [7168, 16384, "o_proj", [35.14, 34.81, 35.52, 35.33, 43.18, 53.63, 213.91, 735.64]],
  [4096, 7168, "expert gate and up", [15.57, 12.55, 12.47, 11.35, 12.2, 16.7, 43.65, 182.79]],
  [7168, 2048, "expert down", [7.83, 7.12, 7.05, 6.88, 8.49, 10.27, 29.42, 92.17]],
  [36864, 7168, "dense gate and up", [66.2, 66.72, 67.67, 68.9, 77.27, 108.97, 419.76, 1730.59]],
  [7168, 18432, "dense down", [41.45, 39.31, 38.73, 38.78, 51.74, 60.15, 224.21, 866.47]],
];

/** A prime length, so that rows of any width differ. Codes are small and finite; scales lie around 2^-6. */
const POOL = 4_194_301;
const codes = new Uint8Array(POOL);
const scales = new Float32Array(65_521);
let state = 0x2545f491;
const next = (): number => {
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  return state >>> 0;
};
for (let i = 0; i < POOL; i++) {
  const c = next() & 0xff;
  codes[i] = (c & 0x7f) === 0x7f ? 0x38 : c;
}
for (let i = 0; i < scales.length; i++) scales[i] = (0.5 + next() / 2 ** 32) / 64;
const values = Float64Array.from({ length: 256 }, (_, c) => {
  const [e, f] = [(c >> 3) & 15, c & 7];
  return (c & 0x80 ? -1 : 1) * (e ? (1 + f / 8) * 2 ** (e - 7) : (f / 8) * 2 ** -6);
});

function put(cuda: Cuda, bytes: number, pool: Uint8Array): number {
  const at = cuda.alloc(bytes);
  for (let done = 0; done < bytes; done += pool.length) cuda.upload(at + done, pool.subarray(0, Math.min(pool.length, bytes - done)));
  return at;
}
const scaleBytes = new Uint8Array(scales.buffer);

interface Problem {
  n: number;
  k: number;
  m: number;
  buffers: Record<string, number>[];
}

/** Buffers for the most rows; copies of w (and its scales' place) until L2 cannot hold them all. */
function place(cuda: Cuda, n: number, k: number, m: number, copies: number): Problem {
  const kb = Math.ceil(k / 128);
  const x = put(cuda, m * k, codes);
  const xScale = put(cuda, m * kb * 4, scaleBytes);
  const wScale = put(cuda, Math.ceil(n / 128) * kb * 4, scaleBytes);
  const y = cuda.alloc(m * n * 2);
  const buffers = Array.from({ length: copies }, () => ({ x, w: put(cuda, n * k, codes), x_scale: xScale, w_scale: wScale, y }));
  return { n, k, m, buffers };
}

function release(cuda: Cuda, p: Problem): void {
  for (const name of ["x", "x_scale", "w_scale", "y"]) cuda.free(p.buffers[0][name]);
  for (const b of p.buffers) cuda.free(b.w);
}

/** Exact products of codes, f32 scales, in float64. */
function reference(n: number, k: number, row: number, column: number): number {
  const kb = Math.ceil(k / 128);
  void n;
  let sum = 0;
  for (let b = 0; b < kb; b++) {
    let part = 0;
    const end = Math.min(k, (b + 1) * 128);
    for (let c = b * 128; c < end; c++) part += values[codes[(row * k + c) % POOL]] * values[codes[(column * k + c) % POOL]];
    sum += part * scales[(row * kb + b) % scales.length] * scales[(Math.floor(column / 128) * kb + b) % scales.length];
  }
  return sum;
}

/** Sampled places: corners, edges of tiles, and random ones. */
function samples(m: number, n: number): [number, number][] {
  const edge = (size: number): number[] => [0, 1, 7, 63, 64, 127, 128, size - 129, size - 2, size - 1].filter((i) => i >= 0 && i < size);
  const out: [number, number][] = [];
  for (const r of edge(m)) for (const c of edge(n)) out.push([r, c]);
  for (let i = 0; i < 200; i++) out.push([next() % m, next() % n]);
  return out;
}

/** Worth a measurement: neither mostly idle lanes nor many passes over the weights. */
const suits = (s: GemmSchedule, m: number): boolean => (s.form === "few" ? s.tokens <= 2 * Math.max(m, 4) && m <= 4 * s.tokens : m >= 64);
const legal = (n: number, k: number, m: number): GemmSchedule[] => {
  const chosen = scheduleName(choose({ n, k }, m));
  return candidates.filter((s) => illegal(s, H200, { n, k }) === null && (suits(s, m) || scheduleName(s) === chosen));
};

const compiled = new Map<string, CudaKernel>();
function kernel(cuda: Cuda, n: number, k: number, s: GemmSchedule): CudaKernel {
  const key = `${n} ${k} ${scheduleName(s)}`;
  if (!compiled.has(key)) compiled.set(key, cuda.compile(blockGemm({ n, k }, s)));
  return compiled.get(key)!;
}

/** Largest relative error of a shape and schedule over sampled outputs: ||out - ref|| / ||ref||. */
export async function check(cuda: Cuda): Promise<Row[]> {
  const rows: Row[] = [];
  for (const [n, k] of SHAPES) {
    const p = place(cuda, n, k, 4096, 1);
    // Sizes between the tile sizes too.
    for (const m of [...ROWS.slice(0, -1), 3, 70, 333, 4096]) {
      const at = samples(m, n);
      const want = at.map(([r, c]) => reference(n, k, r, c));
      for (const s of legal(n, k, m)) {
        cuda.fill(p.buffers[0].y, 0xff, m * n * 2);
        cuda.launch(kernel(cuda, n, k, s), p.buffers[0], { m });
        // Twice: a workspace left dirty shows in the second launch.
        cuda.launch(kernel(cuda, n, k, s), p.buffers[0], { m });
        cuda.synchronize();
        const y = new Uint16Array(cuda.download(p.buffers[0].y, m * n * 2).buffer);
        let [error, norm] = [0, 0];
        const word = new Uint32Array(1);
        const float = new Float32Array(word.buffer);
        for (const [i, [r, c]] of at.entries()) {
          word[0] = y[r * n + c] << 16;
          error += (float[0] - want[i]) ** 2;
          norm += want[i] ** 2;
        }
        const relative = Math.sqrt(error / norm);
        let unwritten = 0;
        for (let i = 0; i < y.length; i++) if (y[i] === 0xffff) unwritten++;
        rows.push({ n, k, m, schedule: scheduleName(s), relative, unwritten, ok: relative < 4e-3 && unwritten === 0 });
      }
    }
    release(cuda, p);
  }
  return rows;
}

const median = (v: number[]): number => v.sort((a, b) => a - b)[v.length >> 1];

/** Microseconds of one launch, weights cold: a graph of launches over rotating copies of w. */
function time(cuda: Cuda, p: Problem, s: GemmSchedule, m: number): number {
  const f = kernel(cuda, p.n, p.k, s);
  for (const b of p.buffers) cuda.launch(f, b, { m });
  cuda.synchronize();
  const launches = Math.max(p.buffers.length, 6);
  const graph = cuda.capture(() => {
    for (let i = 0; i < launches; i++) cuda.launch(f, p.buffers[i % p.buffers.length], { m });
  });
  graph.time(2);
  const us = median(graph.time(9)) / launches;
  graph.destroy();
  return us;
}

export async function measure(cuda: Cuda): Promise<Row[]> {
  const rows: Row[] = [];
  for (const [n, k, part, published] of SHAPES) {
    const p = place(cuda, n, k, 4096, Math.ceil(130e6 / (n * k)) + 1);
    for (const [i, m] of ROWS.entries()) {
      const times = legal(n, k, m).map((s) => ({ schedule: scheduleName(s), us: time(cuda, p, s, m) }));
      const chosen = scheduleName(choose({ n, k }, m));
      const us = times.find((t) => t.schedule === chosen)?.us ?? NaN;
      const best = times.reduce((a, b) => (b.us < a.us ? b : a));
      const floor = Math.max((n * k + m * k + 2 * m * n) / 4539e3, (2 * m * n * k) / 1979e6);
      rows.push({
        part, n, k, m, schedule: chosen, us, floor_us: floor, public_us: published[i], public_over_ours: published[i] / us, tflops: (2 * m * n * k) / us / 1e6,
        best: best.schedule, best_us: best.us, all: times.map((t) => `${t.schedule} ${t.us.toFixed(2)}`).join(", "),
      });
    }
    release(cuda, p);
  }
  return rows;
}
