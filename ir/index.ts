// Public entry point dsc/ir: everything a pass or plug-in author needs to build, read and check graphs.
export { attr, type AttrKind, type Attrs, type AttrValue } from "./attr.ts";
export * from "./artifact.ts";
export { bytesOf, costOf, costOfFunc, ofWeights, slicesOf, weightOnly, type Assume, type Cost } from "./cost.ts";
export {
  coded,
  DiagnosticError,
  didYouMean,
  render,
  thrown,
  type Coded,
  type Diagnostic,
  type Form,
  type Span,
} from "./diagnostic.ts";
export {
  bodyOf,
  captures,
  Graph,
  isWeight,
  topological,
  Value,
  weightName,
  type Func,
  type Module,
  type NamedValue,
  type Node,
  type Region,
  type WeightDecl,
} from "./graph.ts";
export { fused, type FusedBuilder } from "./fused.ts";
export { interpret, interpretRanks, tensorOf, type Batch, type Caches, type Inputs, type Tensor } from "./interpret.ts";
export { dtypeOf, formats, isDType, isScaled, scaleShape, storageBytes, type Block, type Storage } from "./dtype.ts";
export { keyOf, make, op, remade, type NodeOf, type Op } from "./op.ts";
export * from "./ops/index.ts";
export { meshOf, meshWords, parseMesh, partOfRank, partsAlong, printMesh, type Mesh, type MeshAxis } from "./mesh.ts";
export { joinOrigins, printOrigins, type Origin } from "./origin.ts";
export { parseModule } from "./parse.ts";
export { everyNode, printFunc, printModule } from "./print.ts";
export { add as addSize, ceildiv, evaluate, mul as mulSize, printSize, type Dims, type Size } from "./size.ts";
export {
  asTensor,
  batchType,
  cacheType,
  dtypes,
  fixed,
  partsOf,
  printType,
  product,
  sameType,
  sizeOf,
  tensor,
  times,
  type Dim,
  type DType,
  type TensorType,
  type Type,
} from "./types.ts";
export { verify } from "./verify.ts";
export type { KernelText, Launch, Param, Problem } from "./kernel/catalogue.ts";
