// Compiled kernels: from the artifact when it holds them, else from the user's cache by content, else compiled now and kept there.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import path from "node:path";
import { cacheFolder, keep } from "../../user-cache.ts";
import { compileCudaAside, compilerName } from "./compiler.ts";

/** Turns a kernel's text into what the driver loads. */
export type Compile = (name: string, source: string) => Uint8Array | Promise<Uint8Array>;

/** Compiles for an architecture with NVRTC or nvcc (`by` insists), through the cache. */
export function cachedCompile(arch: string, by?: "nvrtc" | "nvcc"): Compile {
  const folder = path.join(cacheFolder(), "cubins");
  let compiler: string | undefined;
  return async (name, source) => {
    compiler ??= compilerName(arch, by);
    const file = path.join(folder, `${createHash("sha256").update(`${compiler}\n${source}`).digest("hex").slice(0, 40)}.cubin`);
    try {
      return readFileSync(file);
    } catch {
      const cubin = await compileCudaAside(name, source, arch, by);
      keep(file, cubin);
      return cubin;
    }
  };
}
