// Which experts the pairs of a few tokens go to: told by the router, whose result is read, or routed again by every block from the
// logits; and which experts have rows.
import { input, type Parameter } from "../../text/kernel.ts";
import { indented, lines } from "../../text/lines.ts";
import type { RouteProblem } from "../../../kernels/expert.ts";
import { readBias, routeConstants, routeToken } from "./route-steps.ts";

/** What a kernel that routes itself knows. */
export interface Routing {
  routing?: RouteProblem;
}

/** Where the choice comes from. */
export interface Choice {
  /** What the kernel's name begins with. */
  prefix: string;
  constants?: string;
  params: Parameter[];
  /** What it is made of, and which weights are read early. */
  chained: string[];
  early: string[];
  readEarly: string | false;
  /** Fills expert_of and, where the kernel routes and the weights are asked for, weight_of. */
  steps: string;
  /** Reads the weights into weight_of, `threads` threads from `first` on, where the router has written them. */
  readWeights?(first: string, threads: string): string;
}

const loose = { restrict: false };

const told = (weighted: boolean): Choice => ({
  prefix: "",
  params: [input("indices", "i32", loose), ...(weighted ? [input("weights", "f32", loose)] : [])],
  chained: ["indices"],
  early: [],
  readEarly: false,
  steps: "if (threadIdx.x < T * PER) expert_of[threadIdx.x] = ld_relaxed_s32(indices + threadIdx.x);",
  readWeights: (first, threads) =>
    `for (int c = threadIdx.x - ${first}; c < T * PER; c += ${threads}) weight_of[c] = weights[c];`,
});

const routed = (routing: RouteProblem, weighted: boolean): Choice => ({
  prefix: "route_",
  constants: routeConstants(routing),
  params: [input("logits", "f32", loose), ...(routing.bias ? [input("bias", "f32", loose)] : [])],
  chained: ["logits"],
  early: routing.bias ? ["bias"] : [],
  readEarly: readBias(routing),
  // Every block asks again: a microsecond, where a launch and what it hands over take four.
  steps: lines(
    "if (warp < T) {",
    indented(
      routeToken(routing, {
        logit: (e) => `ld_relaxed_f32(logits + warp * ${routing.xStride} + ${e})`,
        index: (slot) => `expert_of[warp * PER + ${slot}]`,
        ...(weighted ? { weight: (slot: string) => `weight_of[warp * PER + ${slot}]` } : {}),
      }),
    ),
    "}",
  ),
});

/** The choice of a problem; `weighted`: with the weights of a token's experts. */
export const choiceOf = ({ routing }: Routing, weighted: boolean): Choice =>
  routing ? routed(routing, weighted) : told(weighted);

/** Which experts have rows, and which rows a token's pairs are. */
export const findRuns = `// Sorts the pairs of tokens and experts: the experts that have rows, in order, and every pair's row among all.
// There are so few that each is compared with each. All threads of the block; gives how many experts, and of its own pair which of them.
__device__ __forceinline__ int find_runs(int pairs, const int* expert_of, int* leads, Run* runs, int* row_of, int& run) {
  const int pair = threadIdx.x;
  __syncthreads();
  const int mine = pair < pairs ? expert_of[pair] : -1;
  int row = 0, rows = 0, earlier = 0;
  for (int q = 0; q < pairs; q++) {
    row += expert_of[q] < mine;
    rows += expert_of[q] == mine;
    earlier += q < pair && expert_of[q] == mine;
  }
  if (pair < pairs) {
    leads[pair] = earlier == 0;
    row_of[pair] = row + earlier;
  }
  __syncthreads();
  int count = 0;
  run = 0;
  for (int q = 0; q < pairs; q++) {
    count += leads[q];
    run += leads[q] && expert_of[q] < mine;
  }
  if (pair < pairs && earlier == 0) runs[run] = {mine, row, row + rows};
  __syncthreads();
  return count;
}`;
