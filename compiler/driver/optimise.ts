// Second verb of a compile: the passes that were asked for, and what is known of the plug-ins among them.
import { machinesOf } from "../../codegen/target.ts";
import type { Module } from "../../ir/index.ts";
import { choosePasses, runPipeline, type Outcome, type Pass } from "../../passes/index.ts";
import type { ModelSpec } from "../frontend/spec.ts";
import type { CompileOptions } from "./options.ts";
import { guardOf } from "./plugin-gate.ts";
import { provePlugins, type PluginProof } from "./prove-plugins.ts";

export interface Optimised {
  outcome: Outcome;
  /** The passes that ran. */
  passes: readonly Pass[];
  /** What is known of the plug-ins that ran. */
  proofs: PluginProof[];
}

export function optimise(spec: ModelSpec, module: Module, options: CompileOptions, pipeline: readonly Pass[]): Optimised {
  const passes = choosePasses(options.passes, pipeline);
  const folder = options.reproduceIn ?? process.cwd();
  const outcome = runPipeline(
    module,
    passes,
    { attention: options.attention, ...options.passOptions },
    { guard: guardOf(folder), contracts: "say", machines: machinesOf(options.arch, options.brings?.kernels) },
  );
  return { outcome, passes, proofs: provePlugins(spec, passes, options.passOptions ?? {}, outcome, folder) };
}
