// dsc opt FILE.dsc -p a,b: the workbench. Parses a module's text, runs passes, prints the text.
import { readFileSync } from "node:fs";
import path from "node:path";
import type { ArgumentsCamelCase, Argv } from "yargs";
import { machinesOf } from "../../codegen/target.ts";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { parseModule, printModule } from "../../ir/index.ts";
import { choosePasses, runPipeline } from "../../passes/index.ts";
import { cannotRead, cannotWrite, notOurs } from "../diagnostics.ts";
import { guardOf } from "../driver/plugin-gate.ts";
import { transcript } from "../report/transcript.ts";
import { passWords, pipelineOf, pluginFlags, type PluginFlags } from "./options.ts";
import { checkFolder } from "../artifact/make-folder.ts";
import { readTextSync, writeWhole } from "../../runtime/files.ts";
import { kindAt } from "../artifact/ours.ts";

interface Options extends PluginFlags {
  file: string;
  passes: string;
  attention: "auto" | "expanded" | "absorbed";
  origins: boolean;
  out?: string;
}

export const opt = {
  command: "opt <file>",
  describe: "run passes on a module's text and print the result",
  builder: (y: Argv): Argv<Options> =>
    pluginFlags(y)
      .positional("file", { type: "string", demandOption: true, describe: "a .dsc text; - reads stdin" })
      .option("passes", {
        alias: "p",
        type: "string",
        demandOption: true,
        describe: "all, none, or names with commas; all,-NAME leaves one out",
      })
      .option("attention", {
        choices: ["auto", "expanded", "absorbed"] as const,
        default: "auto" as const,
        describe: "auto decides by cost",
      })
      .option("origins", { type: "boolean", default: false, describe: "say on every line where it came from" })
      .option("out", { alias: "o", type: "string", describe: "a file for the result (default: stdout)" }) as Argv<Options>,
  handler: async (a: ArgumentsCamelCase<Options>): Promise<void> => {
    const words = passWords(a.passes);
    const stdin = a.file === "/dev/stdin";
    const name = stdin ? "<stdin>" : a.file;
    const text = textOf(stdin ? 0 : a.file, name);
    if (a.out !== undefined) checkResult(a.out);
    const { pipeline, passOptions } = await pipelineOf(undefined, a);
    // A text may be any part of a model: contracts are for whole ones.
    const how = {
      contracts: false,
      machines: machinesOf(),
      guard: guardOf(stdin ? process.cwd() : path.dirname(path.resolve(a.file))),
    };
    const out = runPipeline(parseModule(text, name), choosePasses(words, pipeline), passOptions, how);
    if (out.ledger.entries.length) process.stderr.write(transcript(out) + "\n");
    const result = printModule(out.module, { origins: a.origins });
    if (a.out === undefined) process.stdout.write(result);
    else writeText(a.out, result);
  },
};

/** Reads a regular file or stdin; a device or a pipe by name may have no end. */
function textOf(file: string | 0, name: string): string {
  try {
    return file === 0 ? readFileSync(0, "utf8") : readTextSync(file);
  } catch (e) {
    throw new DiagnosticError(cannotRead({ file: name, problem: (e as Error).message }));
  }
}

/** Says before the work whether the result may be written: a name that is free, or a module's text from before. */
function checkResult(file: string): void {
  const kind = kindAt(file);
  if (kind === "folder" || kind === "other")
    throw new DiagnosticError(
      cannotWrite({
        where: file,
        problem: kind === "folder" ? "it is a folder" : "it is a link or a device, not a file",
        help: "without -o the result goes to stdout",
      }),
    );
  if (kind === undefined) return checkFolder(file);
  try {
    parseModule(readTextSync(file), file);
  } catch {
    throw new DiagnosticError(notOurs(file, "it is there already, and is no module's text"));
  }
}

/** The whole text, or the file that was there before. */
function writeText(file: string, text: string): void {
  try {
    writeWhole(file, text);
  } catch (e) {
    throw new DiagnosticError(cannotWrite({ where: file, problem: (e as Error).message }));
  }
}
