// dsc opt FILE.dsc -p a,b: the workbench. Parses a module's text, runs passes, prints the text.
import { readFileSync } from "node:fs";
import path from "node:path";
import type { ArgumentsCamelCase, Argv } from "yargs";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { parseModule, printModule } from "../../ir/index.ts";
import { choosePasses, runPipeline } from "../../passes/index.ts";
import { cannotRead } from "../diagnostics.ts";
import { guardOf } from "../guard.ts";
import { transcript } from "../report/transcript.ts";
import { passWords, pipelineOf, pluginFlags, type PluginFlags } from "./options.ts";

interface Options extends PluginFlags {
  file: string;
  passes: string;
  attention: "auto" | "expanded" | "absorbed";
  origins: boolean;
}

export const opt = {
  command: "opt <file>",
  describe: "run passes on a module's text and print the result",
  builder: (y: Argv): Argv<Options> =>
    pluginFlags(y)
      .positional("file", { type: "string", demandOption: true, describe: "a .dsc text" })
      .option("passes", { alias: "p", type: "string", demandOption: true, describe: "all, none, or names with commas" })
      .option("attention", { choices: ["auto", "expanded", "absorbed"] as const, default: "auto" as const, describe: "auto decides by cost" })
      .option("origins", { type: "boolean", default: false, describe: "say on every line where it came from" }) as Argv<Options>,
  handler: async (a: ArgumentsCamelCase<Options>): Promise<void> => {
    let text: string;
    try {
      text = readFileSync(a.file, "utf8");
    } catch (e) {
      throw new DiagnosticError(cannotRead(a.file, (e as Error).message));
    }
    const { pipeline, passOptions } = await pipelineOf(undefined, a);
    // A text may be any part of a model: contracts are for whole ones.
    const how = { contracts: false, guard: guardOf(path.dirname(path.resolve(a.file))) };
    const out = runPipeline(parseModule(text, a.file), choosePasses(passWords(a.passes), pipeline), passOptions, how);
    if (out.ledger.entries.length) process.stderr.write(transcript(out) + "\n");
    process.stdout.write(printModule(out.module, { origins: a.origins }));
  },
};
