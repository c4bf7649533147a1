// The driver: SRC -> spec -> module -> passes -> kernels -> plan -> artifact, in memory. Writing is artifact/write.ts.
import { createHash } from "node:crypto";
import path from "node:path";
import type { Use } from "../codegen/backend.ts";
import { machinesOf, targetOf } from "../codegen/target.ts";
import type { FunctionPlan, KernelRecord, Manifest, ModelFacts, Target, WeightDType, WeightPlan } from "../ir/artifact.ts";
import { DiagnosticError, type Diagnostic } from "../ir/diagnostic.ts";
import type { Catalogue, Problem } from "../ir/kernel/catalogue.ts";
import { everyNode, printModule, printOrigins, sizeOf, type Func, type Module, type Node } from "../ir/index.ts";
import { choosePasses, runPipeline, standard, type Outcome, type Pass } from "../passes/index.ts";
import { planMemory } from "../passes/plan/memory.ts";
import { selectModule, type Draft, type MakerOf } from "../passes/plan/select.ts";
import { loadSpec } from "./frontend/config.ts";
import { modelModule } from "./frontend/model.ts";
import type { ModelSpec } from "./frontend/spec.ts";
import { usage } from "./diagnostics.ts";
import { guardOf } from "./driver/plugin-gate.ts";
import { launchesOf, ownSizes, workOf, type Experts, type Launch } from "./analysis/launches.ts";
import { OriginLog, originsText } from "./analysis/origins.ts";
import { provePlugins, unproved, type PluginProof } from "./driver/prove-plugins.ts";
import { reduce } from "./analysis/shrink.ts";
import { fit, type Stored } from "./checkpoint-dtypes.ts";
import { compileTriton, type TritonJob } from "./artifact/triton.ts";
import { version } from "./artifact/version.ts";

export interface CompileOptions {
  target: Target;
  /** "all", "none" or names with commas; -name leaves one out. */
  passes: string;
  activations: "f32" | "bf16";
  actQuant: "dynamic" | "none";
  attention: "auto" | "expanded" | "absorbed";
  taps: boolean;
  /** CUDA: "none" prints tile programs where a native kernel would serve. */
  natives?: string;
  /** CUDA: a sequence's bits do not depend on its batch. */
  deterministic?: boolean;
  set: readonly string[];
  /** What the checkpoint stores, where there is one: the model is compiled as that. */
  stored?: Stored | undefined;
  /** Keep the first layers only. */
  layers?: number;
  /** Make every width small (compiler/analysis/shrink.ts). */
  shrink?: boolean;
  /** Options of passes, by "pass.key". */
  passOptions?: Readonly<Record<string, string>>;
  /** Where a text that reproduces a failing plug-in is written; the working directory unless said. */
  reproduceIn?: string;
}

export const defaults: CompileOptions = { target: "cpu", passes: "all", activations: "f32", actQuant: "dynamic", attention: "auto", taps: false, set: [] };

export interface Compiled {
  manifest: Manifest;
  /** Every file of the artifact but manifest.json, by path, in order. */
  files: Map<string, string | Uint8Array>;
  outcome: Outcome;
  spec: ModelSpec;
  warnings: Diagnostic[];
  /** What is known of the plug-ins that ran. */
  proofs: PluginProof[];
}

export function compile(src: string, options: CompileOptions, pipeline: readonly Pass[] = standard): Compiled {
  const { spec, warnings } = loadSpec(src, options.set);
  warnings.push(...fit(spec, options.stored));
  const compiled = compileSpec(reduce(spec, options), options, pipeline);
  return { ...compiled, warnings: [...warnings, ...compiled.warnings] };
}

/** The same from a spec in hand. */
export function compileSpec(spec: ModelSpec, options: CompileOptions, pipeline: readonly Pass[] = standard): Compiled {
  const target = targetOf(options.target, options);
  const module = modelModule(spec, { activations: options.activations, actQuant: options.actQuant, taps: options.taps });
  const passes = choosePasses(options.passes, pipeline);
  const folder = options.reproduceIn ?? process.cwd();
  const outcome = runPipeline(module, passes, { attention: options.attention, ...options.passOptions }, { guard: guardOf(folder), contracts: "say", machines: machinesOf() });
  const proofs = provePlugins(spec, passes, options.passOptions ?? {}, outcome, folder);
  const files = new Map<string, string | Uint8Array>();
  const printed = new Map<Func, string>();
  for (const [i, s] of outcome.snapshots.entries()) files.set(`graph/${String(i).padStart(2, "0")}-${s.pass}.dsc`, printModule(s.module, { printed }));
  files.set("ledger.json", JSON.stringify(outcome.ledger.entries, null, 1) + "\n");

  const kernels: Record<string, KernelRecord> = {};
  const names = new Map<string, string>();
  const problems: Record<string, Problem> = {};
  const functions: Record<string, FunctionPlan> = {};
  const origins = new OriginLog(outcome.module);
  const triton: TritonJob[] = [];
  const experts = spec.moe ? { count: spec.moe.experts, perToken: spec.moe.topk } : null;
  const steady = options.deterministic ? target.steady : undefined;
  if (options.deterministic && !steady) throw new DiagnosticError(usage(`--deterministic with --target ${options.target}: only CUDA kernels can be chosen so that a batch changes no bits`, "give --target cuda, or leave it out"));
  // A step takes all sequences at once; everything else takes one at a time then (runtime/session.ts).
  const step = outcome.module.entries.decode;
  const catalogueOf = (f: Func): Catalogue => (steady && (f.name === step || f.name.startsWith(`${step}/`)) ? steady.catalogue : target.catalogue);
  for (const draft of selectModule(outcome.module, target.catalogue, catalogueOf, makerIn(outcome, passes))) {
    const func = outcome.module.funcs.get(draft.name)!;
    const launches = new Map(launchesOf(func, draft).map((l) => [l.draft, l]));
    const nameOf = (d: Draft & { kind: "kernel" }): string => {
      const key = `${d.chosen.family} ${JSON.stringify(d.chosen.problem)}`;
      const known = names.get(key);
      if (known !== undefined) return known;
      const built = target.build(d.chosen.family, d.chosen.problem, useOf(outcome.module, launches.get(d)!, experts));
      let name = built.name;
      for (let i = 2; kernels[name]; i++) name = `${built.name}_${i}`;
      names.set(key, name);
      const text = `kernels/${name}.${built.textType}`;
      files.set(text, built.text);
      const binary = built.binary && `kernels/${name}.${built.binaryType}`;
      if (built.binary && binary) files.set(binary, built.binary);
      kernels[name] = { text, ...(binary ? { binary } : {}), ...built.record };
      if (built.aot) triton.push({ name, entry: built.record.entry, text: built.text, aot: built.aot });
      problems[name] = d.chosen.problem;
      return name;
    };
    functions[draft.name] = planMemory(draft, (d) => {
      const name = nameOf(d);
      origins.add(name, func, d);
      return name;
    });
  }
  files.set("origins.json", originsText({ launches: origins.launches }));
  // What each kernel was made for: `dsc why OUT kernels` explains the choice by it.
  files.set("problems.json", `${JSON.stringify(problems, null, 1)}\n`);
  const warnings = [...outcome.slower, ...unproved(proofs), ...(triton.length ? compileTriton(triton, kernels, files) : [])];
  const manifest: Manifest = {
    format: "dsc-artifact/1",
    compiler: version,
    target: options.target,
    options: {
      passes: options.passes, activations: options.activations, act_quant: options.actQuant, attention: options.attention, taps: options.taps,
      scale_fmt: spec.fp8?.scale ?? "none", ...(options.target === "cuda" ? { natives: options.natives ?? "all" } : {}),
      ...(steady ? { deterministic: String(steady.rows) } : {}),
      ...given(pipeline, options),
    },
    model: factsOf(spec, options, target.catalogue.pageRows),
    weights: weightPlans(outcome.module),
    kernels,
    functions,
    entries: outcome.module.entries,
    load: outcome.module.load.map((l) => ({ function: l.func, layers: [...l.layers] })),
    files: Object.fromEntries([...files].map(([name, data]) => [name, createHash("sha256").update(data).digest("hex")])),
  };
  return { manifest, files, outcome, spec, warnings, proofs };
}

/** Which pass a node came with, and the plug-in that has it: what is said where a target has no kernel for it. */
const makerIn = ({ snapshots }: Outcome, passes: readonly Pass[]): MakerOf => (f, n) => {
  // Passes after it rebuild what reads another value: the same op, attributes and types are the same node.
  const same = (x: Node): boolean => x === n || (x.op === n.op && JSON.stringify([x.attrs, x.results.map((r) => r.type)]) === JSON.stringify([n.attrs, n.results.map((r) => r.type)]));
  const first = snapshots.find((s) => s.module.funcs.has(f.name) && everyNode(s.module.funcs.get(f.name)!).some(same));
  const p = passes.find((x) => x.name === first?.pass);
  if (!p) return first === undefined ? undefined : "the frontend wrote it";
  return p.plugin ? `pass ${p.name} made it: the plug-in ${p.plugin.file}` : `pass ${p.name} made it`;
};

/** Plug-ins by name and digest, and options of passes, where there are any: the artifact says what made it. */
function given(pipeline: readonly Pass[], { passOptions = {} }: CompileOptions): Record<string, string> {
  const plugins = pipeline.flatMap((p) => (p.plugin ? [`${p.name} (${path.basename(p.plugin.file)} sha256:${p.plugin.digest})`] : []));
  const words = Object.entries(passOptions).filter(([k]) => k !== "absorb-mla.attention").map(([k, v]) => `${k}=${v}`);
  return { ...(plugins.length ? { plugins: plugins.join(", ") } : {}), ...(words.length ? { pass_options: words.join(", ") } : {}) };
}

/** What the header of a kernel says of the launch it was first chosen for: its own work, at sizes that it is for. */
function useOf(m: Module, launch: Launch, experts: Experts): Use {
  const { node, site, chosen } = launch.draft;
  const sizes = ownSizes(launch, experts);
  const { bytes, flops } = sizes ? workOf(m, launch, sizes) : { bytes: 0, flops: 0 };
  const at = sizes && ["T", "B", ...(launch.func.assume.t === launch.func.assume.s ? [] : ["s"])].map((k) => `${k} = ${sizes[k]}`).join(", ");
  return { op: chosen.part?.op ?? node?.op.name ?? "copy", site, origin: node ? printOrigins(node.graph.originsOf(node)) : "", ...(at ? { cost: { bytes, flops, at } } : {}) };
}

function factsOf(spec: ModelSpec, options: CompileOptions, pageRows: number): ModelFacts {
  return {
    architecture: spec.architecture,
    vocab: spec.vocab,
    hidden: spec.hidden,
    layers: spec.layers.length,
    caches: spec.layers.length + spec.mtp,
    cacheWidth: spec.kvLora + spec.rope,
    cacheDType: options.activations,
    pageRows,
    maxPositions: spec.maxPositions,
    bos: spec.bos,
    eos: spec.eos,
    experts: spec.moe ? { count: spec.moe.experts, perToken: spec.moe.topk } : null,
  };
}

/** Weights some function still reads; those only load functions read need not stay. */
export function weightPlans(m: Module): Record<string, WeightPlan> {
  const resident = new Set<string>();
  const staged = new Set<string>();
  const loads = new Set(m.load.map((l) => l.func));
  for (const f of m.funcs.values()) for (const n of everyNode(f)) if (n.leaf?.kind === "weight") (loads.has(f.name) ? staged : resident).add(n.leaf.name);
  const out: Record<string, WeightPlan> = {};
  for (const w of m.weights.values()) {
    if (!resident.has(w.name) && !staged.has(w.name)) continue;
    out[w.name] = {
      dtype: w.type.dtype as WeightDType,
      shape: w.type.dims.map((d) => sizeOf(d, {})),
      layers: w.layers ? [...w.layers] : null,
      source: w.source,
      ...(resident.has(w.name) ? {} : { staging: true }),
    };
  }
  return out;
}
