// dsc summary SRC: what a config describes, in the forms PyTorch and torchinfo print. No weights are read.
import type { ArgumentsCamelCase, Argv } from "yargs";
import { loadSpec } from "../frontend/config.ts";
import { DEPTH, printSummary, rowsOf, summarise } from "../report/summary.ts";
import { moduleTree } from "../report/tree.ts";
import { reduce } from "../analysis/shrink.ts";
import { say } from "../tell.ts";
import { reduceFlags, reductionOf, type ReduceFlags } from "./options.ts";

interface Options extends ReduceFlags {
  src: string;
  set: string[];
  depth?: number;
  json: boolean;
}

export const summary = {
  command: "summary <src>",
  describe: "module tree, parameters, bytes by dtype and cache bytes per token of a config",
  builder: (y: Argv): Argv<Options> =>
    reduceFlags(y)
      .positional("src", { type: "string", demandOption: true, describe: "a config.json or a folder with one" })
      .option("set", { type: "string", array: true, default: [] as string[], describe: "key=value laid over the config" })
      .option("depth", {
        choices: [0, 1, 2, 3, 4, 5, 6],
        describe: "levels of the tree and of the parameter table (default: all, and 3)",
      })
      .option("json", { type: "boolean", default: false, describe: "one JSON object on stdout" }),
  handler: ({ src, set, depth, json, ...flags }: ArgumentsCamelCase<Options>): void => {
    const { spec: whole, warnings } = loadSpec(src, set);
    const spec = reduce(whole, reductionOf(flags));
    warnings.forEach(say);
    if (!json) return void process.stdout.write(printSummary(spec, depth) + "\n");
    const modules = rowsOf(moduleTree(spec), depth ?? DEPTH);
    const found = warnings.map(({ code, title, help }) => ({ code, title, help }));
    process.stdout.write(JSON.stringify({ ...summarise(spec), modules, warnings: found }, null, 2) + "\n");
  },
};
