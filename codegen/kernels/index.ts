// The kernel families, by name. A problem (a plain record) in, a tile program out.
import type { Problem } from "../../ir/kernel/catalogue.ts";
import type { Kernel } from "../../ir/kernel/stmt.ts";
import { attend, mlaAttend, softmaxCausal } from "./attention.ts";
import { blockLinear, bmm, dequantizeBlocks, dequantizeRows, groupedLinear, linear } from "./dense.ts";
import { route, sortExperts } from "./expert.ts";
import { cacheAppend, cacheRows, copy, embed, gatherRows, lastRows, rope, ropeAppend } from "./move.ts";
import { addNorm, addNormBoth, addNormQuant, combine, combineAdd } from "./residual.ts";
import { addBias, argmax, flat, normQuant, quantize, rmsNorm, siluMul, siluMulQuant } from "./rows.ts";

const table = {
  embed, rms_norm: rmsNorm, norm_quant: normQuant, add_norm: addNorm, add_norm_quant: addNormQuant, add_norm_both: addNormBoth, quantize, dequantize_rows: dequantizeRows, dequantize_blocks: dequantizeBlocks,
  linear, block_linear: blockLinear, grouped_linear: groupedLinear, bmm, flat, add_bias: addBias, silu_mul: siluMul, silu_mul_quant: siluMulQuant,
  softmax_causal: softmaxCausal, attend, mla_attend: mlaAttend, rope, cache_append: cacheAppend, rope_append: ropeAppend, cache_rows: cacheRows,
  route, sort_experts: sortExperts, gather_rows: gatherRows, combine, combine_add: combineAdd, argmax, last_rows: lastRows, copy,
};

export const families = Object.freeze(table) as unknown as Readonly<Record<string, (p: Problem) => Kernel>>;
export type FamilyName = keyof typeof table;
