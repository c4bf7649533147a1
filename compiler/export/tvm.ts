// An artifact for a GPU to a shared library of its kernels that speaks tvm-ffi's ABI.
import { DiagnosticError } from "../../ir/diagnostic.ts";
import type { KernelRecord, Manifest } from "../../ir/artifact.ts";
import { library, type Exported } from "../../codegen/tvm/library.ts";
import { cachedCompile } from "../../runtime/devices/cuda/cubins.ts";
import { notFound, usage } from "../diagnostics.ts";
import { sharedLibrary } from "./c-compiler.ts";

export interface TvmExport {
  bytes: Uint8Array;
  /** Names of the functions that it has. */
  kernels: string[];
  arch: string;
}

/** `files`: of the artifact. `only`: names of kernels, or all of the model's. `tell` hears how far it is. */
export async function exportTvm(
  out: string,
  { manifest, files }: { manifest: Manifest; files: ReadonlyMap<string, string | Uint8Array> },
  only: readonly string[],
  tell: (doing: string) => void,
): Promise<TvmExport> {
  const { gpu } = manifest;
  if (!gpu)
    throw new DiagnosticError(
      usage({
        problem: "its kernels are WebAssembly, which no shared library holds",
        help: "dsc compile SRC --target cuda -o OUT",
        word: out,
      }),
    );
  const own = Object.entries(manifest.kernels).flatMap(([name, k]) => (k.call ? [] : [name]));
  const chosen = only.length ? only : own;
  for (const name of chosen)
    if (!own.includes(name))
      throw new DiagnosticError(notFound({ what: `kernel ${name} of dsc's own`, where: out, word: name, known: own }));
  const compile = cachedCompile(gpu.arch);
  const binaries = new Map<string, Uint8Array>();
  let done = 0;
  const exported = await Promise.all(
    chosen.map(async (name): Promise<Exported> => {
      const record = manifest.kernels[name];
      const text = String(files.get(record.text));
      const binary = `${name}.cubin`;
      binaries.set(binary, await machineCode(name, record, files, async () => compile(name, text)));
      tell(`kernels: ${++done} of ${chosen.length}, ${name}`);
      return { name, record, doc: docOf(text), binary };
    }),
  );
  const note = `Kernels of a dsc artifact (${manifest.model.architecture}, ${gpu.arch}) behind the stable C ABI of tvm-ffi.`;
  return { bytes: sharedLibrary(library(exported, note), binaries), kernels: [...chosen], arch: gpu.arch };
}

async function machineCode(
  name: string,
  record: KernelRecord,
  files: ReadonlyMap<string, string | Uint8Array>,
  compile: () => Promise<Uint8Array>,
): Promise<Uint8Array> {
  const kept = record.binary === undefined ? undefined : files.get(record.binary);
  if (kept !== undefined) return Buffer.from(kept);
  if (!record.text.endsWith(".cu"))
    throw new DiagnosticError(
      usage({
        problem: `${name} is not compiled: Triton's compiler was not there when the artifact was made`,
        help: "set DSC_PYTHON and compile again",
      }),
    );
  return compile();
}

/** The comment that a kernel's text opens with. */
function docOf(text: string): string {
  const lines = text.split("\n");
  const end = lines.findIndex((l) => !/^(\/\/|#)/.test(l) && l.trim() !== "");
  return lines
    .slice(0, end)
    .filter((l) => l.trim() !== "")
    .map((l) => l.replace(/^(\/\/|#) ?/, ""))
    .join("\n");
}
