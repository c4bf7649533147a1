// The GPU that schedules were measured on.
import type { Gpu } from "../../../ir/machine.ts";

export const h200: Gpu = {
  name: "NVIDIA H200",
  short: "H200",
  source:
    "4539 GB/s measured on one H200 (reading 4 GiB); 1979 TFLOP/s fp8, 989 bf16, 67 f32 by NVIDIA's datasheet, dense; 150.1 GB of memory",
  arch: "sm_90a",
  bandwidth: 4539e9,
  peaks: { fp8: 1979e12, bf16: 989e12, f32: 67e12 },
  memory: 139.8 * 2 ** 30,
  // A node of a CUDA graph.
  launch: 0.75e-6,
  multiprocessors: 132,
  sharedPerBlock: 227 * 1024,
  sharedPerMultiprocessor: 228 * 1024,
  cluster: 8,
  link: 450e9,
  activations: "bf16",
};
