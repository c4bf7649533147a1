// A residual sum and the norm after it: one visit of the row gives the sum, its norm and, where a quantised product follows, its codes.
import {
  add,
  addNorm as addNormOp,
  addNormBoth,
  addNormQuant,
  blockLinearAdd,
  gatedLinearAdd,
  linearAdd,
  normBlockLinear,
  normLinear,
  rmsNorm,
  type Node,
  type Value,
} from "../../ir/index.ts";
import { fusion } from "../fusion.ts";
import { pass } from "../pass.ts";

/** Whether a norm is one of a residual sum. */
export const ofSum = (norm: Node): boolean => add.made(norm.operands[0].node);

/** Sums and norms that a product has taken in, and rows that another function made. */
function otherwise({ node }: Value): { declined: string } | { unmatched: string } | null {
  const x = node.operands[0]?.node;
  const norms = rmsNorm.made(node) || normLinear.made(node) || normBlockLinear.made(node);
  if (!norms) return null;
  if ([linearAdd, gatedLinearAdd, blockLinearAdd].some((p) => p.made(x)))
    return { declined: "the product before the sum adds it up" };
  // A bias stands between product and sum, so the sum is no product's; the norm is one's all the same.
  if (!rmsNorm.made(node)) return add.made(x) ? { declined: "the product after the norm normalises its rows itself" } : null;
  return x.leaf ? { unmatched: "the row is a parameter: what made it is in the function before" } : null;
}

/** a + b and rms_norm(a + b) */
const sumNorm = fusion("add and normalise", addNormOp, { otherwise });

/** a + b and quantize(rms_norm(a + b)): the normalised row is not written. */
const sumNormQuant = fusion("add, normalise and quantise", addNormQuant, {
  when: (_, { uses, root }) => (uses(root.operands[0]) > 1 ? "something else reads the normalised row" : null),
  site: (codes) => codes.node.operands[0],
  widens: sumNorm,
});

/** The same where something else, the router, reads the normalised row as it is. */
const sumNormBoth = fusion("add, normalise, keep the row and its codes", addNormBoth, {
  site: (codes) => codes.node.operands[0],
  widens: sumNorm,
});

export const addNorm = pass({
  name: "add-norm",
  summary: "Add the residual, normalise and quantise in one visit of the row.",
  rules: [sumNormQuant, sumNormBoth, sumNorm],
  promises: [
    {
      rules: [sumNorm.name, sumNormQuant.name, sumNormBoth.name],
      before: (b) => b.all(rmsNorm).filter(ofSum).length,
    },
  ],
});
