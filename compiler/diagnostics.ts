// DSC6xxx: what can be wrong with a command, with what it is asked for and with where its output goes; DSC9000 for a fault of dsc.
export { onValue, shellWord } from "./diagnostics/command-line.ts";
export * from "./diagnostics/edit.ts";
export * from "./diagnostics/machine.ts";
export * from "./diagnostics/model.ts";
export * from "./diagnostics/output.ts";
export * from "./diagnostics/proof.ts";
export * from "./diagnostics/tvm.ts";
export * from "./diagnostics/usage.ts";
