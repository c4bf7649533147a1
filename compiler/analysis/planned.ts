// What `dsc plan` and `dsc inspect --cost` look at: a model after its passes, made from a config, or read from an artifact.
import type { Manifest } from "../../ir/artifact.ts";
import { machinesOf } from "../../codegen/target.ts";
import { parseModule } from "../../ir/index.ts";
import { choosePasses, runPipeline, type Pass } from "../../passes/index.ts";
import { modelModule } from "../frontend/model.ts";
import type { ModelSpec } from "../frontend/spec.ts";
import type { Planned } from "./roofline.ts";

export interface PlannedOptions {
  target: "cpu" | "cuda" | "triton";
  activations: "f32" | "bf16";
  /** As `compile` takes them. */
  passes: string;
  passOptions: Readonly<Record<string, string>>;
  actQuant: "dynamic" | "none";
}

/** A config as `dsc compile` would take it through the passes; no kernels are made. */
export function plannedOf(spec: ModelSpec, o: PlannedOptions, pipeline: readonly Pass[]): Planned {
  const written = modelModule(spec, { activations: o.activations, actQuant: o.actQuant, taps: false });
  const { module } = runPipeline(written, choosePasses(o.passes, pipeline), o.passOptions, { machines: machinesOf() });
  return {
    architecture: spec.architecture,
    module,
    target: o.target,
    activations: o.activations,
    experts: spec.moe ? { count: spec.moe.experts, perToken: spec.moe.topk } : null,
    layers: spec.layers.length,
    cachedLayers: spec.layers.length + spec.mtp,
    maxPositions: spec.maxPositions,
  };
}

/** An artifact: its last graph is what was planned. `read` gives a file of it. */
export function plannedFrom({ model, target, gpu, options, files }: Manifest, read: (name: string) => string): Planned {
  const last = Object.keys(files)
    .filter((f) => f.startsWith("graph/"))
    .at(-1)!;
  return {
    architecture: model.architecture,
    module: parseModule(read(last), last),
    target,
    ...(typeof options.natives === "string" ? { natives: options.natives } : {}),
    ...(gpu ? { arch: gpu.arch } : {}),
    activations: options.activations as Planned["activations"],
    experts: model.experts,
    layers: model.layers,
    cachedLayers: model.cachedLayers,
    maxPositions: model.maxPositions,
  };
}
