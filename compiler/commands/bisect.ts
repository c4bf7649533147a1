// dsc bisect SRC: which passes change what the model answers, found on it made small, by halves.
import type { ArgumentsCamelCase, Argv } from "yargs";
import { machinesOf } from "../../codegen/target.ts";
import { choosePasses } from "../../passes/index.ts";
import { bisect, type Bisected } from "../analysis/bisect.ts";
import { reduce } from "../analysis/shrink.ts";
import { guardOf } from "../driver/plugin-gate.ts";
import { loadSpec } from "../frontend/config.ts";
import { progressLine } from "../progress.ts";
import { say } from "../tell.ts";
import { checkModelEffects } from "./effects.ts";
import {
  camelNamed,
  passWords,
  pipelineOf,
  pluginFlags,
  reduceFlags,
  reductionOf,
  type PluginFlags,
  type ReduceFlags,
} from "./options.ts";

interface Options extends PluginFlags, ReduceFlags {
  src: string;
  passes: string;
  attention: "auto" | "expanded" | "absorbed";
  actQuant: "dynamic" | "none";
  set: string[];
  json: boolean;
}

export const bisectCommand = {
  command: "bisect <src>",
  describe: "which passes change what the model answers, found by halves on a small config derived from SRC",
  builder: (y: Argv): Argv<Options> =>
    camelNamed(
      pluginFlags(reduceFlags(y))
        .positional("src", { type: "string", demandOption: true, describe: "a config.json or a folder with one" })
        .option("passes", {
          type: "string",
          default: "all",
          describe: "all, none, or names with commas; all,-NAME leaves one out",
        })
        .option("attention", {
          choices: ["auto", "expanded", "absorbed"] as const,
          default: "auto" as const,
          describe: "auto decides by cost",
        })
        .option("act-quant", {
          choices: ["dynamic", "none"] as const,
          default: "dynamic" as const,
          describe: "quantise the input of FP8 linears, or not",
        })
        .option("set", { type: "string", array: true, default: [] as string[], describe: "key=value laid over the config" })
        .option("json", { type: "boolean", default: false, describe: "one JSON object on stdout" }),
    ),
  handler: async (a: ArgumentsCamelCase<Options>): Promise<void> => {
    const { spec, warnings } = loadSpec(a.src, a.set);
    warnings.forEach(say);
    checkModelEffects(spec, a);
    // Interpreting in float64 takes a small model, asked for or not.
    const small = reduce(spec, { ...reductionOf(a), shrink: true });
    const { pipeline, passOptions } = await pipelineOf(a.src, a);
    const passes = choosePasses(passWords(a.passes), pipeline);
    const line = progressLine();
    let found: Bisected;
    try {
      const how = { guard: guardOf(process.cwd()), contracts: "say" as const, machines: machinesOf() };
      found = bisect(small, passes, { ...passOptions, attention: a.attention }, a.actQuant, how, line.show);
    } finally {
      line.end();
    }
    process.stdout.write(a.json ? `${JSON.stringify(found)}\n` : printed(found));
  },
};

function printed({ passes, asked, graphs, changed }: Bisected): string {
  const lines = changed.map((c) => {
    const how = c.declared === undefined ? "CHANGES the answer, and does not say so" : "changes the answer, as it declares";
    const declared = c.declared === undefined ? "" : `; ${c.declared}`;
    return `${c.entry}: ${c.pass} ${how}: logits differ by ${c.difference.toExponential(1)}${declared}`;
  });
  return [
    ...(lines.length ? lines : ["no pass changes what the model answers"]),
    `${passes.length} passes, ${asked} of ${graphs} graphs interpreted`,
    "",
  ].join("\n");
}
