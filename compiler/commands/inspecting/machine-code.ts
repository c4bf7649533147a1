// dsc inspect OUT KERNEL --ptx, --sass, --resources: what compilers make of a CUDA kernel. Its cubin is the artifact's (compile
// --cubin), else it is compiled now, and kept in the user's cache.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { DiagnosticError } from "../../../ir/diagnostic.ts";
import { archOf } from "../../../codegen/cuda/archs.ts";
import { EXPORTED } from "../../../codegen/tir/target.ts";
import { inLibrary, type KernelRecord, type Target } from "../../../ir/artifact.ts";
import { readArtifact } from "../../../runtime/index.ts";
import { resourcesOf } from "../../analysis/occupancy.ts";
import { noTool, usage } from "../../diagnostics.ts";
import { digits } from "../../report/table.ts";
import type { Options, Read } from "./artifact.ts";

export type Wanted = "ptx" | "sass" | "resources" | "asm";

/** Where the machine code of other targets' kernels is. */
const instead = (target: Target): string =>
  inLibrary(target) ? "--asm shows what a library has" : "the WebAssembly of a CPU kernel stands in its text";

export async function tellMachineCode(a: Options, { manifest, text, say }: Read, kernel: string, what: Wanted): Promise<void> {
  const record = manifest.kernels[kernel] ?? manifest.system?.[kernel];
  const { gpu } = manifest;
  if (what === "asm") return tellAssembly(a, { manifest, say }, kernel);
  if (!gpu || !record.text.endsWith(".cu"))
    throw new DiagnosticError(
      usage({
        problem: `inspect: --${what} is of CUDA kernels, and ${a.out} is for ${manifest.target}`,
        help: `compile with --target cuda; ${instead(manifest.target)}`,
        word: `--${what}`,
      }),
    );
  const source = text(record.text);
  if (what === "ptx") {
    const ptx = ptxOf(kernel, source, gpu.arch);
    return say({ kernel, arch: gpu.arch, ptx }, () => ptx);
  }
  const cubin = await cubinOf(a.out, kernel, record, source, gpu.arch);
  if (what === "sass") {
    const sass = sassOf(kernel, cubin);
    return say({ kernel, arch: gpu.arch, sass }, () => sass);
  }
  const { cubinResources } = await import("../../../runtime/devices/cuda/cubin-resources.ts");
  const found = cubinResources(cubin, record.entry);
  if (!found) throw new DiagnosticError(noTool({ what: `the cubin of ${kernel} says nothing of its registers`, tried: [] }));
  const r = resourcesOf(kernel, found, record.launch!, archOf(gpu.arch).machine);
  const shared = r.static_shared + r.dynamic_shared;
  const blocks = `${r.blocks_per_multiprocessor} block${r.blocks_per_multiprocessor === 1 ? "" : "s"}`;
  const limit = `${r.limited_by} allow${r.limited_by === "shared memory" ? "s" : ""}`;
  say(r, () =>
    [
      `${kernel} for ${r.arch}`,
      `registers        ${r.registers} of a thread, ${r.threads} threads a block`,
      `local memory     ${r.stack_bytes} bytes of a thread${r.stack_bytes ? ": spilled registers, or arrays that are indexed" : ""}`,
      `shared memory    ${shared} bytes of a block (${r.static_shared} of the code, ${r.dynamic_shared} by the launch)`,
      `resident         ${blocks} a multiprocessor, ${digits(100 * r.occupancy)} % of its threads; ${limit} no more`,
      "",
    ].join("\n"),
  );
}

async function cubinOf(out: string, kernel: string, { binary }: KernelRecord, source: string, arch: string): Promise<Uint8Array> {
  if (binary?.endsWith(".cubin")) return (await readArtifact(out, (name) => name === binary)).files.get(binary)!;
  const { cachedCompile } = await import("../../../runtime/devices/cuda/cubins.ts");
  return cachedCompile(arch)(kernel, source);
}

/** What begins the name of a kernel's own code: C has a launcher beside it. */
const symbols = { c: "kernel_", tvm: EXPORTED } as const;

/** Of a kernel in C or TIR: its part of the artifact's library. */
async function tellAssembly(
  a: Options,
  { manifest: { cpu, target }, say }: Pick<Read, "manifest" | "say">,
  kernel: string,
): Promise<void> {
  if (!cpu)
    throw new DiagnosticError(
      usage({
        problem: `inspect: --asm is of kernels in a library, and ${a.out} is for ${target}`,
        help: "compile with --target c or tvm; --sass is for CUDA kernels",
        word: "--asm",
      }),
    );
  const library = (await readArtifact(a.out, (name) => name === cpu.library)).files.get(cpu.library)!;
  const asm = inFolder((folder) => {
    const file = path.join(folder, "library.so");
    writeFileSync(file, library);
    const symbol = `${symbols[target as "c" | "tvm"]}${kernel}`;
    const words = ["-d", "--no-show-raw-insn", `--disassemble=${symbol}`, file];
    const run = spawnSync("objdump", words, { encoding: "utf8", maxBuffer: 1 << 28 });
    if (run.error || run.status !== 0)
      throw new DiagnosticError(
        noTool({ what: "machine code of the library is read by objdump, and there is none", tried: ["objdump"] }),
      );
    return run.stdout.slice(run.stdout.indexOf(`<${symbol}>`)).replace(/^<(.*)>:/, "$1:");
  });
  say({ kernel, processor: cpu.processor, compiler: cpu.compiler, asm }, () => asm);
}

/** Runs a body with a folder of its own, which goes when it ends. */
function inFolder<T>(body: (folder: string) => T): T {
  const folder = mkdtempSync(path.join(tmpdir(), "dsc-inspect-"));
  try {
    return body(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** The first of these programs that answers. */
const program = (names: readonly string[]): string | undefined => names.find((n) => !spawnSync(n, ["--version"]).error);

function ptxOf(kernel: string, source: string, arch: string): string {
  const tried = ["nvcc", "/usr/local/cuda/bin/nvcc"];
  const nvcc = program(tried);
  if (nvcc === undefined) throw new DiagnosticError(noTool({ what: "PTX is made by nvcc, and there is none", tried }));
  return inFolder((folder) => {
    const [input, output] = [path.join(folder, `${kernel}.cu`), path.join(folder, "out.ptx")];
    writeFileSync(input, source);
    const run = spawnSync(nvcc, ["-ptx", "-O3", "-std=c++17", "-lineinfo", `-arch=${arch}`, "-o", output, input], {
      encoding: "utf8",
    });
    if (run.status !== 0)
      throw new DiagnosticError(noTool({ what: `nvcc makes no PTX of ${kernel}: ${run.stderr.split("\n")[0]}`, tried: [] }));
    return readFileSync(output, "utf8").replaceAll(folder + path.sep, "");
  });
}

function sassOf(kernel: string, cubin: Uint8Array): string {
  const tried = ["cuobjdump", "/usr/local/cuda/bin/cuobjdump", "nvdisasm", "/usr/local/cuda/bin/nvdisasm"];
  const tool = program(tried);
  if (tool === undefined)
    throw new DiagnosticError(noTool({ what: "machine code is read by cuobjdump or nvdisasm, and there is neither", tried }));
  return inFolder((folder) => {
    const file = path.join(folder, `${kernel}.cubin`);
    writeFileSync(file, cubin);
    const words = tool.endsWith("cuobjdump") ? ["-sass", file] : ["-c", file];
    const run = spawnSync(tool, words, { encoding: "utf8", maxBuffer: 1 << 28 });
    if (run.status !== 0) throw new DiagnosticError(noTool({ what: `${tool} cannot read the cubin of ${kernel}`, tried: [] }));
    return run.stdout;
  });
}
