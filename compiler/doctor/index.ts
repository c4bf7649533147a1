// What of this machine dsc can use, and what each part is for. Nothing here is an error: a machine without a GPU runs models too.
import { gpuProbes } from "./gpu.ts";
import { machineProbes } from "./machine.ts";
import { packageProbes } from "./packages.ts";
import { ask, type Check, type Probe } from "./probe.ts";
import { toolProbes } from "./tools.ts";
import { tvmProbes } from "./tvm.ts";

export type { Check } from "./probe.ts";

/** Everything that is looked for, in the order in which it is shown. */
const probes: readonly Probe[] = [...machineProbes, ...packageProbes, ...gpuProbes, ...toolProbes, ...tvmProbes];

/** Looks for everything, one after the other: some look at what others have loaded. */
export async function examine(): Promise<Check[]> {
  const checks: Check[] = [];
  for (const p of probes) checks.push(await ask(p));
  return checks;
}
