// The FP8 block GEMM on the card: every shape of R1, the chosen schedule or (--every) all that suit, against float64 on sampled outputs; then
// times with cold weights beside the floor and the best public figure.
import { scheduleFor } from "../../codegen/cuda/select.ts";
import { gemmSchedules } from "../../codegen/cuda/sm90/gemm/fp8-linear.ts";
import { blockGemm } from "../../codegen/cuda/sm90/gemm/fp8-gemm.ts";
import { candidates, illegal, scheduleName, type GemmSchedule } from "../../codegen/cuda/sm90/gemm/fp8-schedule.ts";
import { gemv } from "../../codegen/cuda/sm90/gemm/fp8-gemv.ts";
import { gemvSchedules, gemvName, type GemvRowsProblem } from "../../codegen/cuda/sm90/gemm/fp8-gemv-schedule.ts";
import type { KernelText } from "../../ir/kernel/catalogue.ts";
import type { Cuda, CudaKernel } from "../../runtime/devices/cuda/index.ts";
import { launchTime } from "../../runtime/devices/cuda/launch-time.ts";
import type { Row } from "./device.ts";
import { compileAll } from "./compile-all.ts";
import { cublaslt } from "./cublaslt.ts";
import { codes, distance, POOL, put, samples, scaleBytes, scales, values } from "./gemm-data.ts";
import { h200 } from "../../codegen/cuda/arch/h200.ts";

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

export interface Problem {
  n: number;
  k: number;
  m: number;
  buffers: Record<string, number>[];
}

/** Buffers for the most rows; copies of w (and its scales' place) until L2 cannot hold them all. */
export function place(cuda: Cuda, n: number, k: number, m: number, copies: number): Problem {
  const kb = Math.ceil(k / 128);
  const x = put(cuda, m * k, codes);
  const xScale = put(cuda, m * kb * 4, scaleBytes);
  const wScale = put(cuda, Math.ceil(n / 128) * kb * 4, scaleBytes);
  const y = cuda.alloc(m * n * 2);
  const buffers = Array.from({ length: copies }, () => ({ x, w: put(cuda, n * k, codes), x_scale: xScale, w_scale: wScale, y }));
  return { n, k, m, buffers };
}

export function release(cuda: Cuda, p: Problem): void {
  for (const name of ["x", "x_scale", "w_scale", "y"]) cuda.free(p.buffers[0][name]);
  for (const b of p.buffers) cuda.free(b.w);
}

/** Exact products of codes, f32 scales, in float64. */
function reference(k: number, row: number, column: number): number {
  const kb = Math.ceil(k / 128);
  let sum = 0;
  for (let b = 0; b < kb; b++) {
    let part = 0;
    const end = Math.min(k, (b + 1) * 128);
    for (let c = b * 128; c < end; c++) part += values[codes[(row * k + c) % POOL]] * values[codes[(column * k + c) % POOL]];
    sum += part * scales[(row * kb + b) % scales.length] * scales[(Math.floor(column / 128) * kb + b) % scales.length];
  }
  return sum;
}

/** The schedule that the target runs. */
function choose(n: number, k: number, m: number): GemmSchedule {
  const s = scheduleFor(gemmSchedules, { n, k }, m, h200);
  if ("reason" in s) throw new RangeError(s.reason);
  return s;
}
const same = (a: GemmSchedule, b: GemmSchedule): boolean => scheduleName(a) === scheduleName(b);

/** Every schedule that is neither mostly idle nor reads the weights too often, instead of the chosen one only. */
const every = process.argv.includes("--every");
const suits = (s: GemmSchedule, m: number): boolean =>
  s.form !== "persistent" ? s.tokens <= 2 * Math.max(m, 4) && m <= 4 * s.tokens : m >= 64;
const legal = (n: number, k: number, m: number): GemmSchedule[] => {
  const chosen = choose(n, k, m);
  return every ? candidates.filter((s) => illegal(s, h200, { n, k }) === null && (same(s, chosen) || suits(s, m))) : [chosen];
};

/** A schedule's name and its kernel: what the target takes first (one row is held whole, where that form serves), then the others asked for. */
function forms(n: number, k: number, m: number): { schedule: string; text: KernelText }[] {
  const chosen = choose(n, k, m);
  const others = legal(n, k, m).toSorted((a, b) => Number(same(b, chosen)) - Number(same(a, chosen)));
  const streamed = (s: GemmSchedule): { schedule: string; text: KernelText } => ({
    schedule: scheduleName(s),
    text: blockGemm({ n, k }, s, h200),
  });
  const problem: GemvRowsProblem = { n, k, maxRows: 1 };
  const shape = scheduleFor(gemvSchedules, { n, k }, m, h200);
  if ("reason" in shape) return others.map(streamed);
  return [{ schedule: gemvName(shape), text: gemv(problem, shape, h200) }, ...(every ? others.map(streamed) : [])];
}

/** Launches a kernel twice over a poisoned output, for a workspace left dirty shows in the second, and compares with float64. */
export function compare(cuda: Cuda, f: CudaKernel, p: Problem, m: number): { relative: number; unwritten: number; ok: boolean } {
  const at = samples(m, p.n);
  cuda.fill(p.buffers[0].y, 0xff, m * p.n * 2);
  cuda.launch(f, p.buffers[0], { m });
  cuda.launch(f, p.buffers[0], { m });
  const y = new Uint16Array(cuda.download(p.buffers[0].y, m * p.n * 2).buffer);
  const found = distance(
    y,
    at.map(([r, c]) => r * p.n + c),
    at.map(([r, c]) => reference(p.k, r, c)),
  );
  return { ...found, ok: found.relative < 4e-3 && found.unwritten === 0 };
}

/** More shapes for the check: parts of the joined products, less than a tile, ragged in n and k. */
const RAGGED: readonly [number, number][] = [
  [576, 7168],
  [136, 144],
  [1000, 2000],
  [384, 1152],
];

/** Only what is small, for tools that make a launch a hundred times slower. */
const small = process.argv.includes("--small");

/** What to launch: a schedule at a number of rows, and its kernel. */
interface Run {
  m: number;
  schedule: string;
  kernel: CudaKernel;
}

/** The runs of some shapes at some sizes, all kernels compiled. */
async function runs(cuda: Cuda, shapes: readonly (readonly [number, number, readonly number[]])[]): Promise<Map<string, Run[]>> {
  const wanted = shapes.map(([n, k, ms]) => ms.flatMap((m) => forms(n, k, m).map((form) => ({ m, ...form }))));
  const kernels = await compileAll(
    cuda,
    wanted.flat().map((w) => w.text),
  );
  return new Map(
    shapes.map(([n, k], i) => [
      `${n} ${k}`,
      wanted[i].map(({ m, schedule, text }) => ({ m, schedule, kernel: kernels.get(text.name)! })),
    ]),
  );
}

/** Every shape, sizes between the tile sizes too: relative error over sampled outputs. */
export async function check(cuda: Cuda): Promise<Row[]> {
  const rows: Row[] = [];
  const sizes = [...ROWS.slice(0, -1), 3, 70, 333, 4096];
  const all = [...SHAPES.map(([n, k]) => [n, k, sizes] as const), ...RAGGED.map(([n, k]) => [n, k, [1, 70, 333]] as const)];
  const shapes = small ? all.filter(([n, k]) => n * k < 1e6) : all;
  const found = await runs(cuda, shapes);
  for (const [n, k, ms] of shapes) {
    const p = place(cuda, n, k, Math.max(...ms), 1);
    for (const { m, schedule, kernel } of found.get(`${n} ${k}`)!)
      rows.push({ n, k, m, schedule, ...compare(cuda, kernel, p, m) });
    release(cuda, p);
  }
  return rows;
}

/** Microseconds of one launch, weights cold: a graph of launches over rotating copies of w. */
export function time(cuda: Cuda, f: CudaKernel, p: Problem, m: number): number {
  return launchTime(cuda, f, p.buffers, { m });
}

/** Medians come and go with the clocks: the best of this many. */
const TIMES = 3;

export async function measure(cuda: Cuda): Promise<Row[]> {
  const rows: Row[] = [];
  const found = await runs(
    cuda,
    SHAPES.map(([n, k]) => [n, k, ROWS]),
  );
  for (const [n, k, part, published] of SHAPES) {
    const p = place(cuda, n, k, 4096, Math.ceil(130e6 / (n * k)) + 1);
    for (const [i, m] of ROWS.entries()) {
      const times = found
        .get(`${n} ${k}`)!
        .filter((r) => r.m === m)
        .map((r) => ({ schedule: r.schedule, us: Math.min(...Array.from({ length: TIMES }, () => time(cuda, r.kernel, p, m))) }));
      const [{ schedule: chosen, us }] = times;
      const floor = Math.max((n * k + m * k + 2 * m * n) / (h200.bandwidth / 1e6), (2 * m * n * k) / (h200.peaks.fp8 / 1e6));
      rows.push({
        part,
        n,
        k,
        m,
        schedule: chosen,
        us,
        floor_us: floor,
        public_us: published[i],
        public_over_ours: published[i] / us,
        tflops: (2 * m * n * k) / us / 1e6,
        ...(every ? { all: times.map((t) => `${t.schedule} ${t.us.toFixed(2)}`).join(", ") } : {}),
      });
    }
    release(cuda, p);
  }
  const live = cublaslt();
  for (const r of rows) {
    const us = live.get(`${r.n} ${r.k} ${r.m}`);
    if (us !== undefined) Object.assign(r, { cublaslt_us: us, cublaslt_over_ours: us / (r.us as number) });
  }
  return [...rows, ...summary(rows)];
}

/** Few rows and many, against what is asked of them: geometric mean and least of public time over ours. */
function summary(rows: readonly Row[]): Row[] {
  return (
    [
      ["m <= 64", (m: number) => m <= 64, 1.15, 0.9],
      ["m >= 128", (m: number) => m >= 128, 0.85, 0.7],
    ] as const
  ).map(([what, is, mean, least]) => {
    const ratios = rows.filter((r) => is(r.m as number)).map((r) => r.public_over_ours as number);
    return {
      what: `public over ours, ${what}`,
      geometric_mean: Math.exp(ratios.reduce((a, r) => a + Math.log(r), 0) / ratios.length),
      asked_mean: mean,
      least: Math.min(...ratios),
      asked_least: least,
    };
  });
}
