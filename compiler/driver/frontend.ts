// First verb of a compile: SRC to the model written plainly.
import type { Diagnostic } from "../../ir/diagnostic.ts";
import type { Module } from "../../ir/index.ts";
import { reduce } from "../analysis/shrink.ts";
import { fit } from "../checkpoint-dtypes.ts";
import { loadSpec } from "../frontend/config.ts";
import { modelModule } from "../frontend/model.ts";
import type { ModelSpec } from "../frontend/spec.ts";
import type { CompileOptions } from "./options.ts";

/** The model of a config, as its checkpoint stores it where there is one, and as small as asked for. */
export function readSpec(src: string, options: CompileOptions): { spec: ModelSpec; warnings: Diagnostic[] } {
  const { spec, warnings } = loadSpec(src, options.set);
  warnings.push(...fit(spec, options.stored));
  return { spec: reduce(spec, options), warnings };
}

/** The model as a graph, before any pass. */
export const frontend = (spec: ModelSpec, { activations, actQuant, taps }: CompileOptions): Module =>
  modelModule(spec, { activations, actQuant, taps });
