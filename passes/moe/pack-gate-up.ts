// Gate and up in one GEMM. Packing stacks the two matrices as parts, so that scale blocks of one never mix with the
// other's, whatever the width (fixture a07: 72 rows are less than a block).
import {
  blockLinear,
  bodyOf,
  gated,
  gatedPair,
  groupedLinear,
  groupedLinearGated,
  isWeight,
  linear,
  stack,
  mapExperts,
} from "../../ir/index.ts";
import type { Body, Ran } from "../contract.ts";
import { scaledLinears } from "../fp8/fp8-block-gemm.ts";
import { fusion } from "../fusion.ts";
import { pass } from "../pass.ts";
import { bf16Experts } from "./bf16-experts.ts";
import { rule } from "../rule.ts";
import { placeStacks } from "../plan/load.ts";

/** act(x Gᵀ) * (x Uᵀ) = gated_pair(x [G; U]ᵀ) */
const packDense = rule("pack gate and up", {
  vars: { x: "[..b, k] a", gate: "[n, k] w", up: "[n, k] w" },
  attrs: { dtype: "same", act: "silu", limit: 0 },
  from: ({ x, gate, up, dtype, act, limit }) =>
    gated({ gate: linear({ x, w: gate, dtype }), up: linear({ x, w: up, dtype }), act, limit }),
  to: ({ x, gate, up, dtype, act, limit }) => gatedPair({ x: linear({ x, w: stack({ a: gate, b: up }), dtype }), act, limit }),
  when: ({ gate, up }) => (isWeight(gate) && isWeight(up) ? null : "only stored weights can be packed"),
});

/** The same over block-scaled weights. */
const packBlock = rule("pack gate and up in blocks", {
  vars: { x: "[..b, k] a", gate: "[n, k] e4m3/128x128", up: "[n, k] e4m3/128x128" },
  attrs: { dtype: "f32", act: "silu", limit: 0 },
  from: ({ x, gate, up, dtype, act, limit }) =>
    gated({ gate: blockLinear({ x, w: gate, dtype }), up: blockLinear({ x, w: up, dtype }), act, limit }),
  to: ({ x, gate, up, dtype, act, limit }) =>
    gatedPair({ x: blockLinear({ x, w: stack({ a: gate, b: up }), dtype }), act, limit }),
  when: ({ gate, up }) => (isWeight(gate) && isWeight(up) ? null : "only stored weights can be packed"),
});

/** The same for every expert at once. */
const packExperts = rule("pack gate and up of every expert", {
  vars: { x: "[r, k] a", gate: "[e, n, k] w", up: "[e, n, k] w", offsets: "[f] i32" },
  attrs: { dtype: "f32", act: "silu", limit: 0 },
  from: ({ x, gate, up, offsets, dtype, act, limit }) =>
    gated({
      gate: groupedLinear({ x, w: gate, offsets, dtype }),
      up: groupedLinear({ x, w: up, offsets, dtype }),
      act,
      limit,
    }),
  to: ({ x, gate, up, offsets, dtype, act, limit }) =>
    gatedPair({ x: groupedLinear({ x, w: stack({ a: gate, b: up }), offsets, dtype }), act, limit }),
  when: ({ gate, up }) => (isWeight(gate) && isWeight(up) ? null : "only stored weights can be packed"),
  sizes: { r: 4 },
  ties: ({ e }) => ({ f: e + 1 }),
});

/** gated_pair(grouped(x, [G; U])): the rows of gate and up are not written and read at twice their width. */
const gateExperts = fusion("gate inside the experts' product", groupedLinearGated, {
  vars: { x: "[r, k] bf16", w: "[e, 2, n, k] bf16" },
  attrs: { dtype: "bf16", act: "silu", limit: 0 },
  sizes: { r: 4 },
  ties: ({ e }) => ({ f: Number(e) + 1 }),
  when: (_, { uses, root }) => (uses(root.operands[0]) > 1 ? "gate and up are read elsewhere too" : null),
});

/** Gated products outside regions of experts: dense layers and shared experts. */
export function gatedLayers(b: Body): number {
  const inside = new Set(b.all(mapExperts).flatMap((n) => bodyOf(n.region!)));
  return b.all(gated).filter((n) => !inside.has(n)).length;
}

/** Block-scaled matrices are packed as fp8-block-gemm leaves them, those of experts as moe-dispatch does. */
const isPlain = (b: Body, ran: Ran): boolean => scaledLinears(b) === 0 || ran.pass("fp8-block-gemm");

export const packGateUp = pass({
  name: "pack-gate-up",
  summary: "One GEMM for gate and up; the weight is read where it belongs, its scale blocks kept apart.",
  rules: [packDense, packBlock, packExperts, gateExperts],
  steps: { place: "a stack of two stored weights" },
  whole: placeStacks,
  promises: [
    {
      rules: [packDense.name, packBlock.name],
      before: gatedLayers,
      after: (sites, ran, b) => (isPlain(b, ran) ? sites - ran.fired("shared expert as a routed one") : 0),
    },
    {
      rules: [packExperts.name],
      before: (b) => b.all(mapExperts).length,
      after: (sites, ran, b) => (isPlain(b, ran) && ran.pass("moe-dispatch") ? sites : 0),
    },
    {
      rules: [gateExperts.name],
      before: (b) => (b.act === "bf16" && scaledLinears(b) === 0 ? bf16Experts(b).length : 0),
      after: (sites, ran) => (ran.pass("moe-dispatch") ? sites : 0),
    },
  ],
});
