// dsc inspect OUT [KERNEL] --cost: bytes, FLOPs, floor and share of every launch of a step.
import { plannedFrom } from "../../analysis/planned.ts";
import { costsOf } from "../../analysis/step-cost.ts";
import { problemsOf } from "../../artifact/side-files.ts";
import { printCosts } from "../../report/cost.ts";
import { deviceOf, loadOf, machineOf } from "../device.ts";
import type { Options, Read } from "./artifact.ts";

export async function tellCosts(a: Options, { manifest, files, text, say }: Read, kernel: string | undefined): Promise<void> {
  const planned = plannedFrom(manifest, text);
  const load = loadOf(a, planned.maxPositions);
  const machine = await machineOf(a, deviceOf(manifest.target));
  const names = new Map(
    Object.entries(problemsOf(files)).map(([name, p]) => [`${manifest.kernels[name]?.family} ${JSON.stringify(p)}`, name]),
  );
  const costs = costsOf(
    planned,
    machine,
    load,
    (family, p) => names.get(`${family} ${JSON.stringify(p)}`) ?? family,
    manifest.options.deterministic !== undefined,
  );
  const launches = kernel === undefined ? costs.launches : costs.launches.filter((l) => l.kernel === kernel);
  say({ device: machine.name, steps: costs.steps, launches }, () => printCosts(costs, machine, kernel));
}
