// The same multiprocessors behind slower memory: kernels of an H200 run on it as they are.
import type { Gpu } from "../../../ir/machine.ts";
import { h200 } from "./h200.ts";

export const h100: Gpu = {
  ...h200,
  name: "NVIDIA H100 SXM",
  short: "H100",
  source: "3350 GB/s, 80 GB of memory, 1979 TFLOP/s fp8, 989 bf16, 67 f32, dense: NVIDIA's datasheet, nothing measured",
  bandwidth: 3350e9,
  memory: 80e9,
};
