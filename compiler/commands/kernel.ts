// dsc kernel OUT [NAME]: edit a kernel of an artifact and run it again. The actions are in compiler/commands/editing.
import type { ArgumentsCamelCase, Argv } from "yargs";
import { inLibrary } from "../../ir/artifact.ts";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { editInLibrary, usage } from "../diagnostics.ts";
import { openArtifact } from "../edit/store.ts";
import { kernelNamed } from "../edit/named.ts";
import { editInWords } from "../edit/kept.ts";
import { taking } from "../taking.ts";
import { tellRevert, tellShow, tellTest, tellUse, type Options } from "./editing/actions.ts";
import { edit } from "./editing/editor.ts";

const actions = ["edit", "use", "test", "bench", "revert"] as const;
/** Those that put a text into an artifact, or take it out. */
const changing: ReadonlySet<string> = new Set(["edit", "use", "revert"]);

export const kernelCommand = {
  command: "kernel <out> [name]",
  describe: "edit a kernel of an artifact and run it again: tested before it may run, timed beside the original, taken back",
  builder: (y: Argv): Argv<Options> =>
    taking<Options>(
      y
        .positional("out", { type: "string", demandOption: true, describe: "an artifact folder" })
        .positional("name", {
          type: "string",
          describe: "a kernel, or a place that one serves: a value (decode/moe_layer/q), a tensor or its module (q_b_proj)",
        })
        .option("edit", { type: "boolean", default: false, describe: "open the text in VISUAL or EDITOR, then do as --use does" })
        .option("use", { type: "string", describe: "a file with the text to run in the kernel's place, once it is tested" })
        .option("test", {
          type: "boolean",
          default: false,
          describe: "hold the edit, or the kernel as it was compiled, to the reference of its op",
        })
        .option("bench", {
          type: "boolean",
          default: false,
          describe: "time the edit beside the original, in turn, in one process",
        })
        .option("revert", { type: "boolean", default: false, describe: "back to the kernel as it was compiled, byte for byte" })
        .option("rows", {
          type: "number",
          describe: "of --bench: rows of the step (default: 8, or as many as it is for)",
        })
        .option("force", {
          type: "boolean",
          default: false,
          describe: "run an edit that failed its test, or could not be tested; every command says so then",
        })
        .option("json", { type: "boolean", default: false, describe: "one JSON object on stdout" }),
    ),
  handler: async (a: ArgumentsCamelCase<Options>): Promise<void> => {
    const asked = actions.filter((k) => (k === "use" ? a[k] !== undefined : a[k]));
    check(a, asked);
    const opened = await openArtifact(a.out);
    if (a.name === undefined) {
      const edits = opened.manifest.edits ?? {};
      const lines = Object.entries(edits).map(([name, e]) => `${editInWords(name, e)}\n`);
      return void process.stdout.write(
        a.json ? `${JSON.stringify({ edits })}\n` : lines.join("") || "no kernel of it is edited\n",
      );
    }
    const t = { a, opened, kernel: kernelNamed(opened, a.name) };
    const { target } = opened.manifest;
    if (asked.some((k) => changing.has(k)) && inLibrary(target))
      throw new DiagnosticError(editInLibrary({ kernel: t.kernel, target }));
    switch (asked[0]) {
      case "edit":
        return edit(t);
      case "use":
        return tellUse(t, a.use!);
      case "test":
        return tellTest(t);
      case "revert":
        return tellRevert(t);
      case "bench":
        return (await import("./editing/bench.ts")).tellBench(t);
      default:
        return tellShow(t);
    }
  },
};

/** One action, of one kernel, with options that have an effect. */
function check(a: Options, asked: readonly (typeof actions)[number][]): void {
  const refuse = (problem: string, help: string, word: string): never => {
    throw new DiagnosticError(usage({ problem, help, word }));
  };
  const forms = `one of ${actions.map((k) => `--${k}`).join(", ")}`;
  if (asked.length > 1)
    refuse(`kernel: give only one of --${asked[0]} and --${asked[1]}`, `kernel does ${forms} at a time`, `--${asked[1]}`);
  if (asked.length && a.name === undefined)
    refuse(
      `kernel: --${asked[0]} is of a kernel`,
      `dsc kernel OUT NAME --${asked[0]}; dsc inspect OUT lists them`,
      `--${asked[0]}`,
    );
  if (a.force && asked[0] !== "use" && asked[0] !== "edit")
    refuse("kernel: --force is of --use and --edit", "leave it out, or give one of them", "--force");
  if (a.rows !== undefined && asked[0] !== "bench")
    refuse("kernel: --rows is of --bench", "leave it out, or give --bench", "--rows");
}
