// Prompts of 512 and 4096 rows through whole models in bf16 and through the slice of R1: milliseconds as a caller sees them beside the floor,
// and the time of every kernel beside its own. --only prompts; DSC_MODELS names some models ("R1" is the slice), DSC_ROWS a file for rows
// as they come, DSC_CUBINS a folder of kernels (family-cubins.ts).
import { appendFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { h200 } from "../../codegen/cuda/arch/h200.ts";
import { targetOf } from "../../codegen/target.ts";
import { plannedFrom } from "../../compiler/analysis/planned.ts";
import { costsOf, type LaunchCost } from "../../compiler/analysis/step-cost.ts";
import { compile, defaults, type CompileOptions } from "../../compiler/compile.ts";
import type { CudaDevice } from "../../runtime/devices/cuda/device.ts";
import type { Model } from "../../runtime/model.ts";
import type { Row } from "./device.ts";
import { family, written } from "./family-configs.ts";
import { heldIn } from "./family-cubins.ts";
import { median, open } from "./models.ts";
import { r1, sliceOptions } from "./slice.ts";

const LENGTHS = (process.env.DSC_PROMPTS ?? "512,4096").split(",").map(Number);
const models = process.env.DSC_MODELS?.split(",") ?? [...Object.keys(family), "R1"];
/** Prompts that are timed; one more goes before. */
const TIMES = 5;
/** Kernels that take less than this part of a prompt's time are not listed. */
const LEAST_SHARE = 0.005;
const held = process.env.DSC_CUBINS ? { kernels: heldIn(process.env.DSC_CUBINS) } : {};

const promptOf = (n: number): number[] => Array.from({ length: n }, (_, i) => (i * 7919 + 13) % 100000);

/** What every launch of a prompt costs, by length. */
function costs(src: string, options: Partial<CompileOptions>): (rows: number) => { floor: number; of: LaunchCost[] } {
  const c = compile(src, { ...defaults, target: "cuda", activations: "bf16", ...options });
  const planned = plannedFrom(c.manifest, (name) => String(c.files.get(name)));
  const target = targetOf("cuda", { activations: "bf16" });
  return (rows) => {
    const { steps, launches } = costsOf(planned, h200, { batch: 1, context: rows }, (f, p) => target.build(f, p).name, false);
    return { floor: steps.prefill.floor_us, of: launches.filter((l) => l.step === "prefill") };
  };
}

/** Milliseconds of prompts, one after another. */
async function prefills(model: Model<CudaDevice>, rows: number, times: number): Promise<number[]> {
  const ms: number[] = [];
  for (let i = 0; i < times; i++) {
    const session = model.session({ maxTokens: rows + 64, sequences: 1 });
    const from = performance.now();
    await session.prefill([promptOf(rows)]);
    ms.push(performance.now() - from);
    session.close();
  }
  return ms;
}

/** A model's prompts as a caller sees them, then launch by launch. */
async function promptsOf(name: string, folder: string): Promise<Row[]> {
  const options = name === "R1" ? sliceOptions : {};
  const src = name === "R1" ? r1 : written(folder, name, family[name]());
  const cost = costs(src, options);
  const rows: Row[] = [];
  const plain = (await open(src, "synthetic:0", { ...options, ...held })).model;
  for (const tokens of LENGTHS) {
    const ms = (await prefills(plain, tokens, TIMES + 1)).slice(1);
    const floor = cost(tokens).floor / 1000;
    rows.push({ model: name, tokens, ms: median(ms), best: Math.min(...ms), floor_ms: floor, over_floor: median(ms) / floor });
  }
  await plain.close();
  const { model } = await open(src, "synthetic:0", { ...options, ...held, profile: true });
  for (const tokens of LENGTHS)
    rows.push(...(await kernelsOf(model, tokens, cost(tokens).of)).map((r) => ({ model: name, ...r })));
  await model.close();
  return rows;
}

async function kernelsOf(model: Model<CudaDevice>, tokens: number, costs: readonly LaunchCost[]): Promise<Row[]> {
  await prefills(model, tokens, 1);
  const before = new Map(model.device.timings().map((t) => [t.kernel, t]));
  await prefills(model, tokens, TIMES);
  const timed = model.device.timings().flatMap((t) => {
    const launches = (t.launches - (before.get(t.kernel)?.launches ?? 0)) / TIMES;
    if (launches <= 0) return [];
    const us = ((t.ms - (before.get(t.kernel)?.ms ?? 0)) * 1000) / TIMES;
    const floor = costs.filter((l) => l.kernel === t.kernel).reduce((a, l) => a + l.times * l.floor_us, 0);
    return [{ kernel: t.kernel, launches, us, floor_us: floor, each_us: us / launches }];
  });
  const all = timed.reduce((a, t) => a + t.us, 0);
  return timed
    .toSorted((a, b) => b.us - a.us)
    .filter((t) => t.us > LEAST_SHARE * all)
    .map((t) => ({ tokens, ...t, share: t.us / all }));
}

export async function measure(): Promise<Row[]> {
  const folder = mkdtempSync(path.join(tmpdir(), "dsc-prompts-"));
  const rows: Row[] = [];
  for (const name of models) {
    const found = await promptsOf(name, folder).catch((e: Error): Row[] => [
      { model: name, ok: false, error: e.message.slice(0, 600) },
    ]);
    if (process.env.DSC_ROWS) appendFileSync(process.env.DSC_ROWS, found.map((r) => `${JSON.stringify(r)}\n`).join(""));
    rows.push(...found);
  }
  rmSync(folder, { recursive: true });
  return rows;
}
