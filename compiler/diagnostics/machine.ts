// What this machine lacks or refuses, and faults of dsc itself.
import { coded, place, type Diagnostic } from "../../ir/diagnostic.ts";
import { onCommandLine } from "./command-line.ts";

export const unmeasured = coded<{ why: string }>("DSC6027", {
  name: "the bandwidth of this machine cannot be measured",
  means: "dsc plan --device cpu measures it with a thread a core and 200 MB each; a thread did not start, or ended.",
  example: "A container with less memory than its cores ask for.",
  fix: "Give --bandwidth GB/s.",
  at: () => [onCommandLine("--device")],
  short: ({ why }) => ({
    title: "this machine's memory bandwidth cannot be measured",
    notes: [why],
    help: "give it: --bandwidth 50 (GB/s); or name another --device",
  }),
});

export const refused = coded<{ message: string; code?: string | undefined; memory: boolean; file?: string | undefined }>(
  "DSC6019",
  {
    name: "the system refuses",
    means:
      "Memory, threads, open files or a place that the operating system does not give, where nothing in the command says more.",
    example: "ulimit -n 24; dsc run examples/tiny-r1 --ids 1,2 --max-new 1",
    fix: "Raise the limit that is named, or see to permissions and disk.",
    at: ({ file }) => [file === undefined ? onCommandLine() : place(file)],
    short: ({ message, code, memory }) => ({
      title: `the system refuses: ${message}`,
      help: memory ? HELPS.ENOMEM : (HELPS[code ?? ""] ?? "see to the limits and permissions of this process"),
    }),
  },
);

const HELPS: Readonly<Record<string, string>> = {
  EMFILE: "raise the limit of open files: ulimit -n 1024",
  ENOSPC: "make room on the disk",
  EACCES: "see to its permissions",
  ENOMEM: "close other programs, or raise ulimit -v",
  EAGAIN: "raise the limit of processes: ulimit -u; or --threads 1",
};

/** What the operating system refuses that no command says better: memory, threads, open files, a place. Nothing for other exceptions. */
export function systemRefused(e: unknown): Diagnostic | undefined {
  const { code, syscall, path: file, message = "" } = (e instanceof Error ? e : {}) as Partial<NodeJS.ErrnoException>;
  const memory = e instanceof RangeError && /allocat|memory/i.test(e.message);
  if (!memory && syscall === undefined && !/^ERR_WORKER_(OUT_OF_MEMORY|INIT_FAILED)$/.test(code ?? "")) return undefined;
  return refused({ message, code, memory, file });
}

export const internal = coded<{ message: string }>("DSC9000", {
  name: "a fault in dsc",
  means: "Something failed that has no diagnostic of its own. No input should be able to do this.",
  example: "None is known.",
  fix: "DSC_DEBUG=1 shows where; please report it with the command and the config.",
  at: () => [onCommandLine()],
  short: ({ message }) => ({
    title: `a fault in dsc: ${message}`,
    help: "DSC_DEBUG=1 shows where; please report it with the command and the config",
  }),
});

export const noTriton = coded<{ python: string }>("DSC6020", {
  name: "no Triton to compile with (warning)",
  means:
    "--target triton prints every kernel, and compiles it where Python has Triton. Without it the artifact holds " +
    "source only: it can be read, not run.",
  example: "DSC_PYTHON=false dsc compile SRC -o OUT --target triton",
  fix: "pip install triton, or name another Python by DSC_PYTHON; dsc doctor shows what is found.",
  severity: "warning",
  at: () => [onCommandLine("--target")],
  short: ({ python }) => ({
    title: "Triton kernels stay source: no Triton in this Python",
    notes: [`asked ${python} (DSC_PYTHON names another)`],
    help: "pip install triton, then compile again; without cubins the artifact can be read, not run",
  }),
});

export const tritonFailed = coded<{ kernel: string; log: string }>("DSC6021", {
  name: "Triton does not compile a kernel",
  means: "The notes are the last lines of what Triton says.",
  example: "A Triton of a version that kernels were not tried with (3.6 was).",
  fix: "If the text is as dsc wrote it, please report it with the artifact.",
  at: ({ kernel }) => [place(`kernel ${kernel}`)],
  short: ({ kernel, log }) => ({
    title: `Triton does not compile ${kernel}`,
    notes: log
      .split("\n")
      .filter((l) => l.trim())
      .slice(-12),
    help: "if the text is as dsc wrote it, please report it with the artifact",
  }),
});

export const noCompiler = coded<{ tried: readonly string[] }>("DSC6032", {
  name: "no C compiler",
  means: "A shared library is made by the C compiler of this machine: CC of the environment, or cc, gcc or clang.",
  example: "CC=/nonexistent dsc export tvm OUT -o kernels.so",
  fix: "Install gcc or clang, or set CC.",
  at: () => [onCommandLine()],
  short: ({ tried }) => ({
    title: `there is no C compiler: ${tried.join(", ")} ${tried.length > 1 ? "are" : "is"} not there or not to be run`,
    help: "install gcc or clang, or name one: CC=/path/to/cc",
  }),
});

export const compilerFailed = coded<{ command: string; said: readonly string[] }>("DSC6033", {
  name: "the C compiler refuses",
  means: "The C compiler ended with an error, or could not be run to its end.",
  example: "CC=false dsc export tvm OUT -o kernels.so",
  fix: "See what it says; name another by CC.",
  at: () => [onCommandLine()],
  short: ({ command, said }) => ({
    title: `${command} made no library`,
    notes: [...said],
    help: "name another C compiler by CC",
  }),
});

export const compilerTooOld = coded<{ command: string; is: string; least: string }>("DSC6048", {
  name: "the C compiler is too old",
  means:
    "Kernels in C use vector extensions and levels of instructions (-march=x86-64-v4) that gcc has since version 12 and clang since 12. " +
    "The compiler says by its macros which version it is.",
  example: "CC=gcc-9 dsc compile SRC --target c -o OUT",
  fix: "Install a newer one and name it by CC, or leave --target c out: --target cpu needs no compiler.",
  at: () => [onCommandLine("--target")],
  short: ({ command, is, least }) => ({
    title: `${command} is ${is}, and kernels in C need ${least} or later`,
    help: "name a newer one: CC=/path/to/gcc; --target cpu needs none",
  }),
});

/** A program of the CUDA toolkit that shows what a kernel becomes, and is not there or cannot. */
export const noTool = coded<{ what: string; tried: readonly string[] }>("DSC6034", {
  name: "what a kernel becomes cannot be shown",
  means:
    "PTX is printed by nvcc and machine code by cuobjdump or nvdisasm; registers are read from a cubin, which NVRTC or nvcc makes.",
  example: "dsc inspect OUT KERNEL --sass on a machine without the CUDA toolkit.",
  fix: "Install the CUDA toolkit, or ask where it is.",
  at: () => [place("CUDA toolkit")],
  short: ({ what, tried }) => ({
    title: what,
    ...(tried.length ? { notes: [`looked for ${tried.join(", ")}`] } : {}),
    help: "install the CUDA toolkit, or copy the artifact to where it is; dsc doctor says what is found",
  }),
});

export const printedProducts = coded<{ arch: string; sites: { site: string; op: string; share: number }[] }>("DSC4135", {
  name: "products without a hand-written kernel (warning)",
  means:
    "The architecture has hand-written kernels for such products, and none takes these: a printed tile program runs them, which can " +
    "take many times as long. Shares are of the floor of a decode step at batch 1, or of a prompt of 1024 rows. --natives none, " +
    "and f32 between kernels, ask for printed kernels, and then nothing is said.",
  example: "$ dsc compile test/fixtures/a09-v3-odd --target cuda",
  fix: "dsc why OUT kernels SITE says why each hand-written kernel does not take the place; most want widths of whole 16 bytes.",
  severity: "warning",
  at: () => [onCommandLine()],
  short: ({ arch, sites }) => ({
    title: `no hand-written kernel of ${arch} takes ${sites.length} product${sites.length > 1 ? "s" : ""}`,
    notes: sites.map(({ site, op, share }) => `${site}: ${op}, ${(100 * share).toFixed(1)} % of the floor`),
    help: "dsc why OUT kernels SITE says why",
  }),
});
