// DSC57xx: what calling libraries by tvm-ffi's ABI may lack, and what cannot be handed to them.
import { DiagnosticError, error, place } from "../../ir/diagnostic.ts";

export const noLibrary = (tried: readonly string[]): DiagnosticError =>
  new DiagnosticError(
    error("DSC5701", "libtvm_ffi cannot be opened", {
      spans: [place("libtvm_ffi")],
      notes: [...tried],
      help: "pip install apache-tvm-ffi, and name the Python that has it by DSC_PYTHON, or the library or its folder by DSC_TVM",
    }),
  );

export const otherVersion = (library: string, version: string): DiagnosticError =>
  new DiagnosticError(
    error("DSC5702", `${library} is tvm-ffi ${version}; its C ABI is known here for 0.1`, {
      spans: [place(library)],
      help: "name a library of 0.1 by DSC_TVM",
    }),
  );

export const cannotPass = (what: string, why: string, help: string): DiagnosticError =>
  new DiagnosticError(error("DSC5703", `${what} cannot be passed to tvm-ffi: ${why}`, { spans: [place("dsc/tvm")], help }));

export const disposed = (what: string): DiagnosticError =>
  new DiagnosticError(
    error("DSC5704", `${what} was disposed of`, {
      spans: [place("dsc/tvm")],
      help: "dispose when nothing needs the object any more, or leave it to the garbage collector",
    }),
  );

export const noFunction = (name: string, where: string): DiagnosticError =>
  new DiagnosticError(
    error("DSC5705", `${where} has no function ${name}`, {
      spans: [place(where)],
      help: "a library exports it as __tvm_ffi_NAME; global functions are listed by names()",
    }),
  );

export const notSeen = (what: string, why: string): DiagnosticError =>
  new DiagnosticError(
    error("DSC5706", `${what} cannot be seen as an array: ${why}`, {
      spans: [place("dsc/tvm")],
      help: "view() takes contiguous tensors in the CPU's memory; address, shape and dtype are there for any",
    }),
  );
