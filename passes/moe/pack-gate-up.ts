// Gate and up in one GEMM. Packing stacks the two matrices as parts, so that scale blocks of one never mix with the
// other's, whatever the width (fixture a07: 72 rows are less than a block).
import { blockLinear, groupedLinear, groupedLinearSilu, isWeight, linear, mul, silu, siluMul, stack } from "../../ir/index.ts";
import { inEach } from "../contract.ts";
import { fusion } from "../fusion.ts";
import { pass } from "../pass.ts";
import { FEW } from "../residual/fuse-linear.ts";
import { rule } from "../rule.ts";
import { placeStacks } from "../plan/load.ts";

/** silu(x Gᵀ) * (x Uᵀ) = silu_mul(x [G; U]ᵀ) */
const packDense = rule("pack gate and up", {
  vars: { x: "[..b, k] a", gate: "[n, k] w", up: "[n, k] w" },
  attrs: { dtype: "same" },
  from: ({ x, gate, up, dtype }) => mul({ a: silu({ x: linear({ x, w: gate, dtype }) }), b: linear({ x, w: up, dtype }) }),
  to: ({ x, gate, up, dtype }) => siluMul({ x: linear({ x, w: stack({ a: gate, b: up }), dtype }) }),
  when: ({ gate, up }) => (isWeight(gate) && isWeight(up) ? null : "only stored weights can be packed"),
});

/** The same over block-scaled weights. */
const packBlock = rule("pack gate and up in blocks", {
  vars: { x: "[..b, k] a", gate: "[n, k] e4m3/128x128", up: "[n, k] e4m3/128x128" },
  attrs: { dtype: "f32" },
  from: ({ x, gate, up, dtype }) =>
    mul({ a: silu({ x: blockLinear({ x, w: gate, dtype }) }), b: blockLinear({ x, w: up, dtype }) }),
  to: ({ x, gate, up, dtype }) => siluMul({ x: blockLinear({ x, w: stack({ a: gate, b: up }), dtype }) }),
  when: ({ gate, up }) => (isWeight(gate) && isWeight(up) ? null : "only stored weights can be packed"),
});

/** The same for every expert at once. */
const packExperts = rule("pack gate and up of every expert", {
  vars: { x: "[r, k] a", gate: "[e, n, k] w", up: "[e, n, k] w", offsets: "[f] i32" },
  attrs: { dtype: "f32" },
  from: ({ x, gate, up, offsets, dtype }) =>
    mul({ a: silu({ x: groupedLinear({ x, w: gate, offsets, dtype }) }), b: groupedLinear({ x, w: up, offsets, dtype }) }),
  to: ({ x, gate, up, offsets, dtype }) => siluMul({ x: groupedLinear({ x, w: stack({ a: gate, b: up }), offsets, dtype }) }),
  when: ({ gate, up }) => (isWeight(gate) && isWeight(up) ? null : "only stored weights can be packed"),
  sizes: { r: 4 },
  ties: ({ e }) => ({ f: e + 1 }),
});

/**
 * silu_mul(grouped(x, [G; U])) where a prompt's rows are many: they are not written and read at twice their width. Few tokens keep
 * their parts: experts-add takes all of them at once.
 */
export const gateExperts = fusion("gate inside the experts' product", groupedLinearSilu, {
  vars: { x: "[r, k] bf16", w: "[e, 2, n, k] bf16" },
  attrs: { dtype: "bf16" },
  sizes: { r: 4 },
  ties: ({ e }) => ({ f: Number(e) + 1 }),
  when(_, { assume, uses, root }) {
    if (uses(root.operands[0]) > 1) return "gate and up are read elsewhere too";
    const tokens = assume.T ?? Infinity;
    return tokens <= FEW ? `${tokens} tokens at the sizes assumed: their experts are one op (experts-add)` : null;
  },
});

export const packGateUp = pass({
  name: "pack-gate-up",
  summary: "One GEMM for gate and up; the weight is read where it belongs, its scale blocks kept apart.",
  rules: [packDense, packBlock, packExperts, gateExperts],
  steps: { place: "a stack of two stored weights" },
  whole: placeStacks,
  // Block-scaled matrices are packed as fp8-block-gemm leaves them, those of experts as moe-dispatch does.
  expect({ bodies, ran, ledger }) {
    const plain = bodies.filter((b) => b.scaled === 0 || ran.has("fp8-block-gemm"));
    return [
      ...inEach(
        plain,
        [packDense.name, packBlock.name],
        (b) => b.gated - ledger.fired(["shared expert as a routed one"], b.func),
      ),
      ...inEach(plain, [packExperts.name], (b) => (ran.has("moe-dispatch") ? b.experts : 0)),
      ...inEach(
        plain.filter((b) => b.act === "bf16" && b.rows > FEW && b.scaled === 0),
        [gateExperts.name],
        (b) => (ran.has("moe-dispatch") ? b.experts : 0),
      ),
    ];
  },
});
