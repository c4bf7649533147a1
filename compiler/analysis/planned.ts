// What `dsc plan` and `dsc inspect --cost` look at: a model after its passes, made from a config, or read from an artifact.
import type { Target } from "../../ir/artifact.ts";
import type { BroughtKernels } from "../../codegen/brought.ts";
import type { Manifest } from "../../ir/artifact.ts";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { processorNamed } from "../../codegen/loops/processor.ts";
import { machinesOf } from "../../codegen/target.ts";
import { parseModule, type Module } from "../../ir/index.ts";
import { meshWords, type Mesh } from "../../ir/mesh.ts";
import { choosePasses, runPipeline, type Pass } from "../../passes/index.ts";
import { withRanks } from "../../passes/shard/pipeline.ts";
import { modelModule } from "../frontend/model.ts";
import type { ModelSpec } from "../frontend/spec.ts";
import { expertsOfRank } from "./launches.ts";
import type { Planned } from "./roofline.ts";

export interface PlannedOptions {
  target: Target;
  activations: "f32" | "bf16";
  /** As `compile` takes them. */
  passes: string;
  passOptions: Readonly<Record<string, string>>;
  actQuant: "dynamic" | "none";
  /** One rank of a model that is divided over these. */
  mesh?: Mesh;
  /** Of plug-ins. */
  kernels?: BroughtKernels;
}

/** A config as `dsc compile` would take it through the passes; no kernels are made. */
export function plannedOf(spec: ModelSpec, o: PlannedOptions, pipeline: readonly Pass[]): Planned {
  const written = modelModule(spec, { activations: o.activations, actQuant: o.actQuant, taps: false });
  const chosen = choosePasses(o.passes, pipeline);
  const { module } = o.mesh
    ? runPipeline(
        written,
        withRanks(chosen),
        { ...o.passOptions, "shard.mesh": meshWords(o.mesh) },
        { machines: machinesOf(), contracts: false },
      )
    : runPipeline(written, chosen, o.passOptions, { machines: machinesOf() });
  return {
    architecture: spec.architecture,
    module,
    target: o.target,
    ...(o.kernels === undefined ? {} : { kernels: o.kernels }),
    activations: o.activations,
    experts: expertsOfRank(spec.moe ? { count: spec.moe.experts, perToken: spec.moe.topk } : null, module),
    layers: spec.layers.length,
    cachedLayers: spec.layers.length + spec.mtp,
    maxPositions: spec.maxPositions,
  };
}

/** An artifact: its last graph is what was planned. `read` gives a file of it. */
export function plannedFrom({ model, target, gpu, cpu, options, files }: Manifest, read: (name: string) => string): Planned {
  const processor = cpu && processorNamed(cpu.processor);
  const last = Object.keys(files)
    .filter((f) => f.startsWith("graph/"))
    .at(-1)!;
  const module = moduleOf(read(last), last, options.plugins);
  return {
    architecture: model.architecture,
    module,
    target,
    ...(typeof options.natives === "string" ? { natives: options.natives } : {}),
    ...(gpu ? { arch: gpu.arch } : {}),
    ...(processor ? { processor } : {}),
    activations: options.activations as Planned["activations"],
    experts: expertsOfRank(model.experts, module),
    layers: model.layers,
    cachedLayers: model.cachedLayers,
    maxPositions: model.maxPositions,
  };
}

/** The graph of an artifact; an op that only a plug-in knows is said to be one. */
function moduleOf(text: string, file: string, plugins: Manifest["options"][string] | undefined): Module {
  try {
    return parseModule(text, file);
  } catch (e) {
    if (!(e instanceof DiagnosticError) || e.diagnostics[0].code !== "DSC2002" || plugins === undefined) throw e;
    const notes = [`the artifact was compiled with ${String(plugins)}, and plug-ins run only where they are asked for`];
    const help = "dsc plan SRC --plugin FILE knows its ops and kernels";
    throw new DiagnosticError(e.diagnostics.map((d) => ({ ...d, notes: [...d.notes, ...notes], help })));
  }
}
