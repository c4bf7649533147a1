// dsc graph OUT: the graph after the last pass, or after another, for programs that draw graphs.
import { writeFileSync } from "node:fs";
import type { ArgumentsCamelCase, Argv } from "yargs";
import { gpus } from "../../codegen/cuda/arch/index.ts";
import { desktop } from "../../codegen/cpu/machine.ts";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { onCpu, type Manifest } from "../../ir/artifact.ts";
import { parseModule } from "../../ir/index.ts";
import { readArtifact } from "../../runtime/index.ts";
import { dotOf, modelExplorerOf, type Overlay } from "../analysis/graph-export.ts";
import { cannotWrite, notFound } from "../diagnostics.ts";
import { floorsOf } from "../measuring/floors.ts";
import { digits } from "../report/table.ts";
import { graphsOf } from "./inspecting/graph.ts";

interface Options {
  out: string;
  function?: string;
  format: "dot" | "model-explorer";
  after?: string;
  output?: string;
}

export const graph = {
  command: "graph <out> [function]",
  describe: "the graph for programs that draw graphs: Graphviz, or Model Explorer, with kernels and floors beside nodes",
  builder: (y: Argv): Argv<Options> =>
    y
      .positional("out", { type: "string", demandOption: true, describe: "an artifact folder" })
      .positional("function", { type: "string", describe: "one function (decode/moe_layer); all of them unless said" })
      .option("format", {
        choices: ["dot", "model-explorer"] as const,
        default: "dot" as const,
        describe: "Graphviz's DOT, or Model Explorer's JSON",
      })
      .option("after", { type: "string", describe: "the graph after this pass (frontend: before any)" })
      .option("output", { alias: "o", type: "string", describe: "a file for it (default: stdout)" }) as Argv<Options>,
  handler: async (a: ArgumentsCamelCase<Options>): Promise<void> => {
    const { manifest, files } = await readArtifact(a.out, (name) => name.startsWith("graph/") || name.endsWith(".json"));
    const graphs = graphsOf(manifest);
    const file = a.after === undefined ? [...graphs.values()].at(-1)! : graphs.get(a.after);
    if (file === undefined)
      throw new DiagnosticError(
        notFound({ what: `graph after ${a.after}`, where: a.out, word: a.after!, known: [...graphs.keys()] }),
      );
    const module = parseModule(files.get(file)!.toString("utf8"), file);
    const only = a.function?.replace(/^@/, "");
    if (only !== undefined && !module.funcs.has(only))
      throw new DiagnosticError(
        notFound({ what: `function ${only}`, where: a.out, word: only, known: [...module.funcs.keys()] }),
      );
    const overlay = a.after === undefined ? figuresOf(manifest, files) : new Map<string, Readonly<Record<string, string>>>();
    const text =
      a.format === "dot" ? dotOf(module, overlay, only) : `${JSON.stringify(modelExplorerOf(module, overlay, only))}\n`;
    if (a.output === undefined) return void process.stdout.write(text);
    try {
      writeFileSync(a.output, text);
    } catch (e) {
      throw new DiagnosticError(cannotWrite({ where: a.output, problem: (e as Error).message }));
    }
  },
};

/** The kernel and the floor of every node: in a decode step of one sequence, or in a prefill. */
function figuresOf(manifest: Manifest, files: ReadonlyMap<string, Buffer>): Overlay {
  const machine = onCpu(manifest.target) ? desktop : gpus.h200;
  const load = { batch: 1, context: Math.min(1024, manifest.model.maxPositions) };
  const out = new Map<string, Readonly<Record<string, string>>>();
  for (const l of floorsOf(manifest, files, machine, load)?.launches ?? [])
    if (l.step !== null && !out.has(l.site)) out.set(l.site, { kernel: l.kernel, floor: `${digits(l.floor_us)} us` });
  return out;
}
