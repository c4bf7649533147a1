// dsc inspect OUT [NAME] [--ir] [--after PASS] [--origin] [--cost]: what is in an artifact, and where each part came from.
import type { ArgumentsCamelCase, Argv } from "yargs";
import { inside, type Manifest, type Step } from "../../ir/artifact.ts";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { printSize } from "../../ir/size.ts";
import type { Problem } from "../../ir/kernel/catalogue.ts";
import { readArtifact } from "../../runtime/index.ts";
import { notFound, shellWord, usage } from "../diagnostics.ts";
import type { Launch } from "../analysis/origins.ts";
import { plannedFrom } from "../analysis/planned.ts";
import { printCosts } from "../report/cost.ts";
import { folded, functionsOf } from "../report/graph.ts";
import { table } from "../report/table.ts";
import { originsOf, printing, problemsOf } from "../artifact/side-files.ts";
import { costsOf } from "../analysis/step-cost.ts";
import { typed } from "./effects.ts";
import { deviceFlags, loadOf, machineOf, type DeviceFlags } from "./device.ts";
import { taking } from "../taking.ts";

interface Options extends DeviceFlags {
  out: string;
  name?: string;
  ir: boolean;
  after?: string;
  origin: boolean;
  cost: boolean;
  json: boolean;
}

/** Files of an artifact but its binaries, as texts. */
type Text = (name: string) => string;

export const inspect = {
  command: "inspect <out> [name]",
  describe: "list an artifact's functions and kernels, or print one of them, where a kernel came from, or the graph after a pass",
  builder: (y: Argv): Argv<Options> =>
    taking<Options>(
      deviceFlags(y)
        .positional("out", { type: "string", demandOption: true, describe: "an artifact folder" })
        .positional("name", { type: "string", describe: "a kernel, or a function of the graph (decode/moe_layer)" })
        .option("ir", {
          type: "boolean",
          default: false,
          describe: "print the graph after the last pass, runs of equal calls folded (the files of OUT/graph are whole)",
        })
        .option("after", { type: "string", describe: "print the graph after this pass (frontend: before any)" })
        .option("origin", {
          type: "boolean",
          default: false,
          describe: "of a kernel: every launch, its line of the graph, tensors, config keys and rules",
        })
        .option("cost", {
          type: "boolean",
          default: false,
          describe: "bytes, FLOPs, floor and share of every launch (of a kernel) of a step; of others at sizes of their own",
        })
        .option("json", { type: "boolean", default: false, describe: "one JSON object on stdout" }),
    ),
  handler: async (a: ArgumentsCamelCase<Options>): Promise<void> => {
    const idle = a.cost ? [] : typed(["device", "batch", "context", "bandwidth"]);
    if (idle.length)
      throw new DiagnosticError(
        usage(`inspect: --${idle[0]} is of --cost`, "give --cost as well, or leave it out", `--${idle[0]}`),
      );
    if (a.origin && a.cost)
      throw new DiagnosticError(usage("inspect: give only one of --origin and --cost", undefined, "--origin"));
    const { manifest, files } = await readArtifact(a.out, (name) => !name.endsWith(".wasm"));
    const text: Text = (name) => files.get(name)?.toString("utf8") ?? "";
    const say = (value: object, lines: () => string): void =>
      void process.stdout.write(a.json ? JSON.stringify(value) + "\n" : lines());
    const { name } = a;
    const kernel = name !== undefined && Object.hasOwn(manifest.kernels, name) ? name : undefined;
    const { system = {} } = manifest;
    if (name !== undefined && Object.hasOwn(system, name) && !a.ir && a.after === undefined && !a.origin && !a.cost)
      return say({ kernel: name, ...system[name], source: text(system[name].text) }, () => text(system[name].text));
    if (a.ir || a.after !== undefined || (name !== undefined && kernel === undefined)) {
      if (kernel !== undefined)
        throw new DiagnosticError(
          usage(
            "inspect: --ir and --after are of the graph, which has no kernels",
            `dsc inspect ${shellWord(a.out)} ${kernel} --origin says which lines of it the kernel serves`,
            kernel,
          ),
        );
      if (a.origin || a.cost)
        throw new DiagnosticError(
          usage(
            `inspect: ${a.origin ? "--origin" : "--cost"} is of kernels`,
            `dsc inspect ${shellWord(a.out)} lists them`,
            a.origin ? "--origin" : "--cost",
          ),
        );
      const graph = graphOf(a, manifest, text);
      return say(graph, () => folded(graph.text));
    }
    if (a.origin && kernel === undefined)
      throw new DiagnosticError(
        usage(
          "inspect: --origin is of a kernel",
          `dsc inspect ${shellWord(a.out)} KERNEL --origin; without a kernel, dsc inspect ${shellWord(a.out)} lists them`,
          "--origin",
        ),
      );
    if (a.cost) return tellCosts(a, manifest, text, problemsOf(files), kernel, say);
    const origins = originsOf(files);
    const launches = origins.launches.filter((l) => kernel === undefined || l.kernel === kernel);
    if (a.origin)
      return say({ kernel, launches }, () => printing("origins.json", () => printOrigin(kernel!, manifest, launches)));
    if (kernel === undefined) return say(facts(manifest), () => overview(manifest));
    const record = manifest.kernels[kernel];
    say({ kernel, ...record, sites: launches.map((l) => l.site), source: text(record.text) }, () => text(record.text));
  },
};

/** The graph after a pass, or one function of it. */
function graphOf(
  { out, name, after }: Options,
  manifest: Manifest,
  text: Text,
): { after: string; function?: string; text: string } {
  const graphs = Object.keys(manifest.files).filter((f) => f.startsWith("graph/"));
  const names = graphs.map(passOf);
  const at = after === undefined ? graphs.length - 1 : names.indexOf(after);
  if (at < 0) throw new DiagnosticError(notFound(`graph after ${after}`, out, after!, names));
  const whole = text(graphs[at]);
  if (name === undefined) return { after: names[at], text: whole };
  const functions = functionsOf(whole);
  const found = functions.get(name.replace(/^@/, ""));
  if (found === undefined)
    throw new DiagnosticError(
      notFound(`kernel or function ${name}`, out, name, [
        ...(after === undefined ? Object.keys({ ...manifest.kernels, ...manifest.system }) : []),
        ...functions.keys(),
      ]),
    );
  return { after: names[at], function: name, text: `${found}\n` };
}

async function tellCosts(
  a: Options,
  manifest: Manifest,
  text: Text,
  problems: Readonly<Record<string, Problem>>,
  kernel: string | undefined,
  say: (value: object, lines: () => string) => void,
): Promise<void> {
  const planned = plannedFrom(manifest, text);
  const load = loadOf(a, planned.maxPositions);
  const machine = await machineOf(a, manifest.target === "cpu" ? "cpu" : "h200");
  const names = new Map(
    Object.entries(problems).map(([name, p]) => [`${manifest.kernels[name]?.family} ${JSON.stringify(p)}`, name]),
  );
  const costs = costsOf(
    planned,
    machine,
    load,
    (family, p) => names.get(`${family} ${JSON.stringify(p)}`) ?? family,
    manifest.options.deterministic !== undefined,
  );
  const launches = kernel === undefined ? costs.launches : costs.launches.filter((l) => l.kernel === kernel);
  say({ device: machine.name, steps: costs.steps, launches }, () => printCosts(costs, machine, kernel));
}

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
    functions: Object.fromEntries(
      Object.values(m.functions).map((f) => [f.name, { steps: count(f.steps), buffers: f.slots.length }]),
    ),
    kernels: Object.fromEntries(
      Object.entries(m.kernels).map(([name, k]) => [name, { family: k.family, uses: uses.get(name) ?? 0 }]),
    ),
    passes: Object.keys(m.files)
      .filter((f) => f.startsWith("graph/"))
      .map(passOf),
  };
}

function overview(m: Manifest): string {
  const f = facts(m);
  const functions = Object.entries(f.functions).map(([name, { steps, buffers }]) => [name, String(steps), String(buffers)]);
  const kernels = Object.entries(m.kernels).map(([name, k]) => [
    name,
    k.family,
    String(f.kernels[name].uses),
    k.cells === undefined ? "" : printSize(k.cells),
  ]);
  return [
    `${m.model.architecture} for ${m.target}: ${m.model.layers} layers, passes ${m.options.passes}, by dsc ${m.compiler}`,
    "",
    ...table(["function", "steps", "buffers"], functions, [1, 2]),
    "",
    ...table(["kernel", "family", "uses", "cells run in parallel"], kernels, [2]),
    ...(m.system ? ["", `launched by the runtime itself: ${Object.keys(m.system).join(", ")}`] : []),
    "",
    `graphs, by --after: ${f.passes.join(", ")}`,
    "",
  ].join("\n");
}

/** Every launch with its way back to the config. Launches made of the same keys and rules share a paragraph. */
function printOrigin(name: string, m: Manifest, launches: readonly Launch[]): string {
  const out = [
    `${name}, family ${m.kernels[name].family}: ${launches.length} launch${launches.length === 1 ? "" : "es"} in the ` +
      `plan; its text is ${m.kernels[name].text}`,
  ];
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
  return out.join("\n") + "\n";
}
