// A view step before absorption: the joint key-value projection of the cached rows, then reshape and split per head,
// becomes two einsums over the two halves of the weight. Same function, in the form the equations match.
import { asTensor, einsum, linear, reshape, split, type Value } from "../../ir/index.ts";
import { rebuild } from "../rewrite.ts";
import type { Func, Graph } from "../../ir/graph.ts";

/**
 * split(reshape(linear(c, W), [s, h, n+v]), at n) = einsum(sr,hnr->shn; c, W_uk), einsum(sr,hvr->shv; c, W_uv)
 * where W_uk, W_uv = split(reshape(W, [h, n+v, r]), at n) on the row axis. Gives the function and how many were expanded.
 */
export function expandHeads(f: Func, graph: Graph): { func: Func; count: number } {
  let count = 0;
  const func = rebuild(f, graph, (values) => {
    const node = values[0].node;
    if (!split.made(node) || node.attrs.axis !== -1) return undefined;
    const heads = node.operands[0].node;
    const dense = heads.operands[0]?.node;
    if (!reshape.made(heads) || !linear.made(dense)) return undefined;
    const [c, w] = dense.operands;
    const dims = asTensor(heads.results[0].type).dims;
    const [rows, r] = asTensor(w.type).dims;
    // Only rows of the cache are worth it: queries are projected once per token either way.
    if (
      dims.length !== 3 ||
      dims[0] !== "s" ||
      typeof dims[1] !== "number" ||
      typeof dims[2] !== "number" ||
      rows !== dims[1] * dims[2]
    )
      return undefined;
    const halves = split({ x: reshape({ x: w, dims: [dims[1], dims[2], r] }), at: node.attrs.at, axis: -2 });
    graph.name(halves.left, "w_uk");
    graph.name(halves.right, "w_uv");
    count++;
    return [einsum("sr,hnr->shn", c, halves.left), einsum("sr,hvr->shv", c, halves.right)] as readonly Value[];
  });
  return { func, count };
}
