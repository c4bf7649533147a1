// plain_experts_add of up to 16 tokens on sm_90a: two launches from the router's choice or its logits to the next residual. More tokens are
// served by the op's parts, which are grouped products: two launches more, and faster from 24 tokens on, as measured.
import type { Gpu } from "../../../../ir/machine.ts";
import type { Arg, Site } from "../../../../ir/kernel/catalogue.ts";
import { mul } from "../../../../ir/size.ts";
import { refuse, strided, type Refusal } from "../../../family.ts";
import { onlySilu } from "../../../gating.ts";
import { isPacked, num } from "../../../layouts.ts";
import { routeFamily, type RouteProblem } from "../../../kernels/expert.ts";
import { emitter, launchOf, native, type NativeMatch, type Schedules } from "../../native.ts";
import { routesInRows } from "./route-rows.ts";
import { unitDown } from "./unit-down.ts";
import { unitGateUp } from "./unit-gate-up.ts";
import { illegalUnits, TOKENS, unitName, unitSchedule, unitTime, type UnitProblem, type UnitSchedule } from "./unit-schedule.ts";

/** Blocks that ask have eight rows of x at most. */
const upTiles = (tokens: number): UnitSchedule["tiles"] => (tokens <= 8 ? "asked" : "dealt");

const schedules = (down: boolean): Schedules<UnitProblem, UnitSchedule> => ({
  candidates: (p, machine) => TOKENS.map((t) => unitSchedule(p, t, down ? "own" : upTiles(t), machine)),
  illegal: illegalUnits,
  maxRows: (s) => s.tokens,
  // Down has half of gate and up; both go as one.
  estimate: (p, s, rows, machine) => unitTime(p, rows, machine) * 1.5 + s.tokens * 0.01,
  name: unitName,
});

const downEmitter = emitter<UnitProblem, UnitSchedule>({
  family: "unit_experts_down",
  schedules: schedules(true),
  emit: unitDown,
});

/** The operands that both ops have, where the choice lies, and the router of the one that routes. */
function partsOf(site: Site): { choice: Arg[]; weights: Arg[]; residual: Arg; per: number; routing?: RouteProblem } | Refusal {
  if (site.op === "plain_experts_add") {
    const per = num(site.ins[3].shape[1]);
    return { choice: [{ in: 3 }], weights: [{ in: 4 }], residual: { in: 5 }, per };
  }
  const [, , , logits, , ...bias] = site.ins;
  const routed = routeFamily.match({ op: "route", attrs: site.attrs, ins: [logits, ...bias], outs: [] });
  if ("reason" in routed) return routed;
  const [{ problem: routing }] = routed;
  if (!routesInRows(routing)) return refuse("a warp a token cannot route so many experts");
  const per = routing.topk + (routing.shared ?? 0);
  return { choice: [{ in: 3 }, ...(routing.bias ? [{ in: 5 }] : [])], weights: [], residual: { in: 4 }, per, routing };
}

function match(site: Site, machine: Gpu): NativeMatch<UnitProblem, UnitSchedule> | Refusal {
  const unlike = onlySilu(site.attrs);
  if (unlike) return unlike;
  const found = partsOf(site);
  if ("reason" in found) return found;
  const [x, gateUp, down] = site.ins;
  if (![x, gateUp, down, site.outs[0]].every((v) => v.dtype === "bf16")) return refuse("an operand is not bf16");
  if (![...site.ins, site.outs[0]].every(isPacked)) return strided;
  const [experts, parts, inner, k] = gateUp.shape.map(num);
  if (num(down.shape[1]) !== k) return refuse("rows come back at another width");
  const shared = num(site.attrs.shared);
  const common = { experts, per: found.per, shared, ...(found.routing ? { routing: found.routing } : {}) };
  const back: UnitProblem = { ...common, n: num(down.shape[1]), k: inner, parts: 1 };
  const between = { scratch: "gated", dtype: "bf16", shape: [mul(x.shape[0], found.per), inner] } as const;
  const dims = [x.shape[0]];
  const { choice, weights, residual } = found;
  const downArgs: Arg[] = [{ in: 2 }, between, ...choice, ...weights, residual, { out: 0 }];
  const scheduleOf = (tokens: UnitSchedule["tokens"]): UnitSchedule => unitSchedule(back, tokens, "own", machine);
  return {
    problem: { ...common, n: inner, k, parts: parts as 2 },
    rows: x.shape[0],
    dims,
    args: (s) => [{ in: 1 }, { in: 0 }, ...found.choice, between, ...(s.next ? [{ in: 2, ahead: true } as const] : [])],
    follow: {
      illegal: ({ tokens }) => illegalUnits(back, scheduleOf(tokens), machine),
      launches: ({ tokens }) => [launchOf(downEmitter, back, scheduleOf(tokens), downArgs, dims)],
    },
  };
}

/** Gate and up, and after them down. */
export const unitExpertsNative = native<UnitProblem, UnitSchedule>({
  family: "unit_experts_gate_up",
  serves: ["plain_experts_add", "route_plain_experts_add"],
  schedules: schedules(false),
  match,
  emit: unitGateUp,
  alongside: [downEmitter],
});
