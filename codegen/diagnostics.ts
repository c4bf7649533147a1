// DSC4xxx: what a target cannot do.
import { coded, place } from "../ir/diagnostic.ts";

/** `known`: the architectures there are kernels for. */
export const unknownArch = coded<{ name: string; known: readonly string[] }>("DSC4003", {
  name: "an architecture without kernels",
  means:
    "Kernels are compiled for the GPUs that --arch names. An artifact of a version that knew others names one that " +
    "this version does not.",
  example: "dsc inspect OUT --cost of an artifact for sm_120a",
  fix: "Compile the model again for an architecture that --help lists.",
  at: () => [place("--arch")],
  short: ({ name, known }) => ({
    title: `no kernels for ${name}: there are ${known.join(" and ")}`,
    help: `give --arch ${known[0]}; docs/howto.md says how an architecture is added`,
  }),
});

export const cpuActivations = coded("DSC4002", {
  name: "bf16 activations on the CPU",
  means:
    "WebAssembly has no bf16 arithmetic: rows kept in bf16 would cost time and exactness, and save nothing. Weights " +
    "stay packed in any case.",
  example: "$ dsc compile examples/tiny-r1 -o .dsc/x --activations bf16",
  fix: "Leave the option out on the CPU.",
  at: () => [place("--activations")],
  short: () => ({
    title: "--activations bf16: the CPU target keeps activations in f32",
    notes: ["weights stay packed; there is no bf16 arithmetic in WebAssembly, so bf16 rows would cost time and exactness"],
    help: "leave the option out, or give --activations f32",
  }),
});

export const functionsNotHere = coded<{ names: readonly string[] }>("DSC4142", {
  name: "functions of libraries for a target that calls none",
  means:
    "A plug-in binds functions of other libraries to ops. The targets cpu, cuda and triton call them in the place of kernels; the " +
    "device of --target c runs one library of its own and calls none yet.",
  example: "dsc compile SRC --target c --plugin rms-norm.ts, with a plug-in that has functions",
  fix: "Compile for --target cpu, or leave the plug-in out.",
  at: () => [place("--target")],
  short: ({ names }) => ({
    title: `--target c calls no function of another library: ${names.join(", ")}`,
    notes: ["its kernels are one library, which its device calls alone"],
    help: "give --target cpu, or leave the plug-in out",
  }),
});
