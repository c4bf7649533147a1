// dsc plan SRC_OR_OUT --device h200: what a step must move and compute, the floor under its time, and whether it fits. No weights
// are read and no kernels made.
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import type { ArgumentsCamelCase, Argv } from "yargs";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import type { Machine } from "../../ir/machine.ts";
import { MOST_RANKS, parseMesh, type Mesh } from "../../ir/mesh.ts";
import { readArtifact } from "../../runtime/index.ts";
import { compileOptionOnArtifact, usage } from "../diagnostics.ts";
import { loadSpec } from "../frontend/config.ts";
import { plannedFrom, plannedOf } from "../analysis/planned.ts";
import { layoutsOf } from "../analysis/layouts.ts";
import { undivided } from "../driver/divides.ts";
import { modelModule } from "../frontend/model.ts";
import { expectedOf } from "../analysis/expected.ts";
import { readTuning } from "../tuning/store.ts";
import { archOf } from "../../codegen/cuda/archs.ts";
import { printLayouts } from "../report/layouts.ts";
import { printPlan } from "../report/plan.ts";
import { roofline, type Planned } from "../analysis/roofline.ts";
import { reduce } from "../analysis/shrink.ts";
import { say } from "../tell.ts";
import { type DeviceFlags, deviceFlags, deviceOf, loadOf, machineOf } from "./device.ts";
import { checkModelEffects, typed } from "./effects.ts";
import {
  checkWhole,
  passWords,
  pipelineOf,
  pluginFlags,
  reduceFlags,
  reductionOf,
  type PluginFlags,
  type ReduceFlags,
} from "./options.ts";
import { taking } from "../taking.ts";

interface Options extends ReduceFlags, PluginFlags, DeviceFlags {
  src: string;
  passes: string;
  attention: "auto" | "expanded" | "absorbed";
  actQuant: "dynamic" | "none";
  set: string[];
  mesh?: string;
  cards?: string;
  json: boolean;
  all: boolean;
}

/** Options that say how a config is compiled. */
const ofCompile = ["passes", "attention", "act-quant", "set", "plugin", "pass-option", "layers", "shrink", "mesh", "cards"];

export const planCommand = {
  command: "plan <src>",
  describe: "bytes, FLOPs and floor times per site, token and prefill on a device, what ranks exchange, and memory fit",
  builder: (y: Argv): Argv<Options> =>
    taking<Options>(
      deviceFlags(pluginFlags(reduceFlags(y)))
        .positional("src", { type: "string", demandOption: true, describe: "a config.json, a folder with one, or an artifact" })
        .option("all", {
          type: "boolean",
          default: false,
          describe: "list every site, not only those that make up 99 % of the step",
        })
        .option("passes", {
          type: "string",
          default: "all",
          describe: "all, none, or names with commas; all,-NAME leaves one out",
        })
        .option("attention", {
          choices: ["auto", "expanded", "absorbed"] as const,
          default: "auto" as const,
          describe: "auto decides by cost",
        })
        .option("act-quant", {
          choices: ["dynamic", "none"] as const,
          default: "dynamic" as const,
          describe: "quantise the input of FP8 linears, or not",
        })
        .option("set", { type: "string", array: true, default: [] as string[], describe: "key=value laid over the config" })
        .option("mesh", { type: "string", describe: "one rank of a model divided over ranks: tp=8, or tp=8,ep=4" })
        .option("cards", {
          type: "string",
          describe: "instead: the layouts that so many cards allow, as 4,8,16, and the largest batch that fits at each context",
        })
        .option("json", { type: "boolean", default: false, describe: "one JSON object on stdout" }),
    ),
  handler: async (a: ArgumentsCamelCase<Options>): Promise<void> => {
    const artifact = existsSync(path.join(a.src, "manifest.json"));
    const p = artifact ? await ofArtifact(a) : undefined;
    if (!artifact) loadOf(a, Infinity);
    const machine = await machineOf(a, deviceOf(p?.target ?? "cpu"));
    const target = machine.name.startsWith("this machine") ? "cpu" : "cuda";
    if (a.cards !== undefined) return layouts(a, machine, target);
    const planned = p ?? (await configOf(a, target, machine.activations))(a.mesh === undefined ? undefined : parseMesh(a.mesh))!;
    const { mesh } = planned.module;
    const plan = roofline(planned, machine, loadOf(a, planned.maxPositions));
    const tuned = planned.target === "cuda" ? readTuning(archOf(planned.arch).name)?.rows : undefined;
    const expected = expectedOf(planned, machine, loadOf(a, planned.maxPositions), tuned);
    if (a.json)
      process.stdout.write(
        `${JSON.stringify({
          architecture: planned.architecture,
          device: machine,
          ...(mesh ? { mesh } : {}),
          ...plan,
          ...(expected ? { expected } : {}),
        })}\n`,
      );
    else process.stdout.write(`${printPlan(planned.architecture, machine, plan, a.all, expected, mesh)}\n`);
  },
};

async function ofArtifact(a: Options): Promise<Planned> {
  const given = typed(ofCompile);
  if (given.length) throw new DiagnosticError(compileOptionOnArtifact({ options: given.map((n) => `--${n}`) }));
  const { manifest } = await readArtifact(a.src);
  return plannedFrom(manifest, (name) => readFileSync(path.join(a.src, name), "utf8"));
}

/** A config as any mesh divides it; with `skip` nothing where it does not. */
async function configOf(
  a: Options,
  target: "cpu" | "cuda",
  activations: "f32" | "bf16",
): Promise<(mesh: Mesh | undefined, skip?: boolean) => Planned | undefined> {
  const { spec, warnings } = loadSpec(a.src, a.set);
  warnings.forEach(say);
  checkModelEffects(spec, a);
  const { pipeline, passOptions, brings } = await pipelineOf(a.src, a);
  const small = reduce(spec, reductionOf(a));
  const asked = { target, activations, passes: passWords(a.passes), passOptions, actQuant: a.actQuant, kernels: brings.kernels };
  const written = modelModule(small, { activations, actQuant: a.actQuant, taps: false });
  return (mesh, skip) => {
    const unlike = mesh ? undivided(written, mesh) : [];
    if (unlike.length && skip) return undefined;
    unlike.forEach(say);
    return plannedOf(small, { ...asked, ...(mesh ? { mesh } : {}) }, pipeline);
  };
}

/** --cards: a line for every layout. */
async function layouts(a: Options, machine: Machine, target: "cpu" | "cuda"): Promise<void> {
  if (a.mesh !== undefined)
    throw new DiagnosticError(
      usage({ problem: "plan: give only one of --mesh and --cards", help: "--cards shows every mesh", word: "--cards" }),
    );
  const cards = a.cards!.split(",").map(Number);
  cards.forEach((n) => checkWhole("--cards", n, 1, MOST_RANKS));
  const planned = await configOf(a, target, machine.activations);
  const contexts = a.context === undefined ? undefined : [a.context];
  const found = layoutsOf((mesh) => planned(mesh, true), machine, { cards, batch: a.batch, ...(contexts ? { contexts } : {}) });
  process.stdout.write(a.json ? `${JSON.stringify({ device: machine, ...found })}\n` : `${printLayouts(found, machine)}\n`);
}
