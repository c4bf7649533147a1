// Few tokens through their experts: from the router's choice to the next residual every step but the two products moves next to nothing, so
// all are one op and a target may make as few launches of it as it can. More rows are worth a launch for each step, and keep them.
import { expertsAdd as expertsAddOp, isWeight, route, routeExpertsAdd } from "../../ir/index.ts";
import { inEach } from "../contract.ts";
import { fusion } from "../fusion.ts";
import { pass } from "../pass.ts";
import { FEW, tooMany } from "../residual/fuse-linear.ts";

// Rows of bf16 only: no target has a kernel for others.
const vars = { residual: "[T, d] bf16" };

/** residual + combine(down(gated_quant(gate_up(gather x)))) */
const fewTokens = fusion("experts of few tokens in one op", expertsAddOp, {
  vars,
  attrs: { scale: "f32", act: "silu", limit: 0 },
  sizes: { e: 3, j: 2 },
  // Experts that every token visits: the router's attribute, where the choice is a router's.
  also: ({ indices: { node } }) => ({ shared: route.made(node) ? node.attrs.shared : 0 }),
  when({ x, gateUp, down }, cx) {
    if (![gateUp, down].every(isWeight)) return "the matrices are no stored weights";
    return tooMany(x, cx.assume);
  },
});

/** experts_add(.., route(logits)) */
const routeInside = fusion("route where the experts are", routeExpertsAdd, {
  vars,
  attrs: {
    topk: 2,
    groups: 4,
    kept: 2,
    scoring: "sigmoid",
    method: "noaux_tc",
    normalise: true,
    factor: 2.5,
    shared: 1,
    scale: "f32",
    act: "silu",
    limit: 0,
  },
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
    return inEach(few, [fewTokens.name], (b) =>
      b.shared > 0 && ledger.fired(["shared expert as a routed one"], b.func) === 0 ? 0 : b.experts,
    );
  },
});
