// CUDA C++ to a cubin of an architecture ("sm_90a"): NVRTC in this process, or nvcc when NVRTC is missing or nvcc is asked for.
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import koffi from "koffi";
import * as diagnostics from "./diagnostics.ts";
import { bind, open } from "./driver.ts";

const FOLDERS = ["/usr/local/cuda/lib64", "/usr/local/cuda/targets/x86_64-linux/lib", "/usr/lib/x86_64-linux-gnu"];
const optionsFor = (arch: string): string[] => [`--gpu-architecture=${arch}`, "--std=c++17"];

const functions = {
  nvrtcVersion: "pp",
  nvrtcCreateProgram: "pssipp",
  nvrtcCompileProgram: "hip",
  nvrtcGetCUBINSize: "hp",
  nvrtcGetCUBIN: "hp",
  nvrtcGetProgramLogSize: "hp",
  nvrtcGetProgramLog: "hp",
  nvrtcDestroyProgram: "p",
} as const;
type Nvrtc = Record<keyof typeof functions, (...args: unknown[]) => number>;

let loaded: Nvrtc | undefined;
let aside: ((...args: unknown[]) => void) | undefined;
let missing: string[] | undefined;

function nvrtc(): Nvrtc | undefined {
  if (loaded || missing) return loaded;
  const names: string[] = ["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"];
  for (const folder of FOLDERS) {
    if (!existsSync(folder)) continue;
    const files = readdirSync(folder).sort();
    // NVRTC opens its built-ins by bare name: a folder outside the loader's path works once they are loaded.
    for (const f of files) if (/^libnvrtc-builtins\.so\.\d+\.\d+$/.test(f)) tryLoad(path.join(folder, f));
    names.push(...files.filter((f) => /^libnvrtc\.so(\.\d+)?$/.test(f)).map((f) => path.join(folder, f)));
  }
  try {
    const library = open(names, (tried) => Object.assign(new RangeError("no NVRTC"), { tried }));
    const compile = library.func("nvrtcCompileProgram", "int32_t", ["uint64_t", "int32_t", "void *"]);
    aside = (...args) => void compile.async(...args);
    loaded = Object.fromEntries(Object.entries(functions).map(([n, letters]) => [n, bind(library, n, letters)])) as Nvrtc;
  } catch (e) {
    missing = (e as { tried?: string[] }).tried ?? [(e as Error).message];
  }
  return loaded;
}

/** Whether NVRTC can be opened. */
export const hasNvrtc = (): boolean => nvrtc() !== undefined;

const NVCC = ["nvcc", "/usr/local/cuda/bin/nvcc"];
const nvcc = (): string | undefined => NVCC.find((n) => !spawnSync(n, ["--version"]).error);

/** Whether this machine compiles CUDA: by NVRTC or by nvcc. */
export const canCompile = (): boolean => hasNvrtc() || nvcc() !== undefined;

/** Held, for a library that nothing refers to is closed when garbage is collected. */
const builtins: unknown[] = [];

function tryLoad(file: string): void {
  try {
    builtins.push(koffi.load(file));
  } catch {
    // Only needed where the loader does not know the folder; the compile itself reports what is missing.
  }
}

/** The compiler texts will be compiled by and its version: part of what a compiled kernel is kept under. */
export function compilerName(arch: string, by: "nvrtc" | "nvcc" | undefined): string {
  const library = by === "nvcc" ? undefined : nvrtc();
  if (!library) return `nvcc ${optionsFor(arch).join(" ")}`;
  const [major, minor] = [new Int32Array(1), new Int32Array(1)];
  library.nvrtcVersion(major, minor);
  return `nvrtc ${major[0]}.${minor[0]} ${optionsFor(arch).join(" ")}`;
}

/** Where a kernel came from, as its text says: for messages about it. */
const origin = (source: string): string[] =>
  source
    .split("\n", 12)
    .filter((l) => /^\/\/ (op|from) /.test(l))
    .map((l) => l.slice(3));

/** Compiles one kernel's text; throws DSC5606 or DSC5607. */
export function compileCuda(name: string, source: string, arch: string, by: "nvrtc" | "nvcc" | undefined): Uint8Array {
  const library = by === "nvcc" ? undefined : nvrtc();
  if (!library) return withNvcc(name, source, arch);
  return inProcess(library, name, source, arch, (program, options) =>
    library.nvrtcCompileProgram(program, options.length, options),
  );
}

/** The same beside other work: programs compile at once on Node's pool of threads. */
export async function compileCudaAside(
  name: string,
  source: string,
  arch: string,
  by: "nvrtc" | "nvcc" | undefined,
): Promise<Uint8Array> {
  const library = by === "nvcc" ? undefined : nvrtc();
  if (!library) return withNvcc(name, source, arch);
  let failed = 0;
  const compiled = (program: number, options: BigUint64Array): Promise<number> =>
    new Promise((resolve, reject) =>
      aside!(program, options.length, options, (e: Error | null, r: number) => (e ? reject(e) : resolve(r))),
    );
  // The steps around the compile take microseconds, and a program lives from the first to the last of them.
  const [program, options] = begin(library, name, source, arch);
  try {
    failed = await compiled(program, options.list);
    return finish(library, name, source, program, failed);
  } finally {
    void options.words;
    library.nvrtcDestroyProgram(BigUint64Array.of(BigInt(program)));
  }
}

interface Options {
  /** Addresses of the words, and the words, which must outlive the call. */
  list: BigUint64Array;
  words: Buffer[];
}

function begin(n: Nvrtc, name: string, source: string, arch: string): [number, Options] {
  const handle = new BigUint64Array(1);
  if (n.nvrtcCreateProgram(handle, source, `${name}.cu`, 0, null, null) !== 0)
    throw diagnostics.badKernel({ name, log: "NVRTC cannot create a program" });
  const words = optionsFor(arch).map((o) => Buffer.from(`${o}\0`));
  return [Number(handle[0]), { list: BigUint64Array.from(words, (w) => BigInt(koffi.address(w))), words }];
}

function finish(n: Nvrtc, name: string, source: string, program: number, failed: number): Uint8Array {
  const size = new BigUint64Array(1);
  if (failed !== 0) {
    n.nvrtcGetProgramLogSize(program, size);
    const log = Buffer.alloc(Math.max(1, Number(size[0])));
    n.nvrtcGetProgramLog(program, log);
    throw diagnostics.badKernel({
      name,
      log: log.toString().replace(/\0+$/, "") || `NVRTC error ${failed}`,
      from: origin(source),
    });
  }
  n.nvrtcGetCUBINSize(program, size);
  const cubin = new Uint8Array(Number(size[0]));
  n.nvrtcGetCUBIN(program, cubin);
  return cubin;
}

function inProcess(
  n: Nvrtc,
  name: string,
  source: string,
  arch: string,
  compile: (program: number, options: BigUint64Array) => number,
): Uint8Array {
  const [program, options] = begin(n, name, source, arch);
  try {
    return finish(n, name, source, program, compile(program, options.list));
  } finally {
    void options.words;
    n.nvrtcDestroyProgram(BigUint64Array.of(BigInt(program)));
  }
}

function withNvcc(name: string, source: string, arch: string): Uint8Array {
  const folder = mkdtempSync(path.join(tmpdir(), "dsc-nvcc-"));
  try {
    const [input, output] = [path.join(folder, `${name}.cu`), path.join(folder, "out.cubin")];
    writeFileSync(input, source);
    const found = nvcc();
    if (!found) throw diagnostics.noCompiler({ tried: missing ?? [] });
    const run = spawnSync(
      found,
      ["-cubin", "-O3", "-std=c++17", `-gencode=arch=compute_${arch.slice("sm_".length)},code=${arch}`, "-o", output, input],
      { encoding: "utf8" },
    );
    if (run.status !== 0)
      throw diagnostics.badKernel({ name, log: run.stderr.replaceAll(folder + path.sep, ""), from: origin(source) });
    return new Uint8Array(readFileSync(output));
  } finally {
    rmSync(folder, { recursive: true });
  }
}
