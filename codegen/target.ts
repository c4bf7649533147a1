// The targets, by name.
import { inLibrary, type Target } from "../ir/artifact.ts";
import { DiagnosticError } from "../ir/diagnostic.ts";
import { functionsNotHere } from "./diagnostics.ts";
import type { TargetBackend } from "./backend.ts";
import { archWith, familiesWith, noKernels, type BroughtKernels } from "./brought.ts";
import type { Machine } from "../ir/machine.ts";
import { desktop } from "./cpu/machine.ts";
import { cpuTarget } from "./cpu/target.ts";
import { cTarget } from "./c/target.ts";
import type { Processor } from "./loops/processor.ts";
import { cudaTarget } from "./cuda/target.ts";
import { archOf } from "./cuda/archs.ts";
import { withTuned, type TunedRow } from "./cuda/tuned.ts";
import { withFunctions, type FoundFunction } from "./library-function.ts";
import { tvmTarget } from "./tir/target.ts";
import { tritonTarget } from "./triton/target.ts";

/** What a model may be compiled for: the processor and a GPU, by which passes weigh. */
export const machinesOf = (arch?: string, brought = noKernels): readonly Machine[] => [
  desktop,
  archOf(arch, brought.archs).machine,
];

/** The back end for a target under the options of a compile; refuses what it cannot mean. */
export function targetOf(
  target: Target,
  options: {
    activations: "f32" | "bf16";
    natives?: string;
    arch?: string;
    /** Of target c. */
    processor?: Processor;
    tuned?: readonly TunedRow[];
    /** Kernels of plug-ins. */
    kernels?: BroughtKernels;
  },
): TargetBackend {
  const brought = options.kernels ?? noKernels;
  const among = familiesWith(brought);
  const on = (where: "cpu" | "cuda"): FoundFunction[] => brought.functions.filter((f) => f.on === where);
  if (target === "cpu") return withFunctions(cpuTarget(options, among), on("cpu"));
  const here = on("cpu").map((f) => f.name);
  if (inLibrary(target) && here.length) throw new DiagnosticError(functionsNotHere({ names: here }));
  const native = { activations: options.activations, processor: options.processor! };
  if (target === "c") return cTarget(native, among);
  if (target === "tvm") return tvmTarget(native, among);
  const arch = archWith(archOf(options.arch, brought.archs), brought);
  const gpu =
    target === "cuda" ? cudaTarget(options.natives ?? "all", withTuned(arch, options.tuned), among) : tritonTarget(arch, among);
  return withFunctions(gpu, on("cuda"));
}
