// The driver, as a paragraph: SRC -> spec -> module -> passes -> kernels and plan -> artifact, in memory. Each verb is a file of
// driver/; writing the artifact is artifact/write.ts.
import type { TargetBackend } from "../codegen/backend.ts";
import { targetOf } from "../codegen/target.ts";
import { inLibrary } from "../ir/artifact.ts";
import { DiagnosticError, type Diagnostic } from "../ir/diagnostic.ts";
import { knowing, noWords } from "../ir/vocabulary.ts";
import { showPlan, standard, type Pass } from "../passes/index.ts";
import { usage } from "./diagnostics.ts";
import { build } from "./driver/build.ts";
import { frontend, readSpec } from "./driver/frontend.ts";
import { optimise } from "./driver/optimise.ts";
import type { CompileOptions } from "./driver/options.ts";
import { pack, type Compiled } from "./driver/pack.ts";
import { processorFor } from "./driver/processor.ts";
import { select } from "./driver/select.ts";
import { guardOf } from "./driver/plugin-gate.ts";
import { noBrings } from "./plugin/brings.ts";
import type { Module } from "../ir/index.ts";
import type { ModelSpec } from "./frontend/spec.ts";

export { defaults, type CompileOptions } from "./driver/options.ts";
export type { Compiled } from "./driver/pack.ts";

/** Compiles SRC: a config.json, or a folder with one. Throws a DiagnosticError; writes nothing. */
export function compile(src: string, options: CompileOptions, pipeline: readonly Pass[] = standard): Compiled {
  return knowing(options.brings?.words ?? noWords, () => {
    const { spec, warnings } = staged(options, "read the config", () => readSpec(src, options));
    const compiled = compileSpec(spec, options, pipeline);
    return { ...compiled, warnings: [...warnings, ...compiled.warnings] };
  });
}

/** The same from a spec in hand. */
export function compileSpec(spec: ModelSpec, options: CompileOptions, pipeline: readonly Pass[] = standard): Compiled {
  const module = staged(options, "write the model's graph", () => frontend(spec, options));
  return compileModule(module, spec, options, pipeline);
}

/** A stage of a compile; who asked is told how long it took. */
function staged<T>({ timed }: CompileOptions, stage: string, work: () => T): T {
  const from = performance.now();
  const made = work();
  timed?.(stage, performance.now() - from);
  return made;
}

/** The same from a graph in hand; `spec` says what is not in the graph: names, ids, positions. */
export function compileModule(
  module: Module,
  spec: ModelSpec,
  options: CompileOptions,
  pipeline: readonly Pass[] = standard,
): Compiled {
  const { brings = noBrings } = options;
  if (options.mesh && inLibrary(options.target)) throw new DiagnosticError(meshInLibrary(options.target));
  const target = targetOf(options.target, { ...options, ...processorFor(options), kernels: brings.kernels });
  const batchInvariant = batchInvariantOf(target, options);
  const optimised = staged(options, "all passes, with proofs and texts", () => optimise(spec, module, options, pipeline));
  const drafts = staged(options, "choose kernels", () => select(optimised, target, batchInvariant));
  const built = staged(options, "print kernels, plan memory, trace origins", () =>
    build(optimised.outcome.module, drafts, target, spec),
  );
  const { outcome, passes } = optimised;
  const plan = { module: outcome.module, functions: built.functions, kernels: built.kernels, target: options.target };
  showPlan(plan, passes, outcome.ledger, options.passOptions, guardOf(options.reproduceIn ?? process.cwd()));
  return staged(options, "put files together", () => pack({ spec, options, pipeline, target, batchInvariant, optimised, built }));
}

const meshInLibrary = (target: string): Diagnostic =>
  usage({
    problem: `--target ${target} of a model that is divided over ranks: their memories are not laid out alike there`,
    help: "give --target cpu or cuda, or no mesh",
    word: "--target",
  });

/** The kernels of --deterministic, which not every target has. */
function batchInvariantOf(target: TargetBackend, options: CompileOptions): TargetBackend["batchInvariant"] {
  if (!options.deterministic) return undefined;
  if (target.batchInvariant) return target.batchInvariant;
  const problem = `--deterministic with --target ${options.target}: only CUDA kernels can be chosen so that a batch changes no bits`;
  throw new DiagnosticError(usage({ problem, help: "give --target cuda, or leave it out" }));
}
