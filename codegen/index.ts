// Public entry point dsc/codegen: write a tile program, print it for any target, ask which kernels serve which op.
export { f, kernel, x, type Body } from "../ir/kernel/build.ts";
export { printKernel } from "../ir/kernel/print.ts";
export type { BufferParam, Kernel, Stmt, Tile } from "../ir/kernel/stmt.ts";
export { chooseTiles, type Choose } from "./choose.ts";
export { h200 } from "./cuda/arch/h200.ts";
export { printCuda } from "./cuda/printed/print.ts";
export { families, type FamilyName } from "./kernels/index.ts";
export type { Built, TargetBackend } from "./backend.ts";
export { targetOf } from "./target.ts";
export { printTriton } from "./triton/print.ts";
