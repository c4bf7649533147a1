// What a device opens of a compiled model: the text of every kernel that its steps launch or that the runtime launches for itself.
import { everyKernel } from "../../ir/artifact.ts";
import type { Compiled } from "../../compiler/compile.ts";
import type { CudaFile } from "../../runtime/devices/cuda/device.ts";

/** Kernels of the steps and system kernels, by name. */
export const launchedOf = ({ manifest }: Pick<Compiled, "manifest">): [string, Compiled["manifest"]["kernels"][string]][] =>
  Object.entries(everyKernel(manifest));

/** Their files. */
export const kernelFiles = (c: Pick<Compiled, "manifest" | "files">): Map<string, CudaFile> =>
  new Map(
    launchedOf(c).map(([name, k]) => [
      name,
      { source: String(c.files.get(k.text)), ...(k.binary ? { cubin: c.files.get(k.binary) as Uint8Array } : {}) },
    ]),
  );
