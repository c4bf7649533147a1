// tvm-ffi and TVM, as shared libraries: found and never bundled.
import { PINNED } from "../tvm/version.ts";
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
  {
    part: "TVM's compiler",
    looked: `${LOOKED}; LD, ld or ld.lld on the path`,
    needed: `--target tvm, by TVM ${PINNED} and a linker`,
    look: compiler,
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

async function compiler(): Promise<Seen> {
  const [{ findTvmCompiler }, { findLinker }] = await Promise.all([import("../tvm/version.ts"), import("../tvm/link.ts")]);
  const found = findTvmCompiler();
  const install = `pip install apache-tvm==${PINNED}.*; DSC_TVM or DSC_PYTHON names it`;
  if ("other" in found)
    return { good: false, version: found.other, found: `${found.other}, and ${PINNED} is known here; ${install}` };
  if ("missing" in found) return { good: false, found: `libtvm_compiler is not found; ${install}` };
  const linker = findLinker();
  if (!linker) return { good: false, found: "TVM is there, but no linker (LD, ld or ld.lld)" };
  const { version } = found;
  return { good: true, ...(version ? { version } : {}), found: `${version ?? `taken for ${PINNED}`}; ${linker.version}` };
}
