// How a warp routes one token: a lane holds neighbouring experts, so that a group is a few whole lanes and ascending order is the order
// of lanes. The two best of a group meet by shuffles, groups are ranked by counting, and each of the best experts is one integer
// maximum over the warp.
import type { RouteProblem } from "../../../kernels/expert.ts";
import { literal } from "../../printed/element.ts";
import { lines } from "../../text/lines.ts";

/** Where one token's logits are, and where its slots go: C expressions. */
interface RoutePlaces {
  logit(expert: string): string;
  index(slot: string): string;
  /** Absent where only the choice is asked for. */
  weight?(slot: string): string;
}

/** What the steps know. */
export const routeConstants = (p: RouteProblem): string => `constexpr int OWN = ${p.experts / 32};  // experts a lane`;

/** Reads the correction bias of a lane's experts, where there is one: a weight, and read early. */
export const readBias = (p: RouteProblem): string | false =>
  p.bias &&
  `float bias_of[OWN];
#pragma unroll
for (int q = 0; q < OWN; q++) bias_of[q] = bias[lane * OWN + q];`;

export const isGrouped = (p: RouteProblem): boolean => p.method !== "greedy" && p.groups > 1;

/** A warp routes one token. */
export const routeToken = (p: RouteProblem, at: RoutePlaces): string =>
  lines(
    readLogits(at),
    SCORING[p.scoring],
    choiceOf(p),
    isGrouped(p) && lines("", rankGroups(p), keepGroups(p)),
    "",
    chooseBest(p),
    "",
    listChosen(p, at),
    !!p.shared && listShared(p, p.shared, at),
  );

/** A choice below that of any expert, and below those of experts whose groups are out. */
const [OUT, CHOSEN] = [literal(-3e38, "f32"), literal(-3.4e38, "f32")];

const readLogits = ({ logit }: RoutePlaces): string => `// Experts lane * OWN .. + OWN - 1 of a lane.
float scores[OWN], choice[OWN];
#pragma unroll
for (int q = 0; q < OWN; q++) scores[q] = ${logit("lane * OWN + q")};`;

const SCORING: Readonly<Record<RouteProblem["scoring"], string>> = {
  sigmoid: `#pragma unroll
for (int q = 0; q < OWN; q++) scores[q] = __fdiv_rn(1.0f, __fadd_rn(1.0f, expf(-scores[q])));`,
  softmax: `float top = scores[0], sum = 0.0f;
#pragma unroll
for (int q = 1; q < OWN; q++) top = fmaxf(top, scores[q]);
#pragma unroll
for (int apart = 16; apart > 0; apart /= 2) top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, apart));
#pragma unroll
for (int q = 0; q < OWN; q++) { scores[q] = expf(__fsub_rn(scores[q], top)); sum += scores[q]; }
sum = warp_reduce_sum(sum);
#pragma unroll
for (int q = 0; q < OWN; q++) scores[q] = __fdiv_rn(scores[q], sum);`,
};

function choiceOf(p: RouteProblem): string {
  const score = p.bias ? "__fadd_rn(scores[q], bias_of[q])" : "scores[q]";
  return `// The bias chooses, it never weighs. Adding zero makes -0 a 0, so that equal choices have equal ranks.
#pragma unroll
for (int q = 0; q < OWN; q++) choice[q] = __fadd_rn(${score}, 0.0f);`;
}

/** Experts of a group, in words, and by how many of them it is ranked. */
function rankGroups(p: RouteProblem): string {
  const lanes = 32 / p.groups;
  const group = lanes > 1 ? `${lanes} lanes` : "1 lane";
  return p.method === "noaux_tc" && p.experts > p.groups ? rankByTwo(group, lanes) : rankByOne(group, lanes);
}

const rankByOne = (group: string, lanes: number): string => `// A group is ${group}; its rank is its best.
float first = ${OUT};
#pragma unroll
for (int q = 0; q < OWN; q++) {
  first = fmaxf(first, choice[q]);
}
#pragma unroll
for (int apart = 1; apart < ${lanes}; apart *= 2) {
  const float other = __shfl_xor_sync(0xffffffffu, first, apart);
  first = fmaxf(first, other);
}
const float rank = first;`;

const rankByTwo = (group: string, lanes: number): string => `// A group is ${group}; its rank is the sum of its two best.
float first = ${OUT}, second = ${OUT};
#pragma unroll
for (int q = 0; q < OWN; q++) {
  second = fmaxf(second, fminf(first, choice[q]));
  first = fmaxf(first, choice[q]);
}
#pragma unroll
for (int apart = 1; apart < ${lanes}; apart *= 2) {
  const float other = __shfl_xor_sync(0xffffffffu, first, apart);
  second = fmaxf(fmaxf(second, __shfl_xor_sync(0xffffffffu, second, apart)), fminf(first, other));
  first = fmaxf(first, other);
}
const float rank = __fadd_rn(first, second);`;

const keepGroups = ({
  groups,
  kept,
}: RouteProblem): string => `// Kept: fewer than ${kept} groups are better, earlier ones winning ties.
int better = 0;
#pragma unroll
for (int g = 0; g < ${groups}; g++) {
  const float other = __shfl_sync(0xffffffffu, rank, g * ${32 / groups});
  better += other > rank || (other == rank && g < lane / ${32 / groups});
}
if (better >= ${kept}) {
#pragma unroll
  for (int q = 0; q < OWN; q++) choice[q] = ${OUT};
}`;

const chooseBest = ({
  topk,
}: RouteProblem): string => `// The best of what is left, ${topk} times: the largest rank of the warp, in the first lane that has it.
u32 chosen = 0;
for (int j = 0; j < ${topk}; j++) {
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
      if (q == at) choice[q] = ${CHOSEN};
  }
}`;

/** What the weights of the chosen are divided by, over the warp. */
const totalOf = ({ normalise }: RouteProblem): string => (normalise ? "__fadd_rn(warp_reduce_sum(picked), 1e-20f)" : "1.0f");

const listChosen = (p: RouteProblem, { index, weight }: RoutePlaces): string =>
  lines(
    "// Ascending: chosen experts of the lanes below, then own ones.",
    weight && "float picked = 0.0f;",
    `int place = 0;
#pragma unroll
for (int q = 0; q < OWN; q++) {`,
    weight && "  if (chosen >> q & 1) picked += scores[q];",
    `  place += __popc(__ballot_sync(0xffffffffu, chosen >> q & 1) & ((1u << lane) - 1));
}`,
    weight && `const float total = ${totalOf(p)};`,
    `#pragma unroll
for (int q = 0; q < OWN; q++)
  if (chosen >> q & 1) {
    ${index("place")} = lane * OWN + q;`,
    weight && `    ${weight("place")} = __fmul_rn(__fdiv_rn(scores[q], total), ${literal(p.factor, "f32")});`,
    `    place++;
  }`,
  );

const listShared = ({ experts, topk }: RouteProblem, shared: number, { index, weight }: RoutePlaces): string =>
  lines(
    `// Shared experts follow the routed ones, for every token and unscaled.
if (lane < ${shared}) {
  ${index(`${topk} + lane`)} = ${experts} + lane;`,
    weight && `  ${weight(`${topk} + lane`)} = 1.0f;`,
    "}",
  );
