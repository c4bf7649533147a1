// tvm-ffi and TVM, as shared libraries: found and never bundled.
import { firstLine, type Probe, type Seen } from "./probe.ts";

const LOOKED = "DSC_TVM (a library, or a folder with packages); the site-packages of DSC_PYTHON";

export const tvmProbes: readonly Probe[] = [
  {
    part: "tvm-ffi",
    looked: `${LOOKED}; the loader's path`,
    needed: "calling libraries by tvm-ffi's ABI: dsc/tvm, and plug-ins that bind functions of them",
    look: ffi,
  },
  {
    part: "TVM",
    looked: LOOKED,
    needed: "calling what TVM compiled",
    look: tvm,
  },
];

async function ffi(): Promise<Seen> {
  try {
    const { about } = await import("../../runtime/tvm/index.ts");
    const { path: file, version } = about();
    return { good: true, version, found: `${version}, ${file}` };
  } catch (e) {
    return { good: false, found: `${firstLine(e)}; DSC_TVM or DSC_PYTHON names one` };
  }
}

async function tvm(): Promise<Seen> {
  const { findTvm } = await import("../../runtime/tvm/find.ts");
  const found = findTvm();
  if (!found)
    return { good: false, found: "libtvm_runtime is not found; DSC_TVM or DSC_PYTHON names one (pip install apache-tvm)" };
  const { version, folder } = found;
  return { good: true, ...(version ? { version } : {}), found: `${version ?? "of an unknown version"}, ${folder}` };
}
