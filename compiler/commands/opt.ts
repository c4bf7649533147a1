// dsc opt FILE.dsc -p a,b: the workbench. Parses a module's text, runs passes, prints the text.
import { readFileSync } from "node:fs";
import type { ArgumentsCamelCase, Argv } from "yargs";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { parseModule, printModule } from "../../ir/index.ts";
import { choosePasses, runPipeline, standard } from "../../passes/index.ts";
import { cannotRead } from "../diagnostics.ts";
import { transcript } from "../report/transcript.ts";
import { passWords } from "./options.ts";

interface Options {
  file: string;
  passes: string;
  attention: "auto" | "expanded" | "absorbed";
  origins: boolean;
}

export const opt = {
  command: "opt <file>",
  describe: "run passes on a module's text and print the result",
  builder: (y: Argv): Argv<Options> =>
    y
      .positional("file", { type: "string", demandOption: true, describe: "a .dsc text" })
      .option("passes", { alias: "p", type: "string", demandOption: true, describe: "all, none, or names with commas" })
      .option("attention", { choices: ["auto", "expanded", "absorbed"] as const, default: "auto" as const, describe: "auto decides by cost" })
      .option("origins", { type: "boolean", default: false, describe: "say on every line where it came from" }) as Argv<Options>,
  handler: (a: ArgumentsCamelCase<Options>): void => {
    let text: string;
    try {
      text = readFileSync(a.file, "utf8");
    } catch (e) {
      throw new DiagnosticError(cannotRead(a.file, (e as Error).message));
    }
    const out = runPipeline(parseModule(text, a.file), choosePasses(passWords(a.passes), standard), { attention: a.attention }, { contracts: false });
    if (out.ledger.entries.length) process.stderr.write(transcript(out) + "\n");
    process.stdout.write(printModule(out.module, { origins: a.origins }));
  },
};
