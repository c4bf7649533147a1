// Compiled forms of an artifact's CUDA kernels, so that a machine that runs it needs no compiler. They come from NVRTC or nvcc of
// this machine, which needs no GPU; another compiler gives other bytes, so an artifact with cubins names the one it had.
import type { KernelRecord } from "../../ir/artifact.ts";
import { sha256 } from "../../runtime/manifest-text.ts";
import type { Compiled } from "../driver/pack.ts";

/** The same artifact with a .cubin beside every .cu; `by` insists on a compiler, `tell` hears how far it is. */
export async function withCubins(
  c: Compiled,
  by?: "nvrtc" | "nvcc",
  tell: (doing: string) => void = () => {},
): Promise<Compiled> {
  const [{ cachedCompile }, { compilerName }] = await Promise.all([
    import("../../runtime/devices/cuda/cubins.ts"),
    import("../../runtime/devices/cuda/compiler.ts"),
  ]);
  const gpu = c.manifest.gpu!;
  const compile = cachedCompile(gpu.arch, by);
  const files = new Map(c.files);
  const { kernels, system = {} } = c.manifest;
  const count = Object.keys(kernels).length + Object.keys(system).length;
  let done = 0;
  const compiled = (records: Readonly<Record<string, KernelRecord>>): Promise<Record<string, KernelRecord>> =>
    Promise.all(
      Object.entries(records).map(async ([name, k]) => {
        if (k.call) return [name, k] as const;
        const cubin = await compile(name, String(files.get(k.text)));
        tell(`compiling kernels: ${++done} of ${count}, ${name}`);
        const binary = k.text.replace(/\.cu$/, ".cubin");
        files.set(binary, new Uint8Array(cubin));
        return [name, { ...k, binary }] as const;
      }),
    ).then(Object.fromEntries<KernelRecord>);
  const [model, own] = await Promise.all([compiled(kernels), compiled(system)]);
  const manifest = {
    ...c.manifest,
    options: { ...c.manifest.options, cubins: compilerName(gpu.arch, by) },
    kernels: model,
    system: own,
    files: Object.fromEntries([...files].map(([path, data]) => [path, c.manifest.files[path] ?? sha256(data)])),
  };
  return { ...c, manifest, files };
}
