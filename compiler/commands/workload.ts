// Options of what is measured, shared by `dsc bench` and `dsc profile`, and what they open.
import type { Argv } from "yargs";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import type { Machine } from "../../ir/machine.ts";
import { load, memoryNeed, readArtifact, type Model } from "../../runtime/index.ts";
import { usage } from "../diagnostics.ts";
import type { Workload } from "../measuring/runs.ts";
import { during } from "../progress.ts";
import { size } from "../report/summary.ts";
import { deviceOf, machineOf } from "./device.ts";
import { checkTargetEffects } from "./effects.ts";
import { checkWhole, compileFlags } from "./options.ts";
import { sourceOf, type SourceFlags } from "./source.ts";
import { taking } from "../taking.ts";

export interface WorkloadFlags extends SourceFlags {
  prompt: number;
  maxNew: number;
  batch: number;
  rounds: number;
  threads?: number;
  device?: string;
}

export const workloadFlags = <T>(
  y: Argv<T>,
  initial: { prompt: number; maxNew: number; rounds: number },
): Argv<T & WorkloadFlags> =>
  taking<T & WorkloadFlags>(
    compileFlags(
      y
        .positional("src", { type: "string", demandOption: true, describe: "a model folder, a config.json, or an artifact" })
        .option("weights", {
          type: "string",
          describe: "a checkpoint folder, or synthetic:SEED (default: synthetic:1 of a config or artifact)",
        })
        .option("prompt", { alias: "p", type: "number", default: initial.prompt, describe: "rows of a prompt" })
        .option("max-new", { alias: "n", type: "number", default: initial.maxNew, describe: "decode steps after it" })
        .option("batch", { type: "number", default: 1, describe: "sequences" })
        .option("rounds", {
          alias: "r",
          type: "number",
          default: initial.rounds,
          describe: "times it is measured, after one that does not count",
        })
        .option("threads", { type: "number", describe: "worker threads (default: the cores there are)" })
        .option("device", {
          type: "string",
          describe: "whose floors to compare with (default: this machine; of a GPU's artifact h200)",
        }),
    ),
  );

export interface Opened {
  model: Model;
  files: ReadonlyMap<string, Buffer>;
  machine: Machine;
  workload: Workload;
  folder: string;
}

/** The model of a command line, open, and what to measure of it. */
export async function opened(a: WorkloadFlags, profile: boolean): Promise<Opened> {
  for (const [word, n, least] of [
    ["--prompt", a.prompt, 1],
    ["--max-new", a.maxNew, 0],
    ["--batch", a.batch, 1],
    ["--rounds", a.rounds, 1],
  ] as const)
    checkWhole(word, n, least, 65536);
  const source = await sourceOf({ ...a, weights: a.weights ?? (await bare(a)) });
  const { manifest, files } = await readArtifact(source.folder, (name) => !/\.(wasm|cubin)$/.test(name));
  checkTargetEffects(manifest.target, { threads: a.threads });
  const { maxPositions } = manifest.model;
  if (a.prompt + a.maxNew > maxPositions)
    throw new DiagnosticError(
      usage({
        problem: `${a.prompt} rows and ${a.maxNew} steps are more than the ${maxPositions} positions of the model`,
        help: "give smaller -p and -n",
        word: "--prompt",
      }),
    );
  const machine = await machineOf({ batch: a.batch, ...(a.device ? { device: a.device } : {}) }, deviceOf(manifest.target));
  const model = await during(
    `loading ${size(memoryNeed(manifest).resident)} of weights`,
    load(source.folder, { weights: source.weights, profile, ...(a.threads ? { threads: a.threads } : {}) }),
  );
  const workload = { prompt: a.prompt, steps: a.maxNew, batch: a.batch, rounds: a.rounds };
  return { model, files, machine, workload, folder: source.folder };
}

/** Synthetic weights where SRC has none of its own: times do not depend on values. */
async function bare({ src }: WorkloadFlags): Promise<string | undefined> {
  const { existsSync, readdirSync, statSync } = await import("node:fs");
  if (!existsSync(src)) return undefined;
  const has = statSync(src).isDirectory() && readdirSync(src).some((f) => f.endsWith(".safetensors"));
  return has ? undefined : "synthetic:1";
}
