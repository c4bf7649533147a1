// Who works on which cached rows: text that every block runs for itself, over the positions of all tokens, so that the launch
// depends on nothing but the number of tokens. Part of the MLA decode kernel.

/** Structs and the function that fills them. */
export const plan = (): string => `// Blocks of ${64} cached rows of all tokens, in order, are dealt out in equal runs; a run may begin and end inside a token.
constexpr int MOST = 1024;  // tokens that are balanced; of more, clusters get whole ones
struct Piece {
  int row, from, to, length, last_row, last_block;  // token, its blocks [from, to), its cached rows; where the run ends
  __device__ __forceinline__ bool valid() const { return from < to; }
  __device__ __forceinline__ bool whole() const { return from == 0 && to * KEYS >= length; }
  __device__ __forceinline__ void set(const int* positions) {
    if (row > last_row || (row == last_row && last_block == 0)) { from = to = 0; return; }
    length = positions[row] + 1;
    to = row == last_row ? last_block : (length + KEYS - 1) / KEYS;
  }
  __device__ __forceinline__ void next(const int* positions) { row++; from = 0; set(positions); }
};
struct Range {
  int2 begin, end;  // token and block within it
  __device__ __forceinline__ Piece first(const int* positions) const {
    Piece p = {begin.x, begin.y, 0, 0, end.x, end.y};
    p.set(positions);
    return p;
  }
};
struct Plan {
  int before[MOST + 1];  // blocks of the tokens before
  int2 starts[133];
  int used;  // clusters with work
  __device__ __forceinline__ Range range(int c) const { return c < used ? Range{starts[c], starts[c + 1]} : Range{{0, 0}, {0, 0}}; }
};
__device__ void make_plan(Plan& plan, const int* positions, int T, int clusters) {
  const int lane = threadIdx.x % 32;
  if (T > MOST) {
    for (int c = threadIdx.x; c <= clusters; c += blockDim.x) plan.starts[c] = make_int2((int)((long long)c * T / clusters), 0);
    if (threadIdx.x == 0) plan.used = clusters;
    __syncthreads();
    return;
  }
  if (threadIdx.x < 32) {
    int all = 0;
    for (int r = 0; r < T; r += 32) {
      int sum = r + lane < T ? positions[r + lane] / KEYS + 1 : 0;
#pragma unroll
      for (int d = 1; d < 32; d *= 2) { int v = __shfl_up_sync(~0u, sum, d); if (lane >= d) sum += v; }
      if (r + lane < T) plan.before[r + lane + 1] = all + sum;
      all += __shfl_sync(~0u, sum, 31);
    }
    if (lane == 0) { plan.before[0] = 0; plan.used = min(clusters, all); }
  }
  __syncthreads();
  const int used = plan.used;
  for (int c = threadIdx.x; c <= used; c += blockDim.x) {
    const int at = (int)((long long)c * plan.before[T] / used);
    int low = 0, high = T;  // the last token that begins at or before
    while (high - low > 1) { const int middle = (low + high) / 2; if (plan.before[middle] <= at) low = middle; else high = middle; }
    if (c == used) low = T;
    plan.starts[c] = make_int2(low, at - plan.before[low]);
  }
  __syncthreads();
}
`;
