// The options `compile` and `run` share, declared once.
import type { Argv } from "yargs";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { defaults, type CompileOptions } from "../compile.ts";
import { usage, wholeNumber } from "../diagnostics.ts";
import type { Reduction } from "../shrink.ts";

export interface ReduceFlags {
  layers?: number;
  shrink: boolean;
}

export interface CompileFlags extends ReduceFlags {
  target: "cpu" | "cuda" | "triton";
  passes: string;
  activations?: "f32" | "bf16";
  actQuant: "dynamic" | "none";
  attention: "auto" | "expanded" | "absorbed";
  set: string[];
  taps: boolean;
  natives: "all" | "none";
}

/** Names as typed on the command line, for refusing them on an artifact. */
export const compileFlagNames = ["target", "passes", "activations", "act-quant", "attention", "set", "taps", "natives", "layers", "shrink"] as const;

/** What makes a model smaller before anything is derived from it. */
export const reduceFlags = <T>(y: Argv<T>): Argv<T & ReduceFlags> =>
  y
    .option("layers", { type: "number", describe: "keep the first N layers, at full width" })
    .option("shrink", { type: "boolean", default: false, describe: "make every width small; groups, ragged blocks and ranks stay" }) as unknown as Argv<T & ReduceFlags>;

/** Checks and gives what `reduceFlags` read. */
export function reductionOf({ layers, shrink }: ReduceFlags): Reduction {
  checkWhole("--layers", layers, 1);
  return { ...(layers === undefined ? {} : { layers }), shrink };
}

export const compileFlags = <T>(y: Argv<T>): Argv<T & CompileFlags> =>
  reduceFlags(y)
    .option("target", { choices: ["cpu", "cuda", "triton"] as const, default: defaults.target, describe: "what the kernels are for" })
    .option("passes", { type: "string", default: defaults.passes, describe: "all, none, or names with commas" })
    .option("activations", { choices: ["f32", "bf16"] as const, describe: "dtype between kernels (cpu: f32; GPUs: bf16 unless said)" })
    .option("act-quant", { choices: ["dynamic", "none"] as const, default: defaults.actQuant, describe: "quantise the input of FP8 linears, or not" })
    .option("attention", { choices: ["auto", "expanded", "absorbed"] as const, default: defaults.attention, describe: "auto decides by cost" })
    .option("set", { type: "string", array: true, default: [] as string[], describe: "key=value laid over the config" })
    .option("natives", { choices: ["all", "none"] as const, default: "all" as const, describe: "cuda: hand-written kernels, or printed tile programs only" })
    .option("taps", { type: "boolean", default: false, describe: "keep hidden states and routes as results" }) as unknown as Argv<T & CompileFlags>;

export const optionsOf = (f: CompileFlags): CompileOptions => ({
  target: f.target,
  passes: passWords(f.passes),
  activations: f.activations ?? (f.target === "cpu" ? "f32" : "bf16"),
  actQuant: f.actQuant,
  attention: f.attention,
  taps: f.taps,
  natives: f.natives,
  set: f.set,
  ...reductionOf(f),
});

/** "all", "none" or names; an empty word is more likely an unset variable of a shell than a wish for no passes. */
export function passWords(words: string): string {
  if (words.split(",").some((w) => w.trim() === "")) throw new DiagnosticError(usage(`--passes ${JSON.stringify(words)} has an empty name`, "give all, none, or names with commas"));
  return words;
}

/** Refuses what is no whole number in the range. */
export function checkWhole(option: string, value: number | undefined, least: number, most?: number): void {
  if (value === undefined) return;
  if (!Number.isSafeInteger(value) || value < least || value > (most ?? Infinity)) throw new DiagnosticError(wholeNumber(option, value, least, most));
}
