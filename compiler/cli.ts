#!/usr/bin/env node
// The command line: one file per command in commands/, strict options, diagnostics instead of stack traces.
import yargs from "yargs";
import { hideBin } from "yargs/helpers";
import { DiagnosticError, render, type Diagnostic } from "../ir/diagnostic.ts";
import { compileCommand } from "./commands/compile.ts";
import { inspect } from "./commands/inspect.ts";
import { opt } from "./commands/opt.ts";
import { run } from "./commands/run.ts";
import { summary } from "./commands/summary.ts";
import { verifyCommand } from "./commands/verify.ts";
import { weights } from "./commands/weights.ts";
import { internal, usage } from "./diagnostics.ts";
import { version } from "./version.ts";

function report(found: readonly Diagnostic[]): void {
  for (const d of found) process.stderr.write(render(d) + "\n");
  process.exitCode = 1;
}

/** `--set a=1 b=2` means `--set a=1 --set b=2`; a word without = ends the list, so that it cannot swallow SRC. */
function spread(argv: string[]): string[] {
  let setting = false;
  return argv.flatMap((word, i) => {
    setting = word === "--set" || (setting && (argv[i - 1] === "--set" || /^[A-Za-z_][\w.-]*=/.test(word)));
    return setting && word !== "--set" && argv[i - 1] !== "--set" ? ["--set", word] : [word];
  });
}

// A reader that goes away (| head) ends the program quietly.
process.stdout.on("error", (e: NodeJS.ErrnoException) => process.exit(e.code === "EPIPE" ? 0 : 1));

try {
  await yargs(spread(hideBin(process.argv)))
    .scriptName("dsc")
    .usage("$0 <command>: config.json of the DeepSeek-R1 family to kernels you can read, and tokens")
    .command(summary)
    .command(compileCommand)
    .command(run)
    .command(opt)
    .command(inspect)
    .command(verifyCommand)
    .command(weights)
    .demandCommand(1, "name a command")
    .strict()
    .recommendCommands()
    .parserConfiguration({ "greedy-arrays": false })
    .version(version)
    .help()
    .alias("h", "help")
    .fail((message, error) => {
      throw error ?? new DiagnosticError(usage(message));
    })
    .parseAsync();
} catch (e) {
  if (e instanceof DiagnosticError) report(e.diagnostics);
  else {
    if (process.env.DSC_DEBUG) process.stderr.write(`${(e as Error).stack}\n`);
    report([internal(e)]);
  }
}
