// Queries and the cached row begin with one product each, of the same rows: W_q (or W_qa) and W_kva. Below each other
// they are one product, and its halves are strided views. Two roots are no pattern, so the pass looks for them itself.
import {
  addBias,
  blockLinear,
  concat,
  everyNode,
  fixed,
  isScaled,
  isWeight,
  joinRows,
  make,
  linear,
  rmsNorm,
  split,
  type Func,
  type Node,
  type Value,
} from "../../ir/index.ts";
import { asTensor } from "../../ir/types.ts";
import { inEach } from "../contract.ts";
import { pass, type Cx } from "../pass.ts";
import { placeJoined } from "../plan/load.ts";
import { rebuild } from "../rewrite.ts";
import { rule } from "../rule.ts";

/** [x Aᵀ | x Bᵀ] = x [A; B]ᵀ */
const joinDense = rule("join q_a and kv_a", {
  vars: { x: "[..b, k] a", first: "[n, k] w", second: "[m, k] w" },
  attrs: { dtype: "same" },
  from: ({ x, first, second, dtype }) => concat({ a: linear({ x, w: first, dtype }), b: linear({ x, w: second, dtype }) }),
  to: ({ x, first, second, dtype }) => linear({ x, w: joinRows({ a: first, b: second }), dtype }),
  looks: "linear(x, first) and linear(x, second), the second of which makes the cached row",
});

/** The same over block-scaled weights: the second matrix has to begin where a block of 128 rows does. */
const joinBlock = rule("join q_a and kv_a in blocks", {
  vars: { x: "[..b, k] a", first: "[n, k] e4m3/128x128", second: "[m, k] e4m3/128x128" },
  attrs: { dtype: "f32" },
  from: ({ x, first, second, dtype }) =>
    concat({ a: blockLinear({ x, w: first, dtype }), b: blockLinear({ x, w: second, dtype }) }),
  to: ({ x, first, second, dtype }) => blockLinear({ x, w: joinRows({ a: first, b: second }), dtype }),
  looks: "block_linear(x, first) and block_linear(x, second), the second of which makes the cached row",
  sizes: { m: 5 },
  // The second matrix begins where a block of rows does.
  ties: ({ n }) => ({ n: Math.ceil(n / 128) * 128 }),
});

const isProduct = (n: Node): boolean => (linear.made(n) || blockLinear.made(n)) && isWeight(n.operands[1]);

/** The product that makes the cached row, found from where the row is appended: norm, split and bias lie between. */
function latentOf(f: Func): Node | undefined {
  const append = everyNode(f).find((n) => n.op.traits.appends);
  let made = append?.operands[1].node;
  while (made && (rmsNorm.made(made) || split.made(made) || addBias.made(made))) made = made.operands[0].node;
  return made && isProduct(made) ? made : undefined;
}

export const joinLatents = pass({
  name: "join-latents",
  summary: "One product for the first matrices of queries and of the cached row; its halves are strided views.",
  equations: [joinDense, joinBlock],
  run(f: Func, cx: Cx): Func {
    const latent = latentOf(f);
    if (!latent) return f;
    const [x, second] = latent.operands;
    const partner = everyNode(f).find(
      (n) =>
        n !== latent &&
        n.op === latent.op &&
        isProduct(n) &&
        n.operands[0] === x &&
        asTensor(n.operands[1].type).dims.length === 2,
    );
    const rule = linear.made(latent) ? joinDense.name : joinBlock.name;
    if (!partner) {
      cx.unmatched(rule, "no other product of a stored matrix reads the same rows", latent.results[0]);
      return f;
    }
    const first = partner.operands[1];
    const [a, b] = [asTensor(first.type), asTensor(second.type)];
    if (a.dtype !== b.dtype || partner.attrs.dtype !== latent.attrs.dtype) {
      cx.unmatched(rule, `the matrices are ${a.dtype} and ${b.dtype}`, latent.results[0]);
      return f;
    }
    const at = fixed(a.dims[0]);
    if (isScaled(a.dtype) && at % 128 !== 0) {
      cx.declined(
        rule,
        `${at} rows of the first matrix are no multiple of 128: one row of block scales would cover rows of both`,
        latent.results[0],
      );
      return f;
    }
    const graph = cx.module.graph;
    let halves: { left: Value; right: Value } | undefined;
    const out = rebuild(f, graph, (rebuilt, original) => {
      if (original !== latent && original !== partner) return undefined;
      if (!halves) {
        const w = joinRows({ a: first, b: second });
        const xs = rebuilt[0].node.operands[0];
        const origins = [...graph.originsOf(latent), ...graph.originsOf(partner)];
        const joined = graph.from(origins, () => make(latent.op, [xs, w], latent.attrs)[0]);
        halves = split({ x: graph.name(joined, "qa_a"), at });
      }
      return [original === partner ? halves.left : halves.right];
    });
    cx.fired(rule, { at: latent.results[0] });
    return out;
  },
  steps: { place: "two stored matrices, one below the other" },
  whole: placeJoined,
  expect: ({ bodies, ran }) =>
    inEach(bodies, [joinDense.name, joinBlock.name], (b) => (b.scaled === 0 || ran.has("fp8-block-gemm") ? b.attention : 0)),
});
