// dsc inspect OUT [KERNEL] [--ir] [--after PASS] [--origin] [--cost]: what is in an artifact, and where each part came from.
import type { ArgumentsCamelCase, Argv } from "yargs";
import { inside, type Manifest, type Step } from "../../ir/artifact.ts";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { printSize } from "../../ir/size.ts";
import { readArtifact } from "../../runtime/index.ts";
import { notFound, usage } from "../diagnostics.ts";
import type { Launch, Origins } from "../origins.ts";
import { originsOf, printing } from "../side-files.ts";
import { table } from "../report/table.ts";

interface Options {
  out: string;
  kernel?: string;
  ir: boolean;
  after?: string;
  origin: boolean;
  cost: boolean;
  json: boolean;
}

export const inspect = {
  command: "inspect <out> [kernel]",
  describe: "list an artifact's functions and kernels, or print one kernel, where it came from, or the graph after a pass",
  builder: (y: Argv): Argv<Options> =>
    y
      .positional("out", { type: "string", demandOption: true, describe: "an artifact folder" })
      .positional("kernel", { type: "string", describe: "a kernel's name" })
      .option("ir", { type: "boolean", default: false, describe: "print the graph after the last pass" })
      .option("after", { type: "string", describe: "print the graph after this pass (frontend: before any)" })
      .option("origin", { type: "boolean", default: false, describe: "of a kernel: every launch, its line of the graph, tensors, config keys and rules" })
      .option("cost", { type: "boolean", default: false, describe: "bytes and FLOPs of every launch (of a kernel) at the sizes passes assume" })
      .option("json", { type: "boolean", default: false, describe: "one JSON object on stdout" }) as Argv<Options>,
  handler: async (a: ArgumentsCamelCase<Options>): Promise<void> => {
    const { manifest, files } = await readArtifact(a.out, (name) => !name.endsWith(".wasm"));
    const text = (name: string): string => files.get(name)?.toString("utf8") ?? "";
    const say = (value: object, lines: () => string): void => void process.stdout.write(a.json ? JSON.stringify(value) + "\n" : lines());
    if (a.ir || a.after !== undefined) {
      if (a.kernel !== undefined) throw new DiagnosticError(usage("inspect: give a kernel, or --ir or --after PASS", "the graph is of the whole model", a.kernel));
      const graphs = Object.keys(manifest.files).filter((f) => f.startsWith("graph/"));
      const names = graphs.map(passOf);
      const at = a.after === undefined ? graphs.length - 1 : names.indexOf(a.after);
      if (at < 0) throw new DiagnosticError(notFound(`graph after ${a.after}`, a.out, a.after!, names));
      return say({ after: names[at], text: text(graphs[at]) }, () => text(graphs[at]));
    }
    if (a.origin && a.kernel === undefined) throw new DiagnosticError(usage("inspect: --origin is of a kernel", `dsc inspect ${a.out} KERNEL --origin; without a kernel, dsc inspect ${a.out} lists them`, "--origin"));
    if (a.kernel !== undefined && !Object.hasOwn(manifest.kernels, a.kernel)) throw new DiagnosticError(notFound(`kernel ${a.kernel}`, a.out, a.kernel, Object.keys(manifest.kernels)));
    const origins = originsOf(files);
    const launches = origins.launches.filter((l) => a.kernel === undefined || l.kernel === a.kernel);
    if (a.origin) {
      const kernel = text(manifest.kernels[a.kernel!].text);
      const numbers = printing("origins.json", () => numbersIn(kernel, origins.numbers));
      return say({ kernel: a.kernel, launches, numbers }, () => printing("origins.json", () => printOrigin(a.kernel!, manifest, launches, numbers)));
    }
    if (a.cost) return say({ launches: launches.map(({ kernel, site, op, bytes, flops }) => ({ kernel, site, op, bytes, flops })) }, () => printing("origins.json", () => printCost(launches)));
    if (a.kernel === undefined) return say(facts(manifest), () => overview(manifest));
    const record = manifest.kernels[a.kernel];
    say({ kernel: a.kernel, ...record, sites: launches.map((l) => l.site), source: text(record.text) }, () => text(record.text));
  },
};

const passOf = (file: string): string => file.replace(/^graph\/\d+-|\.dsc$/g, "");

interface Facts {
  model: Manifest["model"];
  target: string;
  options: Manifest["options"];
  functions: Record<string, { steps: number; buffers: number }>;
  kernels: Record<string, { family: string; uses: number }>;
  passes: string[];
}

function facts(m: Manifest): Facts {
  const uses = new Map<string, number>();
  const count = (steps: readonly Step[]): number =>
    steps.reduce((n, s) => {
      if (s.kind === "kernel") uses.set(s.kernel, (uses.get(s.kernel) ?? 0) + 1);
      return n + (inside(s).length ? count(inside(s)) : 1);
    }, 0);
  return {
    model: m.model,
    target: m.target,
    options: m.options,
    functions: Object.fromEntries(Object.values(m.functions).map((f) => [f.name, { steps: count(f.steps), buffers: f.slots.length }])),
    kernels: Object.fromEntries(Object.entries(m.kernels).map(([name, k]) => [name, { family: k.family, uses: uses.get(name) ?? 0 }])),
    passes: Object.keys(m.files).filter((f) => f.startsWith("graph/")).map(passOf),
  };
}

function overview(m: Manifest): string {
  const f = facts(m);
  const functions = Object.entries(f.functions).map(([name, { steps, buffers }]) => [name, String(steps), String(buffers)]);
  const kernels = Object.entries(m.kernels).map(([name, k]) => [name, k.family, String(f.kernels[name].uses), k.cells === undefined ? "" : printSize(k.cells)]);
  return [
    `${m.model.architecture} for ${m.target}: ${m.model.layers} layers, passes ${m.options.passes}, by dsc ${m.compiler}`,
    "",
    ...table(["function", "steps", "buffers"], functions, [1, 2]),
    "",
    ...table(["kernel", "family", "uses", "cells run in parallel"], kernels, [2]),
    "",
    `graphs, by --after: ${f.passes.join(", ")}`,
    "",
  ].join("\n");
}

/** Numbers of a kernel's text that the config has, or that are made of its numbers. */
function numbersIn(kernel: string, known: Origins["numbers"]): Origins["numbers"] {
  const words = new Set(kernel.split("\n;; lowered:")[0].match(/\d+/g));
  return Object.fromEntries(Object.entries(known).filter(([n]) => words.has(n)));
}

/** Every launch with its way back to the config. Launches made of the same keys and rules share a paragraph. */
function printOrigin(name: string, m: Manifest, launches: readonly Launch[], numbers: Origins["numbers"]): string {
  const out = [`${name}, family ${m.kernels[name].family}: ${launches.length} launch${launches.length === 1 ? "" : "es"} in the plan; its text is ${m.kernels[name].text}`];
  const alike = new Map<string, Launch[]>();
  for (const l of launches) {
    const key = JSON.stringify([l.keys, l.rules, l.tensors]);
    alike.set(key, [...(alike.get(key) ?? []), l]);
  }
  for (const group of alike.values()) {
    const { tensors = [], keys = [], rules = [] } = group[0];
    out.push("", ...group.flatMap((l) => [l.site, ...(l.line ? [`    ${l.line.replace(/ {2,}/g, " ")}`] : [])]));
    for (const t of tensors) out.push(`  tensor  ${t}`);
    if (keys.length) out.push(`  config  ${keys.join(", ")}`);
    for (const r of rules) out.push(`  rule    ${r}`);
  }
  const meant = Object.entries(numbers).map(([n, keys]) => [n, keys.join(", or ")]);
  if (meant.length) out.push("", "numbers in its text", ...table(["", ""], meant, [0]).slice(1).map((l) => `  ${l}`));
  return out.join("\n") + "\n";
}

function printCost(launches: readonly Launch[]): string {
  const rows = launches.map((l) => [l.site, l.kernel, l.op, ((l.bytes ?? 0) / 1e6).toFixed(3), ((l.flops ?? 0) / 1e9).toFixed(3)]);
  return [...table(["site", "kernel", "op", "MB", "GFLOP"], rows, [3, 4]), "", "one launch each, at the sizes the functions assume; dsc plan counts a whole step", ""].join("\n");
}
