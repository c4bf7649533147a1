// DSC4xxx: what a target cannot do.
import { error, place, type Diagnostic } from "../ir/diagnostic.ts";

/** `known`: the architectures there are kernels for. */
export const unknownArch = (name: string, known: readonly string[]): Diagnostic =>
  error("DSC4003", `no kernels for ${name}: there are ${known.join(" and ")}`, {
    spans: [place("--arch")],
    help: `give --arch ${known[0]}; docs/howto.md says how an architecture is added`,
  });

export const cpuActivations = (): Diagnostic =>
  error("DSC4002", "--activations bf16: the CPU target keeps activations in f32", {
    spans: [place("--activations")],
    notes: ["weights stay packed; there is no bf16 arithmetic in WebAssembly, so bf16 rows would cost time and exactness"],
    help: "leave the option out, or give --activations f32",
  });
