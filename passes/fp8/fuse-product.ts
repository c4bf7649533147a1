// Products of block-scaled weights take their neighbours in where rows are few, as fuse-linear does it for bf16: the norm and the
// quantisation that make their codes, the residual sum that takes their result.
import { add, blockLinearAdd, dequantize, linear, normBlockLinear, quantize, rmsNorm, type Node } from "../../ir/index.ts";
import { asTensor } from "../../ir/types.ts";
import type { Body } from "../contract.ts";
import { fusion } from "../fusion.ts";
import { pass } from "../pass.ts";
import { ofSum } from "../residual/add-norm.ts";
import { FEW, tooMany } from "../residual/few.ts";

/** residual + block_linear(x, W) */
const addInside = fusion("add the residual inside the block GEMM", blockLinearAdd, {
  vars: { residual: "[..b, n] bf16" },
  when({ x }, cx) {
    if (cx.uses(cx.root.operands[1]) > 1) return "the product is read elsewhere too";
    // One launch gives the sum, its norm and the codes; without the sum it would be two.
    if (cx.readers(cx.root.results[0]).some((n) => rmsNorm.made(n) && cx.uses(n.results[0]) > 1))
      return "the norm of the sum is read as it is and quantised: add-norm takes the sum in";
    return tooMany(x, cx.assume);
  },
});

/** block_linear(quantize(rms_norm x), W) */
const normInside = fusion("normalise and quantise inside the block GEMM", normBlockLinear, {
  // Before fuse-quant: norm and quantisation are still apart.
  inParts: true,
  when({ x }, cx) {
    const codes = cx.root.operands[0];
    if (asTensor(x.type).dtype !== "bf16") return "only rows of bf16 have such a kernel";
    if (cx.uses(codes) > 1 || cx.uses(codes.node.operands[0]) > 1)
      return "the normalised row or its codes are read elsewhere too";
    if (add.made(x.node)) return "the sum before it is no product's: add-norm takes both";
    return tooMany(x, cx.assume);
  },
});

/** Norms, not of a sum, whose codes one product of block-scaled weights reads, and nothing else. */
function soleNorms(b: Body): number {
  const sole = (n: Node, [reader, ...rest]: readonly { made(n: Node): boolean }[]): boolean => {
    const readers = b.readers(n);
    return reader === undefined || (readers.length === 1 && reader.made(readers[0]) && sole(readers[0], rest));
  };
  return b.all(rmsNorm).filter((n) => !ofSum(n) && sole(n, [quantize, dequantize, linear])).length;
}

export const fuseProduct = pass({
  name: "fuse-product",
  summary: "Norm, quantisation and residual sum inside the block GEMMs of few rows.",
  rules: [addInside, normInside],
  promises: [
    {
      rules: [normInside.name],
      // Rows that several matrices read become one matrix's by passes that may be left out; those that only one reads are certain.
      before: (b) => (b.act === "bf16" && b.rows <= FEW ? soleNorms(b) : 0),
      after: (sites, ran) => (ran.pass("fp8-block-gemm") ? sites : 0),
    },
  ],
});
