// Public entry of the package (dsc): compile a model, load it, generate. What it gives of the runtime is the whole of dsc/runtime.
export * from "../runtime/index.ts";
export { compile, type Artifact, type CompileCall } from "./api/compile.ts";
export { load, type LoadCall } from "./api/load.ts";
export type { CompileSettings } from "./api/options.ts";
export { checkPlugin, type Checked, type Finding } from "./plugin/check.ts";
export type { PassProof } from "./driver/prove-passes.ts";
