// dsc plugin new NAME and dsc plugin check FILE: begin a plug-in, and know all that can be known of it before it is used.
import { existsSync, watch } from "node:fs";
import path from "node:path";
import type { ArgumentsCamelCase, Argv } from "yargs";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { writeWhole } from "../../runtime/files.ts";
import { cannotWrite, usage } from "../diagnostics.ts";
import type { Checked } from "../plugin/check.ts";
import { say, tell } from "../tell.ts";
import { checkFolder } from "../artifact/make-folder.ts";

interface Options {
  action: string;
  name: string;
  model?: string;
  watch: boolean;
  json: boolean;
}

export const pluginCommand = {
  command: "plugin <action> <name>",
  describe: "new NAME writes a plug-in to begin with; check FILE type-checks and proves one, and tries what it brings",
  builder: (y: Argv): Argv<Options> =>
    y
      .positional("action", {
        type: "string",
        choices: ["new", "check"] as string[],
        demandOption: true,
        describe: "new or check",
      })
      .positional("name", {
        type: "string",
        demandOption: true,
        describe: "new: a name in kebab-case; check: a file or an installed package",
      })
      .option("model", { type: "string", describe: "check: prove it on this config, made small (default: R1 and a bf16 model)" })
      .option("watch", { type: "boolean", default: false, describe: "check: again at every change, until interrupted" })
      .option("json", { type: "boolean", default: false, describe: "one JSON object on stdout" }) as Argv<Options>,
  handler: async (a: ArgumentsCamelCase<Options>): Promise<void> => {
    if (a.action === "new") return begin(a);
    if (a.watch && a.json)
      throw new DiagnosticError(
        usage({ problem: "--watch with --json: one object has one end", help: "leave one out", word: "--watch" }),
      );
    if (!a.watch) return check(a);
    await checkOften(a);
  },
};

async function begin(a: Options): Promise<void> {
  for (const [option, given] of [
    ["--model", a.model !== undefined],
    ["--watch", a.watch],
  ] as const)
    if (given) throw new DiagnosticError(usage({ problem: `${option} is of plugin check`, help: "leave it out", word: option }));
  if (!/^[a-z][a-z0-9]*(-[a-z0-9]+)*$/.test(a.name))
    throw new DiagnosticError(
      usage({ problem: `${a.name} is no name of a plug-in`, help: "write it in kebab-case: fold-gain", word: a.name }),
    );
  const file = `${a.name}.ts`;
  if (existsSync(file))
    throw new DiagnosticError(cannotWrite({ where: file, problem: "it is there already", help: "choose another name" }));
  checkFolder(file);
  const { scaffold } = await import("../plugin/scaffold.ts");
  writeWhole(file, await scaffold(a.name));
  if (a.json) return void process.stdout.write(`${JSON.stringify({ file })}\n`);
  process.stdout.write(`written to ${file}; dsc plugin check ${file} proves it, dsc compile SRC --plugin ${file} uses it\n`);
}

async function check(a: Options): Promise<void> {
  const { checkPlugin } = await import("../plugin/check.ts");
  const found = await checkPlugin(a.name, a.model);
  if (found.errors.length) return tell(found.errors, a.json);
  if (a.json) return void process.stdout.write(`${JSON.stringify({ ...found, errors: undefined })}\n`);
  found.warnings.forEach(say);
  process.stdout.write(`${lines(found).join("\n")}\n`);
}

/** A line for each finding, and the sum of them. */
function lines({ findings }: Checked): string[] {
  const unproved = findings.filter((f) => !f.proved).length;
  const sum =
    unproved === 0 ? "all of it is proved or tried" : `${findings.length - unproved} of ${findings.length} are proved or tried`;
  return [...findings.map((f) => `${f.what}: ${f.says}`), sum];
}

/** Checks again whenever a file beside the plug-in changes. */
async function checkOften(a: Options): Promise<void> {
  const once = async (): Promise<void> => {
    try {
      await check(a);
    } catch (e) {
      if (!(e instanceof DiagnosticError)) throw e;
      tell(e.diagnostics, false);
    }
    process.stdout.write(
      `watching ${path.dirname(path.resolve(a.name)) === process.cwd() ? a.name : path.relative(process.cwd(), a.name)}\n`,
    );
  };
  let again: NodeJS.Timeout | undefined;
  let [busy, due] = [false, false];
  const soon = (): void => {
    clearTimeout(again);
    again = setTimeout(() => void run(), 100);
  };
  const run = async (): Promise<void> => {
    if (busy) return void (due = true);
    busy = true;
    await once();
    [busy, process.exitCode] = [false, 0];
    if (due) {
      due = false;
      soon();
    }
  };
  // Before anything is read: what changes while it is checked is checked again.
  const watcher = watch(path.dirname(path.resolve(a.name)), (_, file) => {
    if (file === null || /\.[cm]?[jt]sx?$/.test(file)) soon();
  });
  await run();
  await new Promise<void>((resolve) => process.once("SIGINT", resolve));
  watcher.close();
}
