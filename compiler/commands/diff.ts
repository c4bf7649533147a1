// dsc diff OUT PASS [FUNCTION]: what a pass did to the graph, values under the names that they had before it.
import type { ArgumentsCamelCase, Argv } from "yargs";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { readArtifact } from "../../runtime/index.ts";
import { graphDiff, type FunctionDiff } from "../analysis/graph-diff.ts";
import { notFound } from "../diagnostics.ts";
import { functionsOf } from "../report/graph.ts";
import { withoutAlias } from "../report/why.ts";
import { graphsOf } from "./inspecting/graph.ts";

interface Options {
  out: string;
  pass: string;
  function?: string;
  json: boolean;
}

export const diff = {
  command: "diff <out> <pass> [function]",
  describe: "what a pass did to the graph: lines that went and came, values under the names they had before",
  builder: (y: Argv): Argv<Options> =>
    y
      .positional("out", { type: "string", demandOption: true, describe: "an artifact folder" })
      .positional("pass", { type: "string", demandOption: true, describe: "a pass that ran" })
      .positional("function", { type: "string", describe: "a function (decode/moe_layer), or a layer (layer3)" })
      .option("json", { type: "boolean", default: false, describe: "one JSON array on stdout" }) as Argv<Options>,
  handler: async (a: ArgumentsCamelCase<Options>): Promise<void> => {
    const { manifest, files } = await readArtifact(a.out, (name) => name.startsWith("graph/"));
    const graphs = [...graphsOf(manifest)];
    const at = graphs.findIndex(([pass]) => pass === a.pass);
    if (at < 1) {
      const known = graphs.slice(1).map(([pass]) => pass);
      throw new DiagnosticError(notFound({ what: `pass ${a.pass}`, where: a.out, word: a.pass, known }));
    }
    const [before, after] = [graphs[at - 1], graphs[at]].map(([, file]) => functionsOf(files.get(file)!.toString("utf8")));
    const wanted = a.function === undefined ? undefined : withoutAlias(a.function.replace(/^@/, ""), manifest);
    if (wanted !== undefined && !wanted.some((w) => before.has(w) || after.has(w))) {
      const known = [...new Set([...before.keys(), ...after.keys()])];
      throw new DiagnosticError(notFound({ what: `function ${a.function}`, where: a.out, word: a.function!, known }));
    }
    const only = (of: ReadonlyMap<string, string>): ReadonlyMap<string, string> =>
      wanted === undefined ? of : new Map([...of].filter(([name]) => wanted.includes(name)));
    const found = graphDiff(only(before), only(after));
    process.stdout.write(a.json ? `${JSON.stringify(found)}\n` : printed(a.pass, found));
  },
};

function printed(pass: string, found: readonly FunctionDiff[]): string {
  if (!found.length) return `${pass} changed nothing here\n`;
  return found
    .map((f) => {
      const also = f.also.length ? `, and the same in ${f.also.join(", ")}` : "";
      const head = `@${f.function}${also}: ${f.removed} line${f.removed === 1 ? "" : "s"} went, ${f.added} came`;
      return [head, ...f.lines.map((l) => `${l.mark}${l.text}`), ""].join("\n");
    })
    .join("\n");
}
