// dsc opt FILE.dsc -p a,b: the workbench. Parses a module's text, runs passes, prints the text.
import { existsSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { ArgumentsCamelCase, Argv } from "yargs";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { parseModule, printModule } from "../../ir/index.ts";
import { choosePasses, runPipeline } from "../../passes/index.ts";
import { cannotRead, cannotWrite } from "../diagnostics.ts";
import { guardOf } from "../guard.ts";
import { transcript } from "../report/transcript.ts";
import { passWords, pipelineOf, pluginFlags, type PluginFlags } from "./options.ts";
import { checkWritable } from "./save.ts";

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
      .option("passes", { alias: "p", type: "string", demandOption: true, describe: "all, none, or names with commas; all,-NAME leaves one out" })
      .option("attention", { choices: ["auto", "expanded", "absorbed"] as const, default: "auto" as const, describe: "auto decides by cost" })
      .option("origins", { type: "boolean", default: false, describe: "say on every line where it came from" })
      .option("out", { alias: "o", type: "string", describe: "a file for the result (default: stdout)" }) as Argv<Options>,
  handler: async (a: ArgumentsCamelCase<Options>): Promise<void> => {
    const words = passWords(a.passes);
    const stdin = a.file === "/dev/stdin";
    const name = stdin ? "<stdin>" : a.file;
    const text = textOf(stdin ? 0 : a.file, name);
    if (a.out !== undefined) checkWritable(a.out);
    const { pipeline, passOptions } = await pipelineOf(undefined, a);
    // A text may be any part of a model: contracts are for whole ones.
    const how = { contracts: false, guard: guardOf(stdin ? process.cwd() : path.dirname(path.resolve(a.file))) };
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
    if (file !== 0 && !statSync(file).isFile()) throw new Error("it is no file; - reads stdin");
    return readFileSync(file, "utf8");
  } catch (e) {
    throw new DiagnosticError(cannotRead(name, (e as Error).message));
  }
}

/** The whole text, or the file that was there before. */
function writeText(file: string, text: string): void {
  const part = `${file}.${process.pid}.part`;
  try {
    if (existsSync(file) && !statSync(file).isFile()) return writeFileSync(file, text);
    writeFileSync(part, text);
    renameSync(part, file);
  } catch (e) {
    rmSync(part, { force: true });
    throw new DiagnosticError(cannotWrite(file, (e as Error).message));
  }
}
