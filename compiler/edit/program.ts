// A text that somebody gives a kernel: read and compiled for the artifact's target. What the kernel takes has to stay as it is,
// for the plan launches it so.
import { lowerToWasm } from "../../codegen/cpu/lower.ts";
import type { Manifest } from "../../ir/artifact.ts";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { parseKernel } from "../../ir/kernel/parse.ts";
import type { Kernel } from "../../ir/kernel/stmt.ts";
import { editTakesOther } from "../diagnostics.ts";
import type { Program } from "./machine.ts";
import { LOWERED, edited, lineOf, ownText } from "./text.ts";

/** A text as a kernel of the artifact; `file` is where it stands. */
export async function programOf(m: Manifest, base: Program, text: string, file: string): Promise<Program> {
  if (m.target === "cpu") return tileProgram(base, ownText(text), file);
  if (m.target === "triton") return (await import("./triton-text.ts")).tritonProgram(m, base, text, file);
  return (await import("./cuda-text.ts")).cudaProgram(m, base, text, file);
}

function tileProgram(base: Program, text: string, file: string): Program {
  const kernel = parseKernel(text, file);
  const before = parseKernel(ownText(base.text), base.record.text);
  const [is, was] = [signature(kernel), signature(before)];
  if (is !== was) throw new DiagnosticError(editTakesOther({ kernel: base.name, was, is }, lineOf(text, file, "kernel ")));
  const { wasm, cells, scratchBytes, text: lowered } = lowerToWasm(kernel);
  return {
    name: base.name,
    record: { ...edited(base, "txt", "wasm"), cells, scratchBytes },
    text: `${text.trimEnd()}\n\n${LOWERED}\n${lowered}`,
    binary: wasm,
  };
}

/** What a tile program takes. */
function signature({ name, params, dims }: Kernel): string {
  const buffers = params.map((p) => `${p.access} ${p.name}: ${p.dtype}${JSON.stringify(p.shape)}${JSON.stringify(p.strides)}`);
  return `${name}(${buffers.join(", ")}) dims ${dims.join(", ")}`;
}
