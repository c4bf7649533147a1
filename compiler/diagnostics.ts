// DSC60xx: what can be wrong with a command line or with where its output goes.
import { error, warning, type Diagnostic } from "../ir/diagnostic.ts";

export const usage = (problem: string, help?: string): Diagnostic => error("DSC6001", problem, { help: help ?? "dsc --help shows the forms" });

export const cannotWrite = (where: string, problem: string, help?: string): Diagnostic => error("DSC6002", `cannot write ${where}: ${problem}`, { help });

export const badIds = (what: string, problem: string): Diagnostic =>
  error("DSC6003", `--ids ${what}: ${problem}`, { help: "give 1,2,3 or a JSON file with an array of ids, or an array of such arrays" });

export const notFound = (what: string, where: string, near?: string): Diagnostic => error("DSC6004", `${where} has no ${what}`, { help: near ? `did you mean ${near}?` : undefined });

export const compileOptionOnArtifact = (options: readonly string[]): Diagnostic =>
  error("DSC6005", `${options.join(", ")}: the artifact is already compiled`, {
    notes: ["options of compile apply when SRC is a config or a model folder"],
    help: "run the model folder instead, or compile again with these options",
  });

export const needsTaps = (): Diagnostic =>
  error("DSC6006", "--save needs an artifact compiled with --taps", { notes: ["without taps, hidden states are never kept"], help: "dsc compile SRC -o OUT --taps" });

export const storedWider = (): Diagnostic =>
  warning("DSC6007", "the config says bfloat16, the checkpoint stores float32: weights stay float32", {
    notes: ["weights are widened when needed, never rounded"],
    help: "--set torch_dtype=float32 says the same; a bfloat16 checkpoint is half the bytes",
  });

export const internal = (e: unknown): Diagnostic =>
  error("DSC9000", `a fault in dsc: ${e instanceof Error ? e.message : String(e)}`, { help: "DSC_DEBUG=1 shows where; please report it with the command and the config" });
