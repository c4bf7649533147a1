// Pairs (token, slot) by expert, stably, in one launch: block e finds where expert e begins by counting what comes before, then puts
// its own pairs in order. A thread owns a run of neighbouring pairs, so the order within an expert is theirs; nothing waits for
// another block, and the answer is the tile program's.
import type { KernelText } from "../../../../ir/kernel/catalogue.ts";
import { sortExpertsFamily, type SortProblem } from "../../../kernels/expert.ts";
import { cudaKernel, input, output } from "../../text/kernel.ts";
import { indented, lines } from "../../text/lines.ts";
import { native, onlySchedule } from "../../native.ts";

const THREADS = 512;

export function sortExperts(p: SortProblem): KernelText {
  const loose = { restrict: false };
  return cudaKernel({
    name: `sort_experts_${p.experts}_top${p.k}_blocks`,
    header: [
      `sort_experts: order [r], offsets [${p.experts + 1}] and places [r] of indices [r], i32`,
      `a block an expert, and one for the end; every block reads all pairs from L2: ${p.experts + 1} times 4 r bytes`,
    ],
    params: [
      input("indices", "i32", loose),
      output("order", "i32", loose),
      output("offsets", "i32", loose),
      output("places", "i32", loose),
    ],
    dims: ["r"],
    launch: { grid: [p.experts + 1, 1, 1], block: THREADS, sharedBytes: 0, pdl: true },
    definitions: `constexpr int THREADS = ${THREADS};`,
    body: indented(lines(ownRun, "", countPairs, placePairs)),
  });
}

const ownRun = `__shared__ int befores[THREADS / 32], owns[THREADS / 32];
const int expert = blockIdx.x, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
// Runs of whole words of four pairs.
const int run = ((r + THREADS - 1) / THREADS + 3) / 4 * 4, begin = min(r, (int)threadIdx.x * run), end = min(r, begin + run);
release_next();
await_previous();`;

const countPairs = `// Pairs of earlier experts, wherever they are, and own pairs of this thread: how many, and which of the first 64.
int before = 0, own = 0;
u64 mine = 0;
#pragma unroll 4
for (int i = begin; i < end; i += 4) {
  int v[4];
  if (i + 4 <= end) {
    const int4 four = *(const int4*)(indices + i);
    v[0] = four.x; v[1] = four.y; v[2] = four.z; v[3] = four.w;
  } else {
#pragma unroll
    for (int e = 0; e < 4; e++) v[e] = i + e < end ? indices[i + e] : 0x7fffffff;
  }
#pragma unroll
  for (int e = 0; e < 4; e++) { before += v[e] < expert; own += v[e] == expert; }
  if (i < begin + 64) {
#pragma unroll
    for (int e = 0; e < 4; e++) mine |= (u64)(v[e] == expert) << (i - begin + e);
  }
}`;

const placePairs = `// Own pairs of the threads below, and all pairs of earlier experts.
const int ahead = warp_running_sum(own), less = warp_reduce_sum(before);
if (lane == 31) { befores[warp] = less; owns[warp] = ahead; }
__syncthreads();
int first = 0, at = ahead - own;
#pragma unroll
for (int w = 0; w < THREADS / 32; w++) {
  first += befores[w];
  if (w < warp) at += owns[w];
}
if (threadIdx.x == 0) offsets[expert] = first;
at += first;
for (; mine != 0; mine &= mine - 1, own--) {
  const int i = begin + __ffsll(mine) - 1;
  order[at] = i;
  places[i] = at++;
}
for (int i = begin + 64; i < end && own > 0; i++)
  if (indices[i] == expert) {
    order[at] = i;
    places[i] = at++;
    own--;
  }`;

interface SortSchedule {
  form: "block-per-expert";
  threads: number;
}

export const sortExpertsNative = native<SortProblem, SortSchedule>({
  family: "sort_experts_blocks",
  serves: ["sort_experts"],
  schedules: onlySchedule(() => ({ form: "block-per-expert", threads: THREADS })),
  match(site) {
    const found = sortExpertsFamily.match(site);
    if ("reason" in found) return found;
    const [{ problem, args, dims }] = found;
    return { problem, dims, rows: dims[0], args: () => args };
  },
  emit: (p) => sortExperts(p),
});
