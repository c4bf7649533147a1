// The pages of docs that are made from the code: diagnostics from the table behind `dsc explain`, commands from their own help.
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import path from "node:path";
import { Node, Project } from "ts-morph";
import { commandNames } from "../../compiler/commands/index.ts";
import { page } from "../../compiler/explain/index.ts";
import { printOp } from "../../compiler/report/op-page.ts";
import { printPassPage } from "../../compiler/report/pass-page.ts";
import { ops } from "../../ir/index.ts";
import { standard } from "../../passes/index.ts";

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

/** Every op: its signature, its attributes, and which targets have a kernel for it. */
const opsPage = (): string =>
  [
    "# Ops",
    "",
    "<!-- Made by npm run docs from the declarations in ir/ops. Edit there. -->",
    "",
    "What `dsc ops NAME` prints of every op of the graph, by name. Builders of the same names, in camel case, are exported by `dsc/ir`.",
    ...ops
      .toSorted((a, b) => (a.name < b.name ? -1 : 1))
      .flatMap((o) => ["", `## ${o.name}`, "", "```", printOp(o).trimEnd(), "```"]),
    "",
  ].join("\n");

/** Every pass in its order: what it does, its rules as graphs, what it promises. */
const passesPage = (): string =>
  [
    "# Passes",
    "",
    "<!-- Made by npm run docs from the passes themselves. Edit there. -->",
    "",
    "What `dsc passes NAME` prints of every standard pass, in the order of passes/standard.ts.",
    ...standard.flatMap((p) => ["", `## ${p.name}`, "", "```", printPassPage(p).trimEnd(), "```"]),
    "",
  ].join("\n");

const entries: readonly [name: string, index: string][] = [
  ["dsc", "compiler/index.d.ts"],
  ["dsc/plugin", "compiler/plugin/index.d.ts"],
  ["dsc/ir", "ir/index.d.ts"],
  ["dsc/passes", "passes/index.d.ts"],
  ["dsc/codegen", "codegen/index.d.ts"],
  ["dsc/tvm", "runtime/tvm/index.d.ts"],
];

/** Every public name with its first line of documentation. */
function apiPage(): string {
  const project = new Project({ compilerOptions: { types: [] } });
  const out = [
    "# API",
    "",
    "<!-- Made by npm run docs from the declarations' own documentation. Edit there. -->",
    "",
    "Every name that the package exports. `dsc` exports all of `dsc/runtime`, too. Editors show the whole of what stands at each.",
  ];
  for (const [name, index] of entries) {
    const rows = [...project.addSourceFileAtPath(path.join(root, "dist", index)).getExportedDeclarations()].map(([id, [d]]) => {
      const statement = Node.isVariableDeclaration(d) ? d.getVariableStatement() : d;
      const doc = statement && Node.isJSDocable(statement) ? (statement.getJsDocs().at(-1)?.getDescription() ?? "") : "";
      return [
        id,
        doc
          .trim()
          .split(/\n\n|\n(?=@)/)[0]
          .replaceAll(/\s+/g, " ")
          .replaceAll("|", "\\|"),
      ] as const;
    });
    const sorted = rows.toSorted(([a], [b]) => (a < b ? -1 : 1));
    out.push("", `## ${name}`, "", "| name | |", "| --- | --- |", ...sorted.map(([id, doc]) => `| \`${id}\` | ${doc} |`));
  }
  return `${out.join("\n")}\n`;
}

/** Path in the repository to what makes the text; that of the commands takes a process each. */
export const pages: ReadonlyMap<string, () => string> = new Map([
  ["docs/diagnostics.md", page],
  ["docs/commands.md", commands],
  ["docs/ops.md", opsPage],
  ["docs/passes.md", passesPage],
  ["docs/api.md", apiPage],
]);
