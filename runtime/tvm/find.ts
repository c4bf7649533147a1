// Where libtvm_ffi and TVM are looked for: what DSC_TVM names, the Python that DSC_PYTHON names, then, of libtvm_ffi, the loader's own
// path. Never bundled.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, statSync } from "node:fs";
import path from "node:path";
import { variable } from "../user-cache.ts";

/** A shared library's name on this system. */
export const fileOf = (name: string): string =>
  process.platform === "win32" ? `${name}.dll` : process.platform === "darwin" ? `lib${name}.dylib` : `lib${name}.so`;
const FILE = fileOf("tvm_ffi");
/** Below a folder that DSC_TVM names: the library's own, the package's, or site-packages. */
const BELOW = ["", "lib", "tvm_ffi/lib"];

const isFolder = (at: string): boolean => statSync(at, { throwIfNoEntry: false })?.isDirectory() === true;

/** Names of libtvm_ffi to try, in order. */
export function candidates(): string[] {
  const named = variable("DSC_TVM");
  if (named !== undefined) return isFolder(named) ? BELOW.map((b) => path.join(named, b, FILE)) : [named];
  const python = variable("DSC_PYTHON");
  const folder = python === undefined ? undefined : packageOf(python, "tvm_ffi");
  return [...(folder === undefined ? [] : [path.join(folder, "lib", FILE)]), FILE];
}

export interface FoundTvm {
  /** Of its shared libraries. */
  folder: string;
  /** As its package says it, where it is one. */
  version?: string;
  /** libtvm_runtime, and what adds to it where that is there. */
  libraries: string[];
}

/** TVM's runtime library beside tvm-ffi, or undefined where there is none. */
export function findTvm(): FoundTvm | undefined {
  for (const folder of tvmFolders()) {
    const runtime = path.join(folder, fileOf("tvm_runtime"));
    if (!existsSync(runtime)) continue;
    // Sorting, which top-k asks for, is in another.
    const more = [path.join(folder, fileOf("tvm_runtime_extra"))].filter((f) => existsSync(f));
    const version = versionAt(path.resolve(folder, "../.."));
    return { folder, ...(version ? { version } : {}), libraries: [runtime, ...more] };
  }
  return undefined;
}

/** Where TVM's libraries may lie. */
function tvmFolders(): string[] {
  const named = variable("DSC_TVM");
  if (named !== undefined) {
    // Of a file or a folder of tvm-ffi, the packages that lie beside it.
    const above = [".", "..", "../..", "../../.."].map((up) => path.resolve(named, up));
    return [...above, ...above.map((a) => path.join(a, "lib")), ...above.map((a) => path.join(a, "tvm/lib"))];
  }
  const python = variable("DSC_PYTHON");
  const folder = python === undefined ? undefined : packageOf(python, "tvm");
  return folder === undefined ? [] : [path.join(folder, "lib")];
}

/** The version of the package in a folder of packages, by the name of its metadata. */
function versionAt(site: string): string | undefined {
  const info = existsSync(site) ? readdirSync(site).find((f) => /^apache_tvm-.*\.dist-info$/.test(f)) : undefined;
  return info?.slice("apache_tvm-".length, -".dist-info".length);
}

/** The folder of a Python's package; nothing of it is run. */
function packageOf(python: string, name: string): string | undefined {
  const script = `import importlib.util as u; s = u.find_spec('${name}'); print(s.submodule_search_locations[0] if s else '')`;
  const { stdout, status } = spawnSync(python, ["-c", script], { encoding: "utf8", timeout: 120_000 });
  return status === 0 && stdout.trim() !== "" ? stdout.trim() : undefined;
}
