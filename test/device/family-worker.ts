// One core of family.ts: compiles the models it is asked for, runs them on the card and judges their answers.
import { createHash, randomBytes } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { compileSpec } from "../../compiler/compile.ts";
import type { ModelSpec } from "../../compiler/frontend/spec.ts";
import { compileCuda } from "../../runtime/devices/cuda/compiler.ts";
import { CudaDevice } from "../../runtime/devices/cuda/device.ts";
import { openCuda } from "../../runtime/devices/cuda/index.ts";
import { Model } from "../../runtime/model.ts";
import { specFrom } from "../fuzz/family.ts";
import type { Raw } from "../interpreted.ts";
import type { Row } from "./device.ts";
import { modelOf, waysOf, type Job } from "./family.ts";
import { ask, judge, optionsOf, type Way } from "./family-judge.ts";
import { launchedOf } from "./kernel-files.ts";
import { syntheticRaw } from "./family-reference.ts";
import { h200 } from "../../codegen/cuda/arch/h200.ts";

const folder = process.argv[2];
let fresh = 0;

/** Kernels of one code have different words above it in different models; each code is compiled once. */
function compiled(name: string, source: string): Uint8Array {
  const code = source
    .split("\n")
    .filter((l) => !l.trimStart().startsWith("//"))
    .join("\n");
  const file = path.join(folder, `${createHash("sha256").update(code).digest("hex")}.cubin`);
  if (fs.existsSync(file)) return fs.readFileSync(file);
  fresh++;
  const cubin = compileCuda(name, source, h200.arch, process.env.DSC_NVCC ? "nvcc" : undefined);
  const beside = `${file}.${randomBytes(6).toString("hex")}`;
  fs.writeFileSync(beside, cubin);
  fs.renameSync(beside, file);
  return cubin;
}

const ways: readonly Omit<Way, "target">[] = [
  { passes: "all", activations: "bf16" },
  { passes: "none", activations: "bf16" },
  { passes: "all", activations: "f32" },
  { passes: "none", activations: "f32" },
];

async function row(seed: number, spec: ModelSpec, raw: Raw, way: Way): Promise<Row> {
  const options = optionsOf(way, seed);
  const about = {
    seed,
    target: way.target,
    passes: way.passes,
    activations: way.activations,
    quantised: spec.fp8 !== null && options.actQuant === "dynamic",
    heads: spec.heads,
    layers: spec.layers.map((l) => l[0]).join(""),
    bias: spec.attentionBias,
    mtp: spec.mtp,
  };
  try {
    const times = [performance.now()];
    const mark = (): void => void times.push(performance.now());
    const { manifest, files } = compileSpec(spec, options);
    mark();
    const before = fresh;
    const texts = new Map(
      launchedOf({ manifest }).map(([name, k]) => {
        const source = String(files.get(k.text));
        return [name, { source, cubin: k.binary ? (files.get(k.binary) as Uint8Array) : compiled(name, source) }];
      }),
    );
    mark();
    const device = await CudaDevice.open(manifest, texts, { compile: compiled });
    const model = await Model.open(manifest, device, { weights: `synthetic:${seed}` });
    const asked = await ask(model, spec, seed);
    await model.close();
    mark();
    const judged = judge(spec, options, raw, asked);
    mark();
    const [compile_ms, kernels_ms, run_ms, judge_ms] = times.slice(1).map((t, i) => Math.round(t - times[i]));
    return { ...about, ...judged, fresh: fresh - before, compile_ms, kernels_ms, run_ms, judge_ms };
  } catch (e) {
    return { ...about, verdict: "an error", error: (e as Error).message.slice(0, 600), fatal: true, ok: false };
  }
}

// Held for the worker's life: opening the card takes longer than running a model.
const cuda = openCuda(h200.arch);
process.on("message", (job: Job) => {
  void (async () => {
    const spec = specFrom(modelOf(job.seed));
    const raw = syntheticRaw(spec, job.seed);
    const rows: Row[] = [];
    for (const way of waysOf(job, ways).slice(job.from)) {
      rows.push(await row(job.seed, spec, raw, { ...way, target: job.target }));
      if (rows.at(-1)!.fatal) break;
    }
    process.send!(rows);
  })();
});
process.on("disconnect", () => {
  cuda.close();
  process.exit();
});
