// Whole models of the family in bf16 on one card, every layer, synthetic weights made there: a decode step at context 1024 at batch 1, 8 and
// 64 beside its floor, and where DeepSeek-V2-Lite's time goes, kernel by kernel. Contexts are filled 64 rows a call by the step's
// own kernels. Checked: three layers at full width, by hand-written kernels, against printed ones in f32, at all sizes that change kernels.
// Prompts of 512 and 4096 rows beside theirs, and transformers' times for one model (family_transformers.py; DSC_TRANSFORMERS names others or
// none, DSC_TORCH_COMPILE batches to compile for, a minute each, 1 unless said). npm run device -- --only family-speed --limit 400; DSC_CUBINS names a
// folder of kernels (family-cubins.ts), DSC_MODELS some models, DSC_BATCHES and DSC_PROMPTS sizes.
import { appendFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { compile, defaults } from "../../compiler/compile.ts";
import { costsOf, type Costs, type LaunchCost } from "../../compiler/analysis/step-cost.ts";
import { plannedFrom } from "../../compiler/analysis/planned.ts";
import { targetOf } from "../../codegen/target.ts";
import { h200 } from "../../codegen/cuda/arch/h200.ts";
import type { CudaDevice } from "../../runtime/devices/cuda/device.ts";
import type { Model } from "../../runtime/model.ts";
import type { Session } from "../../runtime/session.ts";
import type { Row } from "./device.ts";
import { beside } from "./family-beside.ts";
import { family, shortened, written } from "./family-configs.ts";
import { heldIn, SHORT, shortWays, withExperts } from "./family-cubins.ts";
import { median, open } from "./models.ts";

const CONTEXT = 1024;
const BATCHES = (process.env.DSC_BATCHES ?? "1,8,64").split(",").map(Number);
const PROMPTS = (process.env.DSC_PROMPTS ?? "512,4096").split(",").filter(Boolean).map(Number);
const STEPS = 12;
/** Models that are timed in transformers too: one in a run that says nothing, for each takes some 20 s. */
const besides = process.env.DSC_TRANSFORMERS?.split(",") ?? ["Moonlight-16B-A3B"];
const models = process.env.DSC_MODELS?.split(",") ?? Object.keys(family);

/** The first id of every sequence, then rows of decode, as many a call as its largest batch has. */
export async function filled(
  model: Model<CudaDevice>,
  batch: number,
  context: number,
): Promise<{ session: Session; next: number[] }> {
  const session = model.session({ maxTokens: context + 64, sequences: batch });
  const ids = Math.min(100000, model.manifest.model.vocab);
  const id = (b: number, i: number): number => (i * 7919 + b * 104729 + 13) % ids;
  await session.prefill(Array.from({ length: batch }, (_, b) => [id(b, 0)]));
  const each = Math.max(1, Math.floor(64 / batch));
  for (let at = 1; at < context; at += each)
    await session.verify(
      Array.from({ length: batch }, (_, b) => Array.from({ length: Math.min(each, context - at) }, (_, i) => id(b, at + i))),
    );
  return { session, next: Array.from({ length: batch }, (_, b) => id(b, context)) };
}

/**
 * Runs the host's side of steps and prompts often enough that JavaScript is compiled: of a model with 250 launches the first dozen steps
 * take 100 us more of the host than the thousandth, the first prompts 20 ms more.
 */
async function warmed(model: Model<CudaDevice>): Promise<void> {
  const session = model.session({ maxTokens: 640, sequences: 1 });
  for (let i = 0; i < 12; i++) {
    session.truncate(0, 0);
    await session.prefill([Array.from({ length: 32 }, (_, j) => j + 1)]);
  }
  await steps(session, [1], 500);
  session.close();
}

/** Milliseconds of each step, as a caller sees them. */
async function steps(session: Session, first: readonly number[], n: number): Promise<number[]> {
  let ids = [...first];
  const out: number[] = [];
  for (let i = 0; i < n + 2; i++) {
    const from = performance.now();
    const result = await session.decode(ids);
    ids = ids.map((_, b) => result.next(b));
    if (i >= 2) out.push(performance.now() - from);
  }
  return out;
}

/** What every launch of a step costs, by batch. */
function costs(src: string): {
  step(batch: number): { floor: number; launches: number; of: LaunchCost[] };
  prompt(tokens: number): { floor: number; launches: number };
} {
  const c = compile(src, { ...defaults, target: "cuda", activations: "bf16" });
  const planned = plannedFrom(c.manifest, (name) => String(c.files.get(name)));
  const target = targetOf("cuda", { activations: "bf16" });
  const at = (batch: number, context: number): Costs =>
    costsOf(planned, h200, { batch, context }, (f, p) => target.build(f, p).name, false);
  return {
    step(batch) {
      const { steps, launches } = at(batch, CONTEXT);
      const { floor_us: floor, launches: count } = steps.decode;
      return { floor, launches: count, of: launches.filter((l) => l.step === "decode") };
    },
    prompt(tokens) {
      const { floor_us: floor, launches } = at(1, tokens).steps.prefill;
      return { floor, launches };
    },
  };
}

/** Kernels of the folder that DSC_CUBINS names. */
const held = process.env.DSC_CUBINS ? { kernels: heldIn(process.env.DSC_CUBINS) } : {};

async function speeds(name: string, folder: string): Promise<Row[]> {
  const src = written(folder, name, family[name]());
  const rows: Row[] = [];
  const cost = costs(src);
  const { model, kernelsMs, loadMs } = await open(src, "synthetic:0", held);
  await warmed(model);
  for (const batch of BATCHES) {
    const from = performance.now();
    const { session, next } = await filled(model, batch, CONTEXT);
    const ms = await steps(session, next, STEPS);
    const graph = median(model.device.replayTimes(20));
    session.close();
    const { floor, launches } = cost.step(batch);
    rows.push({
      model: name,
      batch,
      context: CONTEXT,
      graph_us: graph,
      floor_us: floor,
      over_floor: graph / floor,
      awaited_ms: median(ms),
      awaited_beyond_graph_us: median(ms) * 1000 - graph,
      launches,
      seconds: (performance.now() - from) / 1000,
    });
  }
  rows.push(...(await prompts(name, model, cost.prompt)));
  await model.close();
  rows.push({ model: name, kernels_ms: Math.round(kernelsMs), weights_ms: Math.round(loadMs) });
  return rows;
}

/** A prompt by itself, from the call to the id: launches are begun while the card works, and there is no graph. */
async function prompts(
  name: string,
  model: Model<CudaDevice>,
  cost: (tokens: number) => { floor: number; launches: number },
): Promise<Row[]> {
  const rows: Row[] = [];
  for (const tokens of PROMPTS) {
    const session = model.session({ maxTokens: tokens, sequences: 1 });
    const prompt = Array.from({ length: tokens }, (_, i) => (i * 7919 + 13) % 100000);
    const ms: number[] = [];
    for (let i = 0; i < 5; i++) {
      session.truncate(0, 0);
      const from = performance.now();
      (await session.prefill([prompt])).next(0);
      ms.push(performance.now() - from);
    }
    session.close();
    const { floor, launches } = cost(tokens);
    const us = median(ms.slice(1)) * 1000;
    rows.push({ model: name, tokens, prompt_ms: us / 1000, floor_us: floor, over_floor: us / floor, launches });
  }
  return rows;
}

/** Time by kernel, launch by launch, beside floors: the sum is more than a graph takes, for nothing overlaps. */
async function kernels(name: string, folder: string): Promise<Row[]> {
  const src = written(folder, name, family[name]());
  const rows: Row[] = [];
  const cost = costs(src);
  const { model } = await open(src, "synthetic:0", { ...held, profile: true });
  for (const batch of BATCHES) {
    const { session, next } = await filled(model, batch, CONTEXT);
    await steps(session, next, 0);
    const before = new Map(model.device.timings().map((t) => [t.kernel, t]));
    const n = 4;
    await steps(session, next, n - 2);
    session.close();
    const { of } = cost.step(batch);
    const timed = model.device.timings().flatMap((t) => {
      const launches = (t.launches - (before.get(t.kernel)?.launches ?? 0)) / n;
      if (launches <= 0) return [];
      const us = ((t.ms - (before.get(t.kernel)?.ms ?? 0)) * 1000) / n;
      const floor = of.filter((l) => l.kernel === t.kernel).reduce((a, l) => a + l.times * l.floor_us, 0);
      return [{ kernel: t.kernel, launches, us, floor_us: floor }];
    });
    const all = timed.reduce((a, t) => a + t.us, 0);
    for (const t of timed.toSorted((a, b) => b.us - a.us).filter((t) => t.us > 0.004 * all))
      rows.push({ model: name, batch, ...t, each_us: t.us / t.launches, share: t.us / all });
  }
  await model.close();
  return rows;
}

/** Rows as they come, to the file that DSC_ROWS names: what is measured is not lost with a run that is cut off. */
export function kept(rows: readonly Row[]): readonly Row[] {
  if (process.env.DSC_ROWS) appendFileSync(process.env.DSC_ROWS, rows.map((r) => `${JSON.stringify(r)}\n`).join(""));
  return rows;
}

const failed =
  (name: string) =>
  (e: Error): Row[] => [{ model: name, ok: false, error: (e.stack ?? e.message).slice(0, 600) }];

export async function measure(): Promise<Row[]> {
  const folder = mkdtempSync(path.join(tmpdir(), "dsc-family-"));
  const rows: Row[] = [];
  for (const name of models) {
    const ours = await speeds(name, folder).catch(failed(name));
    rows.push(...kept(ours));
    if (besides.includes(name))
      rows.push(...kept(beside({ name, ours, folder, context: CONTEXT, batches: BATCHES, prompts: PROMPTS })));
  }
  if (models.includes("DeepSeek-V2-Lite"))
    rows.push(...kept(await kernels("DeepSeek-V2-Lite", folder).catch(failed("DeepSeek-V2-Lite"))));
  rmSync(folder, { recursive: true });
  return rows;
}

/** Sequences of a step, at all sizes at which other kernels run. */
const CHECKED = [1, 2, 5, 8, 11, 16, 27, 32, 33, 64];
const PROMPT = 9;

/** Logits after a prompt of every sequence, then after each of some steps of given ids, at every batch. */
async function answers(src: string, way: (typeof shortWays)[number]): Promise<Float32Array[]> {
  const { model } = await open(src, "synthetic:7", { ...held, ...way });
  const out: Float32Array[] = [];
  for (const batch of CHECKED) {
    const session = model.session({ maxTokens: 64, sequences: batch });
    const id = (b: number, i: number): number => (i * 7919 + b * 104729 + 13) % 100000;
    let result = await session.prefill(
      Array.from({ length: batch }, (_, b) => Array.from({ length: PROMPT }, (_, i) => id(b, i))),
    );
    for (let step = 0; step < 2; step++) {
      result = await session.decode(Array.from({ length: batch }, (_, b) => id(b, PROMPT + step)));
      for (let b = 0; b < batch; b++) out.push(result.logits(b).slice());
    }
    session.close();
  }
  await model.close();
  return out;
}

const apart = (a: Float32Array, b: Float32Array): number => {
  let [error, norm] = [0, 0];
  for (let i = 0; i < a.length; i++) [error, norm] = [error + (a[i] - b[i]) ** 2, norm + b[i] ** 2];
  return Math.sqrt(error / norm);
};

/**
 * Rows of logits of the natives in bf16 by their distance from printed kernels in f32, which is what transformers gives to 1e-5. A route
 * that turns with rounding moves a row by much, so the median is judged, and how many rows lie far.
 */
async function compared(name: string, folder: string): Promise<Row> {
  const src = written(folder, `${name}-${SHORT}`, shortened(family[name](), SHORT));
  const [ours, exact] = [await answers(src, shortWays[0]), await answers(src, shortWays[1])];
  const far = ours.map((r, i) => apart(r, exact[i]));
  const best = (r: Float32Array): number => r.reduce((most, v, i) => (v > r[most] ? i : most), 0);
  const [middle, many] = [median(far), far.filter((v) => !(v < 0.15)).length];
  return {
    summary: name,
    model: name,
    rows: ours.length,
    apart: middle,
    most_apart: Math.max(...far),
    far: many,
    same_best_id: ours.filter((r, i) => best(r) === best(exact[i])).length,
    ok: middle < 0.03 && many <= 0.15 * ours.length,
  };
}

export async function check(): Promise<Row[]> {
  const folder = mkdtempSync(path.join(tmpdir(), "dsc-family-"));
  const rows: Row[] = [];
  for (const name of models.filter((n) => withExperts.includes(n)))
    rows.push(...kept(await compared(name, folder).then((r) => [r], failed(name))));
  rmSync(folder, { recursive: true });
  return rows;
}
