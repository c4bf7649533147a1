// Lockstep on this card: R1's slice over 2, 4 and 8 ranks says what one rank says, and what one of eight would do in a step, collectives
// left out, beside its floor.
import { spawnSync } from "node:child_process";
import path from "node:path";
import { parseMesh, type Mesh } from "../../ir/mesh.ts";
import type { Model } from "../../runtime/model.ts";
import type { Row } from "./device.ts";
import { median, open } from "./models.ts";
import { r1, sliceOptions } from "./slice.ts";

type How = Parameters<typeof open>[2];

/** What is run: a source, its weights, and options of the compile. */
export interface Subject {
  src: string;
  weights: string;
  options: How;
  rows: number;
  meshes: readonly string[];
  /** Most that logits may differ from those of one rank, of the largest of them. */
  within: number;
}

const slice: Subject = {
  src: r1,
  weights: "synthetic:0",
  options: sliceOptions,
  rows: 200,
  meshes: ["tp=2", "tp=4", "tp=8", "tp=8,ep=8"],
  within: 0.05,
};
/** The same in f32, where only the order of sums differs. */
const sliceExact: Subject = { ...slice, options: { ...sliceOptions, activations: "f32" }, meshes: ["tp=8"], within: 2e-3 };

const STEPS = 8;

interface Answer {
  ids: number[][];
  logits: Float32Array[][];
}

/** Two sequences: logits after the prompts and after each step; the ids of `fed` where given, so that one other choice hides no later. */
async function answer(model: Model, rows: number, fed?: readonly number[][]): Promise<Answer> {
  using session = model.session({ maxTokens: rows + STEPS + 2, sequences: 2 });
  const prompt = (b: number): number[] =>
    Array.from({ length: rows - b * 3 }, (_, i) => (i * 7919 + b * 104729 + 13) % model.manifest.model.vocab);
  const out: Answer = { ids: [], logits: [] };
  let result = await session.prefill([prompt(0), prompt(1)]);
  for (let i = 0; i < STEPS; i++) {
    out.logits.push([0, 1].map((b) => result.logits(b).slice()));
    out.ids.push([0, 1].map((b) => result.next(b)));
    result = await session.decode(fed?.[i] ?? out.ids[i]);
  }
  return out;
}

async function run({ src, weights, options, rows }: Subject, mesh?: Mesh, fed?: readonly number[][]): Promise<Answer> {
  const { model } = await open(src, weights, { ...options, ...(mesh ? { mesh } : {}) });
  try {
    return await answer(model, rows, fed);
  } finally {
    await model.close();
  }
}

/** Every mesh beside one rank. */
export async function lockstepRows(subjects: readonly Subject[] = [slice, sliceExact]): Promise<Row[]> {
  const rows: Row[] = [];
  for (const subject of subjects) {
    const one = await run(subject);
    const size = Math.max(...one.logits.flat().map((row) => row.reduce((m, v) => Math.max(m, Math.abs(v)), 0)));
    for (const mesh of subject.meshes) {
      const what = { part: "lockstep", mesh, activations: subject.options?.activations ?? "bf16" };
      try {
        const many = await run(subject, parseMesh(mesh), one.ids);
        let [apart, other, near] = [0, 0, 0];
        for (const [i, step] of many.logits.entries())
          for (const [b, row] of step.entries()) {
            const gap = row.reduce((m, v, j) => Math.max(m, Math.abs(v - one.logits[i][b][j])), 0);
            apart = Math.max(apart, gap);
            if (many.ids[i][b] === one.ids[i][b]) continue;
            // Another id is right where the two lie closer together than the logits are apart.
            other++;
            if (one.logits[i][b][one.ids[i][b]] - one.logits[i][b][many.ids[i][b]] <= 2 * gap) near++;
          }
        rows.push({
          ...what,
          logits_apart: apart,
          largest: size,
          other_ids: other,
          of: 2 * STEPS,
          near,
          ok: apart <= subject.within * size && other === near,
        });
      } catch (e) {
        rows.push({ ...what, ok: false, error: (e as Error).message });
      }
    }
  }
  return rows;
}

const cli = path.resolve(import.meta.dirname, "../../compiler/cli.js");

/** The floor of a step of one rank, by dsc plan, in microseconds. */
function floorUs(batch: number): number {
  const words = [
    "plan",
    r1,
    "--mesh",
    "tp=8",
    "--layers",
    "7",
    "--set",
    "num_nextn_predict_layers=0",
    "--device",
    "h200",
    "--json",
  ];
  const { stdout, stderr } = spawnSync(process.execPath, [cli, ...words, "--batch", String(batch), "--context", "1024"], {
    encoding: "utf8",
    maxBuffer: 1 << 28,
  });
  try {
    return (JSON.parse(stdout) as { decode: { floor_ms: number } }).decode.floor_ms * 1000;
  } catch {
    throw new Error(`dsc plan: ${stderr}`);
  }
}

/** Microseconds of a step of eight ranks in lockstep, of their collectives, and what is left for one of them. */
export async function lockstepTimes(): Promise<Row[]> {
  const rows: Row[] = [];
  for (const batch of [1, 8])
    try {
      const graph = await stepUs(batch);
      const collectives = await collectivesUs(batch);
      const floor = floorUs(batch);
      const rank = (graph - collectives) / 8;
      rows.push({
        part: "lockstep",
        what: "step of 8 ranks",
        batch,
        graph_us: graph,
        collectives_us: collectives,
        rank_us: rank,
        floor_us: floor,
        over_floor: rank / floor,
        asked: 1.35,
      });
    } catch (e) {
      rows.push({ part: "lockstep", batch, ok: false, error: (e as Error).message });
    }
  return rows;
}

const prompts = (batch: number): number[][] =>
  Array.from({ length: batch }, (_, b) => Array.from({ length: 1024 }, (_, i) => (i * 7919 + b * 104729 + 13) % 129280));

async function stepUs(batch: number): Promise<number> {
  const { model } = await open(r1, "synthetic:0", { ...sliceOptions, mesh: parseMesh("tp=8") });
  const session = model.session({ maxTokens: 1100, sequences: batch });
  let result = await session.prefill(prompts(batch));
  for (let i = 0; i < 4; i++) result = await session.decode(Array.from({ length: batch }, (_, b) => result.next(b)));
  const us = median(model.device.replayTimes(20));
  session.close();
  await model.close();
  return us;
}

/** Of a step, launch by launch: what stands in the graph between the ranks' own kernels. */
async function collectivesUs(batch: number): Promise<number> {
  const { model } = await open(r1, "synthetic:0", { ...sliceOptions, mesh: parseMesh("tp=8"), profile: true });
  const session = model.session({ maxTokens: 1100, sequences: batch });
  const result = await session.prefill(prompts(batch));
  const names = ["all_reduce", "all_gather", "reduce_scatter", "pick_max"];
  const sum = (): number => model.device.timings().reduce((n, t) => n + (names.includes(t.kernel) ? t.ms * 1000 : 0), 0);
  const before = sum();
  await session.decode(Array.from({ length: batch }, (_, b) => result.next(b)));
  const us = sum() - before;
  session.close();
  await model.close();
  return us;
}
