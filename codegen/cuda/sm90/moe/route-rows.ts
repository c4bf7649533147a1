// Routing, a warp a token: a lane holds neighbouring experts, so that a group is a few whole lanes and ascending order is the order
// of lanes. The two best of a group meet by shuffles, groups are ranked by counting, and each of the best experts is one integer
// maximum over the warp. The correction bias is a weight and is read before the kernel before has ended.
import type { KernelText } from "../../../../ir/kernel/catalogue.ts";
import { routeFamily, type RouteProblem } from "../../../kernels/expert.ts";
import { native, onlySchedule } from "../../native.ts";
import { cudaKernel, input, output } from "../../text/kernel.ts";
import { literal } from "../../printed/element.ts";

/** Why a warp cannot hold the experts this way, or null. */
export function illegalRouting(p: RouteProblem): string | null {
  if ((p.shared ?? 0) > 32) return `${p.shared} shared experts are more than a warp has lanes`;
  if (p.experts % 32 !== 0 || p.experts > 1024) return `${p.experts} experts are not the same number for each of 32 lanes`;
  if (p.method !== "greedy" && ![1, 2, 4, 8, 16, 32].includes(p.groups)) return `${p.groups} groups are no whole lanes`;
  return null;
}

const WARPS = 4;

/** What this kernel knows of a routing problem. One that says more is the tile program's. */
const KNOWN: readonly string[] = [
  "experts",
  "topk",
  "groups",
  "kept",
  "scoring",
  "method",
  "normalise",
  "factor",
  "bias",
  "xStride",
  "act",
  "shared",
] satisfies (keyof RouteProblem)[];

function unknownKeys(p: RouteProblem): string | null {
  const unknown = Object.keys(p).filter((k) => !KNOWN.includes(k));
  return unknown.length ? `it does not know ${unknown.join(", ")}` : null;
}

/** Whether a warp a token can route, and knows all that the problem says. */
export const routesInRows = (p: RouteProblem): boolean => unknownKeys(p) === null && illegalRouting(p) === null;

/** Where one token's logits are, and where its slots go: C expressions. */
interface RoutePlaces {
  logit(expert: string): string;
  index(slot: string): string;
  /** Absent where only the choice is asked for. */
  weight?(slot: string): string;
}

/** The correction bias of a lane's experts: a weight, and read early. */
export const routeBias = (p: RouteProblem): string =>
  p.bias
    ? `  float bias_of[OWN];
#pragma unroll
  for (int q = 0; q < OWN; q++) bias_of[q] = bias[lane * OWN + q];
`
    : "";

/** A warp routes one token. */
export function routeSteps(p: RouteProblem, at: RoutePlaces): string {
  const grouped = p.method !== "greedy" && p.groups > 1;
  const lanes = 32 / p.groups;
  const two = p.method === "noaux_tc" && p.experts / p.groups > 1;
  const shared = p.shared ?? 0;
  return `  // Experts lane * OWN .. + OWN - 1 of a lane.
  float scores[OWN], choice[OWN];
#pragma unroll
  for (int q = 0; q < OWN; q++) scores[q] = ${at.logit("lane * OWN + q")};
${
  p.scoring === "sigmoid"
    ? `#pragma unroll
  for (int q = 0; q < OWN; q++) scores[q] = __fdiv_rn(1.0f, __fadd_rn(1.0f, expf(-scores[q])));`
    : `  float top = scores[0], sum = 0.0f;
#pragma unroll
  for (int q = 1; q < OWN; q++) top = fmaxf(top, scores[q]);
#pragma unroll
  for (int apart = 16; apart > 0; apart /= 2) top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, apart));
#pragma unroll
  for (int q = 0; q < OWN; q++) { scores[q] = expf(__fsub_rn(scores[q], top)); sum += scores[q]; }
  sum = warp_reduce_sum(sum);
#pragma unroll
  for (int q = 0; q < OWN; q++) scores[q] = __fdiv_rn(scores[q], sum);`
}
  // The bias chooses, it never weighs. Adding zero makes -0 a 0, so that equal choices have equal ranks.
#pragma unroll
  for (int q = 0; q < OWN; q++) choice[q] = __fadd_rn(${p.bias ? "__fadd_rn(scores[q], bias_of[q])" : "scores[q]"}, 0.0f);
${
  grouped
    ? `
  // A group is ${lanes} lane${lanes > 1 ? "s" : ""}; its rank is ${two ? "the sum of its two best" : "its best"}.
  float first = ${literal(-3e38, "f32")}${two ? `, second = ${literal(-3e38, "f32")}` : ""};
#pragma unroll
  for (int q = 0; q < OWN; q++) {
${two ? "    second = fmaxf(second, fminf(first, choice[q]));\n" : ""}    first = fmaxf(first, choice[q]);
  }
#pragma unroll
  for (int apart = 1; apart < ${lanes}; apart *= 2) {
    const float other = __shfl_xor_sync(0xffffffffu, first, apart);
${
  two
    ? `    second = fmaxf(fmaxf(second, __shfl_xor_sync(0xffffffffu, second, apart)), fminf(first, other));
`
    : ""
}    first = fmaxf(first, other);
  }
  const float rank = ${two ? "__fadd_rn(first, second)" : "first"};
  // Kept: fewer than ${p.kept} groups are better, earlier ones winning ties.
  int better = 0;
#pragma unroll
  for (int g = 0; g < ${p.groups}; g++) {
    const float other = __shfl_sync(0xffffffffu, rank, g * ${lanes});
    better += other > rank || (other == rank && g < lane / ${lanes});
  }
  if (better >= ${p.kept}) {
#pragma unroll
    for (int q = 0; q < OWN; q++) choice[q] = ${literal(-3e38, "f32")};
  }
`
    : ""
}
  // The best of what is left, ${p.topk} times: the largest rank of the warp, in the first lane that has it.
  u32 chosen = 0;
  for (int j = 0; j < ${p.topk}; j++) {
    float most = choice[0];
    int at = 0;
#pragma unroll
    for (int q = 1; q < OWN; q++)
      if (choice[q] > most) { most = choice[q]; at = q; }
    const u32 mine = ordered_bits(most), best = __reduce_max_sync(0xffffffffu, mine);
    if (lane == __ffs(__ballot_sync(0xffffffffu, mine == best)) - 1) {
      chosen |= 1u << at;
#pragma unroll
      for (int q = 0; q < OWN; q++)
        if (q == at) choice[q] = ${literal(-3.4e38, "f32")};
    }
  }

  // Ascending: chosen experts of the lanes below, then own ones.
${at.weight ? "  float picked = 0.0f;\n" : ""}  int place = 0;
#pragma unroll
  for (int q = 0; q < OWN; q++) {
${at.weight ? "    if (chosen >> q & 1) picked += scores[q];\n" : ""}    place += __popc(__ballot_sync(0xffffffffu, chosen >> q & 1) & ((1u << lane) - 1));
  }
${at.weight ? `  const float total = ${p.normalise ? "__fadd_rn(warp_reduce_sum(picked), 1e-20f)" : "1.0f"};\n` : ""}#pragma unroll
  for (int q = 0; q < OWN; q++)
    if (chosen >> q & 1) {
      ${at.index("place")} = lane * OWN + q;
${at.weight ? `      ${at.weight("place")} = __fmul_rn(__fdiv_rn(scores[q], total), ${literal(p.factor, "f32")});\n` : ""}      place++;
    }${
      shared
        ? `
  // Shared experts follow the routed ones, for every token and unscaled.
  if (lane < ${shared}) {
    ${at.index(`${p.topk} + lane`)} = ${p.experts} + lane;
${at.weight ? `    ${at.weight(`${p.topk} + lane`)} = 1.0f;\n` : ""}  }`
        : ""
    }`;
}

/** What the steps know. */
export const routeConstants = (p: RouteProblem): string => `constexpr int OWN = ${p.experts / 32};  // experts a lane`;

export function routeRows(p: RouteProblem): KernelText {
  const grouped = p.method !== "greedy" && p.groups > 1;
  const shared = p.shared ?? 0;
  const slots = p.topk + shared;
  const name = `route_${p.experts}_top${p.topk}${shared ? `_shared${shared}` : ""}_rows`;
  const body = `  const int lane = threadIdx.x % 32, row = blockIdx.x * ${WARPS} + threadIdx.x / 32;
  release_next();
${routeBias(p)}  await_previous();
  if (row >= T) return;

${routeSteps(p, {
  logit: (e) =>
    p.act === "bf16" ? `from_bf16(logits[(i64)row * ${p.xStride} + ${e}])` : `logits[(i64)row * ${p.xStride} + ${e}]`,
  index: (slot) => `indices[(i64)row * ${slots} + ${slot}]`,
  weight: (slot) => `weights[(i64)row * ${slots} + ${slot}]`,
})}`;
  const loose = { restrict: false };
  return cudaKernel({
    name,
    header: [
      `route: logits [T, ${p.experts}] ${p.act ?? "f32"} to ${p.topk} experts, ascending, and their weights${shared ? `; then ${shared} shared, with weight 1` : ""}`,
      `${p.scoring}, ${p.method}${grouped ? `, best ${p.kept} of ${p.groups} groups` : ""}${p.normalise ? ", normalised" : ""}, times ${p.factor}`,
    ],
    params: [
      input("logits", p.act ?? "f32", loose),
      ...(p.bias ? [input("bias", "f32", loose)] : []),
      output("indices", "i32", loose),
      output("weights", "f32", loose),
    ],
    dims: ["T"],
    launch: {
      grid: [{ op: "ceildiv", of: ["T", WARPS] }, 1, 1],
      block: 32 * WARPS,
      sharedBytes: 0,
      pdl: true,
      ...(p.bias ? { early: ["bias"] } : {}),
    },
    definitions: routeConstants(p),
    body,
  });
}

interface RouteSchedule {
  form: "warp-per-token";
  warps: number;
}

export const routeRowsNative = native<RouteProblem, RouteSchedule>({
  family: "route_rows",
  serves: ["route"],
  schedules: onlySchedule(
    (p: RouteProblem) => unknownKeys(p) ?? illegalRouting(p) ?? { form: "warp-per-token" as const, warps: WARPS },
  ),
  match(site) {
    const found = routeFamily.match(site);
    if ("reason" in found) return found;
    const [{ problem, args, dims }] = found;
    return { problem, dims, rows: dims[0], args: () => args };
  },
  emit: (p) => routeRows(p),
});
