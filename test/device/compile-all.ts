// Many kernels compiled side by side, through the user's cache: one after the other they would take most of a check's time.
import type { KernelText } from "../../ir/kernel/catalogue.ts";
import { cachedCompile } from "../../runtime/devices/cuda/cubins.ts";
import type { Cuda, CudaKernel } from "../../runtime/devices/cuda/index.ts";
import { h200 } from "../../codegen/cuda/arch/h200.ts";

const loaded = new Map<string, CudaKernel>();

/** Kernels of these texts, by name; each is compiled and loaded once a process. */
export async function compileAll(cuda: Cuda, texts: readonly KernelText[]): Promise<ReadonlyMap<string, CudaKernel>> {
  const compile = cachedCompile(h200.arch);
  const missing = [...new Map(texts.filter((t) => !loaded.has(t.name)).map((t) => [t.name, t])).values()];
  const cubins = await Promise.all(missing.map((t) => compile(t.name, t.source)));
  for (const [i, t] of missing.entries()) loaded.set(t.name, cuda.loadCubin(cubins[i], t));
  return loaded;
}
