// DSC57xx: what calling libraries by tvm-ffi's ABI may lack, and what cannot be handed to them.
import { place, thrown } from "../../ir/diagnostic.ts";

export const noLibrary = thrown<{ tried: readonly string[] }>("DSC5701", {
  name: "no libtvm_ffi",
  means:
    "dsc/tvm calls libraries through libtvm_ffi, which is found and never bundled: what DSC_TVM names (the library, " +
    "its folder, or site-packages), the Python that DSC_PYTHON names, or the loader's own path. The notes say what " +
    "was tried.",
  example: "node -e 'import(\"dsc/tvm\").then((t) => t.about())' where there is none.",
  fix: "pip install apache-tvm-ffi, and name the Python by DSC_PYTHON.",
  at: () => [place("libtvm_ffi")],
  short: ({ tried }) => ({
    title: "libtvm_ffi cannot be opened",
    notes: [...tried],
    help: "pip install apache-tvm-ffi, and name the Python that has it by DSC_PYTHON, or the library or its folder by DSC_TVM",
  }),
});

export const otherVersion = thrown<{ library: string; version: string }>("DSC5702", {
  name: "another version of tvm-ffi",
  means: "The C ABI of tvm-ffi is known here as it is in 0.1. Another version may lay out its values otherwise.",
  example: "DSC_TVM names a library of 0.2.",
  fix: "Name a library of 0.1.",
  at: ({ library }) => [place(library)],
  short: ({ library, version }) => ({
    title: `${library} is tvm-ffi ${version}; its C ABI is known here for 0.1`,
    help: "name a library of 0.1 by DSC_TVM",
  }),
});

export const cannotPass = thrown<{ what: string; why: string; help: string }>("DSC5703", {
  name: "a value that cannot be passed",
  means:
    "tvm-ffi has ints of 64 bits, floats, booleans, strings, bytes, tensors and objects. The title says what was " +
    "given, and why it is none of them.",
  example: "f.call({}) of a function of dsc/tvm.",
  fix: "Lists become one by array(), maps by map(), functions by callback().",
  at: () => [place("dsc/tvm")],
  short: ({ what, why, help }) => ({ title: `${what} cannot be passed to tvm-ffi: ${why}`, help }),
});

export const disposed = thrown<{ what: string }>("DSC5704", {
  name: "an object that was disposed of",
  means: "dispose() gave the object's reference back; what lay behind it may be gone.",
  example: "module.dispose() and then module.get(...).",
  fix: "Dispose when nothing needs it any more, or leave it to the garbage collector.",
  at: () => [place("dsc/tvm")],
  short: ({ what }) => ({
    title: `${what} was disposed of`,
    help: "dispose when nothing needs the object any more, or leave it to the garbage collector",
  }),
});

export const noFunction = thrown<{ name: string; where: string }>("DSC5705", {
  name: "no such function in a library",
  means: "A library exports its functions as __tvm_ffi_NAME; global functions are in the table that names() lists.",
  example: 'module.get("ad") of a library that exports __tvm_ffi_add.',
  fix: "Give a name that is there; has() asks.",
  at: ({ where }) => [place(where)],
  short: ({ name, where }) => ({
    title: `${where} has no function ${name}`,
    help: "a library exports it as __tvm_ffi_NAME; global functions are listed by names()",
  }),
});

export const notSeen = thrown<{ what: string; why: string }>("DSC5706", {
  name: "a tensor that is no array",
  means:
    "view() shows contiguous tensors in the CPU's memory where they lie, and this one is on a device, strided, or of " +
    "a type without a name here.",
  example: "view() of a tensor on a GPU.",
  fix: "Its address, shape, dtype and device are there for any; copy it with the library's own functions first.",
  at: () => [place("dsc/tvm")],
  short: ({ what, why }) => ({
    title: `${what} cannot be seen as an array: ${why}`,
    help: "view() takes contiguous tensors in the CPU's memory; address, shape and dtype are there for any",
  }),
});

export const noTvm = thrown<object>("DSC5707", {
  name: "no runtime of TVM",
  means:
    "Libraries that TVM compiled take its runtime for granted. It is found and never bundled: beside what DSC_TVM names, or in the " +
    "Python that DSC_PYTHON names.",
  example: "loadTvm() where only tvm-ffi is installed.",
  fix: "pip install apache-tvm, and name the Python by DSC_PYTHON.",
  at: () => [place("libtvm_runtime")],
  short: () => ({
    title: "libtvm_runtime is not found",
    help: "pip install apache-tvm, and name the Python that has it by DSC_PYTHON, or its folder by DSC_TVM",
  }),
});
