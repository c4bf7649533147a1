// The options `compile` and `run` share, declared once.
import { inLibrary, onCpu, type Target } from "../../ir/artifact.ts";
import type { Argv } from "yargs";
import { archOf, archs } from "../../codegen/cuda/archs.ts";
import { archWith } from "../../codegen/brought.ts";
import type { Arch } from "../../codegen/cuda/native.ts";
import { processors } from "../../codegen/loops/processor.ts";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { know } from "../../ir/vocabulary.ts";
import { parseMesh } from "../../ir/mesh.ts";
import { defaults, type CompileOptions } from "../compile.ts";
import { askedTargets, targetMeant, type AskedTarget } from "../driver/native.ts";
import { checkOptions, standard, type Pass } from "../../passes/index.ts";
import { badValue, usage, wholeNumber } from "../diagnostics.ts";
import { checkPassEffects, checkTargetEffects } from "./effects.ts";
import { readTuning } from "../tuning/store.ts";
import { loadPlugins } from "../driver/plugins.ts";
import { noBrings, type Brings } from "../plugin/brings.ts";
import type { Reduction } from "../analysis/shrink.ts";
import { taking } from "../taking.ts";

/** The options that a builder declares, by the camel names that yargs gives dashed ones too: its types know only the dashed. */
export const camelNamed = <T>(y: unknown): Argv<T> => y as Argv<T>;

export interface ReduceFlags {
  layers?: number;
  shrink: boolean;
}

export interface PluginFlags {
  plugin: string[];
  passOption: string[];
}

export interface CompileFlags extends ReduceFlags, PluginFlags {
  target: AskedTarget;
  passes: string;
  activations?: "f32" | "bf16";
  actQuant: "dynamic" | "none";
  attention: "auto" | "expanded" | "absorbed";
  set: string[];
  taps: boolean;
  arch?: string;
  natives: string;
  deterministic: boolean;
  mesh?: string;
}

/** Names as typed on the command line, for refusing them on an artifact. */
export const compileFlagNames = [
  "target",
  "passes",
  "activations",
  "act-quant",
  "attention",
  "set",
  "taps",
  "arch",
  "natives",
  "deterministic",
  "mesh",
  "layers",
  "shrink",
  "plugin",
  "pass-option",
] as const;

/** What makes a model smaller before anything is derived from it. */
export const reduceFlags = <T>(y: Argv<T>): Argv<T & ReduceFlags> =>
  taking<T & ReduceFlags>(
    y.option("layers", { type: "number", describe: "keep the first N layers, at full width" }).option("shrink", {
      type: "boolean",
      default: false,
      describe: "make every width small; groups, ragged blocks and ranks stay",
    }),
  );

/** Checks and gives what `reduceFlags` read. */
export function reductionOf({ layers, shrink }: ReduceFlags): Reduction {
  checkWhole("--layers", layers, 1);
  return { ...(layers === undefined ? {} : { layers }), shrink };
}

/** Passes from outside the tree, and options of any pass. */
export const pluginFlags = <T>(y: Argv<T>): Argv<T & PluginFlags> =>
  taking<T & PluginFlags>(
    y
      .option("plugin", {
        type: "string",
        array: true,
        default: [] as string[],
        describe: "a file or an installed package with a plug-in (dsc.config.ts where you work needs none)",
      })
      .option("pass-option", {
        type: "string",
        array: true,
        default: [] as string[],
        describe: "pass.key=value",
      }),
  );

/** The pipeline with its plug-ins, and the options of its passes; `--attention` is one of those. `src`: where the model is read from. */
export async function pipelineOf(
  src: string | undefined,
  a: PluginFlags & { attention?: string; weights?: string; passes?: string; target?: string },
): Promise<{ pipeline: readonly Pass[]; passOptions: Record<string, string>; brings: Brings }> {
  const { pipeline, brings } = await loadPlugins(
    [src, a.weights].filter((m) => m !== undefined),
    a.plugin,
    { cards: a.target === "cuda" },
  );
  const passOptions: Record<string, string> =
    a.attention === undefined || a.attention === "auto" ? {} : { "absorb-mla.attention": a.attention };
  for (const word of a.passOption) {
    const m = /^([a-z][a-z0-9-]*\.\w+)=(.*)$/s.exec(word);
    if (!m)
      throw new DiagnosticError(usage({ problem: `--pass-option ${word}: no option of a pass`, help: "write pass.key=value" }));
    passOptions[m[1]] = m[2];
  }
  know(brings.words);
  checkOptions(pipeline, passOptions);
  const own = pipeline.filter((p) => !standard.includes(p));
  if (a.passes !== undefined) checkPassEffects(passWords(a.passes), pipeline, own, a);
  return { pipeline, passOptions, brings };
}

export const compileFlags = <T>(y: Argv<T>): Argv<T & CompileFlags> =>
  taking<T & CompileFlags>(
    pluginFlags(reduceFlags(y))
      .option("target", {
        choices: askedTargets,
        default: defaults.target,
        describe:
          "what the kernels are for; cpu: WebAssembly; c, tvm: machine code, by a C compiler or TVM; native: what of these is here",
      })
      .option("passes", {
        type: "string",
        default: defaults.passes,
        describe: "all, none, or names with commas; all,-NAME leaves one out",
      })
      .option("activations", {
        choices: ["f32", "bf16"] as const,
        describe: "dtype between kernels (cpu: f32; GPUs: bf16 unless said)",
      })
      .option("act-quant", {
        choices: ["dynamic", "none"] as const,
        default: defaults.actQuant,
        describe: "quantise the input of FP8 linears, or not",
      })
      .option("attention", {
        choices: ["auto", "expanded", "absorbed"] as const,
        default: defaults.attention,
        describe: "auto decides by cost",
      })
      .option("set", { type: "string", array: true, default: [] as string[], describe: "key=value laid over the config" })
      .option("arch", {
        type: "string",
        describe:
          `GPUs: the architecture, ${archs.map((a) => a.name).join(", ")} or a plug-in's (default: ${archs[0].name}); ` +
          `c, tvm: the processor, ${processors.map((p) => p.name).join(", ")} (default: this machine's)`,
      })
      .option("natives", {
        type: "string",
        default: "all",
        describe: "cuda: hand-written kernels: all, none (printed tile programs only), or families with commas",
      })
      .option("deterministic", {
        type: "boolean",
        default: false,
        describe: "cuda: a sequence's bits do not depend on what else is in its batch",
      })
      .option("mesh", { type: "string", describe: "divide the model over ranks: tp=8, or tp=8,ep=4" })
      .option("taps", { type: "boolean", default: false, describe: "keep hidden states and routes as results" }),
  );

export function optionsOf(f: CompileFlags, brings = noBrings): CompileOptions {
  const { target, said } = targetMeant(f.target, brings, f.mesh !== undefined);
  return {
    brings,
    target,
    ...(said ? { said } : {}),
    passes: passWords(f.passes),
    activations: f.activations ?? (onCpu(target) ? "f32" : "bf16"),
    actQuant: f.actQuant,
    attention: f.attention,
    taps: f.taps,
    ...archFor(f, target, brings),
    natives: nativesFor(f, target, brings),
    ...(target === "cuda" ? { tuned: readTuning(archOf(f.arch, brings.kernels.archs).name)?.rows } : {}),
    deterministic: f.deterministic,
    ...(f.mesh === undefined ? {} : { mesh: parseMesh(f.mesh) }),
    set: f.set,
    ...reductionOf(f),
  };
}

function archFor({ arch }: CompileFlags, target: Target, { kernels }: Brings): { arch?: string } {
  checkTargetEffects(target, { arch });
  if (arch === undefined) return {};
  const names = (inLibrary(target) ? processors : [...archs, ...kernels.archs]).map((x) => x.name);
  if (!names.includes(arch))
    throw new DiagnosticError(
      badValue(`--arch ${arch}: there is no such architecture`, `give one of ${names.join(", ")}`, "--arch"),
    );
  return { arch };
}

function nativesFor({ natives, arch }: CompileFlags, target: Target, { kernels }: Brings): string {
  checkTargetEffects(target, { natives });
  return inLibrary(target) ? natives : nativeWords(natives, archWith(archOf(arch, kernels.archs), kernels));
}

/** "all", "none" or families of natives. */
function nativeWords(words: string, { name, natives }: Arch): string {
  if (words === "all" || words === "none") return words;
  const families = natives.map((n) => n.family);
  const unknown = words.split(",").find((w) => !families.includes(w));
  if (unknown !== undefined)
    throw new DiagnosticError(
      badValue(
        `--natives: no native is called ${JSON.stringify(unknown)}`,
        `give all, none${families.length ? `, or some of ${families.join(",")}` : `: ${name} has no natives`}`,
        "--natives",
      ),
    );
  return words;
}

/** "all", "none" or names; an empty word is more likely an unset variable of a shell than a wish for no passes. */
export function passWords(words: string): string {
  if (words.split(",").some((w) => w.trim() === ""))
    throw new DiagnosticError(
      badValue(`--passes ${JSON.stringify(words)} has an empty name`, "give all, none, names with commas, or all,-NAME", [
        "--passes",
        "-p",
      ]),
    );
  return words;
}

/** Refuses what is no whole number in the range. */
export function checkWhole(option: string, value: number | undefined, least: number, most?: number): void {
  if (value === undefined) return;
  if (!Number.isSafeInteger(value) || value < least || value > (most ?? Infinity))
    throw new DiagnosticError(wholeNumber(option, value, least, most));
}
