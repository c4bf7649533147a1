// Whole decode steps of models of the family under other schedules of their kernels of few rows: how long a ring is that stands beside the
// next kernel's, how much of it is asked for at once. Times of the step's graph at batch 1 and more, then a trace of
// the step under some of them. npm run device -- --only step-schedules; DSC_MODELS, DSC_WAYS and DSC_TRACED (|) and DSC_BATCHES (,) name some.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { h200 } from "../../codegen/cuda/arch/h200.ts";
import { ringLinear } from "../../codegen/cuda/sm90/gemm/ring-linear.ts";
import {
  ringSchedule,
  ringStage,
  underWay,
  type RingProblem,
  type RingSchedule,
} from "../../codegen/cuda/sm90/gemm/ring-schedule.ts";
import { unitDown } from "../../codegen/cuda/sm90/moe/unit-down.ts";
import { unitGateUp } from "../../codegen/cuda/sm90/moe/unit-gate-up.ts";
import { unitLayout, type UnitProblem, type UnitSchedule } from "../../codegen/cuda/sm90/moe/unit-schedule.ts";
import type { KernelRecord } from "../../ir/artifact.ts";
import type { KernelText } from "../../ir/kernel/catalogue.ts";
import type { Row } from "./device.ts";
import { family, written } from "./family-configs.ts";
import { filled, kept } from "./family-speed.ts";
import { median, open, printed, type Edit } from "./models.ts";
import { r1, sliceOptions } from "./slice.ts";
import { traceOf } from "./trace.ts";

/** Kilobytes of dynamic shared memory, and of what is under way at once. */
interface Way {
  /** Of a product that normalises its rows, one that adds a residual, and one that gates its rows and adds. */
  norm?: number;
  add?: number;
  gated?: number;
  early?: number;
  flying?: number;
  /** Of experts. */
  up?: number;
  down?: number;
}

/** Rings so short that the next kernel's stands beside them. */
const apart = { norm: 126, add: 84, gated: 84, up: 127, down: 103 };
const beside = { norm: 140, add: 84, up: 140 };
const WAYS: Readonly<Record<string, Way>> = {
  "as chosen": {},
  apart,
  beside,
  "beside, 24 early": { ...beside, early: 24 },
  "beside, down 103": { ...beside, down: 103 },
  trimmed: { norm: 168, add: 168 },
};

const KB = 1024;

function ring(p: RingProblem, s: RingSchedule, w: Way): RingSchedule {
  const most = p.residualStride === undefined ? w.norm : p.rows ? w.gated : w.add;
  const t: RingSchedule =
    most === undefined ? { ...s } : { ...ringSchedule(p, s.tokens, { ...h200, ringBytes: most * KB }, s.x) };
  const all = t.steps * t.tiles;
  if (most !== undefined) t.stages = Math.max(2, Math.min(t.stages, all));
  Object.assign(t, underWay(ringStage(t), t.stages));
  const of = (kb: number): number => Math.max(1, Math.min(t.stages - 1, Math.round((kb * KB) / ringStage(t))));
  if (w.early !== undefined) t.early = of(w.early);
  if (w.flying !== undefined) t.flying = of(w.flying);
  return t;
}

function units(s: UnitSchedule, most: number | undefined): UnitSchedule {
  const t = { ...s };
  while (most !== undefined && t.stages > 2 && unitLayout(t).bytes > most * KB) t.stages--;
  return t;
}

/** The text of a kernel under another schedule, with the name it had. */
function textOf(record: KernelRecord, problem: object, w: Way): KernelText | null {
  const { schedule, ...p } = problem as { schedule: object };
  switch (record.family) {
    case "fused_linear":
    case "ring_linear":
      return ringLinear(p as RingProblem, ring(p as RingProblem, schedule as RingSchedule, w), h200);
    case "unit_experts_gate_up":
      return unitGateUp(p as UnitProblem, units(schedule as UnitSchedule, w.up), h200);
    case "unit_experts_down":
      return unitDown(p as UnitProblem, units(schedule as UnitSchedule, w.down), h200);
    default:
      return null;
  }
}

const editOf =
  (w: Way): Edit =>
  (source, record, problem) => {
    const text = textOf(record, problem, w);
    if (!text) return { source, pdl: record.launch!.pdl ?? false };
    return {
      source: text.source.replaceAll(text.name, record.entry),
      pdl: text.launch!.pdl ?? false,
      as: { launch: text.launch!, params: text.params },
    };
  };

/** Beside the family: the printed model, and layers of R1 in FP8. */
const OTHERS: Readonly<Record<string, { src: string; options: Parameters<typeof open>[2] }>> = {
  printed: { src: printed, options: {} },
  slice: { src: r1, options: sliceOptions },
};

const listed = (name: string, all: readonly string[]): string[] => process.env[name]?.split("|") ?? [...all];

export async function measure(): Promise<Row[]> {
  const folder = mkdtempSync(`${tmpdir()}/dsc-steps-`);
  const rows: Row[] = [];
  const batches = (process.env.DSC_BATCHES ?? "1").split(",").map(Number);
  for (const model of listed("DSC_MODELS", Object.keys(family))) {
    const other = OTHERS[model];
    const src = other?.src ?? written(folder, model, family[model]());
    for (const way of listed("DSC_WAYS", Object.keys(WAYS)))
      try {
        const from = performance.now();
        const { model: loaded } = await open(src, "synthetic:0", { ...other?.options, edit: editOf(WAYS[way]) });
        for (const batch of batches) {
          const { session, next } = await filled(loaded, batch, 1024);
          const said: number[] = [];
          for (let i = 0, ids = next; i < 3; i++) {
            const result = await session.decode(ids);
            ids = ids.map((_, b) => result.next(b));
            said.push(...ids);
          }
          rows.push(...kept([{ model, way, batch, graph_us: median(loaded.device.replayTimes(24)), ids: said.join(" ") }]));
          session.close();
        }
        await loaded.close();
        process.stderr.write(`${model} ${way} ${((performance.now() - from) / 1000).toFixed(1)} s\n`);
      } catch (e) {
        rows.push({ model, way, error: (e as Error).message.slice(0, 300), ok: false });
      }
    for (const way of listed("DSC_TRACED", []))
      rows.push(
        ...kept(
          await traceOf(`${model}, ${way}`, src, { edit: editOf(WAYS[way]) }).catch((e: Error) => [
            { model, way, error: `trace: ${e.message.slice(0, 300)}`, ok: false },
          ]),
        ),
      );
  }
  rmSync(folder, { recursive: true });
  return rows;
}
