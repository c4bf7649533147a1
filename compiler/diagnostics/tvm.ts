// DSC605x: what compiling kernels by TVM may lack, and how it may end.
import { coded, place } from "../../ir/diagnostic.ts";
import { onCommandLine } from "./command-line.ts";

export const noTvmCompiler = coded<{ pinned: string; found?: string | undefined }>("DSC6050", {
  name: "no TVM to compile with",
  means:
    "--target tvm compiles kernels by TVM's own libraries (libtvm_compiler, libtvm_runtime and libtvm_ffi), which are found and never " +
    "bundled: beside what DSC_TVM names, or in the Python that DSC_PYTHON names. Of Python nothing runs.",
  example: "dsc compile SRC -o OUT --target tvm where there is no TVM.",
  fix: "pip install apache-tvm of the version that dsc doctor names, and name the Python by DSC_PYTHON, or its site-packages by DSC_TVM.",
  at: () => [onCommandLine("--target")],
  short: ({ pinned, found }) => ({
    title: "--target tvm: libtvm_compiler is not found",
    notes: found === undefined ? [] : [`there is none in ${found}`],
    help: `pip install apache-tvm==${pinned}.*, and name the Python that has it by DSC_PYTHON, or its site-packages by DSC_TVM`,
  }),
});

export const otherTvm = coded<{ pinned: string; version: string; folder: string }>("DSC6051", {
  name: "another version of TVM",
  means:
    "TVM's constructors change their names with every minor release, so that one version is known here, and another is not tried.",
  example: "DSC_TVM names the packages of a TVM of 0.26.",
  fix: "Install the version that dsc doctor names, beside others if need be, and name it by DSC_PYTHON or DSC_TVM.",
  at: ({ folder }) => [place(folder)],
  short: ({ pinned, version }) => ({
    title: `TVM is ${version}; its constructors are known here for ${pinned}`,
    help: `pip install apache-tvm==${pinned}.*`,
  }),
});

export const tvmFailed = coded<{ how: string; said: readonly string[] }>("DSC6052", {
  name: "TVM made no library",
  means: "TVM compiles in a process of its own. It ended before there was an object file, or said why there is none.",
  example: "A system that ends processes when memory is short ends this one.",
  fix: "See what it says. If the kernels are as dsc wrote them, please report it.",
  at: () => [place("TVM")],
  short: ({ how, said }) => ({
    title: `TVM made no library: ${how}`,
    notes: [...said],
    help: "compile again where there is more memory, or with --target c or cpu; if the kernels are as dsc wrote them, please report it",
  }),
});

export const noLinker = coded<{ tried: readonly string[]; said: readonly string[] }>("DSC6053", {
  name: "no linker",
  means: "What TVM compiles is an object file, which a linker makes a shared library of: LD of the environment, ld or ld.lld.",
  example: "LD=/nonexistent dsc compile SRC -o OUT --target tvm",
  fix: "Install binutils or lld, or name a linker by LD.",
  at: () => [onCommandLine()],
  short: ({ tried, said }) => ({
    title: `no linker makes a library: ${tried.join(", ")}`,
    notes: [...said],
    help: "install binutils or lld, or name one: LD=/path/to/ld",
  }),
});

export const notNative = coded<{ why: readonly string[] }>("DSC6054", {
  name: "native is WebAssembly (warning)",
  means:
    "--target native makes machine code by a C compiler, else by TVM. Neither can here, and " +
    "kernels are WebAssembly, as by --target cpu.",
  example: "CC=/nonexistent dsc compile SRC -o OUT --target native",
  fix: "Install gcc or clang, or TVM; --target cpu says the same without this note.",
  severity: "warning",
  at: () => [onCommandLine("--target")],
  short: ({ why }) => ({
    title: "--target native: kernels are WebAssembly",
    notes: [...why],
    help: "dsc doctor shows what is found; --target cpu leaves this note out",
  }),
});
