// Who works on which cached rows: text that every block runs for itself, over the positions of all tokens, so that the launch
// depends on nothing but the number of tokens. Part of the MLA decode kernel.

/** Structs and the function that fills them. */
export const plan = (): string => `// Stages of all tokens, in order, are dealt out in equal runs; a run may begin and end inside a token. Costs are in stages.
constexpr int MOST = 1024;  // tokens that are balanced; of more, clusters get whole ones
constexpr int FIXED = 1;    // a piece's query, first copies and output
constexpr int SHARED = 2;   // what it costs to leave a part for others, and to add up theirs
// The plan's order of tokens. Where sequences have two and runs several, a run takes only first or only second ones and its
// neighbour the others: both read the same cached rows at the same time, from memory once.
struct Tokens {
  const int* positions;
  const u16* order;  // null when it is their own
  __device__ __forceinline__ int at(int row) const { return order ? order[row] : row; }
  __device__ __forceinline__ int length(int row) const { return positions[at(row)] + 1; }
};
struct Piece {
  int row, from, to, length, last_row, last_stage;  // place in the order, stages [from, to), cached rows; where the run ends
  __device__ __forceinline__ bool valid() const { return from < to; }
  __device__ __forceinline__ bool whole() const { return from == 0 && to * KEYS >= length; }
  __device__ __forceinline__ void set(Tokens tokens) {
    if (row > last_row || (row == last_row && last_stage == 0)) { from = to = 0; return; }
    length = tokens.length(row);
    to = row == last_row ? last_stage : (length + KEYS - 1) / KEYS;
  }
  __device__ __forceinline__ void next(Tokens tokens) { row++; from = 0; set(tokens); }
};
struct Range {
  int2 begin, end;  // place in the order of tokens, and stage within the token
  __device__ __forceinline__ bool empty() const { return begin.x == end.x && begin.y == end.y; }
  __device__ __forceinline__ Piece first(Tokens tokens) const {
    Piece p = {begin.x, begin.y, 0, 0, end.x, end.y};
    p.set(tokens);
    return p;
  }
};
struct Plan {
  int before[MOST + 1];  // cost of the tokens before
  u16 order[MOST];
  int2 starts[133];
  u32 best;              // cost and runs, the least of those tried
  int used;              // runs
  __device__ __forceinline__ Range range(int c) const { return c < used ? Range{starts[c], starts[c + 1]} : Range{{0, 0}, {0, 0}}; }
  // Where run c of n begins: at its share of the cost, moved to the beginning of a token when that is near.
  __device__ __forceinline__ int2 start(int c, int n, int T) const {
    if (c >= n) return make_int2(T, 0);
    const float share = (float)before[T] / n;
    const int at = c * share, near = min(3.f, share / 4);
    int low = 0, high = T;  // the last token that begins at or before
#pragma unroll 1
    while (high - low > 1) { const int middle = (low + high) / 2; if (before[middle] <= at) low = middle; else high = middle; }
    const int inside = at - before[low] - FIXED;
    if (inside <= near) return make_int2(low, 0);
    return before[low + 1] - at <= near ? make_int2(low + 1, 0) : make_int2(low, inside);
  }
  // The runs that hold parts of a token: the first of them and how many.
  __device__ __forceinline__ void owners(int row, int& first, int& parts) const {
    const int lane = threadIdx.x % 32;
    first = 1 << 30;
    parts = 0;
#pragma unroll 1
    for (int c0 = 0; c0 < used; c0 += 32) {
      const int c = c0 + lane;
      const bool in = c < used && !range(c).empty() && starts[c].x <= row && (starts[c + 1].x > row || (starts[c + 1].x == row && starts[c + 1].y > 0));
      const u32 all = __ballot_sync(~0u, in);
      if (all) first = min(first, c0 + __ffs(all) - 1);
      parts += __popc(all);
    }
  }
  __device__ __forceinline__ int cost(int2 a, int2 b) const {
    return before[b.x] + b.y - before[a.x] - a.y + (b.y > 0) * (FIXED + SHARED) + (a.y > 0) * SHARED;
  }
};
// \`pair\` tokens of a run are brought together, or 0.
__device__ void make_plan(Plan& plan, const int* positions, int T, int clusters, int pair) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  if (T > MOST) {
#pragma unroll 1
    for (int c = threadIdx.x; c <= clusters; c += blockDim.x) plan.starts[c] = make_int2((int)((long long)c * T / clusters), 0);
    if (threadIdx.x == 0) plan.used = clusters;
    __syncthreads();
    return;
  }
  if (warp == 0) {
    int all = 0;
#pragma unroll 1
    for (int r = 0; r < T; r += 32) {
      int token = r + lane, sum = 0;
      if (pair) {
        const int first = token / (2 * pair) * (2 * pair), within = token - first;
        if (first + 2 * pair <= T) token = first + within % pair * 2 + within / pair;
      }
      if (r + lane < T) {
        plan.order[r + lane] = token;
        sum = positions[token] / KEYS + 1 + FIXED;
      }
#pragma unroll
      for (int d = 1; d < 32; d *= 2) { int v = __shfl_up_sync(~0u, sum, d); if (lane >= d) sum += v; }
      if (r + lane < T) plan.before[r + lane + 1] = all + sum;
      all += __shfl_sync(~0u, sum, 31);
    }
    if (lane == 0) { plan.before[0] = 0; plan.best = ~0u; }
  }
  __syncthreads();
  // A warp tries one number of runs: all clusters or a few less, a fraction of them, or so many that no run has two tokens' parts.
  const int most = min(clusters, plan.before[T] - T * FIXED), n = warp < 4 ? most - warp : warp < 12 ? most / (warp - 3) / T * T : most / (warp - 10);
  if (n >= 1 && n <= most) {
    int worst = 0;
#pragma unroll 1
    for (int c = lane; c < n; c += 32) worst = max(worst, plan.cost(plan.start(c, n, T), plan.start(c + 1, n, T)));
    worst = __reduce_max_sync(~0u, worst);
    if (lane == 0) atomicMin(&plan.best, (worst * 16u + n) * 256 + n);  // a part more is a sixteenth of a stage
  }
  __syncthreads();
  const int used = plan.best % 256;
#pragma unroll 1
  for (int c = threadIdx.x; c <= used; c += blockDim.x) plan.starts[c] = plan.start(c, used, T);
  if (threadIdx.x == 0) plan.used = used;
  __syncthreads();
}
`;
