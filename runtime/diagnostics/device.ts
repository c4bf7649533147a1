// DSC504x: what can go wrong with kernels and the threads that run them.
import { place, thrown } from "../../ir/diagnostic.ts";

export const kernelFailed = thrown<{ kernel: string; site: string; why: string }>("DSC5040", {
  name: "a kernel trapped",
  means: "A WebAssembly kernel read or wrote outside its memory, or divided by zero.",
  example: "None is known.",
  fix: "This is a fault of dsc: please report it with the artifact. dsc inspect OUT KERNEL shows the kernel.",
  at: ({ site }) => [place(site)],
  short: ({ kernel, site, why }) => ({
    title: `kernel ${kernel} failed at ${site}`,
    notes: [why],
    help: "this is a fault of the compiler; dsc inspect shows the kernel's text",
  }),
});

export const workerFailed = thrown<{ why: string }>("DSC5041", {
  name: "a worker thread ended",
  means: "A thread of the CPU device went away while it was needed: out of memory, or killed.",
  example: "A machine that runs out of memory.",
  fix: "Run again with --threads 1 and see what the system says.",
  at: () => [place("worker thread")],
  short: ({ why }) => ({
    title: "a worker thread ended unexpectedly",
    notes: [why],
    help: "run again with --threads 1; if it stays, please report it",
  }),
});

export const badKernel = thrown<{ kernel: string; why: string }>("DSC5042", {
  name: "a kernel cannot be loaded",
  means: "The compiled form of a kernel is missing from the artifact, or the engine refuses it.",
  example: "An artifact of another Node.",
  fix: "Compile the model again.",
  at: ({ kernel }) => [place(`kernel ${kernel}`)],
  short: ({ kernel, why }) => ({ title: `kernel ${kernel} cannot be loaded`, notes: [why], help: "compile the model again" }),
});

export const callFailed = thrown<{ kernel: string; site: string; why: string }>("DSC5044", {
  name: "a library's function failed",
  means: "A plug-in bound a function of a library to an op, and the function raised an error while the model ran.",
  example: "A function that takes rows of one width only, bound without saying so.",
  fix: "The note is the library's own error. Let the binding refuse the sites that the function does not take.",
  at: ({ site }) => [place(site)],
  short: ({ kernel, site, why }) => ({
    title: `the library's function behind ${kernel} failed at ${site}`,
    notes: [why],
    help: "the binding of the plug-in should refuse what the function does not take: pass(site) gives refuse(reason)",
  }),
});

export const otherLibrary = thrown<{ kernel: string; library: string; why: string }>("DSC5045", {
  name: "a library that is not the one an artifact was made with",
  means:
    "An artifact names the libraries whose functions it calls, with their digests; it holds none of them. The file is " +
    "gone, cannot be opened, or has other bytes than when the artifact was made.",
  example: "A library that was built anew after dsc compile.",
  fix: "Compile the model again, with the plug-in that binds the function; or put the library back.",
  at: ({ library }) => [place(library)],
  short: ({ kernel, library, why }) => ({
    title: `${kernel} calls a function of ${library}, which is not the library it was made with`,
    notes: [why],
    help: "compile the model again with the plug-in, which tries the library as it is now",
  }),
});

export const editNotProved = thrown<{ kernel: string; where: string }>("DSC5046", {
  name: "an edited kernel that no GPU has run",
  means:
    "An edit of a CUDA or Triton text was tested on what stands in for a GPU, which sees no fences, registers or launches that a " +
    "card refuses. It runs on a GPU once one has tested it, or once somebody insists.",
  example: "dsc kernel OUT NAME --use FILE on a laptop, and dsc run OUT on a machine with a card.",
  fix: "dsc kernel OUT NAME --test on the machine with the card; or --use FILE --force, and every command says so.",
  at: ({ kernel }) => [place(`kernel ${kernel}`)],
  short: ({ kernel, where }) => ({
    title: `the edit of ${kernel} was tested on no GPU`,
    notes: [`it was tested on ${where}`],
    help: `dsc kernel OUT ${kernel} --test tests it here, --revert takes it back`,
  }),
});

export const sourceOnly = thrown<{ kernel: string }>("DSC5047", {
  name: "Triton kernels that were not compiled",
  means:
    "A Triton artifact is compiled ahead of time by a Python with Triton; this one was made where there was none, so " +
    "it can be read, not run.",
  example: "dsc compile SRC -o OUT --target triton without Triton, then dsc run OUT",
  fix: "Compile again with DSC_PYTHON naming a Python that has Triton. Running needs no Python.",
  at: ({ kernel }) => [place(`kernel ${kernel}`)],
  short: ({ kernel }) => ({
    title: `kernel ${kernel} is Triton source, not compiled`,
    notes: ["the artifact was made where no Python had Triton"],
    help: "compile the model again with DSC_PYTHON naming a Python that has Triton; no Python is needed to run it then",
  }),
});

export const noWorkerFile = thrown<{ path: string }>("DSC5043", {
  name: "dsc is not built",
  means: "Worker threads run the built JavaScript, which is not there.",
  example: "A checkout without dist.",
  fix: "npm run build.",
  at: ({ path }) => [place(path)],
  short: ({ path }) => ({
    title: "the worker script is not built",
    notes: [`${path} does not exist; worker threads run the compiled form`],
    help: "npm run build",
  }),
});

export const noPeers = thrown<{ ranks: number }>("DSC5080", {
  name: "a rank without the others",
  means: "An artifact with a mesh is run by all of its ranks together; one device alone stops where they meet.",
  example: "CpuDevice.open of an artifact compiled with --mesh tp=2, and a run on it",
  fix: "Use load(), or dsc run, which open all ranks in one process.",
  at: () => [place("mesh")],
  short: ({ ranks }) => ({
    title: `the artifact is divided over ${ranks} ranks, and this device is one of them without the others`,
    help: "load() and dsc run open all ranks in one process",
  }),
});

export const ranksApart = thrown<{ a: number; came: string; b: number; other: string }>("DSC5081", {
  name: "ranks came to different meetings",
  means: "All ranks run one plan, and meet in the order it gives. Two of them stand at different places of it.",
  example: "None is known.",
  fix: "This is a fault of dsc: please report it with the artifact.",
  at: () => [place("mesh")],
  short: ({ a, came, b, other }) => ({
    title: `ranks ${a} and ${b} came to different meetings`,
    notes: [`rank ${a}: ${came}`, `rank ${b}: ${other}`],
    help: "this is a fault of dsc: please report it with the artifact",
  }),
});

export const otherProcessor = thrown<{ processor: string; lacks: readonly string[]; here: string }>("DSC5048", {
  name: "kernels for another processor",
  means:
    "An artifact of --target c holds one library, compiled for the instructions that the machine had which made it, or for --arch. Its " +
    "first instruction that this machine lacks would end the process.",
  example: "dsc run OUT on a machine without AVX-512, of an artifact made on one that has it",
  fix: "Compile the model on this machine, or with --arch of an older level: x86-64-v3, x86-64. --target cpu runs everywhere.",
  at: () => [place("cpu of the artifact")],
  short: ({ processor, lacks, here }) => ({
    title: `the artifact's kernels are for ${processor}, and this machine does not run it`,
    notes: [`this machine (${here}) lacks ${lacks.join(", ")}`],
    help: "compile again here, or with --arch of an older level; --target cpu runs everywhere",
  }),
});
