// The pages of docs that are made from the code: diagnostics from the table behind `dsc explain`, commands from their own help.
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import path from "node:path";
import { commandNames } from "../../compiler/commands/index.ts";
import { page } from "../../compiler/explain/index.ts";

/** From the sources or from dist. */
export const root = path.resolve(
  import.meta.dirname,
  existsSync(path.resolve(import.meta.dirname, "../../package.json")) ? "../.." : "../../..",
);

const cli = path.join(root, "dist/compiler/cli.js");
const help = (...words: string[]): string =>
  execFileSync(process.execPath, [cli, ...words, "--help"], { encoding: "utf8" }).trimEnd();

function commands(): string {
  const out = [
    "# Commands",
    "",
    "<!-- Made by npm run docs from the commands' own help. Edit there. -->",
    "",
    "Under `--json`, stdout is exactly one JSON value (an object; an array of `why`, `passes` and `ops`), and everything for people goes to",
    "stderr. A command that could not do what it says ends with a diagnostic ([diagnostics.md](diagnostics.md)) and the code 2 where the",
    'command line is wrong, 1 otherwise; under `--json` stdout is then `{"errors": [...]}`, each with `code`, `title`, `spans`, `notes` and',
    "`help` (`dsc verify` adds `errors` to its answer). Of numbers, 4k is 4000 and 4K is 4096. NO_COLOR turns colour off.",
    "`dsc` stands for `node dist/compiler/cli.js`.",
    "",
    "```",
    help(),
    "```",
  ];
  for (const name of commandNames) out.push("", `## ${name}`, "", "```", help(name), "```");
  return out.join("\n") + "\n";
}

/** Path in the repository to what makes the text; that of the commands takes a process each. */
export const pages: ReadonlyMap<string, () => string> = new Map([
  ["docs/diagnostics.md", page],
  ["docs/commands.md", commands],
]);
