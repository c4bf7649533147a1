// bf16 products of prompts on the card: the matrices of DeepSeek-V2-Lite, GLM-4.7-Flash and Youtu-LLM at 256 to 4096 rows, every schedule
// and some that are no candidates; the chosen one beside the fastest. Checked on sampled outputs. --only prompt-gemm.
import { scheduleFor } from "../../codegen/cuda/select.ts";
import { bf16Gemm } from "../../codegen/cuda/sm90/gemm/bf16-persistent.ts";
import {
  bf16Name,
  bf16Schedules,
  candidates,
  illegal,
  type Bf16Schedule,
  type SmallMBf16,
} from "../../codegen/cuda/sm90/gemm/bf16-schedule.ts";
import type { Bf16Problem } from "../../codegen/cuda/sm90/gemm/register-schedule.ts";
import { h200 } from "../../codegen/cuda/arch/h200.ts";
import type { Cuda, CudaKernel } from "../../runtime/devices/cuda/index.ts";
import { launchTime } from "../../runtime/devices/cuda/launch-time.ts";
import { BANDWIDTH, numbers, put, samples, valueAt } from "./bf16-data.ts";
import { compileAll } from "./compile-all.ts";
import type { Row } from "./device.ts";

const SHAPES: readonly [n: number, k: number][] = [
  [12288, 2048],
  [2048, 6144],
  [3072, 1536],
  [2112, 2048],
  [2048, 2048],
  [4096, 512],
  [3648, 2048],
  [8960, 512],
  [5120, 768],
  [1344, 2048],
  [2048, 5120],
];
const ROWS = [256, 512, 1024, 2048, 4096];

const smallM = (columns: number, split: SmallMBf16["split"], stages: number): SmallMBf16 => ({
  form: "small-m",
  tokens: 128,
  columns,
  kGroups: 1,
  split,
  stages,
  xStages: stages,
  blocksPerSm: 1,
});
/** Not to be chosen yet. */
const tried: readonly Bf16Schedule[] = [
  smallM(128, 1, 6),
  smallM(128, 2, 6),
  smallM(64, 2, 8),
  smallM(96, 1, 7),
  smallM(112, 1, 6),
  smallM(192, 1, 5),
  smallM(256, 1, 4),
];

const problemOf = (n: number, k: number): Bf16Problem => ({ n, k, xStride: k, yStride: n, x: "bf16", y: "bf16" });
const able = (p: Bf16Problem, m: number): Bf16Schedule[] =>
  [...candidates, ...tried].filter(
    (s) => illegal(s, p, h200) === null && (s.form === "persistent" ? m >= 256 : s.tokens === 128 && m <= 1024),
  );

/** Relative error on sampled outputs; infinite where one was not written. */
function errorOf(cuda: Cuda, kernel: CudaKernel, p: Bf16Problem, buffers: Record<string, number>, m: number): number {
  cuda.fill(buffers.y, 0xff, m * p.n * 2);
  cuda.launch(kernel, buffers, { m });
  const y = numbers("bf16", cuda.download(buffers.y, m * p.n * 2));
  let [wrong, norm] = [0, 0];
  for (const [r, c] of samples(m, p.n, 40)) {
    let sum = 0;
    for (let i = 0; i < p.k; i++) sum += valueAt("bf16", r * p.k + i) * valueAt("bf16", c * p.k + i);
    [wrong, norm] = [wrong + (y[r * p.n + c] - sum) ** 2, norm + sum ** 2];
  }
  const error = Math.sqrt(wrong / norm);
  return Number.isFinite(error) ? error : Infinity;
}

export async function measure(cuda: Cuda): Promise<Row[]> {
  const rows: Row[] = [];
  const built = await compileAll(
    cuda,
    SHAPES.flatMap(([n, k]) => ROWS.flatMap((m) => able(problemOf(n, k), m).map((s) => bf16Gemm(problemOf(n, k), s, h200)))),
  );
  for (const [n, k] of SHAPES) {
    const p = problemOf(n, k);
    const most = Math.max(...ROWS);
    const [x, y] = [put(cuda, "bf16", most * k), cuda.alloc(most * n * 2)];
    const sets = Array.from({ length: Math.ceil(150e6 / (n * k * 2)) + 1 }, () => ({ x, w: put(cuda, "bf16", n * k), y }));
    for (const m of ROWS) {
      const chosen = scheduleFor(bf16Schedules, p, m, h200);
      if ("reason" in chosen) throw new RangeError(chosen.reason);
      const times = [...new Set([chosen, ...able(p, m)])].flatMap((s) => {
        const kernel = built.get(bf16Gemm(p, s, h200).name);
        if (!kernel) return [];
        const ok = m > 512 || errorOf(cuda, kernel, p, sets[0], m) < 4e-3;
        return [{ schedule: bf16Name(s), us: launchTime(cuda, kernel, sets, { m }), ok }];
      });
      const best = times.reduce((a, b) => (b.us < a.us ? b : a));
      const us = times.find((t) => t.schedule === bf16Name(chosen))?.us ?? NaN;
      const floor = Math.max((2 * (n * k + m * k + m * n)) / BANDWIDTH, (2 * m * n * k) / (h200.peaks.bf16 / 1e6));
      rows.push({
        n,
        k,
        m,
        schedule: bf16Name(chosen),
        us,
        floor_us: floor,
        best: best.schedule,
        best_us: best.us,
        over_best: us / best.us,
        best_over_floor: best.us / floor,
        ok: times.every((t) => t.ok),
        all: times.map((t) => `${t.schedule} ${t.us.toFixed(2)}${t.ok ? "" : " wrong"}`).join(", "),
      });
    }
    for (const s of sets) cuda.free(s.w);
    cuda.free(x);
    cuda.free(y);
  }
  return rows;
}
