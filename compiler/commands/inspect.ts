// dsc inspect OUT [KERNEL] [--ir] [--after PASS]: what is in an artifact.
import { readFileSync } from "node:fs";
import path from "node:path";
import type { ArgumentsCamelCase, Argv } from "yargs";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { printSize } from "../../ir/size.ts";
import { inside, type Manifest, type Step } from "../../ir/artifact.ts";
import { readArtifact } from "../../runtime/index.ts";
import { notFound, usage } from "../diagnostics.ts";

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
      if (a.kernel !== undefined) throw new DiagnosticError(usage("inspect: give a kernel, or --ir or --after PASS", "the graph is of the whole model"));
      const graphs = Object.keys(manifest.files).filter((f) => f.startsWith("graph/"));
      const names = graphs.map(passOf);
      const at = a.after === undefined ? graphs.length - 1 : names.indexOf(a.after);
      if (at < 0) throw new DiagnosticError(notFound(`graph after ${a.after}`, a.out, a.after!, names));
      return void process.stdout.write(text(graphs[at]));
    }
    if (a.kernel === undefined) return void process.stdout.write(overview(manifest));
    const k = manifest.kernels[a.kernel];
    if (!k) throw new DiagnosticError(notFound(`kernel ${a.kernel}`, a.out, a.kernel, Object.keys(manifest.kernels)));
    process.stdout.write(text(k.text));
  },
};

const passOf = (file: string): string => file.replace(/^graph\/\d+-|\.dsc$/g, "");

function overview(m: Manifest): string {
  const uses = new Map<string, number>();
  const count = (steps: readonly Step[]): number =>
    steps.reduce((n, s) => {
      if (s.kind === "kernel") uses.set(s.kernel, (uses.get(s.kernel) ?? 0) + 1);
      return n + (inside(s).length ? count(inside(s)) : 1);
    }, 0);
  const functions = Object.values(m.functions).map((f) => [f.name, String(count(f.steps)), String(f.slots.length)]);
  const kernels = Object.entries(m.kernels).map(([name, k]) => [name, k.family, String(uses.get(name) ?? 0), k.cells === undefined ? "" : printSize(k.cells)]);
  return [
    `${m.model.architecture} for ${m.target}: ${m.model.layers} layers, passes ${m.options.passes}, by dsc ${m.compiler}`,
    "",
    ...table(["function", "steps", "buffers"], functions, [1, 2]),
    "",
    ...table(["kernel", "family", "uses", "cells run in parallel"], kernels, [2]),
    "",
    `graphs, by --after: ${Object.keys(m.files).filter((f) => f.startsWith("graph/")).map(passOf).join(", ")}`,
    "",
  ].join("\n");
}

/** Columns as wide as their widest word; the numbered ones stand to the right. */
function table(head: readonly string[], rows: readonly (readonly string[])[], right: readonly number[]): string[] {
  const all = [head, ...rows];
  const widths = head.map((_, i) => Math.max(...all.map((r) => r[i].length)));
  return all.map((r) => r.map((w, i) => (right.includes(i) ? w.padStart(widths[i]) : w.padEnd(widths[i]))).join("  ").trimEnd());
}
