// dsc explain CODE: the long form of a diagnostic. Without a code, all of them in a line each.
import type { ArgumentsCamelCase, Argv } from "yargs";
import { DiagnosticError, didYouMean } from "../../ir/diagnostic.ts";
import { noCode } from "../diagnostics.ts";
import { entries, explained } from "../explain/index.ts";

interface Options {
  code?: string;
  json: boolean;
}

export const explainCommand = {
  command: "explain [code]",
  describe: "what a diagnostic means, what gives it and what to do; without a code, all of them",
  builder: (y: Argv): Argv<Options> =>
    y
      .positional("code", { type: "string", describe: "DSC1015, or 1015" })
      .option("json", { type: "boolean", default: false, describe: "one JSON object on stdout" }) as Argv<Options>,
  handler: ({ code, json }: ArgumentsCamelCase<Options>): void => {
    if (code === undefined) {
      const all = [...entries];
      process.stdout.write(
        json ? JSON.stringify({ codes: Object.fromEntries(all) }) + "\n" : all.map(([c, e]) => `${c}  ${e.name}\n`).join(""),
      );
      return;
    }
    const known = code.toUpperCase().replace(/^(\d)/, "DSC$1");
    const entry = entries.get(known);
    if (!entry) throw new DiagnosticError(noCode({ code, near: didYouMean(known, entries.keys()) }));
    process.stdout.write(json ? JSON.stringify({ code: known, ...entry }) + "\n" : explained(known, entry) + "\n");
  },
};
