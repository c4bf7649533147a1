// The command line: one file per command in commands/, strict options, diagnostics instead of stack traces.
// Exit codes: 0 when the command did what it says; otherwise diagnostics on stderr (and under --json as data on stdout), and 2 where
// the command line is wrong, 1 for everything else.
import yargs from "yargs";
import { hideBin } from "yargs/helpers";
import { DiagnosticError } from "../ir/diagnostic.ts";
import { pluginEnded } from "../passes/plugin-diagnostics.ts";
import { commandNames, loadCommand, loadCommands } from "./commands/index.ts";
import { cannotWrite, internal, systemRefused } from "./diagnostics.ts";
import { loadedPlugins, thrownLater } from "./driver/plugin-blame.ts";
import { editsNamed } from "./edit/said.ts";
import { say, tell } from "./tell.ts";
import { variable } from "../runtime/user-cache.ts";
import { version } from "./artifact/version.ts";
import { asOptions, checkFirst, checkWords, explain, spread } from "./argv.ts";

const words = asOptions(spread(hideBin(process.argv)));

function report(e: unknown): void {
  if (!(e instanceof DiagnosticError) && variable("DSC_DEBUG") !== undefined) process.stderr.write(`${(e as Error).stack}\n`);
  tell(
    e instanceof DiagnosticError
      ? e.diagnostics
      : [thrownLater(e) ?? systemRefused(e) ?? internal({ message: e instanceof Error ? e.message : String(e) })],
    words.includes("--json"),
  );
}

/** Whether the command has come to its end, good or bad. A plug-in may not end the process before. */
let finished = false;
const end = (code?: number | string): never => {
  finished = true;
  // process.exit(undefined) would forget what process.exitCode says.
  return code === undefined ? process.exit() : process.exit(code);
};

// A reader that goes away (| head) ends the program quietly; a disk that is full does not.
for (const stream of [process.stdout, process.stderr])
  stream.on("error", (e: NodeJS.ErrnoException) => {
    if (e.code === "EPIPE") end(process.exitCode ?? 0);
    if (stream === process.stdout)
      say(
        cannotWrite({
          where: "stdout",
          problem: e.message,
          help: "what was printed is cut short; see to the disk or the device it goes to",
        }),
      );
    end(1);
  });

// What a worker or a callback throws is a diagnostic too.
process.on("uncaughtException", (e) => {
  report(e);
  end();
});

process.on("exit", (code) => {
  if (finished || loadedPlugins().length === 0 || code > 128) return;
  report(new DiagnosticError(pluginEnded({ files: loadedPlugins() })));
  // Whatever the plug-in gave process.exit.
  process.exitCode = 1;
});

try {
  checkFirst(words, commandNames);
  const asked = await loadCommand(words[0] ?? "");
  const dsc = yargs(asked ? checkWords(words, asked) : words)
    .scriptName("dsc")
    .locale("en")
    .usage("dsc COMMAND: from config.json of the DeepSeek-R1 family to kernels you can read, and tokens")
    .command(asked ? [asked] : await loadCommands())
    .example("dsc summary examples/deepseek-r1", "modules, parameters, bytes")
    .example("dsc compile examples/deepseek-r1 -o r1", "what each pass did; kernels in r1/kernels")
    .example('dsc run examples/tiny-r1 --prompt "Once" --max-new 9', "text, on this machine's cores")
    .epilogue("SRC is a config.json or a folder with one. dsc COMMAND --help, or dsc help COMMAND, shows a command's options.")
    .strict()
    .parserConfiguration({ "greedy-arrays": false, "dot-notation": false, "boolean-negation": false })
    .wrap(Math.min(110, process.stdout.columns ?? 110))
    .version(version)
    .help()
    .alias("h", "help")
    .fail((message, error) => {
      throw error ?? new DiagnosticError(explain(message, asked, words));
    });
  editsNamed(words).forEach(say);
  if (words.length > 0) await dsc.parseAsync();
  else {
    process.stderr.write((await dsc.getHelp()) + "\n");
    process.exitCode = 2;
  }
} catch (e) {
  report(e);
}
// What a plug-in left running (a timer, a server) does not keep the program alive; what was written is through by then.
finished = true;
if (loadedPlugins().length > 0)
  for (const stream of [process.stdout, process.stderr]) await new Promise((done) => stream.write("", done));
if (loadedPlugins().length > 0) process.exit();
