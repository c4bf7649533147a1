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
