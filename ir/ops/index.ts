// The list of ops, in docs order, the fused ones last. Nothing registers itself on import: what fused.ts exports is a fused op.
import { frozenMap } from "../freeze.ts";
import type { Op } from "../op.ts";
import { broughtWords } from "../vocabulary.ts";
import * as attention from "./attention.ts";
import * as collective from "./collective.ts";
import * as dense from "./dense.ts";
import * as expert from "./expert.ts";
import * as fused from "./fused.ts";
import * as gated from "./gated.ts";
import * as math from "./math.ts";
import * as module from "./module.ts";
import * as norm from "./norm.ts";
import * as quant from "./quant.ts";
import * as view from "./view.ts";

/** Every op of dsc, in the order of the docs. */
export const ops: readonly Op[] = Object.freeze([
  module.weightOp,
  module.paramOp,
  module.callOp,
  dense.embed.op,
  dense.linear.op,
  dense.blockLinear.op,
  dense.groupedLinear.op,
  norm.rmsNorm.op,
  quant.quantize.op,
  quant.dequantize.op,
  attention.rope.op,
  attention.cacheAppend.op,
  attention.mapSequences.op,
  attention.softmaxCausal.op,
  attention.attend.op,
  attention.mlaAttend.op,
  expert.route.op,
  expert.mapExperts.op,
  expert.sortExperts.op,
  expert.gatherRows.op,
  expert.combine.op,
  math.add.op,
  math.mul.op,
  math.scale.op,
  math.constantOp.op,
  gated.gated.op,
  gated.gatedPair.op,
  math.addBias.op,
  math.argmax.op,
  math.einsumOp.op,
  view.reshape.op,
  view.split.op,
  view.concat.op,
  view.stack.op,
  view.joinRows.op,
  view.joinExperts.op,
  view.pad.op,
  view.lastRows.op,
  // What is declared in fused.ts, by name, behind these.
  collective.allReduce.op,
  collective.allGather.op,
  collective.reduceScatter.op,
  collective.allToAll.op,
  collective.once.op,
  collective.pickMax.op,
  collective.ownExperts.op,
  ...Object.values(fused).map((f) => f.op),
]);

/** The ops of dsc by name. */
export const opByName: ReadonlyMap<string, Op> = frozenMap(ops.map((o) => [o.name, o] as const));

/** The op of that name: of dsc, or of a plug-in at work. */
export const opNamed = (name: string): Op | undefined => opByName.get(name) ?? broughtWords().ops.find((o) => o.name === name);

export { attend, cacheAppend, mapSequences, mlaAttend, perSequence, rope, softmaxCausal } from "./attention.ts";
export { allGather, allReduce, allToAll, once, ownExperts, partOf, pickMax, reduceScatter } from "./collective.ts";
export { blockLinear, embed, groupedLinear, linear } from "./dense.ts";
export { combine, gatherRows, mapExperts, perExpert, route, sortExperts } from "./expert.ts";
export * from "./fused.ts";
export { gated, gatedPair } from "./gated.ts";
export { add, addBias, argmax, canonicalSpec, constant, constantOp, einsum, einsumOp, mul, parseSpec, scale } from "./math.ts";
export { call, callOp, callOf, param, paramOp, weight, weightOp } from "./module.ts";
export { rmsNorm } from "./norm.ts";
export { dequantize, quantize } from "./quant.ts";
export { concat, joinExperts, joinRows, lastRows, pad, reshape, split, stack } from "./view.ts";
