// bf16 products of rows sorted by expert on the card: every schedule against float64 on sampled outputs, with experts that have no rows,
// one, or many; then every schedule's time beside the floor, weights cold, over prompts of models with bf16 experts.
import { groupedBf16 } from "../../codegen/cuda/sm90/gemm/grouped-bf16.ts";
import {
  candidates,
  estimate,
  groupedBf16Name,
  groupedBf16Schedules,
  illegal,
  type GroupedBf16Problem,
  type GroupedBf16Schedule,
} from "../../codegen/cuda/sm90/gemm/grouped-bf16-schedule.ts";
import { h200 } from "../../codegen/cuda/arch/h200.ts";
import { scheduleFor } from "../../codegen/cuda/select.ts";
import type { Cuda, CudaKernel } from "../../runtime/devices/cuda/index.ts";
import { BANDWIDTH, median, numbers, put, valueAt } from "./bf16-data.ts";
import { compileAll } from "./compile-all.ts";
import type { Row } from "./device.ts";

/** Rows of each expert. */
type Counts = readonly number[];

/** What experts of a model are multiplied by, and how many of them a token visits. */
const MODELS: readonly [what: string, problem: GroupedBf16Problem, per: number][] = [
  ["V2-Lite, Moonlight: gate and up", { experts: 64, n: 1408, k: 2048, gated: true }, 6],
  ["V2-Lite, Moonlight: down", { experts: 64, n: 2048, k: 1408 }, 6],
  ["GLM-4.7-Flash: gate and up", { experts: 65, n: 1536, k: 2048, gated: true }, 5],
  ["GLM-4.7-Flash: down", { experts: 65, n: 2048, k: 1536 }, 5],
];
const TOKENS = [64, 96, 128, 256, 512, 1024, 2048, 4096, 16384];

const legal = (p: GroupedBf16Problem): GroupedBf16Schedule[] => candidates.filter((s) => illegal(s, p, h200) === null);
const sum = (c: Counts): number => c.reduce((a, b) => a + b, 0);
let state = 12345;
const random = (): number => (state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff) / 0x80000000;

/** Tokens through `per` experts each, all different; of 65 the last is every token's. */
function routed({ experts }: GroupedBf16Problem, tokens: number, per: number): Counts {
  const shared = experts % 2;
  const counts = Array.from({ length: experts }, (_, e) => (e < experts - shared ? 0 : tokens));
  for (let t = 0; t < tokens; t++) {
    const chosen = new Set<number>();
    while (chosen.size < per - shared) chosen.add(Math.floor(random() * (experts - shared)));
    for (const e of chosen) counts[e]++;
  }
  return counts;
}

interface Placed {
  buffers: Record<"x" | "w" | "y", number>;
  free(): void;
}

function place(cuda: Cuda, { experts, n, k, gated }: GroupedBf16Problem, rows: number): Placed {
  const w = put(cuda, "bf16", experts * (gated ? 2 : 1) * n * k);
  const buffers = { x: put(cuda, "bf16", rows * k), w, y: cuda.alloc(rows * n * 2) };
  return { buffers, free: () => Object.values(buffers).forEach((b) => cuda.free(b)) };
}

function placeOffsets(cuda: Cuda, counts: Counts): number {
  const offsets = new Int32Array(counts.length + 1);
  for (const [e, c] of counts.entries()) offsets[e + 1] = offsets[e] + c;
  const at = cuda.alloc(offsets.byteLength);
  cuda.upload(at, new Uint8Array(offsets.buffer));
  return at;
}

/** An output in float64. */
function reference({ n, k, gated }: GroupedBf16Problem, expert: number, row: number, column: number): number {
  const dot = (matrixRow: number): number => {
    let total = 0;
    for (let i = 0; i < k; i++) total += valueAt("bf16", row * k + i) * valueAt("bf16", matrixRow * k + i);
    return total;
  };
  if (!gated) return dot(expert * n + column);
  const gate = dot(expert * 2 * n + column);
  return (gate / (1 + Math.exp(-gate))) * dot((expert * 2 + 1) * n + column);
}

/** Every expert's first and last row, both ends of the columns and random places; words that nobody wrote are NaN. */
function compare(cuda: Cuda, f: CudaKernel, at: Placed, p: GroupedBf16Problem, counts: Counts): Row {
  const offsets = placeOffsets(cuda, counts);
  const r = sum(counts);
  cuda.fill(at.buffers.y, 0xff, r * p.n * 2);
  for (let i = 0; i < 2; i++) cuda.launch(f, { ...at.buffers, offsets }, { r });
  const y = numbers("bf16", cuda.download(at.buffers.y, r * p.n * 2));
  cuda.free(offsets);
  let [wrong, norm, from] = [0, 0, 0];
  for (const [e, c] of counts.entries()) {
    for (const row of c ? new Set([from, from + Math.floor(random() * c), from + c - 1]) : [])
      for (const column of [0, 63, 64, p.n - 1, Math.floor(random() * p.n)]) {
        const want = reference(p, e, row, column);
        [wrong, norm] = [wrong + (y[row * p.n + column] - want) ** 2, norm + want ** 2];
      }
    from += c;
  }
  const unwritten = y.filter((v) => Number.isNaN(v)).length;
  const relative = Math.sqrt(wrong / norm);
  return { relative, unwritten, ok: relative < 4e-3 && unwritten === 0 };
}

/** Awkward routings: none at the ends, one row, tile sizes and one beside, everything in one expert. */
const awkward = ({ experts }: GroupedBf16Problem): Counts[] => {
  const at = (pairs: Readonly<Record<number, number>>): Counts => Array.from({ length: experts }, (_, e) => pairs[e] ?? 0);
  return [
    at({ [experts - 1]: 1 }),
    at({ 1: 64, 2: 65, 4: 127, 7: 128 }),
    at({ 2: 300, 3: 129, [experts - 1]: 257 }),
    at({ 3: 1000 }),
  ];
};

const kernelsOf = async (
  cuda: Cuda,
  problems: readonly GroupedBf16Problem[],
): Promise<(p: GroupedBf16Problem, s: GroupedBf16Schedule) => CudaKernel> => {
  const kernels = await compileAll(
    cuda,
    problems.flatMap((p) => legal(p).map((s) => groupedBf16(p, s, h200))),
  );
  return (p, s) => kernels.get(groupedBf16(p, s, h200).name)!;
};

export async function check(cuda: Cuda): Promise<Row[]> {
  const rows: Row[] = [];
  const odd: GroupedBf16Problem[] = [
    { experts: 9, n: 200, k: 104, gated: true },
    { experts: 40, n: 328, k: 136 },
  ];
  const problems = [...MODELS.map(([, p]) => p), ...odd];
  const kernel = await kernelsOf(cuda, problems);
  for (const p of problems) {
    const at = place(cuda, p, 1000);
    for (const counts of [...awkward(p), routed(p, 100, 4)])
      for (const s of legal(p))
        rows.push({
          experts: p.experts,
          n: p.n,
          k: p.k,
          gated: p.gated === true,
          r: sum(counts),
          schedule: groupedBf16Name(s),
          ...compare(cuda, kernel(p, s), at, p, counts),
        });
    at.free();
  }
  return rows;
}

export async function measure(cuda: Cuda): Promise<Row[]> {
  const rows: Row[] = [];
  const kernel = await kernelsOf(
    cuda,
    MODELS.map(([, p]) => p),
  );
  for (const [what, p, per] of MODELS) {
    const at = place(cuda, p, Math.max(...TOKENS) * per);
    for (const tokens of TOKENS) {
      const counts = routed(p, tokens, per);
      const r = sum(counts);
      const offsets = placeOffsets(cuda, counts);
      const chosen = scheduleFor(groupedBf16Schedules, p, r, h200);
      if ("reason" in chosen) throw new RangeError(chosen.reason);
      const times = legal(p).map((s) => ({ s, us: time(cuda, kernel(p, s), { ...at.buffers, offsets }, r) }));
      const best = times.reduce((a, b) => (b.us < a.us ? b : a));
      const { us } = times.find(({ s }) => s === chosen)!;
      const matrix = (p.gated ? 2 : 1) * p.n * p.k;
      const bytes = 2 * (counts.filter((c) => c > 0).length * matrix + r * (p.k + p.n));
      const floor = Math.max(bytes / BANDWIDTH, (2 * r * matrix) / (h200.peaks.bf16 / 1e6));
      rows.push({
        what,
        tokens,
        r,
        schedule: groupedBf16Name(chosen),
        us,
        floor_us: floor,
        over_floor: us / floor,
        estimate_us: estimate(chosen, p, r, h200),
        tflops: (2 * r * matrix) / us / 1e6,
        gb_per_s: bytes / us / 1e3,
        best: groupedBf16Name(best.s),
        best_us: best.us,
        all: times.map((t) => `${groupedBf16Name(t.s)} ${t.us.toFixed(1)}`).join(", "),
      });
      cuda.free(offsets);
    }
    at.free();
  }
  return rows;
}

/** Microseconds of a launch in a graph. An expert's weights are 738 MB and more in all, so that they are cold. */
function time(cuda: Cuda, f: CudaKernel, buffers: Record<string, number>, r: number): number {
  cuda.launch(f, buffers, { r });
  cuda.synchronize();
  const graph = cuda.capture(() => {
    for (let i = 0; i < 4; i++) cuda.launch(f, buffers, { r });
  });
  graph.time(1);
  const us = median(graph.time(5)) / 4;
  graph.destroy();
  return us;
}
