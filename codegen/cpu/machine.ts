// The processor that passes weigh by. Not the one that compiles: an artifact follows from its config and options alone.
// `dsc plan` measures the machine it runs on (compiler/analysis/machine.ts).
import type { Machine } from "../../ir/machine.ts";

export const desktop: Machine = {
  name: "two cores of a desktop",
  source:
    "20 GB/s, 5 us for threads to meet at a barrier, 56 GFLOP/s of WebAssembly SIMD, 16 GB of memory: usual figures, nothing measured",
  bandwidth: 20e9,
  peaks: { fp8: 56e9, bf16: 56e9, f32: 56e9 },
  memory: 16e9,
  launch: 5e-6,
  activations: "f32",
};
