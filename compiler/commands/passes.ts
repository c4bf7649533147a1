// dsc passes [NAME]: the pipeline, or one pass: its options, and every rule with its holes, both sides and what it costs.
import type { ArgumentsCamelCase, Argv } from "yargs";
import { DiagnosticError, didYouMean } from "../../ir/diagnostic.ts";
import { unknownPass } from "../../passes/diagnostics.ts";
import { printPassPage } from "../report/pass-page.ts";
import { pipelineOf, pluginFlags, type PluginFlags } from "./options.ts";

interface Options extends PluginFlags {
  name?: string;
  json: boolean;
}

export const passesCommand = {
  command: "passes [name]",
  describe: "list the passes in order, or show one: options, rules, both sides as a graph, cost at two sizes",
  builder: (y: Argv): Argv<Options> =>
    pluginFlags(y)
      .positional("name", { type: "string", describe: "a pass" })
      .option("json", { type: "boolean", default: false, describe: "one JSON array on stdout" }) as Argv<Options>,
  handler: async (a: ArgumentsCamelCase<Options>): Promise<void> => {
    const { pipeline } = await pipelineOf(undefined, a);
    const names = pipeline.map((p) => p.name);
    if (a.name !== undefined && !names.includes(a.name))
      throw new DiagnosticError(unknownPass({ name: a.name, near: didYouMean(a.name, names), names }));
    const asked = a.name === undefined ? pipeline : pipeline.filter((p) => p.name === a.name);
    if (a.json) {
      const facts = asked.map((p) => ({
        name: p.name,
        summary: p.summary,
        options: p.options ?? {},
        ...(p.plugin ? { plugin: p.plugin } : {}),
        rules: [...(p.rules ?? []), ...(p.equations ?? [])].map((r) => ({
          name: r.name,
          vars: r.vars,
          looks_for: r.lookedFor(),
          within: r.within,
          changes: r.changes,
        })),
      }));
      return void process.stdout.write(JSON.stringify(facts) + "\n");
    }
    if (a.name !== undefined) return void process.stdout.write(printPassPage(asked[0]) + "\n");
    const width = Math.max(...names.map((n) => n.length)) + 2;
    for (const p of pipeline)
      process.stdout.write(`${p.name.padEnd(width)}${p.summary}${p.plugin ? ` (${p.plugin.file})` : ""}\n`);
  },
};
