// A stand-in for the CUDA driver, so that the whole path from a config to tokens runs without a GPU: host-driver.cpp answers the
// driver's calls, and kernels are printed CUDA compiled by g++. For tests only, and for printed tile programs only.
import fs from "node:fs";
import path from "node:path";
import type { Param } from "../../ir/kernel/catalogue.ts";
import { everyKernel, type Manifest } from "../../ir/artifact.ts";
import type { CudaFile } from "../../runtime/devices/cuda/device.ts";
import { hostHeader, hostText } from "./cuda-on-host.ts";
import { hostBuildAside } from "./host-compiler.ts";

const flags = ["-std=c++17", "-O1", "-ffp-contract=off", "-w", "-fPIC", "-shared", "-U_FORTIFY_SOURCE"];

/** Builds the driver in `folder`; the path to open it by. `lacks`: VERSION, INIT or MAJOR of a machine that lacks something; STREAMS: 1: streams go on by themselves; NOTHING: 1: images that begin with a zero are kernels that do nothing. */
export async function buildDriver(
  folder: string,
  name = "libcuda-host.so",
  lacks: Readonly<Record<string, number>> = {},
): Promise<string> {
  const out = path.join(folder, name);
  const defines = Object.entries(lacks).map(([k, v]) => `-D${k}=${v}`);
  const text = fs.readFileSync(path.join(import.meta.dirname, "host-driver.cpp"), "utf8");
  if (!fs.existsSync(out))
    fs.copyFileSync(
      await hostBuildAside({ text, flags: [...flags, "-Wl,-soname,libcuda.so.1", ...defines], libraries: ["-ldl"] }),
      out,
    );
  return out;
}

const types = { f32: "float", bf16: "unsigned short", e4m3: "unsigned char", i32: "int" } as const;

/** C type and bytes of each parameter as a launch passes it. */
function passed(params: readonly Param[], dims: readonly string[]): [string, number][] {
  return [
    ...params.map((p): [string, number] => {
      if (p.kind === "tensormap") throw new RangeError(`${p.name}: the stand-in has no tensor maps`);
      return p.kind === "buffer" ? [`${types[p.dtype]}*`, 8] : [p.dtype === "f32" ? "float" : "int", 4];
    }),
    ...dims.map((): [string, number] => ["int", 4]),
  ];
}

interface Text {
  name: string;
  entry: string;
  source: string;
  params: readonly Param[];
  dims: readonly string[];
}

function unit({ name, entry, source, params, dims }: Text): string {
  const list = passed(params, dims);
  return `namespace ${name}_ns {
${hostText(source)}
static void** given;
static void body() { ${entry}(${list.map(([type], i) => `*(${type}*)given[${i}]`).join(", ")}); }
}
extern "C" void run_${name}(void** p, int blocks, int threads, int shared) { ${name}_ns::given = p; grid(blocks, threads, shared, false, ${name}_ns::body); }
extern "C" const int sizes_${name}[] = {${[list.length, ...list.map(([, n]) => n)].join(", ")}};
`;
}

/** Compiles every kernel of an artifact into one library, those that the runtime launches for itself beside them; gives the modules to load. */
export async function buildKernels(
  manifest: Pick<Manifest, "kernels" | "system">,
  files: ReadonlyMap<string, string | Uint8Array>,
): Promise<{ files: Map<string, CudaFile>; compile: (name: string) => Uint8Array }> {
  const own = Object.entries(everyKernel(manifest)).filter(([, k]) => !k.call);
  const texts: Text[] = own.map(([name, k]) => ({
    name,
    entry: k.entry,
    source: String(files.get(k.text)),
    params: k.params,
    dims: k.dims,
  }));
  const library = await hostBuildAside({ text: texts.map(unit).join(""), header: hostHeader, flags });
  const image = (name: string): Uint8Array => Buffer.from(`${library}|${name}\0`);
  return { files: new Map(texts.map((t) => [t.name, { source: t.source, cubin: image(t.name) }])), compile: image };
}
