// DSC4xxx: what a target cannot do.
import { error, place, type Diagnostic } from "../ir/diagnostic.ts";

export const notYet = (target: string): Diagnostic =>
  error("DSC4001", `--target ${target} does not cover a whole model yet`, {
    spans: [place("--target")],
    notes: ["its proven kernels (FP8 block GEMM, MLA decode, norm + quantise) are run by npm run device"],
    help: "use --target cpu",
  });

export const cpuActivations = (): Diagnostic =>
  error("DSC4002", "--activations bf16: the CPU target keeps activations in f32", {
    spans: [place("--activations")],
    notes: ["weights stay packed; there is no bf16 arithmetic in WebAssembly, so bf16 rows would cost time and exactness"],
    help: "leave the option out, or give --activations f32",
  });
