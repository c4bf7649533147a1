// A text that somebody gives a kernel: read and compiled for the artifact's target. What the kernel takes has to stay as it is, for the
// plan launches it so.
import { lowerToWasm } from "../../codegen/cpu/lower.ts";
import type { KernelRecord, Manifest } from "../../ir/artifact.ts";
import { DiagnosticError, type Span } from "../../ir/diagnostic.ts";
import { spanAt } from "../../ir/json.ts";
import { parseKernel } from "../../ir/kernel/parse.ts";
import type { Kernel } from "../../ir/kernel/stmt.ts";
import { editTakesOther } from "../diagnostics.ts";
import type { Program } from "./machine.ts";

/** What is beneath a tile program in an artifact of the CPU. */
const LOWERED = ";; lowered:";

/** The part of a kernel's text that a person changes. */
export const ownText = (text: string): string => {
  const at = text.indexOf(`\n${LOWERED}`);
  return at < 0 ? text : `${text.slice(0, at).trimEnd()}\n`;
};

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

/** A record whose files are an edit's. */
export function edited({ name, record }: Pick<Program, "name" | "record">, text: string, binary?: string): KernelRecord {
  const out = { ...record, text: `edits/${name}.${text}` };
  if (binary !== undefined) out.binary = `edits/${name}.${binary}`;
  return out;
}

/** What a tile program takes. */
function signature({ name, params, dims }: Kernel): string {
  const buffers = params.map((p) => `${p.access} ${p.name}: ${p.dtype}${JSON.stringify(p.shape)}${JSON.stringify(p.strides)}`);
  return `${name}(${buffers.join(", ")}) dims ${dims.join(", ")}`;
}

/** The first line of a text that begins with a word. */
export function lineOf(text: string, file: string, word: string): Span {
  const at = text.startsWith(word) ? 0 : text.indexOf(`\n${word}`) + 1;
  const end = text.indexOf("\n", at);
  return spanAt(file, text, at, end < 0 ? text.length : end);
}
