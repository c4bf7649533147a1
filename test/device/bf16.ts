// bf16 products on the card: linears of few rows, the einsums of absorbed attention, argmax. Every kernel against float64 at odd
// sizes too, then times with cold weights beside the floor.
import { scheduleFor } from "../../codegen/cuda/select.ts";
import { argmaxRows } from "../../codegen/cuda/sm90/rows/argmax.ts";
import { bmmKernel, bmmSchedule, type BmmProblem, type BmmSchedule } from "../../codegen/cuda/sm90/gemm/bmm.ts";
import { registerLinear } from "../../codegen/cuda/sm90/gemm/register-linear.ts";
import { bf16Gemm } from "../../codegen/cuda/sm90/gemm/bf16-persistent.ts";
import { ringLinear } from "../../codegen/cuda/sm90/gemm/ring-linear.ts";
import { bf16Name, bf16Schedules, candidates as gemms, illegal } from "../../codegen/cuda/sm90/gemm/bf16-schedule.ts";
import { ringName, ringSchedule, ringTokens, illegalRing } from "../../codegen/cuda/sm90/gemm/ring-schedule.ts";
import {
  registerName,
  registerSchedule,
  illegalRegisters,
  type Bf16Problem,
} from "../../codegen/cuda/sm90/gemm/register-schedule.ts";
import type { KernelText } from "../../ir/kernel/catalogue.ts";
import { cachedCompile } from "../../runtime/devices/cuda/cubins.ts";
import { e4m3Code, quantizeRow } from "../../ir/numeric.ts";
import type { Cuda, CudaKernel } from "../../runtime/devices/cuda/index.ts";
import { BANDWIDTH, median, numbers, put, samples, valueAt } from "./bf16-data.ts";
import type { Row } from "./device.ts";
import { h200 } from "../../codegen/cuda/arch/h200.ts";

type Type = "bf16" | "f32";
const bytesOf = { bf16: 2, f32: 4 } as const;
/** Largest relative error by the type of the result: tensor cores round the sums of long products down a little. */
const LIMIT = { bf16: 4e-3, f32: 5e-5 } as const;

/** n, k, part of the printed model (p) or of R1 (r). */
const SHAPES: readonly [number, number, Type, string][] = [
  [2112, 7168, "bf16", "q_a + kv_a (p)"],
  [24576, 1536, "bf16", "q_b (p)"],
  [7168, 16384, "bf16", "o_proj (p)"],
  [3712, 7168, "bf16", "gate and up (p)"],
  [32768, 512, "bf16", "kv_b (p)"],
  [7168, 1856, "bf16", "down (p)"],
  [7168, 1843, "bf16", "down, unpadded"],
  [1292, 7168, "f32", "head (p)"],
  [129280, 7168, "f32", "head (r)"],
  [256, 7168, "f32", "router (r)"],
];

/** Rows that are timed: a token, a batch, a prompt. */
const ROWS = [1, 8, 64, 1024, 4096];

/** Sizes no model has. */
const ODD: readonly [number, number][] = [
  [72, 100],
  [8, 7],
  [40, 1031],
  [200, 90],
  [56, 2050],
  [40, 64],
  [300, 192],
  [1001, 448],
];

const problemOf = (n: number, k: number, x: Type, y: Type, pad = 0): Bf16Problem => ({
  n,
  k,
  xStride: k + pad,
  yStride: n + pad,
  x,
  y,
});

function compare(got: Float32Array, at: [number, number][], stride: number, want: (r: number, c: number) => number): number {
  let [error, norm] = [0, 0];
  for (const [r, c] of at) {
    const w = want(r, c);
    error += (got[r * stride + c] - w) ** 2;
    norm += w * w;
  }
  const e = Math.sqrt(error / norm);
  return Number.isFinite(e) ? e : Infinity;
}

/** Elements of a result still as they were poisoned: 0xffff or 0xffffffff, no number. */
const unwritten = (got: Float32Array, m: number, n: number, stride: number): number => {
  let count = 0;
  for (let r = 0; r < m; r++) for (let c = 0; c < n; c++) if (Number.isNaN(got[r * stride + c])) count++;
  return count;
};

function checkLinear(cuda: Cuda, p: Bf16Problem, kernel: CudaKernel, m: number, schedule: string): Row {
  const at = { x: put(cuda, p.x, m * p.xStride), w: put(cuda, "bf16", p.n * p.k), y: cuda.alloc(m * p.yStride * bytesOf[p.y]) };
  cuda.fill(at.y, 0xff, m * p.yStride * bytesOf[p.y]);
  cuda.launch(kernel, at, { m });
  const got = numbers(p.y, cuda.download(at.y, m * p.yStride * bytesOf[p.y]));
  for (const a of Object.values(at)) cuda.free(a);
  const relative = compare(got, samples(m, p.n, 60), p.yStride, (r, c) => {
    let sum = 0;
    for (let i = 0; i < p.k; i++) sum += valueAt(p.x, r * p.xStride + i) * valueAt("bf16", c * p.k + i);
    return sum;
  });
  const missing = unwritten(got, m, p.n, p.yStride);
  return {
    op: "linear",
    n: p.n,
    k: p.k,
    m,
    x: p.x,
    y: p.y,
    schedule,
    relative,
    unwritten: missing,
    ok: relative < LIMIT[p.y] && missing === 0,
  };
}

/** [heads, width, rank]: ql and o of R1 and of a narrower relative; the last two axes of w are [n, l] for ql, [v, l] for o. */
const HEADS: readonly [number, number, number][] = [
  [128, 128, 512],
  [3, 64, 256],
];

/** w is one half of kv_b, [heads, 2 width, rank]; q is the first part of rows of width + 64. */
const queryProblem = (h: number, v: number, r: number, x: Type, y: Type): BmmProblem => ({
  batch: h,
  n: r,
  k: v,
  a: [v + 64, h * (v + 64), 1],
  b: [2 * v * r, 1, r],
  y: [r, h * r, 1],
  x,
  yType: y,
});
const outputProblem = (h: number, v: number, r: number, x: Type, y: Type): BmmProblem => ({
  batch: h,
  n: v,
  k: r,
  a: [r, h * r, 1],
  b: [2 * v * r, r, 1],
  y: [v, h * v, 1],
  x,
  yType: y,
});

function checkBmm(cuda: Cuda, p: BmmProblem, kernel: CudaKernel, m: number): Row {
  const at = {
    a: put(cuda, p.x, m * p.a[1]),
    b: put(cuda, "bf16", p.batch * p.b[0]),
    y: cuda.alloc(m * p.y[1] * bytesOf[p.yType]),
  };
  cuda.fill(at.y, 0xff, m * p.y[1] * bytesOf[p.yType]);
  cuda.launch(kernel, at, { m });
  const got = numbers(p.yType, cuda.download(at.y, m * p.y[1] * bytesOf[p.yType]));
  for (const a of Object.values(at)) cuda.free(a);
  const width = p.batch * p.n;
  const relative = compare(got, samples(m, width), p.y[1], (r, c) => {
    const [z, j] = [Math.floor(c / p.n), c % p.n];
    let sum = 0;
    for (let i = 0; i < p.k; i++)
      sum += valueAt(p.x, z * p.a[0] + r * p.a[1] + i) * valueAt("bf16", z * p.b[0] + j * p.b[1] + i * p.b[2]);
    return sum;
  });
  const missing = unwritten(got, m, width, p.y[1]);
  return {
    op: `bmm ${p.batch}x${p.n}x${p.k}`,
    m,
    x: p.x,
    y: p.yType,
    relative,
    unwritten: missing,
    ok: relative < LIMIT[p.yType] && missing === 0,
  };
}

/** The form that ends in codes, held to quantize of what the other form writes: every code and every scale. */
function checkQuantised(cuda: Cuda, p: BmmProblem, rows: CudaKernel, kernel: CudaKernel, m: number): Row {
  const width = p.batch * p.n;
  const at = {
    a: put(cuda, p.x, m * p.a[1]),
    b: put(cuda, "bf16", p.batch * p.b[0]),
    y: cuda.alloc(m * width * bytesOf[p.yType]),
    codes: cuda.alloc(m * width),
    scales: cuda.alloc((m * width) / 32),
  };
  cuda.fill(at.codes, 0x7f, m * width);
  cuda.fill(at.scales, 0xff, (m * width) / 32);
  cuda.launch(rows, at, { m });
  cuda.launch(kernel, at, { m });
  const y = numbers(p.yType, cuda.download(at.y, m * width * bytesOf[p.yType]));
  const [codes, scales] = [new Float64Array(m * width), new Float64Array((m * width) / 128)];
  for (let r = 0; r < m; r++) quantizeRow(y, r * width, width, p.scale === "ue8m0", codes, r * width, scales, (r * width) / 128);
  const [gotCodes, gotScales] = [
    cuda.download(at.codes, m * width),
    new Float32Array(cuda.download(at.scales, (m * width) / 32).buffer),
  ];
  for (const a of Object.values(at)) cuda.free(a);
  const wrong =
    codes.reduce((n, v, i) => n + Number(gotCodes[i] !== e4m3Code(v)), 0) +
    scales.reduce((n, v, i) => n + Number(gotScales[i] !== v), 0);
  return { op: `bmm ${p.batch}x${p.n}x${p.k} quantised`, m, x: p.x, wrong, ok: wrong === 0 };
}

function checkArgmax(cuda: Cuda, kernel: CudaKernel, d: number, stride: number, m: number): Row {
  const x = Float32Array.from({ length: m * stride }, (_, i) => valueAt("f32", i * 7));
  const want = new Int32Array(m);
  for (let r = 0; r < m; r++) {
    // Ties far apart, zeros of both signs, a row of one value; of infinities, where the first is named as -1 - id.
    if (r % 4 === 1) x[r * stride + d - 1] = x[r * stride + (d >> 1)] = 9;
    if (r % 4 === 2) x.fill(-Infinity, r * stride, r * stride + d);
    if (r % 4 === 3) x.fill(0, r * stride, r * stride + d).fill(-0, r * stride, r * stride + (d >> 1));
    for (let c = 1; c < d; c++) if (x[r * stride + c] > x[r * stride + want[r]]) want[r] = c;
    if (r % 4 === 2) want[r] = -1;
  }
  const at = { x: cuda.alloc(x.byteLength), y: cuda.alloc(m * 4) };
  cuda.upload(at.x, new Uint8Array(x.buffer));
  let wrong = 0;
  // Twice: a workspace left dirty shows in the second launch.
  for (let i = 0; i < 2; i++) {
    cuda.fill(at.y, 0xff, m * 4);
    cuda.launch(kernel, at, { m });
    new Int32Array(cuda.download(at.y, m * 4).buffer).forEach((v, r) => (wrong += Number(v !== want[r])));
  }
  for (const a of Object.values(at)) cuda.free(a);
  return { op: "argmax", d, stride, m, wrong, ok: wrong === 0 };
}

interface Form {
  schedule: string;
  text: KernelText;
}

/** The kernel that serves a problem at m rows, as the target chooses it; with --all-forms every other that could. */
function forms(p: Bf16Problem, m: number): Form[] {
  const out: Form[] = [];
  const all = process.argv.includes("--all-forms");
  if (m <= 16 && illegalRing(p, h200) === null)
    for (const kb of [undefined, ...(all ? [112, 72] : [])]) {
      const s = ringSchedule(p, ringTokens(m), { ...h200, ...(kb ? { ringBytes: kb * 1024 } : {}) });
      out.push({ schedule: ringName(s), text: ringLinear(p, s, h200) });
    }
  if (m <= 16 && illegalRegisters(p) === null && (all || !out.length)) {
    const s = registerSchedule(p, m <= 8 ? 8 : 16, h200);
    out.push({ schedule: registerName(s), text: registerLinear(p, s, h200) });
  }
  const chosen = scheduleFor(bf16Schedules, p, m, h200);
  for (const s of gemms)
    if (m > 16 && illegal(s, p, h200) === null && (all || s === chosen))
      out.push({ schedule: bf16Name(s), text: bf16Gemm(p, s, h200) });
  return out;
}

const compiled = new Map<string, CudaKernel>();

/** Compiles texts side by side. */
async function build(cuda: Cuda, texts: readonly KernelText[]): Promise<void> {
  const fresh = [...new Map(texts.filter((t) => !compiled.has(t.source)).map((t) => [t.source, t])).values()];
  const compile = cachedCompile(h200.arch);
  const cubins = await Promise.all(fresh.map((t) => compile(t.name, t.source)));
  for (const [i, t] of fresh.entries()) compiled.set(t.source, cuda.loadCubin(cubins[i], t));
}
const kernelOf = (text: KernelText): CudaKernel => compiled.get(text.source)!;

export async function check(cuda: Cuda): Promise<Row[]> {
  const rows: Row[] = [];
  const linears: { p: Bf16Problem; m: number; form: Form }[] = [];
  const add = (p: Bf16Problem, ms: readonly number[]): void => {
    for (const m of ms) for (const form of forms(p, m)) linears.push({ p, m, form });
  };
  for (const [n, k, y] of SHAPES.filter(([n, k]) => n * k < 2e7)) add(problemOf(n, k, "bf16", y), [1, 3, 8, 13, 70, 300]);
  for (const [i, [n, k]] of ODD.entries()) {
    const pad = [0, 8, 3][i % 3];
    add(problemOf(n, k, "bf16", i % 2 ? "bf16" : "f32", pad), [1, 11, 40, 130]);
    add(problemOf(n, k, "f32", "f32", pad), [1, 11]);
  }
  const einsums = HEADS.flatMap(([h, v, r]) =>
    (["bf16", "f32"] as const).flatMap((t) => [queryProblem(h, v, r, t, t), outputProblem(h, v, r, t, t)]),
  ).map((p) => ({ p, text: bmmKernel(p, bmmSchedule(p) as BmmSchedule, h200) }));
  const codes = (["bf16", "f32"] as const).map((t): { p: BmmProblem; rows: KernelText; text: KernelText } => {
    const p: BmmProblem = { ...outputProblem(128, 128, 512, t, t), scale: t === "bf16" ? "f32" : "ue8m0" };
    const { scale: _, ...plain } = p;
    return {
      p,
      rows: bmmKernel(plain, bmmSchedule(plain) as BmmSchedule, h200),
      text: bmmKernel(p, bmmSchedule(p) as BmmSchedule, h200),
    };
  });
  const widths = [
    [129280, 129280],
    [1292, 1292],
    [4097, 4099],
    [3, 3],
  ] as const;
  const maxima = widths.map(([d, xStride]) => ({ d, xStride, text: argmaxRows({ d, xStride }, h200) }));
  await build(cuda, [
    ...linears.map((l) => l.form.text),
    ...einsums.map((e) => e.text),
    ...codes.map((c) => c.text),
    ...maxima.map((a) => a.text),
  ]);
  for (const { p, m, form } of linears) rows.push(checkLinear(cuda, p, kernelOf(form.text), m, form.schedule));
  for (const { p, text } of einsums) for (const m of [1, 3, 16, 61]) rows.push(checkBmm(cuda, p, kernelOf(text), m));
  for (const { p, rows: whole, text } of codes)
    for (const m of [1, 3, 61]) rows.push(checkQuantised(cuda, p, kernelOf(whole), kernelOf(text), m));
  for (const { d, xStride, text } of maxima)
    for (const m of [1, 7, 64]) rows.push(checkArgmax(cuda, kernelOf(text), d, xStride, m));
  return rows;
}

/** Microseconds of one launch: a graph of launches over rotating buffers. */
function time(cuda: Cuda, kernel: CudaKernel, sets: readonly Record<string, number>[], m: number): number {
  for (const s of sets) cuda.launch(kernel, s, { m });
  cuda.synchronize();
  const launches = Math.max(sets.length, m > 500 ? 3 : 8);
  const graph = cuda.capture(() => {
    for (let i = 0; i < launches; i++) cuda.launch(kernel, sets[i % sets.length], { m });
  });
  graph.time(2);
  const us = median(graph.time(9)) / launches;
  graph.destroy();
  return us;
}

export async function measure(cuda: Cuda): Promise<Row[]> {
  const rows: Row[] = [];
  await build(
    cuda,
    SHAPES.flatMap(([n, k, y, part]) =>
      (part.includes("head") ? [1, 64] : ROWS).flatMap((m) => forms(problemOf(n, k, "bf16", y), m).map((f) => f.text)),
    ),
  );
  for (const [n, k, y, part] of SHAPES) {
    const copies = Math.ceil(150e6 / (n * k * 2)) + 1;
    const p = problemOf(n, k, "bf16", y);
    const most = part.includes("head") ? 64 : 4096;
    const x = put(cuda, "bf16", most * k);
    const out = cuda.alloc(most * n * bytesOf[y]);
    const sets = Array.from({ length: copies }, () => ({ x, w: put(cuda, "bf16", n * k), y: out }));
    for (const m of part.includes("head") ? [1, 64] : ROWS) {
      const times = forms(p, m).map((f) => ({ schedule: f.schedule, us: time(cuda, kernelOf(f.text), sets, m) }));
      if (!times.length) continue;
      const [own] = times;
      const floor = Math.max((2 * n * k + 2 * m * k + bytesOf[y] * m * n) / BANDWIDTH, (2 * m * n * k) / (h200.peaks.bf16 / 1e6));
      rows.push({
        op: "linear",
        part,
        n,
        k,
        m,
        schedule: own.schedule,
        us: own.us,
        floor_us: floor,
        of_floor: floor / own.us,
        tflops: (2 * m * n * k) / own.us / 1e6,
        ...(times.length > 1 ? { all: times.map((t) => `${t.schedule} ${t.us.toFixed(2)}`).join(", ") } : {}),
      });
    }
    for (const s of sets) cuda.free(s.w);
    cuda.free(x);
    cuda.free(out);
  }
  for (const [what, p] of [
    ["ql", queryProblem(128, 128, 512, "bf16", "bf16")],
    ["o", outputProblem(128, 128, 512, "bf16", "bf16")],
  ] as const) {
    const kernel = cuda.compile(bmmKernel(p, bmmSchedule(p) as BmmSchedule, h200));
    const [a, y] = [put(cuda, "bf16", 4096 * p.a[1]), cuda.alloc(4096 * p.y[1] * 2)];
    const sets = Array.from({ length: 5 }, () => ({ a, b: put(cuda, "bf16", p.batch * p.b[0]), y }));
    for (const m of [1, 8, 64, 4096]) {
      const us = time(cuda, kernel, sets, m);
      const floor = Math.max(
        (2 * p.batch * p.n * p.k + 2 * m * p.batch * (p.n + p.k)) / BANDWIDTH,
        (2 * m * p.batch * p.n * p.k) / (h200.peaks.bf16 / 1e6),
      );
      rows.push({ op: `bmm ${what}`, m, us, floor_us: floor, of_floor: floor / us });
    }
    for (const s of sets) cuda.free(s.b);
    cuda.free(a);
    cuda.free(y);
  }
  for (const [d, m] of [
    [129280, 1],
    [129280, 64],
    [1292, 1],
  ] as const) {
    const kernel = cuda.compile(argmaxRows({ d, xStride: d }, h200));
    const sets = [0, 1, 2, 3].map(() => ({ x: put(cuda, "f32", m * d), y: cuda.alloc(m * 4) }));
    const us = time(cuda, kernel, sets, m);
    rows.push({ op: "argmax", d, m, us, floor_us: (4 * m * d) / BANDWIDTH });
    for (const s of sets) for (const a of Object.values(s)) cuda.free(a);
  }
  return rows;
}
