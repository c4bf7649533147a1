// Compiled forms of an artifact's CUDA kernels, so that a machine that runs it needs no compiler. They come from NVRTC or nvcc of
// this machine, which needs no GPU; another compiler gives other bytes, so an artifact with cubins names the one it had.
import { createHash } from "node:crypto";
import type { Compiled } from "./compile.ts";

/** The same artifact with a .cubin beside every .cu; `by` insists on a compiler. */
export async function withCubins(c: Compiled, by?: "nvrtc" | "nvcc"): Promise<Compiled> {
  const [{ cachedCompile }, { compilerName }] = await Promise.all([import("../runtime/devices/cuda/cubins.ts"), import("../runtime/devices/cuda/compiler.ts")]);
  const compile = cachedCompile(by);
  const files = new Map(c.files);
  const kernels = { ...c.manifest.kernels };
  await Promise.all(
    Object.entries(kernels).map(async ([name, k]) => {
      const cubin = await compile(name, String(c.files.get(k.text)));
      const path = k.text.replace(/\.cu$/, ".cubin");
      files.set(path, new Uint8Array(cubin));
      kernels[name] = { ...k, binary: path };
    }),
  );
  const digest = (data: string | Uint8Array): string => createHash("sha256").update(data).digest("hex");
  const manifest = {
    ...c.manifest,
    options: { ...c.manifest.options, cubins: compilerName(by) },
    kernels,
    files: Object.fromEntries([...files].map(([path, data]) => [path, c.manifest.files[path] ?? digest(data)])),
  };
  return { ...c, manifest, files };
}
