// What of this machine dsc can use, and what each part is for. Nothing here is an error: a machine without a GPU runs models too.
import { spawnSync } from "node:child_process";
import { accessSync, constants, existsSync } from "node:fs";
import { availableParallelism, cpus, freemem, totalmem } from "node:os";
import path from "node:path";
import { archs } from "../codegen/cuda/archs.ts";
import { DiagnosticError } from "../ir/diagnostic.ts";
import { cacheFolder, variable } from "../runtime/user-cache.ts";
import { notHere } from "./artifact/triton.ts";

export interface Check {
  part: string;
  /** ok: found and good; missing: not there, or not usable; optional parts may be missing. */
  state: "ok" | "missing";
  /** What was found, or why it cannot be used. */
  found: string;
  needed_for: string;
  required: boolean;
}

const GIB = 2 ** 30;

export async function examine(): Promise<Check[]> {
  const required: Check[] = [node(), cores(), memory(), simd(), threads(), cache()];
  const packages = [
    await npm("@huggingface/tokenizers", "text in and out of models: --prompt, --chat, eval"),
    await npm("jiti", "plug-ins written in TypeScript: --plugin"),
    await npm("koffi", "calling the CUDA driver: --target cuda"),
    await npm("onnx-proto", "writing ONNX files: dsc export onnx"),
    await npm("onnxruntime-node", "running exported graphs: dsc verify --onnx, and npm test"),
  ];
  return [...required, ...packages, ...(await gpu()), nvcc(), python(), await tvm()];
}

const check = (part: string, good: boolean, found: string, needed_for: string, required = false): Check => ({
  part,
  state: good ? "ok" : "missing",
  found,
  needed_for,
  required,
});

function node(): Check {
  const [major, minor] = process.versions.node.split(".").map(Number);
  const good = major > 20 || (major === 20 && minor >= 19);
  return check("Node", good, good ? process.version : `${process.version}; 20.19 or newer is needed`, "everything", true);
}

function cores(): Check {
  const n = availableParallelism();
  return check(
    "cores",
    true,
    `${n}${cpus().length > n ? ` of ${cpus().length}` : ""}, ${cpus()[0]?.model.trim() ?? "of an unknown kind"}`,
    "threads of the CPU target",
    true,
  );
}

function memory(): Check {
  const limit = process.constrainedMemory?.() ?? 0;
  const most = limit > 0 && limit < totalmem() ? limit : totalmem();
  return check(
    "memory",
    true,
    `${(most / GIB).toFixed(1)} GiB, ${(freemem() / GIB).toFixed(1)} free`,
    "weights and cache; dsc plan says how much a model takes",
    true,
  );
}

/** A module with one v128 instruction, and one with a shared memory. */
function simd(): Check {
  const module = [
    0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 1, 5, 1, 0x60, 0, 1, 0x7b, 3, 2, 1, 0, 10, 8, 1, 6, 0, 0x41, 0, 0xfd, 0x0f, 0x0b,
  ];
  const good = WebAssembly.validate(Uint8Array.from(module));
  return check("WebAssembly SIMD", good, good ? "there" : "not in this Node", "kernels of the CPU target", true);
}

function threads(): Check {
  const module = [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 5, 4, 1, 3, 1, 1];
  const good = WebAssembly.validate(Uint8Array.from(module)) && typeof SharedArrayBuffer === "function";
  return check("WebAssembly threads", good, good ? "there" : "no shared memory in this Node", "more than one thread", true);
}

function cache(): Check {
  const folder = cacheFolder();
  let at = folder;
  while (!existsSync(at) && path.dirname(at) !== at) at = path.dirname(at);
  try {
    accessSync(at, constants.W_OK);
    return check("cache", true, folder, "artifacts that run compiles by itself; DSC_CACHE names another", true);
  } catch {
    return check(
      "cache",
      false,
      `${folder} cannot be written; DSC_CACHE names another`,
      "artifacts that run compiles by itself",
      true,
    );
  }
}

async function npm(name: string, needed: string): Promise<Check> {
  try {
    await import(name);
    return check(name, true, "there", needed);
  } catch (e) {
    return check(name, false, firstLine(e), needed);
  }
}

async function gpu(): Promise<Check[]> {
  const runtime = "compiling kernels for the GPU in this process";
  let driver = "running models on the GPU: --target cuda";
  try {
    const [{ hasNvrtc, openCuda }, { compilerName }, { capabilityOf }] = await Promise.all([
      import("../runtime/devices/cuda/index.ts"),
      import("../runtime/devices/cuda/compiler.ts"),
      import("../runtime/devices/cuda/capability.ts"),
    ]);
    const needs = archs.map((a) => `--arch ${a.name} needs compute capability ${capabilityOf(a.machine.arch).join(".")}`);
    driver += `; of its artifacts ${needs.join(", ")}`;
    const nvrtc = hasNvrtc()
      ? check("NVRTC", true, compilerName(archs[0].machine.arch, "nvrtc").split(" ")[1], runtime)
      : check("NVRTC", false, "libnvrtc.so is not found", runtime);
    try {
      const device = openCuda();
      const { free, total } = device.memory();
      const capability = device.capability.join(".");
      const own = archs.find((a) => capabilityOf(a.machine.arch).join(".") === capability);
      const whose =
        `${device.name}, compute capability ${capability}: ` +
        `${own ? `runs artifacts of --arch ${own.name}` : "runs no artifact"}`;
      const found = check(
        "GPU",
        own !== undefined,
        `${whose}, ${device.multiprocessors} multiprocessors, ${(total / GIB).toFixed(1)} GiB, ${(free / GIB).toFixed(1)} free`,
        driver,
      );
      device.close();
      return [check("CUDA driver", true, `speaks CUDA ${device.driver.version}`, driver), found, nvrtc];
    } catch (e) {
      const why = firstLine(e);
      const opened = !/DSC560[12]/.test(e instanceof DiagnosticError ? e.diagnostics[0].code : "DSC5601");
      return [
        check("CUDA driver", opened, opened ? "there" : why, driver),
        check("GPU", false, opened ? why : "not looked for without a driver", driver),
        nvrtc,
      ];
    }
  } catch (e) {
    return [check("CUDA driver", false, `cannot be looked for: ${firstLine(e)}`, driver)];
  }
}

function nvcc(): Check {
  const needed = "compiling kernels where NVRTC is missing, and the checks of every CUDA kernel in npm test";
  for (const name of ["nvcc", "/usr/local/cuda/bin/nvcc"]) {
    const run = spawnSync(name, ["--version"], { encoding: "utf8", timeout: 120_000 });
    if (run.status === 0) return check("nvcc", true, /release [\d.]+/.exec(run.stdout)?.[0] ?? "there", needed);
  }
  return check("nvcc", false, "not on the path", needed);
}

async function tvm(): Promise<Check> {
  const needed = "calling libraries by tvm-ffi's ABI: dsc/tvm";
  try {
    const { about } = await import("../runtime/tvm/index.ts");
    const { path: file, version } = about();
    return check("tvm-ffi", true, `${version}, ${file}`, needed);
  } catch (e) {
    return check("tvm-ffi", false, `${firstLine(e)}; DSC_TVM or DSC_PYTHON names one`, needed);
  }
}

function python(): Check {
  const needed = "--target triton ahead of time, and running printed Triton in npm test; never at run time";
  const name = variable("DSC_PYTHON") ?? "python3";
  const run = spawnSync(
    name,
    ["-c", `${notHere}import triton, torch; print(sys.version.split()[0], triton.__version__, torch.__version__)`],
    { encoding: "utf8", timeout: 300_000 },
  );
  const [py, triton, torch] = (run.stdout ?? "").trim().split(" ");
  if (run.status === 0)
    return check("Python with Triton", true, `${name}: Python ${py}, triton ${triton}, torch ${torch}`, needed);
  const why = run.error
    ? `${name} is not on the path`
    : `${name}: ${(run.stderr ?? "").trim().split("\n").at(-1) || "it does not answer"}`;
  return check("Python with Triton", false, `${why}; DSC_PYTHON names another`, needed);
}

const firstLine = (e: unknown): string =>
  (e instanceof DiagnosticError ? e.diagnostics[0].title : String((e as Error).message ?? e)).split("\n")[0];
