// Members of the family against transformers, on the same card and from the same checkpoint on disk: three layers at full width, logits of 64
// prompt rows and of 16 greedy steps. transformers' ids are fed back, so that one other choice does not hide the next. Both f32 and
// bf16 are held to transformers in f32 (family-logits-judge.ts); how far its own bf16 lies from that stands beside. npm run device --
// --only family-logits --limit 240; DSC_PYTHON needs torch and transformers 5, DSC_MODELS names some models, DSC_LAYERS other numbers.
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { h200 } from "../../codegen/cuda/arch/h200.ts";
import { compile, defaults, type CompileOptions } from "../../compiler/compile.ts";
import { loadSpec } from "../../compiler/frontend/config.ts";
import { storedTensors } from "../../compiler/frontend/weights.ts";
import { cachedCompile, type Compile } from "../../runtime/devices/cuda/cubins.ts";
import type { Model } from "../../runtime/model.ts";
import type { Row } from "./device.ts";
import { comparable, written } from "./family-configs.ts";
import { heldIn } from "./family-cubins.ts";
import { judged, theirs, type Answer, type Reference } from "./family-logits-judge.ts";
import { launchedOf } from "./kernel-files.ts";
import { open, root } from "./models.ts";

const LAYERS = Number(process.env.DSC_LAYERS ?? 3);
const PROMPT = Array.from({ length: 64 }, (_, i) => (i * 7919 + 13) % 100000);
const STEPS = 16;
const SEED = 3;

type Config = Record<string, unknown>;

/** Ways to run a model. Those that quantise activations answer another question than transformers does, and are only reported. */
function waysOf(config: Config): { name: string; options: Partial<CompileOptions>; limit: "f32" | "bf16" | "none" }[] {
  const asStored = config.quantization_config ? ({ actQuant: "none" } as const) : {};
  return [
    { name: "f32", options: { activations: "f32", ...asStored }, limit: "f32" },
    { name: "bf16", options: { activations: "bf16", ...asStored }, limit: "bf16" },
    ...(config.quantization_config
      ? [{ name: "bf16, FP8 activations", options: { activations: "bf16" } as const, limit: "none" as const }]
      : []),
  ];
}

/** Logits by what made them: the prompt's last row by prefill, its rows by the step's kernels, then the steps. */
export async function asked(model: Model, prompt: readonly number[], ids: readonly number[]): Promise<Answer[]> {
  const session = model.session({ maxTokens: 256, sequences: 1 });
  const out: Answer[] = [];
  await session.prefill([[prompt[0]]]);
  const rows = await session.verify([prompt.slice(1)]);
  for (let i = 1; i < prompt.length; i++)
    out.push({ by: "rows of a step", row: i, logits: rows.logits(0, i - 1).slice(), id: rows.next(0, i - 1) });
  session.truncate(0, 0);
  let result = await session.prefill([prompt]);
  for (let i = 0; ; i++) {
    const by = i === 0 ? "prefill" : "step";
    out.push({ by, row: prompt.length - 1 + i, logits: result.logits(0).slice(), id: result.next(0) });
    if (i === ids.length) break;
    result = await session.decode([ids[i]]);
  }
  session.close();
  // Every row of a prompt by the prompt's kernels: prompts that end there.
  const many = model.session({ maxTokens: 64, sequences: prompt.length });
  const prefixes = await many.prefill(prompt.map((_, i) => prompt.slice(0, i + 1)));
  for (let i = 0; i < prompt.length; i++)
    out.push({ by: "prefill of 64 prompts", row: i, logits: prefixes.logits(i).slice(), id: prefixes.next(i) });
  many.close();
  return out;
}

const compiler = (): Compile =>
  process.env.DSC_CUBINS ? heldIn(process.env.DSC_CUBINS) : cachedCompile(h200.arch, process.env.DSC_NVCC ? "nvcc" : undefined);

/** Compiles what the models will load, while transformers begins: as many kernels at once as there are cores. */
async function warmed(jobs: readonly Job[], get: Compile): Promise<void> {
  const texts = new Map<string, string>();
  for (const { folder, config } of jobs)
    for (const { options } of waysOf(config)) {
      const c = compile(path.join(folder, "config.json"), { ...defaults, target: "cuda", ...options });
      for (const [name, k] of launchedOf(c)) texts.set(String(c.files.get(k.text)), name);
    }
  const queue = [...texts];
  const lane = async (): Promise<void> => {
    // A kernel that does not compile is reported by the model that needs it.
    for (let one = queue.pop(); one; one = queue.pop()) await Promise.resolve(get(one[1], one[0])).catch(() => undefined);
  };
  await Promise.all(Array.from({ length: Math.min(availableParallelism(), 16) }, lane));
}

const floats = (file: string): Float32Array => {
  const bytes = readFileSync(file);
  return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
};

export function referenceOf(out: string, vocab: number): Reference & { ids: number[]; seconds: number[]; bytes: number } {
  const about = JSON.parse(readFileSync(`${out}.json`, "utf8")) as {
    ids: number[];
    margin: number[];
    seconds: number[];
    bytes: number;
  };
  return { ...about, vocab, f32: floats(`${out}.f32`), bf16: floats(`${out}.bf16`) };
}

async function rowsOf(name: string, config: Config, folder: string, out: string): Promise<Row[]> {
  const want = referenceOf(out, config.vocab_size as number);
  const rows: Row[] = [
    {
      model: name,
      what: "transformers",
      gb: want.bytes / 1e9,
      seconds: want.seconds.join(" "),
      bf16_apart_from_its_f32: judged(theirs(want), want, "none").apart,
    },
  ];
  for (const way of waysOf(config)) {
    const from = performance.now();
    try {
      const { model, kernelsMs, loadMs } = await open(folder, folder, { kernels: compiler(), ...way.options });
      const answers = await asked(model, PROMPT, want.ids);
      await model.close();
      for (const by of new Set(answers.map((a) => a.by)))
        rows.push({
          ...(by === "prefill" ? {} : { summary: name }),
          model: name,
          way: way.name,
          by,
          ...judged(
            answers.filter((a) => a.by === by),
            want,
            way.limit,
          ),
        });
      rows.push({
        model: name,
        way: way.name,
        kernels_ms: Math.round(kernelsMs),
        load_ms: Math.round(loadMs),
        seconds: (performance.now() - from) / 1000,
      });
    } catch (e) {
      rows.push({ model: name, way: way.name, ok: false, error: ((e as Error).stack ?? String(e)).slice(0, 800) });
    }
  }
  return rows;
}

export interface Job {
  name: string;
  config: Config;
  folder: string;
  out: string;
}

/** What the reference is asked of a model, in a folder of its own within `work`. */
export function jobOf(work: string, name: string, config: Config, prompt: readonly number[], steps: number): Job {
  const folder = mkdtempSync(path.join(work, "checkpoint-"));
  const tensors = storedTensors(loadSpec(written(folder, "config", config), []).spec);
  return { name, folder, config, tensors, seed: SEED, prompt, steps, out: path.join(folder, "logits") } as Job;
}

export const script = path.join(root, "test/device/family_logits_reference.py");

export async function check(): Promise<Row[]> {
  const work = mkdtempSync(path.join(process.env.DSC_SCRATCH ?? tmpdir(), "dsc-logits-"));
  const only = process.env.DSC_MODELS?.split(",");
  const models = Object.entries(comparable(LAYERS)).filter(([name]) => !only || only.some((o) => name.startsWith(o)));
  const jobs = models.map(([name, config]) => jobOf(work, name, config, PROMPT, STEPS));
  const rows: Row[] = [];
  try {
    writeFileSync(path.join(work, "jobs.json"), JSON.stringify(jobs));
    const child = spawn(process.env.DSC_PYTHON ?? "python3", [script, path.join(work, "jobs.json")], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const ready = warmed(jobs, compiler());
    const left = new Set(jobs);
    // One model here while transformers is at the next.
    for await (const line of createInterface(child.stdout)) {
      const [verdict, ...words] = line.split(" ");
      const job = jobs.find((j) => words.join(" ").startsWith(j.name));
      if (!job || (verdict !== "done" && verdict !== "failed")) continue;
      left.delete(job);
      if (verdict === "failed") rows.push({ model: job.name, ok: false, error: line });
      else {
        await ready;
        rows.push(...(await rowsOf(job.name, job.config, job.folder, job.out)));
      }
      rmSync(job.folder, { recursive: true });
    }
    for (const { name } of left) rows.push({ model: name, ok: false, error: "the reference gave no answer" });
    return rows;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}
