// DSC56xx: what a GPU machine may lack, and what a kernel may do to it.
import { capabilityOf } from "./capability.ts";
import { place, thrown } from "../../../ir/diagnostic.ts";

export const noDriver = thrown<{ tried: readonly string[] }>("DSC5601", {
  name: "no CUDA driver",
  means: "The GPU is reached through libcuda.so.1, which the NVIDIA driver brings.",
  example: "--target cuda on a machine without a GPU",
  fix: "Install the driver, or use --target cpu. dsc doctor shows what is found.",
  at: () => [place("libcuda.so.1")],
  short: ({ tried }) => ({
    title: "no CUDA driver: libcuda.so.1 cannot be opened",
    notes: tried,
    help: "install the NVIDIA driver, or run with --target cpu",
  }),
});

export const oldDriver = thrown<{ have: number; need: number }>("DSC5602", {
  name: "the CUDA driver is too old",
  means: "Kernels use calls of a newer driver.",
  example: "A driver of CUDA 11.",
  fix: "Update the NVIDIA driver.",
  at: () => [place("libcuda.so.1")],
  short: ({ have, need }) => ({
    title: `the CUDA driver is too old: it speaks CUDA ${version(have)}, ${version(need)} is needed`,
    help: "update the NVIDIA driver",
  }),
});

export const noDevice = thrown<{ why: string }>("DSC5603", {
  name: "no CUDA device",
  means: "There is a driver, but it offers no device.",
  example: "CUDA_VISIBLE_DEVICES is empty.",
  fix: "nvidia-smi shows what the driver sees.",
  at: () => [place("CUDA device")],
  short: ({ why }) => ({ title: "no CUDA device can be used", notes: [why], help: "nvidia-smi shows what the driver sees" }),
});

/** `arch` is what the kernels were compiled for. */
export const wrongArchitecture = thrown<{ name: string; capability: readonly number[]; arch: string }>("DSC5604", {
  name: "a GPU of another generation",
  means:
    "An artifact's kernels are compiled for one architecture (manifest.json, gpu.arch), and kernels of one do not " +
    "run on a card of another: those of sm_90a use Hopper's tensor copies and warpgroup products.",
  example: "An A100; an artifact of --arch sm_100 on an H200.",
  fix: "Compile again with the --arch of the card (dsc doctor names it), use another GPU, or --target cpu.",
  at: ({ name }) => [place(name)],
  short: ({ name, capability, arch }) => ({
    title: `${name} is compute capability ${capability.join(".")}; the kernels are for ${capabilityOf(arch).join(".")} (${arch})`,
    notes: ["kernels of one architecture do not run on another"],
    help: "use another GPU, compile with the --arch of this one if dsc compile --help lists it, or use --target cpu",
  }),
});

export const outOfMemory = thrown<{
  what: string;
  needed: number;
  available: number;
  parts?: readonly string[] | undefined;
  help?: string | undefined;
}>("DSC5605", {
  name: "not enough GPU memory",
  means: "Bytes needed are compared with bytes free before anything is loaded.",
  example: "All of R1 on one card.",
  fix: "A smaller batch or context needs less; dsc plan --device h200 shows the parts.",
  at: () => [place("GPU memory")],
  short: ({ what, needed, available, parts = [], help }) => ({
    title: `not enough GPU memory for ${what}: ${gigabytes(needed)} needed, ${gigabytes(available)} free`,
    notes: parts,
    help: help ?? "a smaller batch or context needs less; nvidia-smi shows who holds the rest",
  }),
});

export const noCompiler = thrown<{ tried: readonly string[] }>("DSC5606", {
  name: "no CUDA compiler",
  means: "Kernels are compiled by NVRTC or nvcc unless the artifact holds cubins.",
  example: "A driver without the toolkit.",
  fix: "Install the CUDA toolkit, 12.3 or later.",
  at: () => [place("CUDA compiler")],
  short: ({ tried }) => ({
    title: "no CUDA compiler: neither NVRTC nor nvcc can be found",
    notes: tried,
    help: "install the CUDA toolkit (12.3 or later), or load an artifact that holds cubins",
  }),
});

export const badKernel = thrown<{ name: string; log: string; from?: readonly string[] | undefined }>("DSC5607", {
  name: "a CUDA kernel does not compile",
  means: "The notes are the compiler's first lines.",
  example: "An edited kernel.",
  fix: "If the text is as dsc wrote it, please report it with the artifact.",
  at: ({ name }) => [place(`kernel ${name}`)],
  short: ({ name, log, from = [] }) => ({
    title: `kernel ${name} does not compile`,
    notes: [
      ...from,
      ...log
        .split("\n")
        .filter((l) => l.trim())
        .slice(0, 12),
    ],
    help: "if the text is as dsc wrote it, please report it with the artifact",
  }),
});

/** A promise broken: what is compiled after loading stalls a running model. */
export const lateCompile = thrown<{ name: string }>("DSC5610", {
  name: "a kernel would be compiled too late",
  means: "Everything is compiled while a model loads; a compile afterwards would stall it in the middle of a text.",
  example: "None is known.",
  fix: "This is a fault of dsc: please report it.",
  at: ({ name }) => [place(`kernel ${name}`)],
  short: ({ name }) => ({
    title: `kernel ${name} would be compiled while the model runs`,
    help: "this is a fault of dsc; please report it",
  }),
});

export const badBuffer = thrown<{ kernel: string; name: string }>("DSC5608", {
  name: "a launch lacks a buffer",
  means: "A kernel's parameter has no buffer in the launch.",
  example: "None is known.",
  fix: "This is a fault of dsc: please report it with the artifact.",
  at: ({ kernel }) => [place(`kernel ${kernel}`)],
  short: ({ kernel, name }) => ({
    title: `kernel ${kernel} needs ${name}, which the launch does not give`,
    help: "this is a fault of dsc; please report it with the artifact",
  }),
});

/** Any other driver error; after a fault in a kernel the context is lost. */
export const driverFailed = thrown<{ call: string; name: string; where: string }>("DSC5609", {
  name: "the CUDA driver refuses",
  means:
    "A call of the driver failed. After a fault in a kernel the context is lost, and every later call fails too: the first one counts.",
  example: "A kernel that reads outside its buffers.",
  fix: "compute-sanitizer on the same command shows the access.",
  at: ({ call, where }) => [place(where || call)],
  short: ({ call, name, where }) => ({
    title: `${call}: ${name}`,
    notes: where ? [where] : [],
    help: "compute-sanitizer on the same command shows the access",
  }),
});

export const noPeerMemory = thrown<{ rank: number; peer: number; why: string }>("DSC5611", {
  name: "a GPU's memory is out of reach of a peer",
  means: "Ranks exchange through memory of each other's GPUs, which CUDA IPC maps between processes of one host.",
  example: "Two containers that do not share a PID namespace, or a virtual machine without peer access.",
  fix: "Run all ranks of a host in one container, or on the host itself.",
  at: ({ rank }) => [place(`rank ${rank}`)],
  short: ({ rank, peer, why }) => ({
    title: `rank ${rank} cannot map the memory of rank ${peer}`,
    notes: [why],
    help: "run all ranks of a host in one container; memory of GPUs is mapped by CUDA IPC",
  }),
});

export const peerStuck = thrown<{
  rank: number;
  peer: number;
  epoch: number;
  why: "late" | "apart" | "stopped";
  seconds: number;
}>("DSC5612", {
  name: "a rank waits for a peer in vain",
  means:
    "Ranks that exchange through mailboxes wait in a kernel until the words of every peer are there. A peer did not come in time, " +
    "came to another exchange, or the process was told that it is gone. The kernel ends with a fault, and no result of the step counts.",
  example: "A rank that was killed in the middle of a step.",
  fix: "See what the named rank says, and start all of them again.",
  at: ({ rank }) => [place(`rank ${rank}`)],
  short: ({ rank, peer, epoch, why, seconds }) => ({
    title:
      why === "late"
        ? `rank ${rank} waited ${seconds} s for rank ${peer}, which did not come`
        : why === "apart"
          ? `ranks ${rank} and ${peer} came to different exchanges`
          : `rank ${rank} stopped waiting for rank ${peer}, which is gone`,
    notes: [`exchange ${epoch} of this mailbox`],
    help: `see what rank ${peer} says, and start all ranks again`,
  }),
});

export const version = (n: number): string => `${Math.floor(n / 1000)}.${Math.floor((n % 1000) / 10)}`;
const gigabytes = (n: number): string => `${(n / 1e9).toFixed(1)} GB`;
