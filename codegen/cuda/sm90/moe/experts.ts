// experts_add for a few tokens on sm_90a: two launches from the router's choice to the next residual. More tokens are served by the op's parts.
import type { Gpu } from "../../../../ir/machine.ts";
import type { Arg, Choice, Chosen, Problem, Site, View } from "../../../../ir/kernel/catalogue.ts";
import { mul } from "../../../../ir/size.ts";
import { downSchedule, gateUpSchedule, unsliceable, type ExpertsProblem, type SliceSchedule } from "./experts-schedule.ts";
import { chooseTiles } from "../../../choose.ts";
import type { RouteProblem } from "../../../kernels/expert.ts";
import { isPacked, num } from "../../../layouts.ts";
import { expertsDown, type ExpertsDownProblem } from "./experts-down.ts";
import { expertsGateUp } from "./experts-gate-up.ts";
import type { Routing } from "./fragments.ts";
import type { Native } from "../../native.ts";
import { routesInRows } from "./route-rows.ts";

/** Tokens that a kernel takes at most: room for x is the ring's loss, so few have a kernel of their own. */
const TOKENS = [1, 4, 8] as const satisfies SliceSchedule["tokens"][];

/** Sites of an op over the router's choice, and of one that routes: the operands that both have, where the choice lies, and the router. */
function partsOf(site: Site): { ins: View[]; choice: Arg[]; weights: Arg[]; residual: Arg; per: number; routing?: RouteProblem } | null {
  if (site.op === "experts_add") {
    const [indices] = site.ins.slice(3);
    return { ins: site.ins, choice: [{ in: 3 }], weights: [{ in: 4 }], residual: { in: 5 }, per: num(indices.shape[1]) };
  }
  if (site.op !== "route_experts_add") return null;
  const tiles = chooseTiles({ op: "route", attrs: site.attrs, ins: [site.ins[3], site.ins[5]], outs: [] });
  const routing = "reason" in tiles ? null : (tiles[0].problem as unknown as RouteProblem);
  // Logits are f32 where the router's product gives them so.
  if (!routing || routing.act || !routesInRows(routing)) return null;
  return { ins: site.ins, choice: [{ in: 3 }, { in: 5 }], weights: [], residual: { in: 4 }, per: routing.topk + (routing.shared ?? 0), routing };
}

function take(site: Site, machine: Gpu): Choice | null {
  const found = partsOf(site);
  if (!found || site.outs[0].dtype !== "bf16" || ![...found.ins, site.outs[0]].every(isPacked)) return null;
  const [x, gateUp, down] = found.ins;
  const [experts, parts, inner, k] = gateUp.shape.map(num);
  const common = { experts, per: found.per, shared: site.attrs.shared as number };
  const up: ExpertsProblem = { ...common, n: parts * inner, k, parts: 2 };
  const back: Omit<ExpertsDownProblem, "routing"> = { ...common, n: num(down.shape[1]), k: inner, parts: 1, ue8m0: site.attrs.scale === "ue8m0" };
  const able = TOKENS.filter((t) => unsliceable(up, gateUpSchedule(up, t, machine), machine) === null && unsliceable(back, downSchedule(back, t, machine), machine) === null);
  if (!able.length) return null;
  const between = { scratch: "gated", dtype: "f32", shape: [mul(x.shape[0], common.per), inner] } as const;
  // A problem is flat: the router's keys lie beside the others, but for those that it shares with them.
  const { experts: _, shared: __, ...routing } = (found.routing ?? {}) as Problem;
  const launches = (tokens: number): Chosen[] => [
    { family: "experts_gate_up", problem: { ...up, tokens, ...routing }, dims: [x.shape[0]], args: [{ in: 1 }, { in: 0 }, { in: 0, part: "scales" }, { in: 1, part: "scales" }, ...found.choice, between] },
    { family: "experts_down", problem: { ...back, tokens, ...routing }, dims: [x.shape[0]], args: [{ in: 2 }, between, { in: 2, part: "scales" }, ...found.choice, ...found.weights, found.residual, { out: 0 }] },
  ];
  return { on: x.shape[0], cases: able.map((most) => ({ most, launches: launches(most) })) };
}

/** A problem as it was before it was flat. */
function unfold<P extends ExpertsProblem>(p: Problem): { problem: P & Routing; tokens: SliceSchedule["tokens"] } {
  const { tokens, topk, groups, kept, scoring, method, normalise, factor, bias, xStride, ...problem } = p as unknown as P & RouteProblem & Pick<SliceSchedule, "tokens">;
  const { experts, shared } = problem as unknown as P;
  const routing = topk === undefined ? undefined : { experts: experts - shared, topk, groups, kept, scoring, method, normalise, factor, bias, xStride, ...(shared ? { shared } : {}) };
  return { problem: { ...(problem as unknown as P), ...(routing ? { routing } : {}) }, tokens };
}

/** Chooses for both kernels. */
export const expertsGateUpNative: Native = {
  family: "experts_gate_up",
  choose: take,
  emit(p: Problem, machine) {
    const { problem, tokens } = unfold<ExpertsProblem>(p);
    return expertsGateUp(problem, gateUpSchedule(problem, tokens, machine), machine);
  },
};

export const expertsDownNative: Native = {
  family: "experts_down",
  choose: () => null,
  emit(p: Problem, machine) {
    const { problem, tokens } = unfold<ExpertsDownProblem>(p);
    return expertsDown(problem, downSchedule(problem, tokens, machine), machine);
  },
};
