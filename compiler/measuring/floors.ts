// The floors that measured steps are compared with: of an artifact's prefill and decode at these sizes on a machine.
import type { Manifest } from "../../ir/artifact.ts";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import type { Machine } from "../../ir/machine.ts";
import { plannedFrom } from "../analysis/planned.ts";
import type { Load } from "../analysis/roofline.ts";
import { costsOf, type Costs } from "../analysis/step-cost.ts";
import { problemsOf } from "../artifact/side-files.ts";

/** Undefined where the ops of the graph are not known here: they are a plug-in's. */
export function floorsOf(
  manifest: Manifest,
  files: ReadonlyMap<string, Buffer>,
  machine: Machine,
  load: Load,
): Costs | undefined {
  try {
    const planned = plannedFrom(manifest, (name) => files.get(name)?.toString("utf8") ?? "");
    const names = new Map(
      Object.entries(problemsOf(files)).map(([name, p]) => [`${manifest.kernels[name]?.family} ${JSON.stringify(p)}`, name]),
    );
    const kernelOf = (family: string, p: object): string => names.get(`${family} ${JSON.stringify(p)}`) ?? family;
    return costsOf(planned, machine, load, kernelOf, manifest.options.deterministic !== undefined);
  } catch (e) {
    if (e instanceof DiagnosticError && manifest.options.plugins !== undefined) return undefined;
    throw e;
  }
}

/** How a session takes the prompts of a batch: side by side in one call, or, where bits must not depend on others, one by one. */
export const promptsOf = ({ options }: Manifest, batch: number): { prompts: number; calls: number } =>
  options.deterministic === undefined ? { prompts: batch, calls: 1 } : { prompts: 1, calls: batch };
