// Where NCCL is looked for: what DSC_NCCL names, the loader's own path, then the package of the Python that DSC_PYTHON names. Never
// bundled: its packages are a hundred megabytes and have a licence of their own.
import { spawnSync } from "node:child_process";
import { statSync } from "node:fs";
import path from "node:path";
import { variable } from "../../user-cache.ts";

const FILE = "libnccl.so.2";
/** Below a folder that DSC_NCCL names: the library's own, an installation, or site-packages. */
const BELOW = ["", "lib", "lib64", "nvidia/nccl/lib"];

/** Names to try, in order. */
export function candidates(): string[] {
  const named = variable("DSC_NCCL");
  if (named !== undefined)
    return statSync(named, { throwIfNoEntry: false })?.isDirectory() ? BELOW.map((b) => path.join(named, b, FILE)) : [named];
  const python = variable("DSC_PYTHON");
  const folder = python === undefined ? undefined : packageOf(python);
  return [FILE, ...(folder === undefined ? [] : [path.join(folder, "lib", FILE)])];
}

/** The folder of a Python's nvidia.nccl, which its wheels of NCCL make; nothing of it is run. */
function packageOf(python: string): string | undefined {
  const script =
    "import importlib.util as u\ntry:\n s = u.find_spec('nvidia.nccl')\nexcept ImportError:\n s = None\n" +
    "print(list(s.submodule_search_locations)[0] if s else '')";
  const { stdout, status } = spawnSync(python, ["-c", script], { encoding: "utf8", timeout: 120_000 });
  return status === 0 && stdout.trim() !== "" ? stdout.trim() : undefined;
}
