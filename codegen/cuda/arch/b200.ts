// A Blackwell GPU: no kernel is written for it yet, and every op runs as a printed tile program.
import type { Gpu } from "../../../ir/machine.ts";
import { h200 } from "./h200.ts";

export const b200: Gpu = {
  name: "NVIDIA B200",
  short: "B200",
  source: "8000 GB/s, 192 GB of memory, 4500 TFLOP/s fp8, 2250 bf16, 75 f32, dense: NVIDIA's datasheet, nothing measured",
  arch: "sm_100a",
  bandwidth: 8000e9,
  peaks: { fp8: 4500e12, bf16: 2250e12, f32: 75e12 },
  memory: 192e9,
  launch: 0.75e-6,
  multiprocessors: 148,
  sharedPerBlock: 227 * 1024,
  sharedPerMultiprocessor: 228 * 1024,
  cluster: 8,
  links: {
    ...h200.links,
    bandwidth: 900e9,
    source:
      "900 GB/s to the other GPUs of a host by NVIDIA's datasheet; what collectives reach of it and their start as on H200; not measured",
  },
  activations: "bf16",
  // The H200's: nothing asks for them before there are kernels.
  times: h200.times,
};
