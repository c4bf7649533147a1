// Queries and the cached row begin with one product each, of the same rows: W_q (or W_qa) and W_kva. Below each other
// they are one product, and its halves are strided views.
import { addBias, blockLinear, isWeight, joinRows, linear, mapSequences, rmsNorm, split, type Value } from "../../ir/index.ts";
import { fixed } from "../../ir/types.ts";
import { scaledLinears } from "../fp8/fp8-block-gemm.ts";
import { pass } from "../pass.ts";
import { placeJoined } from "../plan/load.ts";
import { rule, type Roots, type SiteContext } from "../rule.ts";

/** Whether a product of a stored matrix makes the row that is cached: norm, split and bias lie between it and the append. */
function makesLatent(v: Value, { readers }: SiteContext): boolean {
  if (!isWeight(v.node.operands[1])) return false;
  const open = [v];
  for (let row = open.pop(); row; row = open.pop())
    for (const n of readers(row)) {
      if (n.op.traits.appends && n.operands[1] === row) return true;
      if ((rmsNorm.made(n) || split.made(n) || addBias.made(n)) && n.operands[0] === row) open.push(...n.results);
    }
  return false;
}

const stored = ({ first }: { first: Value }): string | null =>
  isWeight(first) ? null : "the other product is of a matrix that is computed";

/** The halves of a product of joined rows: the first matrix's, the second's. */
function halves(joined: Value, at: unknown): Roots {
  const { left, right } = split({ x: joined.node.graph.name(joined, "qa_a"), at: fixed(at) });
  return { second: right, first: left };
}

/** x Aᵀ and x Bᵀ are the halves of x [A; B]ᵀ */
const joinDense = rule("join q_a and kv_a", {
  vars: { x: "[..b, k] a", first: "[n, k] w", second: "[m, k] w" },
  attrs: { dtype: "same" },
  from: ({ x, first, second, dtype }) => ({ second: linear({ x, w: second, dtype }), first: linear({ x, w: first, dtype }) }),
  to: ({ x, first, second, dtype }, { n }) => halves(linear({ x, w: joinRows({ a: first, b: second }), dtype }), n),
  among: makesLatent,
  when: stored,
  // A matrix has rows.
  ties: ({ n, m }) => ({ n: Math.max(n, 1), m: Math.max(m, 1) }),
});

/** The same over block-scaled weights: the second matrix has to begin where a block of 128 rows does. */
const joinBlock = rule("join q_a and kv_a in blocks", {
  vars: { x: "[..b, k] a", first: "[n, k] e4m3/128x128", second: "[m, k] e4m3/128x128" },
  attrs: { dtype: "f32" },
  from: ({ x, first, second, dtype }) => ({
    second: blockLinear({ x, w: second, dtype }),
    first: blockLinear({ x, w: first, dtype }),
  }),
  to: ({ x, first, second, dtype }, { n }) => halves(blockLinear({ x, w: joinRows({ a: first, b: second }), dtype }), n),
  among: makesLatent,
  when: stored,
  unless: (_, { n }) =>
    fixed(n) % 128 === 0
      ? null
      : `${n} rows of the first matrix are no multiple of 128: one row of block scales would cover rows of both`,
  sizes: { m: 5 },
  // The second matrix begins where a block of rows does.
  ties: ({ n, m }) => ({ n: Math.ceil(Math.max(n, 1) / 128) * 128, m: Math.max(m, 1) }),
});

export const joinLatents = pass({
  name: "join-latents",
  summary: "One product for the first matrices of queries and of the cached row; its halves are strided views.",
  rules: [joinDense, joinBlock],
  steps: { place: "two stored matrices, one below the other" },
  whole: placeJoined,
  promises: [
    {
      rules: [joinDense.name, joinBlock.name],
      before: (b) => b.all(mapSequences).length,
      after: (sites, ran, b) => (scaledLinears(b) === 0 || ran.pass("fp8-block-gemm") ? sites : 0),
    },
  ],
});
