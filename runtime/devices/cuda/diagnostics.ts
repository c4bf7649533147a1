// DSC56xx: what a GPU machine may lack, and what a kernel may do to it.
import { capabilityOf } from "./capability.ts";
import { DiagnosticError, error, place } from "../../../ir/diagnostic.ts";

/** `where` names the library, device or kernel it is about. */
const fail = (where: string, code: string, title: string, notes: readonly string[], help: string): DiagnosticError =>
  new DiagnosticError(error(code, title, { spans: [place(where)], notes: [...notes], help }));

export const noDriver = (tried: readonly string[]): DiagnosticError =>
  fail(
    "libcuda.so.1",
    "DSC5601",
    "no CUDA driver: libcuda.so.1 cannot be opened",
    tried,
    "install the NVIDIA driver, or run with --target cpu",
  );

export const oldDriver = (have: number, need: number): DiagnosticError =>
  fail(
    "libcuda.so.1",
    "DSC5602",
    `the CUDA driver is too old: it speaks CUDA ${version(have)}, ${version(need)} is needed`,
    [],
    "update the NVIDIA driver",
  );

export const noDevice = (why: string): DiagnosticError =>
  fail("CUDA device", "DSC5603", "no CUDA device can be used", [why], "nvidia-smi shows what the driver sees");

/** `arch` is what the kernels were compiled for. */
export const wrongArchitecture = (name: string, capability: readonly number[], arch: string): DiagnosticError =>
  fail(
    name,
    "DSC5604",
    `${name} is compute capability ${capability.join(".")}; the kernels are for ${capabilityOf(arch).join(".")} (${arch})`,
    ["kernels of one architecture do not run on another"],
    "use another GPU, compile with the --arch of this one if dsc compile --help lists it, or use --target cpu",
  );

export const outOfMemory = (
  what: string,
  needed: number,
  available: number,
  parts: readonly string[] = [],
  help?: string,
): DiagnosticError =>
  fail(
    "GPU memory",
    "DSC5605",
    `not enough GPU memory for ${what}: ${gigabytes(needed)} needed, ${gigabytes(available)} free`,
    parts,
    help ?? "a smaller batch or context needs less; nvidia-smi shows who holds the rest",
  );

export const noCompiler = (tried: readonly string[]): DiagnosticError =>
  fail(
    "CUDA compiler",
    "DSC5606",
    "no CUDA compiler: neither NVRTC nor nvcc can be found",
    tried,
    "install the CUDA toolkit (12.3 or later), or load an artifact that holds cubins",
  );

export const badKernel = (name: string, log: string, from: readonly string[] = []): DiagnosticError =>
  fail(
    `kernel ${name}`,
    "DSC5607",
    `kernel ${name} does not compile`,
    [
      ...from,
      ...log
        .split("\n")
        .filter((l) => l.trim())
        .slice(0, 12),
    ],
    "if the text is as dsc wrote it, please report it with the artifact",
  );

/** A promise broken: what is compiled after loading stalls a running model. */
export const lateCompile = (name: string): DiagnosticError =>
  fail(
    `kernel ${name}`,
    "DSC5610",
    `kernel ${name} would be compiled while the model runs`,
    [],
    "this is a fault of dsc; please report it",
  );

export const badBuffer = (kernel: string, name: string): DiagnosticError =>
  fail(
    `kernel ${kernel}`,
    "DSC5608",
    `kernel ${kernel} needs ${name}, which the launch does not give`,
    [],
    "this is a fault of dsc; please report it with the artifact",
  );

/** Any other driver error; after a fault in a kernel the context is lost. */
export const driverFailed = (call: string, name: string, where: string): DiagnosticError =>
  fail(
    where || call,
    "DSC5609",
    `${call}: ${name}`,
    where ? [where] : [],
    "compute-sanitizer on the same command shows the access",
  );

export const version = (n: number): string => `${Math.floor(n / 1000)}.${Math.floor((n % 1000) / 10)}`;
const gigabytes = (n: number): string => `${(n / 1e9).toFixed(1)} GB`;
