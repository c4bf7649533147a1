// dsc plan SRC --device h200|cpu: what a step must move and compute, the floor under its time, and whether it fits. No weights are
// read and no kernels made.
import type { ArgumentsCamelCase, Argv } from "yargs";
import { DiagnosticError, render } from "../../ir/diagnostic.ts";
import { usage } from "../diagnostics.ts";
import { loadSpec } from "../frontend/config.ts";
import { h200, thisMachine } from "../machine.ts";
import { printPlan } from "../report/plan.ts";
import { roofline } from "../roofline.ts";
import { reduce } from "../shrink.ts";
import { checkWhole, reduceFlags, reductionOf, type ReduceFlags } from "./options.ts";

interface Options extends ReduceFlags {
  src: string;
  device: "h200" | "cpu";
  batch: number;
  context: number;
  bandwidth?: number;
  set: string[];
  json: boolean;
}

export const planCommand = {
  command: "plan <src>",
  describe: "bytes, FLOPs and floor times per site, token and prefill on a device, and memory fit",
  builder: (y: Argv): Argv<Options> =>
    reduceFlags(y)
      .positional("src", { type: "string", demandOption: true, describe: "a config.json or a folder with one" })
      .option("device", { choices: ["h200", "cpu"] as const, default: "cpu" as const, describe: "the machine; cpu is this one, measured" })
      .option("batch", { type: "number", default: 1, describe: "sequences of a decode step" })
      .option("context", { type: "number", default: 1024, describe: "cached rows of each, and rows of a prefill" })
      .option("bandwidth", { type: "number", describe: "GB/s of memory, for cpu, instead of measuring" })
      .option("set", { type: "string", array: true, default: [] as string[], describe: "key=value laid over the config" })
      .option("json", { type: "boolean", default: false, describe: "one JSON object on stdout" }) as unknown as Argv<Options>,
  handler: async (a: ArgumentsCamelCase<Options>): Promise<void> => {
    checkWhole("--batch", a.batch, 1, 65536);
    checkWhole("--context", a.context, 1);
    if (a.bandwidth !== undefined && !(a.bandwidth > 0 && Number.isFinite(a.bandwidth))) throw new DiagnosticError(usage(`--bandwidth is ${a.bandwidth}`, "give GB/s, above 0", "--bandwidth"));
    if (a.bandwidth !== undefined && a.device !== "cpu") throw new DiagnosticError(usage("--bandwidth is for --device cpu", "the figures of h200 are fixed", "--bandwidth"));
    const { spec: whole, warnings } = loadSpec(a.src, a.set);
    for (const w of warnings) process.stderr.write(render(w) + "\n");
    const spec = reduce(whole, reductionOf(a));
    if (a.context > spec.maxPositions) throw new DiagnosticError(usage(`--context ${a.context}: the model has ${spec.maxPositions} positions`, `give at most ${spec.maxPositions}`, "--context"));
    const machine = a.device === "h200" ? h200 : await thisMachine(a.bandwidth === undefined ? undefined : a.bandwidth * 1e9);
    const plan = roofline(spec, machine, a.device === "h200" ? "cuda" : "cpu", { batch: a.batch, context: a.context });
    if (a.json) process.stdout.write(JSON.stringify({ architecture: spec.architecture, device: machine, ...plan }) + "\n");
    else process.stdout.write(printPlan(spec.architecture, machine, plan) + "\n");
  },
};
