// --device and --bandwidth: the machine whose floors are asked for.
import { existsSync, readFileSync, statSync } from "node:fs";
import type { Argv } from "yargs";
import { onCpu, type Target } from "../../ir/artifact.ts";
import { DiagnosticError, didYouMean } from "../../ir/diagnostic.ts";
import { badValue, usage } from "../diagnostics.ts";
import { gpus } from "../../codegen/cuda/arch/index.ts";
import type { Machine } from "../../ir/machine.ts";
import { describedBy, thisMachine } from "../analysis/machine.ts";
import type { Load } from "../analysis/roofline.ts";
import { checkWhole } from "./options.ts";
import { taking } from "../taking.ts";

export interface DeviceFlags {
  device?: string;
  bandwidth?: number;
  batch: number;
  /** 1024 unless given, or as many as the model has. */
  context?: number;
}

export const deviceFlags = <T>(y: Argv<T>): Argv<T & DeviceFlags> =>
  taking<T & DeviceFlags>(
    y
      .option("device", {
        type: "string",
        describe:
          `${Object.keys(gpus).join(", ")}, a JSON file (docs/howto.md), or cpu: this machine, measured (default: ` +
          "cpu; of a GPU's artifact h200)",
      })
      .option("batch", { type: "number", default: 1, describe: "sequences of a decode step" })
      .option("context", {
        type: "number",
        defaultDescription: "1024, or as many as the model has",
        describe: "cached rows of each, and rows of a prefill; 4k is 4000, 4K 4096",
      })
      .option("bandwidth", { type: "number", describe: "GB/s of memory, for cpu, instead of measuring" }),
  );

/** Sequences and cached rows that `deviceFlags` read, checked. `most` is how many positions the model has. */
export function loadOf(a: DeviceFlags, most: number): Load {
  const { batch, context = Math.min(1024, most) } = a;
  checkWhole("--batch", batch, 1, 65536);
  checkWhole("--context", context, 1);
  if (context > most)
    throw new DiagnosticError(
      badValue(`--context ${context}: the model has ${most} positions`, `give at most ${most}`, "--context"),
    );
  return { batch, context };
}

/** The machine that an artifact of a target is weighed on where none is named. */
export const deviceOf = (target: Target): string => (onCpu(target) ? "cpu" : "h200");

/** The machine that is asked for. */
export async function machineOf(a: DeviceFlags, otherwise: string): Promise<Machine> {
  const device = a.device ?? otherwise;
  if (a.bandwidth !== undefined && !(a.bandwidth > 0 && Number.isFinite(a.bandwidth)))
    throw new DiagnosticError(badValue(`--bandwidth is ${a.bandwidth}`, "give GB/s, above 0", "--bandwidth"));
  if (a.bandwidth !== undefined && device !== "cpu")
    throw new DiagnosticError(
      usage({
        problem: "--bandwidth is for --device cpu",
        help: "other devices have figures of their own; a JSON file describes another",
        word: "--bandwidth",
      }),
    );
  if (device === "cpu") return thisMachine(a.bandwidth === undefined ? undefined : a.bandwidth * 1e9);
  if (Object.hasOwn(gpus, device)) return gpus[device];
  return described(device);
}

function described(file: string): Machine {
  const wrong = (problem: string, help: string): DiagnosticError =>
    new DiagnosticError(badValue(`--device ${file}: ${problem}`, help, "--device"));
  const names = [...Object.keys(gpus), "cpu"];
  const form =
    `give one of ${names.join(", ")}, or a JSON file such as {"name": "L40S", "bandwidth_gbs": 864, ` +
    `"memory_gb": 48, "tflops": {"fp8": 733, "bf16": 362, "f32": 91}}`;
  if (!existsSync(file) || !statSync(file).isFile()) {
    const near = ["gpu", "cuda", "nvidia", "hopper"].includes(file.toLowerCase()) ? "h200" : didYouMean(file, names);
    throw wrong("there is no such device, and no such file", near && !/[./]/.test(file) ? `did you mean ${near}? ${form}` : form);
  }
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(file, "utf8"));
  } catch (e) {
    throw wrong(`it is no JSON: ${(e as Error).message}`, form);
  }
  const machine = describedBy(value, file);
  if (typeof machine === "string") throw wrong(machine, form);
  return machine;
}
