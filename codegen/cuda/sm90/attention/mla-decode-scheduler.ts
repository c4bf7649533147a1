// Who works on which cached rows: text that every block runs for itself, over the positions of all tokens, so that the launch
// depends on nothing but the number of tokens. Part of the MLA decode kernel.

/** The plan's struct and the function that makes it. */
export const plan = (): string => `// Stages of all tokens, in order, are dealt out in runs of equal cost, one a cluster.
// A run may begin and end inside a token. Costs are in stages.
constexpr int MOST = 1024;  // tokens that are balanced; of more, clusters get whole ones
constexpr int FIXED = 1;    // a token's query, first copies and output
constexpr int SHARED = 2;   // what it costs to leave a part for others, and to add up theirs
struct Plan {
  int before[MOST + 1];  // cost of the tokens before
  int2 starts[134];      // token and stage each run begins with; runs that nobody needs begin behind the last token
  int2 begin, end;       // of this cluster's run
  int last;              // behind its last token
  u32 best;              // cost and number of runs, the least of those tried
  // Where run c of n begins: at its share of the cost, moved to the beginning of a token when that is near.
  __device__ __forceinline__ int2 start(int c, int n, int T) const {
    if (c >= n) return make_int2(T, 0);
    const float share = (float)before[T] / n;
    const int at = c * share, near = min(3.f, share / 4);
    int token = 0;  // the last that begins at or before
#pragma unroll 1
    for (int end = T; end - token > 1; ) {
      const int middle = (token + end) / 2;
      if (before[middle] <= at) token = middle; else end = middle;
    }
    const int stage = at - before[token] - FIXED;
    return stage <= near ? make_int2(token, 0) : before[token + 1] - at <= near ? make_int2(token + 1, 0) : make_int2(token, stage);
  }
  __device__ __forceinline__ int cost(int2 a, int2 b) const {
    return before[b.x] + b.y - before[a.x] - a.y + (b.y > 0) * (FIXED + SHARED) + (a.y > 0) * SHARED;
  }
};
__device__ void make_plan(Plan& plan, const int* positions, int T, int clusters, int me) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  if (warp == 0 && T <= MOST) {
    int all = 0;
#pragma unroll 1
    for (int t = lane; t - lane < T; t += 32) {
      const int sum = warp_running_sum(t < T ? positions[t] / KEYS + 1 + FIXED : 0);
      if (t < T) plan.before[t + 1] = all + sum;
      all += __shfl_sync(~0u, sum, 31);
    }
    if (lane == 0) { plan.before[0] = 0; plan.best = ~0u; }
  }
  __syncthreads();
  if (T <= MOST) {
    // A warp tries one number of runs: all clusters or a few less, a fraction of them, or so many that no run has two tokens' parts.
    const int most = min(clusters, plan.before[T] - T * FIXED);
    const int n = warp < 4 ? most - warp : warp < 12 ? most / (warp - 3) / T * T : most / (warp - 10);
    if (n >= 1 && n <= most) {
      int worst = 0;
#pragma unroll 1
      for (int c = lane; c < n; c += 32) worst = max(worst, plan.cost(plan.start(c, n, T), plan.start(c + 1, n, T)));
      worst = __reduce_max_sync(~0u, worst);
      if (lane == 0) atomicMin(&plan.best, (worst * 16u + n) * 256 + n);  // a part more is a sixteenth of a stage
    }
  }
  __syncthreads();
#pragma unroll 1
  for (int c = threadIdx.x; c <= clusters; c += blockDim.x) {
    const int2 start = T > MOST ? make_int2((int)((long long)c * T / clusters), 0) : plan.start(c, plan.best % 256, T);
    plan.starts[c] = start;
    if (c == me) plan.begin = start;
    if (c == me + 1) { plan.end = start; plan.last = start.x + (start.y > 0); }
  }
  __syncthreads();
}
`;
