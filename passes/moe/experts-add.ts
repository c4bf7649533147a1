// Few tokens through their experts: from the router's choice to the next residual every step but the two products moves next to nothing, so
// all are one op and a target may make as few launches of it as it can. More rows are worth a launch for each step, and keep them.
import {
  combineAdd,
  expertsAdd as expertsAddOp,
  gatherRows,
  groupedLinear,
  isWeight,
  route,
  routeExpertsAdd,
  siluMulQuant,
  sortExperts,
} from "../../ir/index.ts";
import { inEach } from "../contract.ts";
import { pass } from "../pass.ts";
import { FEW, tooMany } from "../residual/fuse-linear.ts";
import { rule } from "../rule.ts";

/** residual + combine(down(silu_mul_quant(gate_up(gather x)))) */
export const fewTokens = rule("experts of few tokens in one op", {
  vars: { x: "[T, k] e4m3/1x128", gateUp: "[e, 2, n, k] e4m3/128x128", down: "[e, d, n] e4m3/128x128", indices: "[T, j] i32", weights: "[T, j] f32", residual: "[T, d] bf16" },
  attrs: { per: 2, scale: "f32", experts: 2 },
  from({ x, gateUp, down, indices, weights, residual, per, scale, experts }) {
    const { order, offsets, places } = sortExperts({ indices, experts });
    const act = siluMulQuant({ x: groupedLinear({ x: gatherRows({ x, order, per }), w: gateUp, offsets, dtype: "bf16" }), scale });
    return combineAdd({ ys: groupedLinear({ x: act, w: down, offsets, dtype: "bf16" }), places, weights, x: residual });
  },
  to({ x, gateUp, down, indices, weights, residual, scale }) {
    // Experts that every token visits: the router's attribute, where the choice is a router's.
    const { node } = indices;
    const shared = route.made(node) ? node.attrs.shared : 0;
    return expertsAddOp({ x, gateUp, down, indices, weights, residual, scale, shared });
  },
  // Rows of bf16 only: no target has a kernel for others.
  when({ x, gateUp, down }, cx) {
    if (![gateUp, down].every(isWeight)) return "the matrices are no stored weights";
    return tooMany(x, cx.assume);
  },
  ties: ({ experts, per }) => ({ e: experts, j: per }),
});

/** experts_add(.., route(logits)) */
export const routeInside = rule("route where the experts are", {
  vars: { x: "[T, k] e4m3/1x128", gateUp: "[e, 2, n, k] e4m3/128x128", down: "[e, d, n] e4m3/128x128", logits: "[T, q] f32", residual: "[T, d] bf16", bias: "[q] f32" },
  attrs: { topk: 2, groups: 4, kept: 2, scoring: "sigmoid", method: "noaux_tc", normalise: true, factor: 2.5, shared: 1, scale: "f32" },
  from({ x, gateUp, down, logits, residual, bias, scale, shared, ...routing }) {
    const { indices, weights } = route({ logits, bias, shared, ...routing });
    return expertsAddOp({ x, gateUp, down, indices, weights, residual, scale, shared });
  },
  to: (v) => routeExpertsAdd(v),
  when(_, cx) {
    const [indices, weights] = cx.root.operands.slice(3);
    return cx.uses(indices) > 1 || cx.uses(weights) > 1 ? "the choice of experts is read elsewhere too (--taps)" : null;
  },
  sizes: { T: 5, q: 8 },
  ties: ({ q, shared }) => ({ e: q + shared }),
});

export const expertsAdd = pass({
  name: "experts-add",
  summary: "Few tokens through their experts, from the router's choice to the next residual, as one op.",
  rules: [fewTokens, routeInside],
  expect: ({ bodies, ran, ledger }) => {
    const needed = ["fp8-block-gemm", "moe-dispatch", "quantise-once", "pack-gate-up", "combine-add", "fuse-quant"];
    if (!needed.every((p) => ran.has(p))) return [];
    const few = bodies.filter((b) => b.act === "bf16" && b.rows <= FEW && b.quantised);
    // A shared expert that stands apart is added with the routed ones.
    return inEach(few, [fewTokens.name], (b) => (b.shared > 0 && ledger.fired(["shared expert as a routed one"], b.func) === 0 ? 0 : b.experts));
  },
});
