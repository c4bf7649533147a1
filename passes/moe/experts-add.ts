// Few tokens through their experts: from the router's choice to the next residual every step but the two products moves next to
// nothing, so
// all are one op and a target may make as few launches of it as it can. More rows are worth a launch for each step, and keep
// them.
import {
  expertsAdd as expertsAddOp,
  isWeight,
  mapExperts,
  plainExpertsAdd,
  quantize,
  route,
  routeExpertsAdd,
  routePlainExpertsAdd,
  type Value,
} from "../../ir/index.ts";
import type { Body, Ran } from "../contract.ts";
import { scaledLinears } from "../fp8/fp8-block-gemm.ts";
import { fusion } from "../fusion.ts";
import { pass } from "../pass.ts";
import { bf16Experts } from "./bf16-experts.ts";
import { FEW, tooMany } from "../residual/few.ts";
import type { MatchContext } from "../rule.ts";
import { besideExperts } from "./shared-expert.ts";

// Rows of bf16 only: no target has a kernel for others.
const vars = { residual: "[T, d] bf16" };

/** Experts that every token visits: the router's attribute, where the choice is a router's. */
const sharedOf = ({ indices: { node } }: { indices: Value }): { shared: number } => ({
  shared: route.made(node) ? node.attrs.shared : 0,
});

function storedAndFew(v: { x: Value; gateUp: Value; down: Value }, cx: MatchContext): string | null {
  if (![v.gateUp, v.down].every(isWeight)) return "the matrices are no stored weights";
  return tooMany(v.x, cx.assume);
}

/** Whether the op whose choice is looked at is its only reader. */
function soleReader(cx: MatchContext): string | null {
  const [indices, weights] = cx.root.operands.slice(3);
  return cx.uses(indices) > 1 || cx.uses(weights) > 1 ? "the choice of experts is read elsewhere too (--taps)" : null;
}

const gate = { act: "silu", limit: 0 } as const;
const routingOf = {
  topk: 2,
  groups: 4,
  kept: 2,
  scoring: "sigmoid",
  method: "noaux_tc",
  normalise: true,
  factor: 2.5,
  shared: 1,
};
const routedSizes = {
  sizes: { T: 5, q: 8 },
  ties: ({ q, shared }: Readonly<Record<string, number>>): { e: number } => ({ e: q + shared }),
};

/** residual + combine(down(gated_quant(gate_up(gather x)))) */
const fewTokens = fusion("experts of few tokens in one op", expertsAddOp, {
  vars,
  attrs: { scale: "f32", ...gate },
  sizes: { e: 3, j: 2 },
  also: sharedOf,
  when: storedAndFew,
});

/** experts_add(.., route(logits)) */
const routeInside = fusion("route where the experts are", routeExpertsAdd, {
  vars,
  attrs: { ...routingOf, scale: "f32", ...gate },
  when: (_, cx) => soleReader(cx),
  ...routedSizes,
});

const plainVars = { x: "[T, k] bf16", gateUp: "[e, 2, n, k] bf16", down: "[e, d, n] bf16", residual: "[T, d] bf16" };

/** residual + combine(down(gated_gate_up(gather x))) */
const fewPlain = fusion("experts of few tokens, without scales, in one op", plainExpertsAdd, {
  vars: plainVars,
  attrs: gate,
  sizes: { e: 3, j: 2 },
  also: sharedOf,
  when: storedAndFew,
});

/** plain_experts_add(.., route(logits, bias)) */
const routePlain = fusion("route where the experts without scales are", routePlainExpertsAdd, {
  vars: { ...plainVars, bias: "[q] f32" },
  attrs: { ...routingOf, ...gate },
  when: (_, cx) => soleReader(cx),
  ...routedSizes,
});

/** plain_experts_add(.., route(logits)) */
const routePlainUnbiased = fusion("route without a bias where the experts without scales are", routePlainExpertsAdd, {
  vars: plainVars,
  attrs: { ...routingOf, scoring: "softmax", method: "group_limited_greedy", normalise: false, ...gate },
  when: (_, cx) => soleReader(cx),
  ...routedSizes,
});

const takesFew = (b: Body): boolean => b.act === "bf16" && b.rows <= FEW;

/**
 * Sites where nothing is added with the experts' rows but the residual: a shared expert that stands apart is added with the
 * routed ones.
 */
const alone = (sites: number, ran: Ran, b: Body): number =>
  ran.pass("moe-dispatch", "pack-gate-up", "combine-add") &&
  (besideExperts(b) === 0 || ran.fired("shared expert as a routed one") > 0)
    ? sites
    : 0;

export const expertsAdd = pass({
  name: "experts-add",
  summary: "Few tokens through their experts, from the router's choice to the next residual, as one op.",
  rules: [fewTokens, routeInside, fewPlain, routePlain, routePlainUnbiased],
  promises: [
    {
      rules: [fewTokens.name],
      before: (b) => (takesFew(b) && b.all(quantize).length > 0 ? b.all(mapExperts).length : 0),
      after: (sites, ran, b) => (ran.pass("fp8-block-gemm", "quantise-once", "fuse-quant") ? alone(sites, ran, b) : 0),
    },
    {
      rules: [fewPlain.name],
      before: (b) => (takesFew(b) && scaledLinears(b) === 0 ? bf16Experts(b).length : 0),
      after: alone,
    },
  ],
});
