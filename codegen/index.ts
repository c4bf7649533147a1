// Public entry point dsc/codegen: write a tile program, print it for any target, ask which kernels serve which op.
export { f, kernel, x, type Body } from "../ir/kernel/build.ts";
export { printKernel } from "../ir/kernel/print.ts";
export type { BufferParam, Kernel, Stmt, Tile } from "../ir/kernel/stmt.ts";
export type { Arg, Chosen, KernelText, Launch, Site, View } from "../ir/kernel/catalogue.ts";
export { floorText, type Gpu } from "../ir/machine.ts";
export { schedule, type GivenSchedule } from "./brought.ts";
export {
  emitter,
  native,
  onlySchedule,
  type Arch,
  type Emitter,
  type Native,
  type NativeMatch,
  type Schedules,
} from "./cuda/native.ts";
export { cudaKernel, inout, input, output, scalar, tensorMap } from "./cuda/text/kernel.ts";
export { indented, lines } from "./cuda/text/lines.ts";
export { roles } from "./cuda/text/roles.ts";
export { family, one, refuse, strided, type Case, type Family, type Match, type Refusal } from "./family.ts";
export { libraryFunction, type LibraryFunction, type Passed } from "./library-function.ts";
export { act, asRows, elements, float, isPacked, num, result } from "./layouts.ts";
export { chooseTiles, type Choose } from "./choose.ts";
export { h200 } from "./cuda/arch/h200.ts";
export { printCuda } from "./cuda/printed/print.ts";
export { families, type FamilyName } from "./kernels/index.ts";
export type { Built, TargetBackend } from "./backend.ts";
export { targetOf } from "./target.ts";
export { printTriton } from "./triton/print.ts";
