// dsc inspect OUT [KERNEL] [--ir] [--after PASS]: what is in an artifact.
import { readFileSync } from "node:fs";
import path from "node:path";
import type { ArgumentsCamelCase, Argv } from "yargs";
import { DiagnosticError, didYouMean } from "../../ir/diagnostic.ts";
import { printSize } from "../../ir/size.ts";
import type { Manifest, Step } from "../../ir/artifact.ts";
import { readArtifact } from "../../runtime/index.ts";
import { notFound } from "../diagnostics.ts";

interface Options {
  out: string;
  kernel?: string;
  ir: boolean;
  after?: string;
}

export const inspect = {
  command: "inspect <out> [kernel]",
  describe: "list an artifact's functions and kernels, or print one kernel or the graph after a pass",
  builder: (y: Argv): Argv<Options> =>
    y
      .positional("out", { type: "string", demandOption: true, describe: "an artifact folder" })
      .positional("kernel", { type: "string", describe: "a kernel's name" })
      .option("ir", { type: "boolean", default: false, describe: "print the graph after the last pass" })
      .option("after", { type: "string", describe: "print the graph after this pass (frontend: before any)" }) as Argv<Options>,
  handler: async (a: ArgumentsCamelCase<Options>): Promise<void> => {
    const { manifest } = await readArtifact(a.out);
    const text = (name: string): string => readFileSync(path.join(a.out, name), "utf8");
    if (a.ir || a.after !== undefined) {
      const graphs = Object.keys(manifest.files).filter((f) => f.startsWith("graph/"));
      const names = graphs.map((f) => f.replace(/^graph\/\d+-|\.dsc$/g, ""));
      const at = a.after === undefined ? graphs.length - 1 : names.indexOf(a.after);
      if (at < 0) throw new DiagnosticError(notFound(`graph after ${a.after}`, a.out, didYouMean(a.after ?? "", names) ?? names.join(", ")));
      return void process.stdout.write(text(graphs[at]));
    }
    if (a.kernel === undefined) return void process.stdout.write(overview(manifest));
    const k = manifest.kernels[a.kernel];
    if (!k) throw new DiagnosticError(notFound(`kernel ${a.kernel}`, a.out, didYouMean(a.kernel, Object.keys(manifest.kernels))));
    process.stdout.write(text(k.text));
  },
};

function overview(m: Manifest): string {
  const uses = new Map<string, number>();
  const count = (steps: readonly Step[]): number =>
    steps.reduce((n, s) => {
      if (s.kind === "kernel") uses.set(s.kernel, (uses.get(s.kernel) ?? 0) + 1);
      return n + (s.kind === "slices" ? count(s.steps) : 1);
    }, 0);
  const lines = [`${m.model.architecture} for ${m.target}, by dsc ${m.compiler}`, "", "functions"];
  for (const f of Object.values(m.functions)) lines.push(`  ${f.name.padEnd(32)} ${String(count(f.steps)).padStart(4)} steps, ${f.slots.length} slots`);
  lines.push("", "kernels");
  for (const [name, k] of Object.entries(m.kernels)) lines.push(`  ${name.padEnd(44)} ${String(uses.get(name) ?? 0).padStart(3)} uses  ${k.cells === undefined ? "" : `cells ${printSize(k.cells)}`}`);
  return lines.join("\n") + "\n";
}
