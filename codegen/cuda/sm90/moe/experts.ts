// experts_add for a few tokens on sm_90a: two launches from the router's choice to the next residual. More tokens are served by
// the op's parts.
import type { Gpu } from "../../../../ir/machine.ts";
import type { Arg, Site, View } from "../../../../ir/kernel/catalogue.ts";
import { mul } from "../../../../ir/size.ts";
import { refuse, strided, type Refusal } from "../../../family.ts";
import { onlySilu } from "../../../gating.ts";
import { isPacked, num } from "../../../layouts.ts";
import { routeFamily, type RouteProblem } from "../../../kernels/expert.ts";
import { emitter, launchOf, native, type NativeMatch, type Schedules } from "../../native.ts";
import {
  downSchedule,
  gateUpSchedule,
  sliceName,
  illegalSlice,
  type ExpertsProblem,
  type SliceSchedule,
} from "./experts-schedule.ts";
import { expertsDown, type ExpertsDownProblem } from "./experts-down.ts";
import { expertsGateUp } from "./experts-gate-up.ts";
import type { Routing } from "./choice.ts";
import { routesInRows } from "./route-rows.ts";

type GateUpProblem = ExpertsProblem & Routing;

/** Tokens that a kernel takes at most: room for x is the ring's loss, so few have a kernel of their own. */
const TOKENS = [1, 4, 8] as const satisfies SliceSchedule["tokens"][];

/** A schedule for each number of tokens, by the product's own rule. */
const slices = <P extends ExpertsProblem>(
  make: (p: P, tokens: SliceSchedule["tokens"], machine: Gpu) => SliceSchedule,
): Schedules<P, SliceSchedule> => ({
  candidates: (p, machine) => TOKENS.map((t) => make(p, t, machine)),
  illegal: illegalSlice,
  maxRows: (s) => s.tokens,
  name: sliceName,
});

const expertsDownEmitter = emitter<ExpertsDownProblem, SliceSchedule>({
  family: "experts_down",
  schedules: slices(downSchedule),
  emit: expertsDown,
});

/**
 * Sites of an op over the router's choice, and of one that routes: the operands that both have, where the choice lies, and the
 * router.
 */
function partsOf(
  site: Site,
): { ins: View[]; choice: Arg[]; weights: Arg[]; residual: Arg; per: number; routing?: RouteProblem } | Refusal {
  if (site.op === "experts_add") {
    const [indices] = site.ins.slice(3);
    return { ins: site.ins, choice: [{ in: 3 }], weights: [{ in: 4 }], residual: { in: 5 }, per: num(indices.shape[1]) };
  }
  const routed = routeFamily.match({ op: "route", attrs: site.attrs, ins: [site.ins[3], site.ins[5]], outs: [] });
  if ("reason" in routed) return routed;
  const [{ problem: routing }] = routed;
  // Logits are f32 where the router's product gives them so.
  if (routing.act || !routesInRows(routing)) return refuse("a warp a token cannot route so many experts");
  return {
    ins: site.ins,
    choice: [{ in: 3 }, { in: 5 }],
    weights: [],
    residual: { in: 4 },
    per: routing.topk + (routing.shared ?? 0),
    routing,
  };
}

function match(site: Site, machine: Gpu): NativeMatch<GateUpProblem, SliceSchedule> | Refusal {
  const unlike = onlySilu(site.attrs);
  if (unlike) return unlike;
  const found = partsOf(site);
  if ("reason" in found) return found;
  if (site.outs[0].dtype !== "bf16") return refuse("the result is f32");
  if (![...found.ins, site.outs[0]].every(isPacked)) return strided;
  const [x, gateUp, down] = found.ins;
  const [experts, parts, inner, k] = gateUp.shape.map(num);
  const common = {
    experts,
    per: found.per,
    shared: num(site.attrs.shared),
    ...(found.routing ? { routing: found.routing } : {}),
  };
  const back: ExpertsDownProblem = { ...common, n: num(down.shape[1]), k: inner, parts: 1, ue8m0: site.attrs.scale === "ue8m0" };
  const between = { scratch: "gated", dtype: "f32", shape: [mul(x.shape[0], common.per), inner] } as const;
  const dims = [x.shape[0]];
  const backArgs: Arg[] = [
    { in: 2 },
    between,
    { in: 2, part: "scales" },
    ...found.choice,
    ...found.weights,
    found.residual,
    { out: 0 },
  ];
  return {
    problem: { ...common, n: parts * inner, k, parts: 2 },
    rows: x.shape[0],
    dims,
    args: () => [{ in: 1 }, { in: 0 }, { in: 0, part: "scales" }, { in: 1, part: "scales" }, ...found.choice, between],
    follow: {
      illegal: ({ tokens }) => illegalSlice(back, downSchedule(back, tokens, machine), machine),
      launches: ({ tokens }) => [launchOf(expertsDownEmitter, back, downSchedule(back, tokens, machine), backArgs, dims)],
    },
  };
}

/** Gate and up, and after them down. */
export const expertsGateUpNative = native<GateUpProblem, SliceSchedule>({
  family: "experts_gate_up",
  serves: ["experts_add", "route_experts_add"],
  schedules: slices(gateUpSchedule),
  match,
  emit: expertsGateUp,
  alongside: [expertsDownEmitter],
});
