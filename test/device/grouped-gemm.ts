// Products of rows sorted by expert, each expert its own weights, on the card: against float64 on sampled outputs, with experts
// that have no rows, one, or many; then times with cold weights beside the floor and the best public figure.
import { scheduleFor } from "../../codegen/cuda/select.ts";
import { groupedGemm } from "../../codegen/cuda/sm90/gemm/grouped-gemm.ts";
import { candidates, groupedSchedules, illegal } from "../../codegen/cuda/sm90/gemm/grouped-schedule.ts";
import { scheduleName, type GemmSchedule } from "../../codegen/cuda/sm90/gemm/fp8-schedule.ts";
import type { KernelText } from "../../ir/kernel/catalogue.ts";
import type { Cuda, CudaKernel } from "../../runtime/devices/cuda/index.ts";
import { compileAll } from "./compile-all.ts";
import type { Row } from "./device.ts";
import { codes, distance, median, next, POOL, put, scaleBytes, scales, values } from "./gemm-data.ts";
import { h200 } from "../../codegen/cuda/arch/h200.ts";

/** Rows of each expert. */
type Counts = readonly number[];

interface Case {
  what: string;
  experts: number;
  n: number;
  k: number;
  /** Routings to rotate through, so that weights are cold. All have as many rows. */
  counts: Counts[];
  public_us?: number;
}

/** Tokens through `topk` experts each, all different. */
function routed(experts: number, tokens: number, topk: number): Counts {
  const counts = Array.from({ length: experts }, () => 0);
  for (let t = 0; t < tokens; t++) {
    const chosen = new Set<number>();
    while (chosen.size < topk) chosen.add(next() % experts);
    for (const e of chosen) counts[e]++;
  }
  return counts;
}

const even = (experts: number, rows: number): Counts =>
  Array.from({ length: experts }, (_, e) => Math.floor(((e + 1) * rows) / experts) - Math.floor((e * rows) / experts));

/** R1's experts: gate and up as one matrix, and down. */
const MATRICES = [
  [4096, 7168],
  [7168, 2048],
] as const;

const timed = (): Case[] => [
  ...MATRICES.flatMap(([n, k], i) =>
    [1, 2, 4, 8, 16, 32, 64].map((t): Case => ({
      what: `${t} tokens, 8 of 256`,
      experts: 256,
      n,
      k,
      counts: Array.from({ length: t < 8 ? 4 : 2 }, () => routed(256, t, 8)),
      ...(t === 1 ? { public_us: [85.8, 50.6][i] } : {}),
    })),
  ),
  ...MATRICES.map(([n, k], i): Case => ({
    what: "masked256",
    experts: 256,
    n,
    k,
    counts: [even(256, 1153)],
    public_us: [1961.4, 959.7][i],
  })),
  ...MATRICES.flatMap(([n, k]) =>
    [512, 2048, 3072, 4096, 5120, 8192].map((t): Case => ({
      what: `${t} tokens, 8 of 256`,
      experts: 256,
      n,
      k,
      counts: [routed(256, t, 8)],
    })),
  ),
  ...[4, 8].flatMap((experts, j) =>
    MATRICES.map(([n, k], i): Case => ({
      what: "contig",
      experts,
      n,
      k,
      counts: [even(experts, 32768)],
      public_us: [
        [1526.7, 821.9],
        [1574.7, 821.9],
      ][j][i],
    })),
  ),
];

/** Awkward routings: none at the ends, one row, tile sizes and one beside, everything in one expert, several multiples. */
const awkward = (experts: number): Counts[] => {
  const at = (pairs: Readonly<Record<number, number>>): Counts => Array.from({ length: experts }, (_, e) => pairs[e] ?? 0);
  return [
    at({ [experts - 1]: 1 }),
    at({ 0: 1, 3: 7, 5: 8, 6: 9 }),
    at({ 1: 64, 2: 65, 4: 127, 7: 128 }),
    at({ 2: 300, 3: 129, [experts - 1]: 257 }),
    at({ 3: 1000 }),
  ];
};

const sum = (c: Counts): number => c.reduce((a, b) => a + b, 0);
const most = (cases: readonly Case[]): number => Math.max(...cases.flatMap((c) => c.counts.map(sum)));

interface Placed {
  buffers: Record<string, number>;
  free(): void;
}

function place(cuda: Cuda, experts: number, n: number, k: number, rows: number): Placed {
  const kb = Math.ceil(k / 128);
  const buffers = {
    x: put(cuda, rows * k, codes),
    x_scale: put(cuda, rows * kb * 4, scaleBytes),
    w: put(cuda, experts * n * k, codes),
    w_scale: put(cuda, experts * (n / 128) * kb * 4, scaleBytes),
    y: cuda.alloc(rows * n * 2),
  };
  return { buffers, free: () => Object.values(buffers).forEach((b) => cuda.free(b)) };
}

function placeOffsets(cuda: Cuda, counts: Counts): number {
  const offsets = new Int32Array(counts.length + 1);
  for (const [e, c] of counts.entries()) offsets[e + 1] = offsets[e] + c;
  const at = cuda.alloc(offsets.byteLength);
  cuda.upload(at, new Uint8Array(offsets.buffer));
  return at;
}

/** Exact products of codes, f32 scales, in float64. */
function reference(n: number, k: number, expert: number, row: number, column: number): number {
  const kb = Math.ceil(k / 128);
  const w = (expert * n + column) * k;
  let total = 0;
  for (let b = 0; b < kb; b++) {
    let part = 0;
    for (let c = b * 128; c < Math.min(k, b * 128 + 128); c++)
      part += values[codes[(row * k + c) % POOL]] * values[codes[(w + c) % POOL]];
    total +=
      part *
      scales[(row * kb + b) % scales.length] *
      scales[((expert * (n / 128) + Math.floor(column / 128)) * kb + b) % scales.length];
  }
  return total;
}

/** Every expert's first and last row, both ends of the columns and random places. */
function compare(
  cuda: Cuda,
  f: CudaKernel,
  p: Placed,
  { n, k }: Case,
  counts: Counts,
): { relative: number; unwritten: number; ok: boolean } {
  const offsets = placeOffsets(cuda, counts);
  const r = sum(counts);
  cuda.fill(p.buffers.y, 0xff, r * n * 2);
  for (let i = 0; i < 2; i++) cuda.launch(f, { ...p.buffers, offsets }, { r });
  const y = new Uint16Array(cuda.download(p.buffers.y, r * n * 2).buffer);
  const [at, want]: [number[], number[]] = [[], []];
  let from = 0;
  for (const [e, c] of counts.entries()) {
    if (c === 0) continue;
    for (const row of new Set([from, from + (next() % c), from + c - 1]))
      for (const column of [0, 63, 64, n - 1, next() % n, next() % n]) {
        at.push(row * n + column);
        want.push(reference(n, k, e, row, column));
      }
    from += c;
  }
  cuda.free(offsets);
  const found = distance(y, at, want);
  return { ...found, ok: found.relative < 4e-3 && found.unwritten === 0 };
}

/** Kernels of a shape under some schedules, by schedule. */
async function kernelsOf(
  cuda: Cuda,
  shapes: readonly Case[],
  schedules: (c: Case) => readonly GemmSchedule[],
): Promise<(c: Case, s: GemmSchedule) => CudaKernel> {
  const text = (c: Case, s: GemmSchedule): KernelText => groupedGemm({ experts: c.experts, n: c.n, k: c.k }, s, h200);
  const kernels = await compileAll(
    cuda,
    shapes.flatMap((c) => schedules(c).map((s) => text(c, s))),
  );
  return (c, s) => kernels.get(text(c, s).name)!;
}

/** The chosen schedule, or (--every) all that are worth running for some rows an expert. */
const every = process.argv.includes("--every");
function choose(c: Case, r: number): GemmSchedule {
  const s = scheduleFor(groupedSchedules, c, r, h200);
  if ("reason" in s) throw new RangeError(s.reason);
  return s;
}
const legal = (c: Case, r: number): GemmSchedule[] => {
  const busy = Math.max(1, r / Math.min(r, c.experts));
  const chosen = choose(c, r);
  return candidates.filter(
    (s) =>
      illegal(s, h200, c) === null &&
      (s === chosen ||
        (every && (s.form === "persistent" ? busy >= 8 : s.form === "split-k" && s.tokens <= 16 * busy && s.tokens * 8 >= busy))),
  );
};

export async function check(cuda: Cuda): Promise<Row[]> {
  const rows: Row[] = [];
  // --small: only what is small, for tools that make a launch a hundred times slower.
  const shapes = [
    [8, 4096, 7168],
    [9, 7168, 2048],
    [40, 512, 336],
  ] as const;
  const cases = (process.argv.includes("--small") ? shapes.slice(-1) : shapes).map(([experts, n, k]): Case => ({
    what: "awkward",
    experts,
    n,
    k,
    counts: [...awkward(experts), routed(experts, 64, 4)],
  }));
  const able = (c: Case): GemmSchedule[] => candidates.filter((s) => illegal(s, h200, c) === null);
  const kernel = await kernelsOf(cuda, cases, able);
  for (const c of cases) {
    const p = place(cuda, c.experts, c.n, c.k, most([c]));
    for (const counts of c.counts)
      for (const s of able(c))
        rows.push({
          experts: c.experts,
          n: c.n,
          k: c.k,
          r: sum(counts),
          schedule: scheduleName(s),
          ...compare(cuda, kernel(c, s), p, c, counts),
        });
    p.free();
  }
  return rows;
}

export async function measure(cuda: Cuda): Promise<Row[]> {
  const rows: Row[] = [];
  const cases = timed();
  const sets = new Map<string, Case[]>();
  for (const c of cases) sets.set(`${c.experts} ${c.n} ${c.k}`, [...(sets.get(`${c.experts} ${c.n} ${c.k}`) ?? []), c]);
  const kernel = await kernelsOf(cuda, cases, (c) => legal(c, sum(c.counts[0])));
  for (const set of sets.values()) {
    const p = place(cuda, set[0].experts, set[0].n, set[0].k, most(set));
    for (const c of set) {
      const r = sum(c.counts[0]);
      const offsets = c.counts.map((counts) => placeOffsets(cuda, counts));
      const chosen = scheduleName(choose(c, r));
      const times = legal(c, r).map((s) => ({ schedule: scheduleName(s), us: time(cuda, kernel(c, s), p, offsets, r) }));
      const active = c.counts.reduce((a, counts) => a + counts.filter((v) => v > 0).length, 0) / c.counts.length;
      const bytes = active * c.n * c.k + r * c.k + 2 * r * c.n;
      const us = times.find((t) => t.schedule === chosen)!.us;
      const best = times.reduce((a, b) => (b.us < a.us ? b : a));
      rows.push({
        what: c.what,
        experts: c.experts,
        n: c.n,
        k: c.k,
        r,
        active,
        schedule: chosen,
        us,
        floor_us: Math.max(bytes / (h200.bandwidth / 1e6), (2 * r * c.n * c.k) / (h200.peaks.fp8 / 1e6)),
        gb_per_s: bytes / us / 1e3,
        tflops: (2 * r * c.n * c.k) / us / 1e6,
        ...(c.public_us ? { public_us: c.public_us, public_over_ours: c.public_us / us } : {}),
        best: best.schedule,
        best_us: best.us,
        all: times.map((t) => `${t.schedule} ${t.us.toFixed(2)}`).join(", "),
      });
      for (const o of offsets) cuda.free(o);
    }
    p.free();
  }
  return rows;
}

/** Microseconds of one launch, a graph of launches over rotating routings. */
function time(cuda: Cuda, f: CudaKernel, p: Placed, offsets: readonly number[], r: number): number {
  const launches = offsets.length === 1 ? 2 : offsets.length * 2;
  cuda.launch(f, { ...p.buffers, offsets: offsets[0] }, { r });
  cuda.synchronize();
  const graph = cuda.capture(() => {
    for (let i = 0; i < launches; i++) cuda.launch(f, { ...p.buffers, offsets: offsets[i % offsets.length] }, { r });
  });
  graph.time(1);
  const us = median(graph.time(5)) / launches;
  graph.destroy();
  return us;
}
