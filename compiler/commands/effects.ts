// Options that cannot have their effect with the others given: refused, for a word without effect is a mistake of its writer's.
import { onCpu, type Target } from "../../ir/artifact.ts";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { choosePasses, type Pass } from "../../passes/index.ts";
import type { ModelSpec } from "../frontend/spec.ts";
import { usage } from "../diagnostics.ts";

const refuse = (problem: string, help: string, word: string): never => {
  throw new DiagnosticError(usage({ problem, help, word }));
};

/** What is said of passes, where the passes chosen by `words` do not have them. `own` are those that came with --plugin. */
export function checkPassEffects(
  words: string,
  pipeline: readonly Pass[],
  own: readonly Pass[],
  given: { attention?: string; passOption: readonly string[]; plugin: readonly string[] },
): void {
  const chosen = new Set(choosePasses(words, pipeline).map((p) => p.name));
  if (given.attention === "absorbed" && !chosen.has("absorb-mla"))
    refuse(
      "--attention absorbed is what the pass absorb-mla does, and it is not among --passes",
      "add absorb-mla to --passes, or leave --attention out",
      "--attention",
    );
  const idle = given.passOption.map((w) => w.slice(0, w.indexOf("."))).find((name) => !chosen.has(name));
  if (idle !== undefined)
    refuse(
      `--pass-option is for the pass ${idle}, which is not among --passes`,
      `add ${idle} to --passes, or leave the option out`,
      "--pass-option",
    );
  if (given.plugin.length && own.length && !own.some((p) => chosen.has(p.name)))
    refuse(
      `--plugin brings ${own.map((p) => p.name).join(", ")}, and --passes ${words} runs none of them`,
      `add ${own[0].name} to --passes, or leave --plugin out`,
      "--plugin",
    );
}

/** What is said of FP8, where the config has none. */
export function checkModelEffects(spec: Pick<ModelSpec, "fp8">, given: { actQuant: "dynamic" | "none" }): void {
  if (given.actQuant === "none" && !spec.fp8)
    refuse(
      "--act-quant none is for FP8 weights, and the config has no quantization_config: no input is quantised",
      "leave --act-quant out",
      "--act-quant",
    );
}

/** Whether one of these options stands on the command line, whatever its default; names without dashes. */
export const typed = (names: readonly string[]): string[] =>
  names.filter((n) => process.argv.some((w) => w === `--${n}` || w.startsWith(`--${n}=`)));

/** What is for one target only. */
export function checkTargetEffects(
  target: Target,
  given: { arch?: string | undefined; natives?: string; nvcc?: boolean; threads?: number | undefined },
): void {
  if (given.arch !== undefined && target === "cpu")
    refuse(
      `--arch with --target ${target}: it names a GPU's architecture, or a processor that C and TVM compile for`,
      "give --target cuda, c or tvm, or leave it out",
      "--arch",
    );
  if (given.natives !== undefined && given.natives !== "all" && target !== "cuda")
    refuse(
      `--natives with --target ${target}: hand-written kernels are CUDA's`,
      "give --target cuda, or leave it out",
      "--natives",
    );
  if (given.nvcc && target !== "cuda")
    refuse(`--nvcc compiles CUDA kernels, and these are for ${target}`, "leave --nvcc out", "--nvcc");
  if (given.threads !== undefined && !onCpu(target))
    refuse(`--threads are of the CPU, and these kernels are for ${target}`, "leave --threads out", "--threads");
}
