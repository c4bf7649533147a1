// A Triton text that somebody gives a kernel: its signature compared with the one it was, and compiled where Python has Triton.
import { archOf } from "../../codegen/cuda/archs.ts";
import { targetOf } from "../../codegen/target.ts";
import type { KernelRecord, Manifest } from "../../ir/artifact.ts";
import type { Problem } from "../../ir/kernel/catalogue.ts";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { compileTriton } from "../artifact/triton.ts";
import { editTakesOther } from "../diagnostics.ts";
import type { Program } from "./machine.ts";
import { edited, lineOf } from "./text.ts";

export function tritonProgram(m: Manifest, base: Program, text: string, file: string, problem?: Problem): Program {
  const { name, record } = base;
  const [is, was] = [signature(text, record.entry), signature(base.text, record.entry)];
  if (is !== was) throw new DiagnosticError(editTakesOther({ kernel: name, was, is }, lineOf(text, file, `def ${record.entry}`)));
  const plain = { name, record: edited(base, "py"), text };
  if (record.binary === undefined || problem === undefined) return plain;
  const { aot } = targetOf("triton", {
    activations: m.options.activations as "f32" | "bf16",
    arch: archOf(m.gpu!.arch).name,
  }).build(record.family, problem);
  const records: Record<string, KernelRecord> = { [name]: { ...record } };
  const files = new Map<string, string | Uint8Array>();
  compileTriton([{ name, entry: record.entry, text, aot: aot! }], m.gpu!.arch, records, files);
  const cubin = files.get(`kernels/${name}.cubin`);
  if (!(cubin instanceof Uint8Array)) return plain;
  return { name, record: { ...edited(base, "py", "cubin"), launch: records[name].launch! }, text, binary: cubin };
}

/** The parameters of a kernel's function; blanks and comments count for nothing. */
function signature(text: string, entry: string): string {
  const head = new RegExp(`\\ndef\\s+${entry}\\s*\\(([^)]*)\\)\\s*:`).exec(`\n${text.replace(/#.*/g, "")}`);
  if (!head) return `no function ${entry}(...)`;
  return `${entry}(${head[1].replace(/\s+/g, " ").trim()})`;
}
