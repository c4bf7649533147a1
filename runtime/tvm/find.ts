// Where libtvm_ffi is looked for: what DSC_TVM names, the Python that DSC_PYTHON names, then the loader's own path. Never bundled.
import { spawnSync } from "node:child_process";
import { statSync } from "node:fs";
import path from "node:path";
import { variable } from "../user-cache.ts";

const FILE = process.platform === "win32" ? "tvm_ffi.dll" : process.platform === "darwin" ? "libtvm_ffi.dylib" : "libtvm_ffi.so";
/** Below a folder that DSC_TVM names: the library's own, the package's, or site-packages. */
const BELOW = ["", "lib", "tvm_ffi/lib"];

/** Names to try, in order. */
export function candidates(): string[] {
  const named = variable("DSC_TVM");
  if (named !== undefined)
    return statSync(named, { throwIfNoEntry: false })?.isDirectory() ? BELOW.map((b) => path.join(named, b, FILE)) : [named];
  const python = variable("DSC_PYTHON");
  const folder = python === undefined ? undefined : packageOf(python);
  return [...(folder === undefined ? [] : [path.join(folder, "lib", FILE)]), FILE];
}

/** The folder of a Python's tvm_ffi; nothing of it is run. */
function packageOf(python: string): string | undefined {
  const script = "import importlib.util as u; s = u.find_spec('tvm_ffi'); print(s.submodule_search_locations[0] if s else '')";
  const { stdout, status } = spawnSync(python, ["-c", script], { encoding: "utf8", timeout: 120_000 });
  return status === 0 && stdout.trim() !== "" ? stdout.trim() : undefined;
}
