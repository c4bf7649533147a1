// Compiled forms of an artifact's CUDA kernels, so that a machine that runs it needs no compiler. They come from NVRTC or nvcc of
// this machine, which needs no GPU; another compiler gives other bytes, so an artifact with cubins names the one it had.
import type { Manifest } from "../../ir/artifact.ts";
import { sha256 } from "../../runtime/manifest-text.ts";
import type { Compiled } from "../driver/pack.ts";

/** The same artifact with a .cubin beside every .cu; `by` insists on a compiler, `tell` hears how far it is. */
export async function withCubins(
  c: Compiled,
  by?: "nvrtc" | "nvcc",
  tell: (doing: string) => void = () => {},
): Promise<Compiled> {
  const [{ cachedCompile }, { compilerName }, { ownKernels }] = await Promise.all([
    import("../../runtime/devices/cuda/cubins.ts"),
    import("../../runtime/devices/cuda/compiler.ts"),
    import("../../runtime/devices/cuda/own.ts"),
  ]);
  const gpu = c.manifest.gpu!;
  const compile = cachedCompile(gpu.arch, by);
  const files = new Map(c.files);
  const kernels = { ...c.manifest.kernels };
  let done = 0;
  const compiled = async (name: string, text: string): Promise<string> => {
    const cubin = await compile(name, String(files.get(text)));
    tell(`compiling kernels: ${++done} of ${Object.keys(kernels).length + Object.keys(own).length}, ${name}`);
    const path = text.replace(/\.cu$/, ".cubin");
    files.set(path, new Uint8Array(cubin));
    return path;
  };
  const own: NonNullable<Manifest["own"]> = {};
  for (const { text, source } of ownKernels(c.manifest.model.vocab, gpu.sharedPerBlock)) {
    own[text.name] = { text: `kernels/${text.name}.cu`, binary: "" };
    files.set(own[text.name].text, source);
  }
  await Promise.all([
    ...Object.entries(kernels).map(async ([name, k]) => void (kernels[name] = { ...k, binary: await compiled(name, k.text) })),
    ...Object.entries(own).map(async ([name, k]) => void (k.binary = await compiled(name, k.text))),
  ]);
  const manifest = {
    ...c.manifest,
    options: { ...c.manifest.options, cubins: compilerName(gpu.arch, by) },
    kernels,
    own,
    files: Object.fromEntries([...files].map(([path, data]) => [path, c.manifest.files[path] ?? sha256(data)])),
  };
  return { ...c, manifest, files };
}
