// Second verb of a compile: the passes that were asked for, and what is known of the plug-ins among them.
import { machinesOf } from "../../codegen/target.ts";
import { onCpu } from "../../ir/artifact.ts";
import type { Diagnostic } from "../../ir/diagnostic.ts";
import { leastMesh, meshWords } from "../../ir/mesh.ts";
import type { Func, Module } from "../../ir/index.ts";
import { withRanks } from "../../passes/shard/pipeline.ts";
import { choosePasses, runPipeline, type Outcome, type Pass, type PipelineOptions } from "../../passes/index.ts";
import type { ModelSpec } from "../frontend/spec.ts";
import { undivided } from "./divides.ts";
import type { CompileOptions } from "./options.ts";
import { guardOf } from "./plugin-gate.ts";
import { provePasses, type PassProof } from "./prove-passes.ts";

export interface Optimised {
  outcome: Outcome;
  /** The passes that ran. */
  passes: readonly Pass[];
  /** What is known of passes that ran. */
  proofs: PassProof[];
  /** Texts of functions that were printed for them. */
  printed: Map<Func, string>;
  /** What a mesh does not divide. */
  warnings: Diagnostic[];
}

/** The work of every pass, timed. */
function timing(guard: Guard | undefined, told: CompileOptions["timed"]): Guard {
  const run = guard ?? ((_, work) => work());
  if (!told) return run;
  return (place, work) => {
    const from = performance.now();
    try {
      return run(place, work);
    } finally {
      told(place.pass.name, performance.now() - from);
    }
  };
}

type Guard = NonNullable<PipelineOptions["guard"]>;

export function optimise(spec: ModelSpec, module: Module, options: CompileOptions, pipeline: readonly Pass[]): Optimised {
  const chosen = choosePasses(options.passes, pipeline);
  const { mesh } = options;
  // A model is divided whatever passes run; what contracts ask for is the whole model's.
  const passes = mesh ? withRanks(chosen) : chosen;
  const folder = options.reproduceIn ?? process.cwd();
  const outcome = runPipeline(
    module,
    passes,
    { attention: options.attention, ...options.passOptions, ...(mesh ? { "shard.mesh": meshWords(mesh) } : {}) },
    {
      guard: timing(guardOf(folder), options.timed),
      contracts: mesh ? false : "say",
      // Of a processor --arch says which instructions it has; passes weigh by the machine.
      machines: machinesOf(onCpu(options.target) ? undefined : options.arch, options.brings?.kernels),
    },
  );
  const printed = new Map<Func, string>();
  const proofs = provePasses({
    spec,
    passes,
    // Two ranks of an axis meet as eight do, and the small model is interpreted once for each.
    options: { ...options.passOptions, ...(mesh ? { "shard.mesh": meshWords(leastMesh(mesh)) } : {}) },
    ...(mesh ? { mesh: leastMesh(mesh) } : {}),
    ran: outcome,
    folder,
    printed,
    which: options.prove ?? "plugins",
  });
  return { outcome, passes, proofs, printed, warnings: mesh ? undivided(module, mesh) : [] };
}
