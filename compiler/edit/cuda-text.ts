// A CUDA text that somebody gives a kernel: its entry point compared with the one it was, and compiled where a compiler is.
import type { Manifest } from "../../ir/artifact.ts";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { cachedCompile } from "../../runtime/devices/cuda/cubins.ts";
import { canCompile } from "../../runtime/devices/cuda/compiler.ts";
import { editTakesOther, editUntested } from "../diagnostics.ts";
import type { Program } from "./machine.ts";
import { edited, lineOf } from "./text.ts";

export async function cudaProgram(m: Manifest, base: Program, text: string, file: string): Promise<Program> {
  const { name, record } = base;
  const [is, was] = [entryOf(text, record.entry), entryOf(base.text, record.entry)];
  if (is !== was) throw new DiagnosticError(editTakesOther({ kernel: name, was, is }, lineOf(text, file, 'extern "C"')));
  const cubins = record.binary !== undefined;
  if (!canCompile()) {
    if (!cubins) return { name, record: edited(base, "cu"), text };
    const why = "the artifact holds cubins, and there is no compiler for this one";
    throw new DiagnosticError(editUntested({ kernel: name, why, needs: "NVRTC or nvcc compiles it" }));
  }
  const cubin = await cachedCompile(m.gpu!.arch)(name, text);
  return {
    name,
    record: cubins ? edited(base, "cu", "cubin") : edited(base, "cu"),
    text,
    ...(cubins ? { binary: new Uint8Array(cubin) } : {}),
  };
}

/** An entry point: launch bounds, name, parameters; blanks and comments count for nothing. */
function entryOf(text: string, entry: string): string {
  const plain = text.replace(/\/\*[\s\S]*?\*\/|\/\/.*/g, " ");
  const head = new RegExp(`extern\\s+"C"\\s+__global__[^;{]*?\\b${entry}\\s*\\(([^{;]*)\\)`).exec(plain);
  if (!head) return `no entry point extern "C" __global__ ... ${entry}(...)`;
  return head[0]
    .replace(/\s+/g, " ")
    .replace(/ ?([(),*&]) ?/g, "$1")
    .trim();
}
