// The FP8 block GEMM on matrices that no table of ours names (Kimi-K2's, and sizes between): every schedule that suits, each against float64
// on sampled outputs, then its time; the chosen one beside the fastest, and beside cuBLASLt's in the same minutes. --only other-gemm.
import { scheduleFor } from "../../codegen/cuda/select.ts";
import { blockGemm } from "../../codegen/cuda/sm90/gemm/fp8-gemm.ts";
import { gemmSchedules } from "../../codegen/cuda/sm90/gemm/fp8-linear.ts";
import { candidates, illegal, scheduleName, type GemmSchedule } from "../../codegen/cuda/sm90/gemm/fp8-schedule.ts";
import { h200 } from "../../codegen/cuda/arch/h200.ts";
import type { Cuda } from "../../runtime/devices/cuda/index.ts";
import { compare, place, release, time } from "./block-gemm.ts";
import { compileAll } from "./compile-all.ts";
import { cublaslt } from "./cublaslt.ts";
import type { Row } from "./device.ts";

const SHAPES: readonly [n: number, k: number][] = [
  [24576, 1536],
  [36864, 7168],
  [12288, 1536],
  [7168, 8192],
  [5120, 5120],
  [10240, 5120],
  [8192, 4096],
  [7168, 16384],
];
const ROWS = [96, 128, 192, 256, 384, 2048, 8192];

/** DSC_FORMS=persistent: only those. */
const only = process.env.DSC_FORMS;
const suits = (s: GemmSchedule, m: number): boolean =>
  s.form === "persistent" ? m >= 96 : m <= 1024 && s.tokens >= 32 && m <= 12 * s.tokens;
const able = (n: number, k: number): GemmSchedule[] =>
  candidates.filter((s) => !only || s.form === only).filter((s) => illegal(s, h200, { n, k }) === null);
const kernels = (cuda: Cuda): ReturnType<typeof compileAll> =>
  compileAll(
    cuda,
    SHAPES.flatMap(([n, k]) =>
      able(n, k)
        .filter((s) => ROWS.some((m) => suits(s, m)))
        .map((s) => blockGemm({ n, k }, s, h200)),
    ),
  );

const mean = (of: readonly number[]): number => Math.exp(of.reduce((a, v) => a + Math.log(v), 0) / of.length);

export async function measure(cuda: Cuda): Promise<Row[]> {
  const rows: Row[] = [];
  const built = await kernels(cuda);
  const beside = cublaslt({ shapes: SHAPES, rows: ROWS });
  for (const [n, k] of SHAPES) {
    const p = place(cuda, n, k, Math.max(...ROWS), Math.ceil(130e6 / (n * k)) + 1);
    for (const m of ROWS) {
      const chosen = scheduleFor(gemmSchedules, { n, k }, m, h200);
      if ("reason" in chosen) throw new RangeError(chosen.reason);
      const times = able(n, k)
        .filter((s) => suits(s, m) || s === chosen)
        .map((s) => {
          const kernel = built.get(blockGemm({ n, k }, s, h200).name)!;
          const { ok } = m <= 384 ? compare(cuda, kernel, p, m) : { ok: true };
          return { schedule: scheduleName(s), us: time(cuda, kernel, p, m), ok };
        });
      const best = times.reduce((a, b) => (b.us < a.us ? b : a));
      const us = times.find((t) => t.schedule === scheduleName(chosen))?.us ?? NaN;
      const public_us = beside.get(`${n} ${k} ${m}`);
      rows.push({
        n,
        k,
        m,
        schedule: scheduleName(chosen),
        us,
        best: best.schedule,
        best_us: best.us,
        over_best: us / best.us,
        floor_us: Math.max((n * k + m * k + 2 * m * n) / (h200.bandwidth / 1e6), (2 * m * n * k) / (h200.peaks.fp8 / 1e6)),
        ...(public_us === undefined
          ? {}
          : { cublaslt_us: public_us, cublaslt_over_ours: public_us / us, cublaslt_over_best: public_us / best.us }),
        ok: times.every((t) => t.ok),
        all: times.map((t) => `${t.schedule} ${t.us.toFixed(2)}${t.ok ? "" : " wrong"}`).join(", "),
      });
    }
    release(cuda, p);
  }
  const known = rows.map((r) => r.over_best as number).filter(Number.isFinite);
  const ratios = rows.flatMap((r) => (Number.isFinite(r.cublaslt_over_ours) ? [r.cublaslt_over_ours as number] : []));
  return [
    ...rows,
    {
      what: "chosen over the fastest",
      geometric_mean: mean(known),
      worst: Math.max(...known),
    },
    ...(ratios.length ? [{ what: "cuBLASLt over ours", geometric_mean: mean(ratios), least: Math.min(...ratios) }] : []),
  ];
}
