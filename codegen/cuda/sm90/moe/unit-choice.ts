// The choice of experts of the kernels of bf16 experts, for more tokens than a block has threads for pairs; and which experts have rows,
// and which tokens they are.
import { input } from "../../text/kernel.ts";
import { indented, lines } from "../../text/lines.ts";
import type { RouteProblem } from "../../../kernels/expert.ts";
import type { Choice } from "./choice.ts";
import { readBias, routeConstants, routeToken } from "./route-steps.ts";
import type { UnitProblem } from "./unit-schedule.ts";

const loose = { restrict: false };

const told = (weighted: boolean): Choice => ({
  prefix: "",
  params: [input("indices", "i32", loose), ...(weighted ? [input("weights", "f32", loose)] : [])],
  chained: weighted ? ["indices", "weights"] : ["indices"],
  early: [],
  readEarly: false,
  steps: lines(
    `for (int i = threadIdx.x; i < T * PER; i += THREADS) {
  expert_of[i] = ld_relaxed_s32(indices + i);`,
    weighted && "  weight_of[i] = ld_relaxed_f32(weights + i);",
    "}",
  ),
});

/** Logits in bf16 are read as they are; those in f32 past what this multiprocessor still holds. */
const logitAt = (p: RouteProblem, at: string): string =>
  p.act === "bf16" ? `from_bf16(logits[${at}])` : `ld_relaxed_f32(logits + ${at})`;

const routed = (routing: RouteProblem, weighted: boolean): Choice => ({
  prefix: "route_",
  constants: routeConstants(routing),
  params: [input("logits", routing.act ?? "f32", loose), ...(routing.bias ? [input("bias", "f32", loose)] : [])],
  chained: ["logits"],
  early: routing.bias ? ["bias"] : [],
  readEarly: readBias(routing),
  // Every block asks again: a microsecond, where a launch and what it hands over take three.
  steps: lines(
    "for (int token = warp; token < T; token += THREADS / 32) {",
    indented(
      routeToken(routing, {
        logit: (e) => logitAt(routing, `token * ${routing.xStride} + ${e}`),
        index: (slot) => `expert_of[token * PER + ${slot}]`,
        ...(weighted ? { weight: (slot: string) => `weight_of[token * PER + ${slot}]` } : {}),
      }),
    ),
    "}",
  ),
});

/** The choice of a problem, of every pair; `weighted`: with the weights of a token's experts. */
export const unitChoice = ({ routing }: UnitProblem, weighted: boolean): Choice =>
  routing ? routed(routing, weighted) : told(weighted);

/**
 * Which experts have rows, and which rows a token's pairs are, of so many tokens at most; `weighted`: with the weight of each row's pair.
 * `meet`: a barrier of the threads that choose.
 */
export const sortPairs = (tokens: number, weighted: boolean, meet = "__syncthreads();"): string =>
  (tokens === 1 ? listPairs : sortAll)(weighted).replaceAll("__syncthreads();", meet);

/** One token's experts are in order as they are, each with a row. */
const listPairs = (weighted: boolean): string =>
  lines(
    `// Of an expert that has rows which ones, of a row its pair: a token's experts in the order of the choice, which is theirs.
// All threads of the block; gives how many experts.
${signature(weighted)}
  __syncthreads();
  if (threadIdx.x < PER) {
    const int i = threadIdx.x;
    runs[i] = {expert_of[i], i, i + 1};
    pair_of[i] = i;`,
    weighted && "    weight_at[i] = weight_of[i];",
    `  }
  __syncthreads();
  return PER;
}`,
  );

const sortAll = (weighted: boolean): string =>
  lines(
    `// Sorts the pairs of tokens and experts by expert, tokens in order: of an expert that has rows which ones, of a row its pair.
// An expert's tokens are bits, so a pair's place is a count of bits, whatever order threads come in. All threads of the block;
// gives how many experts.
${signature(weighted)}`,
    findExperts,
    placePairs,
    weighted && "    weight_at[at] = weight_of[i];",
    `  }
  __syncthreads();
  return *count_of;
}`,
  );

const signature = (weighted: boolean): string => {
  const weights = weighted ? ", const float* weight_of, float* weight_at" : "";
  return `__device__ __forceinline__ int sort_pairs(int T, const int* expert_of, u32* visits, int* starts, Run* runs,
    int* count_of, int* pair_of${weights}) {`;
};

const findExperts = `  for (int i = threadIdx.x; i < EXPERTS * WORDS; i += THREADS) visits[i] = 0;
  __syncthreads();
  for (int i = threadIdx.x; i < T * PER; i += THREADS) atomicOr(visits + expert_of[i] * WORDS + i / PER / 32, 1u << (i / PER % 32));
  __syncthreads();
  if (threadIdx.x < 32) {
    const int lane = threadIdx.x;
    int rows = 0, count = 0;
    for (int e0 = 0; e0 < EXPERTS; e0 += 32) {
      const int e = e0 + lane;
      int own = 0;
      if (e < EXPERTS)
#pragma unroll
        for (int w = 0; w < WORDS; w++) own += __popc(visits[e * WORDS + w]);
      const int upto = warp_running_sum(own), row = rows + upto - own;
      const u32 has = __ballot_sync(0xffffffffu, own > 0);
      if (e < EXPERTS) starts[e] = row;
      if (own > 0) runs[count + __popc(has & ((1u << lane) - 1))] = {e, row, row + own};
      rows += __shfl_sync(0xffffffffu, upto, 31);
      count += __popc(has);
    }
    if (lane == 0) *count_of = count;
  }
  __syncthreads();`;

const placePairs = `  for (int i = threadIdx.x; i < T * PER; i += THREADS) {
    const int expert = expert_of[i], token = i / PER;
    int at = starts[expert];
#pragma unroll
    for (int w = 0; w < WORDS; w++) {
      const u32 bits = visits[expert * WORDS + w];
      at += w < token / 32 ? __popc(bits) : w == token / 32 ? __popc(bits & ((1u << token % 32) - 1)) : 0;
    }
    pair_of[at] = i;`;
