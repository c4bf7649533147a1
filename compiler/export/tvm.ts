// An artifact for a GPU, or of kernels in C, to a shared library of its kernels that speaks tvm-ffi's ABI.
import { DiagnosticError } from "../../ir/diagnostic.ts";
import type { KernelRecord, Manifest } from "../../ir/artifact.ts";
import { hostLibrary } from "../../codegen/tvm/host-library.ts";
import { library, type Exported } from "../../codegen/tvm/library.ts";
import { cachedCompile } from "../../runtime/devices/cuda/cubins.ts";
import { nativeLibrary } from "../artifact/native-library.ts";
import { notFound, usage } from "../diagnostics.ts";
import { sharedLibrary } from "./c-compiler.ts";

export interface TvmExport {
  bytes: Uint8Array;
  /** Names of the functions that it has. */
  kernels: string[];
  /** What they run on, as compilers call it: "sm_90a", "x86-64-v4". */
  arch: string;
}

type Files = ReadonlyMap<string, string | Uint8Array>;

/** `files`: of the artifact. `only`: names of kernels, or all of the model's. `tell` hears how far it is. */
export async function exportTvm(
  out: string,
  { manifest, files }: { manifest: Manifest; files: Files },
  only: readonly string[],
  tell: (doing: string) => void,
): Promise<TvmExport> {
  const { gpu, cpu } = manifest;
  if (!gpu && !cpu)
    throw new DiagnosticError(
      usage({
        problem: "its kernels are WebAssembly, which no shared library holds",
        help: "dsc compile SRC --target cuda -o OUT, or --target c",
        word: out,
      }),
    );
  if (manifest.target === "tvm")
    throw new DiagnosticError(
      usage({
        problem: "its kernels were compiled by TVM, without launchers of tvm-ffi's ABI",
        help: "dsc compile SRC --target c -o OUT has the same kernels in C, which can be exported",
        word: out,
      }),
    );
  const own = Object.entries(manifest.kernels).flatMap(([name, k]) => (k.call ? [] : [name]));
  const chosen = only.length ? only : own;
  for (const name of chosen)
    if (!own.includes(name))
      throw new DiagnosticError(notFound({ what: `kernel ${name} of dsc's own`, where: out, word: name, known: own }));
  const machine = gpu?.arch ?? cpu!.processor;
  const note = `Kernels of a dsc artifact (${manifest.model.architecture}, ${machine}) behind the stable C ABI of tvm-ffi.`;
  if (!gpu) {
    tell(`compiling ${chosen.length} kernels`);
    return { bytes: ofProcessor(chosen, { manifest, files }, note), kernels: [...chosen], arch: cpu!.processor };
  }
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
  return { bytes: sharedLibrary(library(exported, note), binaries), kernels: [...chosen], arch: gpu.arch };
}

/** Kernels in C, compiled as they are for dsc's own runtime, so that their results have the same bits. */
function ofProcessor(
  chosen: readonly string[],
  { manifest, files }: { manifest: Manifest; files: Files },
  note: string,
): Uint8Array {
  const { kernels, cpu } = manifest;
  const texts = new Map(chosen.map((name) => [name, String(files.get(kernels[name].text))]));
  const exported = chosen.map((name) => ({ name, record: kernels[name], doc: docOf(texts.get(name)!) }));
  const all = new Map([
    ["kernels/vectors.h", String(files.get("kernels/vectors.h"))],
    ...[...texts].map(([name, text]) => [`kernels/${name}.c`, text] as const),
    ["kernels/library.c", hostLibrary(exported, cpu!, note)],
  ]);
  return nativeLibrary(all, cpu!).bytes;
}

async function machineCode(
  name: string,
  record: KernelRecord,
  files: Files,
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
  const end = lines.findIndex((l) => !/^(\/\/|#(?!include))/.test(l) && l.trim() !== "");
  return lines
    .slice(0, end)
    .filter((l) => l.trim() !== "")
    .map((l) => l.replace(/^(\/\/|#) ?/, ""))
    .join("\n");
}
