// The pages of docs that are made from the code: diagnostics from the table behind `dsc explain`, commands from their own help.
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import path from "node:path";
import { commandNames } from "../../compiler/commands/index.ts";
import { page } from "../../compiler/explain/index.ts";

/** From the sources or from dist. */
export const root = path.resolve(import.meta.dirname, existsSync(path.resolve(import.meta.dirname, "../../package.json")) ? "../.." : "../../..");

const cli = path.join(root, "dist/compiler/cli.js");
const help = (...words: string[]): string => execFileSync(process.execPath, [cli, ...words, "--help"], { encoding: "utf8" }).trimEnd();

function commands(): string {
  const out = [
    "# Commands",
    "",
    "<!-- Made by npm run docs from the commands' own help. Edit there. -->",
    "",
    "Under `--json`, stdout is exactly one object; everything for people goes to stderr. A command that could not do what it says",
    "ends with 1 and a diagnostic ([diagnostics.md](diagnostics.md)). `dsc` stands for `node dist/compiler/cli.js`.",
    "",
    "```",
    help(),
    "```",
  ];
  for (const name of commandNames) out.push("", `## ${name}`, "", "```", help(name), "```");
  return out.join("\n") + "\n";
}

/** Path in the repository to text. */
export const pages = (): ReadonlyMap<string, string> => new Map([["docs/diagnostics.md", page()], ["docs/commands.md", commands()]]);
