// Last verb of a compile: the files of an artifact and the manifest over them, in memory. Writing them is artifact/write.ts.
import path from "node:path";
import type { TargetBackend } from "../../codegen/backend.ts";
import type { CpuFacts, Manifest, ModelFacts } from "../../ir/artifact.ts";
import type { Diagnostic } from "../../ir/diagnostic.ts";
import { meshWords } from "../../ir/mesh.ts";
import { cachesOf } from "../../ir/caches.ts";
import { printModule, type Func, type Module } from "../../ir/index.ts";
import { printSaid, type Outcome, type Pass } from "../../passes/index.ts";
import { snapshotName } from "../../passes/pipeline.ts";
import { FORMAT, sha256 } from "../../runtime/manifest-text.ts";
import { originsText } from "../analysis/origins.ts";
import { weightPlans } from "../analysis/weight-plans.ts";
import { nativeLibrary } from "../artifact/native-library.ts";
import { compileTriton } from "../artifact/triton.ts";
import { tvmLibrary } from "../tvm/library.ts";
import { version } from "../artifact/version.ts";
import type { ModelSpec } from "../frontend/spec.ts";
import type { BuiltModel } from "./build.ts";
import type { Optimised } from "./optimise.ts";
import type { CompileOptions } from "./options.ts";
import type { HeldTo } from "../plugin/brings.ts";
import { unproved, untried, type PassProof } from "./prove-passes.ts";

export interface Compiled {
  manifest: Manifest;
  /** Every file of the artifact but manifest.json, by path, in order. */
  files: Map<string, string | Uint8Array>;
  outcome: Outcome;
  spec: ModelSpec;
  warnings: Diagnostic[];
  /** What is known of the plug-ins that ran. */
  proofs: PassProof[];
  /** What is known of what plug-ins brought beside passes. */
  held: readonly HeldTo[];
}

/** All that the other verbs made. */
export interface Parts {
  spec: ModelSpec;
  options: CompileOptions;
  pipeline: readonly Pass[];
  target: TargetBackend;
  batchInvariant: TargetBackend["batchInvariant"];
  optimised: Optimised;
  built: BuiltModel;
}

export function pack(parts: Parts): Compiled {
  const { outcome, proofs } = parts.optimised;
  const { kernels, triton } = parts.built;
  const files = filesOf(outcome, parts.built, parts.optimised.printed);
  const cpu = libraryOf(parts.target, parts.built, files);
  const warnings = [
    ...(parts.options.said ?? []),
    ...parts.optimised.warnings,
    ...outcome.slower,
    ...unproved(proofs),
    ...untried(parts.options.brings?.held ?? [], parts.options.target),
    ...(triton.length ? compileTriton(triton, parts.target.gpu!.arch, kernels, files) : []),
  ];
  return {
    manifest: manifestOf(parts, files, cpu),
    files,
    outcome,
    spec: parts.spec,
    warnings,
    proofs,
    held: parts.options.brings?.held ?? [],
  };
}

/** Compiles the kernels of a target that has them in one library; its texts and the library join the files. */
function libraryOf(
  target: TargetBackend,
  { kernels, tir }: BuiltModel,
  files: Map<string, string | Uint8Array>,
): CpuFacts | undefined {
  if (!target.library) return undefined;
  const { files: texts, facts, tvm } = target.library(kernels);
  for (const [name, text] of texts) files.set(name, text);
  const { bytes, compiler } = tvm ? tvmLibrary(tvm, tir) : nativeLibrary(files, facts);
  files.set(facts.library, bytes);
  return { ...facts, compiler };
}

/** Every file but the manifest: graphs, the ledger, kernels, and what explains them. */
function filesOf(outcome: Outcome, built: BuiltModel, printed: Map<Func, string>): Map<string, string | Uint8Array> {
  const graphs = outcome.snapshots.map((s, i) => [snapshotName(i, s.pass), printModule(s.module, { printed })] as const);
  return new Map<string, string | Uint8Array>([
    ...graphs,
    ...reportsOf(outcome),
    ["ledger.json", `${JSON.stringify(outcome.ledger.entries, null, 1)}\n`],
    ...built.files,
    ["origins.json", originsText(built.origins)],
    ["problems.json", `${JSON.stringify(built.problems, null, 1)}\n`],
    ...(Object.keys(built.instead).length ? [["instead.json", `${JSON.stringify(built.instead, null, 1)}\n`] as const] : []),
  ]);
}

/** What analyses said, a file for each pass that said something. */
function reportsOf({ ledger: { said } }: Outcome): [string, string][] {
  return [...new Set(said.map((s) => s.pass))].map((name) => {
    const own = said.filter((s) => s.pass === name);
    const texts = own.map((s) => `${own.length > 1 || s.title ? `${s.title ?? s.site}\n` : ""}${printSaid(s.said)}\n`);
    return [`reports/${name}.txt`, texts.join("\n")];
  });
}

function manifestOf(
  { spec, options, pipeline, target, batchInvariant, optimised, built }: Parts,
  files: Compiled["files"],
  cpu: CpuFacts | undefined,
): Manifest {
  const { module } = optimised.outcome;
  return {
    format: FORMAT,
    compiler: version,
    target: options.target,
    ...(target.gpu ? { gpu: target.gpu } : {}),
    ...(cpu ? { cpu } : {}),
    ...(module.mesh ? { mesh: module.mesh } : {}),
    options: {
      ...(module.mesh ? { mesh: meshWords(module.mesh) } : {}),
      passes: options.passes,
      activations: options.activations,
      act_quant: options.actQuant,
      attention: options.attention,
      taps: options.taps,
      scale_fmt: spec.fp8?.scale ?? "none",
      ...(options.target === "cuda" ? { natives: options.natives ?? "all" } : {}),
      ...(batchInvariant ? { deterministic: String(batchInvariant.rows) } : {}),
      ...given(pipeline, options),
    },
    model: factsOf(spec, module, target.catalogue.pageRows),
    weights: weightPlans(module),
    kernels: built.kernels,
    ...(built.system ? { system: built.system } : {}),
    functions: built.functions,
    entries: module.entries,
    load: module.load.map((l) => ({ function: l.func, layers: [...l.layers] })),
    files: Object.fromEntries([...files].map(([name, data]) => [name, sha256(data)])),
  };
}

/** Plug-ins by name and digest, and options of passes, where there are any: the artifact says what made it. */
function given(pipeline: readonly Pass[], { passOptions = {}, brings }: CompileOptions): Record<string, string> {
  const files = brings?.files ?? [];
  const plugins = pipeline.flatMap((p) =>
    p.plugin && !files.some((f) => f.file === p.plugin!.file)
      ? [`${p.name} (${path.basename(p.plugin.file)} sha256:${p.plugin.digest})`]
      : [],
  );
  const words = Object.entries(passOptions)
    .filter(([k]) => k !== "absorb-mla.attention")
    .map(([k, v]) => `${k}=${v}`);
  const brought = files.map(
    (f) => `${f.name}${f.version === undefined ? "" : `@${f.version}`} (${path.basename(f.file)} sha256:${f.digest})`,
  );
  const all = [...brought, ...plugins];
  return {
    ...(all.length ? { plugins: all.join(", ") } : {}),
    ...(words.length ? { pass_options: words.join(", ") } : {}),
  };
}

function factsOf(spec: ModelSpec, module: Module, pageRows: number): ModelFacts {
  return {
    architecture: spec.architecture,
    vocab: spec.vocab,
    hidden: spec.hidden,
    layers: spec.layers.length,
    cachedLayers: spec.layers.length + spec.mtp,
    caches: Object.fromEntries(
      [...cachesOf(module)].map(([name, { width, dtype }]) => [name, { width, dtype: dtype as "f32" | "bf16" }]),
    ),
    pageRows,
    maxPositions: spec.maxPositions,
    bos: spec.bos,
    eos: spec.eos,
    experts: spec.moe ? { count: spec.moe.experts, perToken: spec.moe.topk } : null,
  };
}
