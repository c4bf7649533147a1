// The CUDA driver, the card, and what compiles for it or connects several.
import { archs } from "../../codegen/cuda/archs.ts";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { firstLine, type Probe, type Seen } from "./probe.ts";

const GIB = 2 ** 30;

/** What running on a GPU asks of it. */
async function needs(): Promise<string> {
  const running = "running models on the GPU: --target cuda";
  try {
    const { capabilityOf } = await import("../../runtime/devices/cuda/capability.ts");
    const each = archs.map((a) => `--arch ${a.name} needs compute capability ${capabilityOf(a.machine.arch).join(".")}`);
    return `${running}; of its artifacts ${each.join(", ")}`;
  } catch {
    return running;
  }
}

const DRIVER = "libcuda.so.1 on the loader's path";

export const gpuProbes: readonly Probe[] = [
  { part: "CUDA driver", looked: DRIVER, needed: needs, look: async () => (await opened()).driver },
  { part: "GPU", looked: "the first device of the driver", needed: needs, look: async () => (await opened()).card },
  {
    part: "NVRTC",
    looked: "libnvrtc.so on the loader's path, and in the CUDA toolkit",
    needed: "compiling kernels for the GPU in this process",
    look: nvrtc,
  },
  {
    part: "NCCL",
    looked: "DSC_NCCL, libnccl.so.2 on the loader's path, the package nvidia.nccl of DSC_PYTHON",
    needed: "meetings of several GPUs",
    look: nccl,
  },
];

/** Driver and card are found by one opening, which the second probe does not repeat. */
let both: Promise<{ driver: Seen; card: Seen }> | undefined;
const opened = (): Promise<{ driver: Seen; card: Seen }> => (both ??= open());

async function open(): Promise<{ driver: Seen; card: Seen }> {
  try {
    const [{ openCuda }, { capabilityOf }] = await Promise.all([
      import("../../runtime/devices/cuda/index.ts"),
      import("../../runtime/devices/cuda/capability.ts"),
    ]);
    try {
      const device = openCuda();
      const { free, total } = device.memory();
      const capability = device.capability.join(".");
      const own = archs.find((a) => capabilityOf(a.machine.arch).join(".") === capability);
      const runs = own ? `runs artifacts of --arch ${own.name}` : "runs no artifact";
      const size = `${device.multiprocessors} multiprocessors, ${(total / GIB).toFixed(1)} GiB, ${(free / GIB).toFixed(1)} free`;
      const card = { good: own !== undefined, found: `${device.name}, compute capability ${capability}: ${runs}, ${size}` };
      const { version } = device.driver;
      device.close();
      return { driver: { good: true, version: String(version), found: `speaks CUDA ${version}` }, card };
    } catch (e) {
      const why = firstLine(e);
      const there = !/DSC560[12]/.test(e instanceof DiagnosticError ? e.diagnostics[0].code : "DSC5601");
      return {
        driver: { good: there, found: there ? "there" : why },
        card: { good: false, found: there ? why : "not looked for without a driver" },
      };
    }
  } catch (e) {
    const found = `cannot be looked for: ${firstLine(e)}`;
    return { driver: { good: false, found }, card: { good: false, found } };
  }
}

async function nvrtc(): Promise<Seen> {
  const [{ hasNvrtc }, { compilerName }] = await Promise.all([
    import("../../runtime/devices/cuda/index.ts"),
    import("../../runtime/devices/cuda/compiler.ts"),
  ]);
  if (!hasNvrtc()) return { good: false, found: "libnvrtc.so is not found" };
  const version = compilerName(archs[0].machine.arch, "nvrtc").split(" ")[1];
  return { good: true, version, found: version };
}

async function nccl(): Promise<Seen> {
  const { Nccl } = await import("../../runtime/ranks/nccl/library.ts");
  const { version, path } = new Nccl();
  return { good: true, version, found: `${version}, ${path}` };
}
