// Routing, a warp a token (route-steps.ts). The correction bias is a weight and is read before the kernel before has ended.
import type { KernelText } from "../../../../ir/kernel/catalogue.ts";
import { routeFamily, type RouteProblem } from "../../../kernels/expert.ts";
import { native, onlySchedule } from "../../native.ts";
import { cudaKernel, input, output } from "../../text/kernel.ts";
import { indented, lines } from "../../text/lines.ts";
import { isGrouped, readBias, routeConstants, routeToken } from "./route-steps.ts";

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

/** The op and its options, for the kernel's header. */
function header(p: RouteProblem): string[] {
  const shared = p.shared ? `; then ${p.shared} shared, with weight 1` : "";
  const groups = isGrouped(p) && `best ${p.kept} of ${p.groups} groups`;
  return [
    `route: logits [T, ${p.experts}] ${p.act ?? "f32"} to ${p.topk} experts, ascending, and their weights${shared}`,
    [p.scoring, p.method, groups, p.normalise && "normalised", `times ${p.factor}`].filter(Boolean).join(", "),
  ];
}

const nameOf = ({ experts, topk, shared }: RouteProblem): string =>
  ["route", experts, `top${topk}`, ...(shared ? [`shared${shared}`] : []), "rows"].join("_");

const body = (p: RouteProblem): string => {
  const slots = p.topk + (p.shared ?? 0);
  const logit = (at: string): string => (p.act === "bf16" ? `from_bf16(${at})` : at);
  return lines(
    `const int lane = threadIdx.x % 32, row = blockIdx.x * ${WARPS} + threadIdx.x / 32;
release_next();`,
    readBias(p),
    `await_previous();
if (row >= T) return;
`,
    routeToken(p, {
      logit: (e) => logit(`logits[(i64)row * ${p.xStride} + ${e}]`),
      index: (slot) => `indices[(i64)row * ${slots} + ${slot}]`,
      weight: (slot) => `weights[(i64)row * ${slots} + ${slot}]`,
    }),
  );
};

export function routeRows(p: RouteProblem): KernelText {
  const loose = { restrict: false };
  return cudaKernel({
    name: nameOf(p),
    header: header(p),
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
    body: indented(body(p)),
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
