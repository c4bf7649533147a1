// Options of `compile` and `load` from Node, which JavaScript hands over unchecked: refused with the word that is wrong (DSC5038,
// DSC5039), and made the options of the driver.
import { archOf, archs } from "../../codegen/cuda/archs.ts";
import { processors } from "../../codegen/loops/processor.ts";
import { inLibrary, onCpu, type Target } from "../../ir/artifact.ts";
import { checkOptions, choosePasses, type Pass } from "../../passes/index.ts";
import * as check from "../../runtime/arguments.ts";
import { badArgument } from "../../runtime/diagnostics.ts";
import { askedTargets, targetMeant, type AskedTarget } from "../driver/native.ts";
import { defaults, type CompileOptions } from "../driver/options.ts";
import { loadPlugins } from "../driver/plugins.ts";
import { readTuning } from "../tuning/store.ts";

/** How a model is compiled; every key may be left out. */
export interface CompileSettings {
  /**
   * What the kernels are for: "cpu" (the default: WebAssembly), "c" or "tvm" (machine code, by a C compiler or by TVM), "cuda" or "triton";
   * "native": what of c, tvm and cpu this machine can make, in this order.
   */
  target?: AskedTarget;
  /** "all" (the default), "none", names with commas, or "all,-NAME". */
  passes?: string;
  /** Dtype of rows between kernels: f32 on the CPU, bf16 on GPUs unless said. */
  activations?: "f32" | "bf16";
  /** "dynamic" (the default) quantises the inputs of FP8 products as they come; "none" leaves them. */
  actQuant?: "dynamic" | "none";
  /** "auto" (the default) decides by cost between expanded keys and absorbed latents. */
  attention?: "auto" | "expanded" | "absorbed";
  /** Values laid over config.json, by key: `{ rope_theta: 10000 }`. */
  set?: Readonly<Record<string, unknown>>;
  /** Keep the first layers only. */
  layers?: number;
  /** Make every width small. */
  shrink?: boolean;
  /** Keep hidden states and routes as results of their own. */
  taps?: boolean;
  /** GPUs: the architecture, "sm_90" unless said. C: the processor, that of this machine unless said. */
  arch?: string;
  /** CUDA: "all" (the default), "none", or families of hand-written kernels with commas. */
  natives?: string;
  /** CUDA: a sequence's bits do not depend on what else is in its batch. */
  deterministic?: boolean;
  /** Files of plug-ins, in their order. They are code, and run because they are named here; no dsc.config is read. */
  plugins?: readonly string[];
  /** Options of passes, by "pass.key". */
  passOptions?: Readonly<Record<string, string>>;
}

/** The keys of CompileSettings. */
export const compileKeys = [
  "target",
  "passes",
  "activations",
  "actQuant",
  "attention",
  "set",
  "layers",
  "shrink",
  "taps",
  "arch",
  "natives",
  "deterministic",
  "plugins",
  "passOptions",
] as const satisfies readonly (keyof CompileSettings)[];

/** What the driver takes: options, and the pipeline with its plug-ins. */
export interface Driven {
  options: CompileOptions;
  pipeline: readonly Pass[];
}

/** Checks the settings of a call and loads its plug-ins. */
export async function driven(call: string, s: CompileSettings): Promise<Driven> {
  const { target: asked = defaults.target, passOptions = {} } = s;
  oneOf(call, "target", asked, askedTargets);
  oneOf(call, "activations", s.activations, ["f32", "bf16"]);
  oneOf(call, "actQuant", s.actQuant, ["dynamic", "none"]);
  oneOf(call, "attention", s.attention, ["auto", "expanded", "absorbed"]);
  for (const key of ["passes", "arch", "natives"] as const) if (s[key] !== undefined) check.text(call, key, s[key]);
  for (const key of ["shrink", "taps", "deterministic"] as const) check.maybeFlag(call, key, s[key]);
  check.maybeWhole(call, "layers", s.layers, 1);
  record(call, "set", s.set, "an object with values by key of config.json");
  record(call, "passOptions", s.passOptions, 'an object with texts by "pass.key"');
  const { pipeline, brings } = await loadPlugins(undefined, filesOf(call, s.plugins), {
    config: false,
    cards: asked === "cuda",
  });
  const { target, said } = targetMeant(asked, brings, false);
  if (s.arch !== undefined) gpuOnly(call, "arch", target, target !== "cpu");
  if (inLibrary(target))
    oneOf(
      call,
      "arch",
      s.arch,
      processors.map((p) => p.name),
    );
  if (s.natives !== undefined && s.natives !== "all") gpuOnly(call, "natives", target, target === "cuda");
  const arch =
    target === "cpu" ? undefined : inLibrary(target) ? s.arch : archOf(s.arch ?? archs[0].name, brings.kernels.archs).name;
  choosePasses(s.passes ?? defaults.passes, pipeline);
  checkOptions(pipeline, passOptions);
  return {
    pipeline,
    options: {
      brings,
      target,
      ...(said ? { said } : {}),
      passes: s.passes ?? defaults.passes,
      activations: s.activations ?? (onCpu(target) ? "f32" : "bf16"),
      actQuant: s.actQuant ?? defaults.actQuant,
      attention: s.attention ?? defaults.attention,
      taps: s.taps ?? false,
      set: Object.entries(s.set ?? {}).map(([k, v]) => `${k}=${JSON.stringify(v)}`),
      natives: s.natives ?? "all",
      deterministic: s.deterministic ?? false,
      shrink: s.shrink ?? false,
      passOptions: {
        ...(s.attention === undefined || s.attention === "auto" ? {} : { "absorb-mla.attention": s.attention }),
        ...passOptions,
      },
      ...(arch === undefined ? {} : { arch }),
      ...(s.layers === undefined ? {} : { layers: s.layers }),
      ...(target === "cuda" ? { tuned: readTuning(arch!)?.rows } : {}),
    },
  };
}

function oneOf(call: string, name: string, v: unknown, words: readonly string[]): void {
  if (v !== undefined && !words.includes(v as string))
    throw badArgument({ call, seen: `${name} is ${check.shown(v)}`, wanted: `one of ${words.join(", ")}` });
}

function record(call: string, name: string, v: unknown, what: string): void {
  if (v !== undefined && (typeof v !== "object" || v === null || Array.isArray(v)))
    throw badArgument({ call, seen: `${name} is ${check.shown(v)}`, wanted: what });
}

function gpuOnly(call: string, name: string, target: Target, fits: boolean): void {
  if (!fits) throw badArgument({ call, seen: `${name} with target ${target}`, wanted: `left out, or target "cuda" be given` });
}

function filesOf(call: string, plugins: unknown): readonly string[] {
  if (plugins === undefined) return [];
  if (!Array.isArray(plugins) || !plugins.every((p) => typeof p === "string"))
    throw badArgument({ call, seen: `plugins is ${check.shown(plugins)}`, wanted: "an array of files" });
  return plugins;
}
