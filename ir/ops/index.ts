// The list of ops, in docs order. Nothing registers itself on import.
import { frozenMap } from "../freeze.ts";
import type { Op } from "../op.ts";
import * as attention from "./attention.ts";
import * as dense from "./dense.ts";
import * as expert from "./expert.ts";
import * as fused from "./fused.ts";
import * as math from "./math.ts";
import * as module from "./module.ts";
import * as norm from "./norm.ts";
import * as quant from "./quant.ts";
import * as view from "./view.ts";

export const ops: readonly Op[] = Object.freeze([
  module.weightOp,
  module.paramOp,
  module.callOp,
  dense.embed.op,
  dense.linear.op,
  dense.blockLinear.op,
  dense.groupedLinear.op,
  fused.normLinear.op,
  fused.linearAdd.op,
  fused.siluLinearAdd.op,
  fused.normBlockLinear.op,
  fused.blockLinearAdd.op,
  norm.rmsNorm.op,
  norm.normQuant.op,
  norm.addNorm.op,
  norm.addNormQuant.op,
  norm.addNormBoth.op,
  norm.siluMulQuant.op,
  quant.quantize.op,
  quant.dequantize.op,
  attention.rope.op,
  attention.cacheAppend.op,
  attention.ropeAppend.op,
  attention.mlaQuery.op,
  attention.mapSequences.op,
  attention.softmaxCausal.op,
  attention.attend.op,
  attention.mlaAttend.op,
  expert.route.op,
  expert.mapExperts.op,
  expert.sortExperts.op,
  expert.gatherRows.op,
  expert.combine.op,
  expert.combineAdd.op,
  expert.expertsAdd.op,
  expert.routeExpertsAdd.op,
  math.add.op,
  math.mul.op,
  math.scale.op,
  math.silu.op,
  math.siluMul.op,
  math.addBias.op,
  math.argmax.op,
  math.einsumOp.op,
  math.einsumQuant.op,
  view.reshape.op,
  view.split.op,
  view.concat.op,
  view.stack.op,
  view.joinRows.op,
  view.joinExperts.op,
  view.pad.op,
  view.lastRows.op,
]);

export const opByName: ReadonlyMap<string, Op> = frozenMap(ops.map((o) => [o.name, o] as const));

export { attend, cacheAppend, mapSequences, mlaAttend, mlaQuery, perSequence, rope, ropeAppend, softmaxCausal } from "./attention.ts";
export { blockLinear, embed, groupedLinear, linear } from "./dense.ts";
export { combine, combineAdd, expertsAdd, gatherRows, mapExperts, perExpert, route, routeExpertsAdd, sortExperts } from "./expert.ts";
export { blockLinearAdd, linearAdd, normBlockLinear, normLinear, siluLinearAdd } from "./fused.ts";
export { add, addBias, argmax, canonicalSpec, einsum, einsumOp, einsumQuant, mul, parseSpec, scale, silu, siluMul } from "./math.ts";
export { call, callOp, callOf, param, paramOp, weight, weightOp } from "./module.ts";
export { addNorm, addNormBoth, addNormQuant, normQuant, rmsNorm, siluMulQuant } from "./norm.ts";
export { dequantize, quantize } from "./quant.ts";
export { concat, joinExperts, joinRows, lastRows, pad, reshape, split, stack } from "./view.ts";
