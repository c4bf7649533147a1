// dsc ablate SRC: each pass left out in turn: launches, bytes and floor of a step, and what that does to the logits.
import type { ArgumentsCamelCase, Argv } from "yargs";
import { ablate, type Ablated } from "../analysis/ablate.ts";
import { reduce } from "../analysis/shrink.ts";
import { loadSpec } from "../frontend/config.ts";
import { progressLine } from "../progress.ts";
import { digits, table } from "../report/table.ts";
import { say } from "../tell.ts";
import { deviceFlags, loadOf, machineOf, type DeviceFlags } from "./device.ts";
import { checkModelEffects } from "./effects.ts";
import { pipelineOf, pluginFlags, reduceFlags, reductionOf, type PluginFlags, type ReduceFlags } from "./options.ts";
import { taking } from "../taking.ts";

interface Options extends PluginFlags, ReduceFlags, DeviceFlags {
  src: string;
  actQuant: "dynamic" | "none";
  costsOnly: boolean;
  set: string[];
  json: boolean;
}

export const ablateCommand = {
  command: "ablate <src>",
  describe: "what each pass is worth: the model without it, in launches, bytes, floor time and difference of the logits",
  builder: (y: Argv): Argv<Options> =>
    taking<Options>(
      deviceFlags(pluginFlags(reduceFlags(y)))
        .positional("src", { type: "string", demandOption: true, describe: "a config.json or a folder with one" })
        .option("act-quant", {
          choices: ["dynamic", "none"] as const,
          default: "dynamic" as const,
          describe: "quantise the input of FP8 linears, or not",
        })
        .option("costs-only", {
          type: "boolean",
          default: false,
          describe: "do not interpret the model made small without each pass",
        })
        .option("set", { type: "string", array: true, default: [] as string[], describe: "key=value laid over the config" })
        .option("json", { type: "boolean", default: false, describe: "one JSON object on stdout" }),
    ),
  handler: async (a: ArgumentsCamelCase<Options>): Promise<void> => {
    const { spec, warnings } = loadSpec(a.src, a.set);
    warnings.forEach(say);
    checkModelEffects(spec, a);
    const { pipeline, passOptions } = await pipelineOf(a.src, a);
    const machine = await machineOf(a, "h200");
    const own = reduce(spec, reductionOf(a));
    const target = machine.name.startsWith("this machine") ? "cpu" : "cuda";
    const load = loadOf(a, spec.maxPositions);
    const line = progressLine();
    let rows: Ablated[];
    try {
      const options = { target, activations: machine.activations, passOptions, actQuant: a.actQuant } as const;
      rows = ablate(own, !a.costsOnly ? reduce(spec, { shrink: true }) : undefined, options, pipeline, machine, load, line.show);
    } finally {
      line.end();
    }
    const answer = { schema: "dsc-ablate/1", model: spec.architecture, device: machine.name, ...load, rows };
    process.stdout.write(a.json ? `${JSON.stringify(answer)}\n` : printed(answer));
  },
};

function printed({
  model,
  device,
  batch,
  context,
  rows,
}: {
  model: string;
  device: string;
  batch: number;
  context: number;
  rows: Ablated[];
}): string {
  const cells = rows.map((r) => [
    r.without ?? "(all passes)",
    ...(["decode", "prefill"] as const).flatMap((s) => [
      r[s].launches.toFixed(0),
      digits(r[s].bytes / 1e9),
      digits(r[s].floor_us / 1000),
    ]),
    r.error === null ? "" : r.error === 0 ? "0" : r.error.toExponential(1),
  ]);
  return [
    `${model} on ${device}: a decode step of ${batch} sequence${batch > 1 ? "s" : ""} of ${context} rows, and a prefill of as many`,
    ...table(
      ["without", "decode launches", "GB", "floor ms", "prefill launches", "GB", "floor ms", "logits differ"],
      cells,
      [1, 2, 3, 4, 5, 6, 7],
    ),
    "",
  ].join("\n");
}
