// Device functions of dsc_sample (sample.ts) by which top-k and top-p leave the fewest largest keys.

/** A histogram of what each block of the row has, by digits of the distance from the top key. */
const histogram = `\
// Zeroes the weights of all but the fewest largest keys whose values reach need(sum of all): digit by digit of the distance from the
// top key, a histogram each over the whole cluster. Of equal keys at the edge lower ids stay. value(i, w) is 0 where w is.
template <class Value, class Need>
__device__ __forceinline__ void cut(Shared& s, int count, float most, double scale, Value value, Need need_of) {
  const u32 rank = row_rank(), top = key_of(most);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  u32 prefix = 0;
  u64 need = 0;
  for (int digit = 0; digit < 3; digit++) {
    const int shift = digit == 0 ? 21 : digit == 1 ? 10 : 0, width = digit == 2 ? 10 : 11;
    for (int b = threadIdx.x; b < BINS; b += THREADS) s.low[b] = s.high[b] = 0;
    __syncthreads();
    for (int from = warp * 32; from < count; from += THREADS) {
      const int i = from + lane;
      const u32 far = i < count ? top - s.keys[i] : 0;
      const u32 v = i < count && (digit == 0 || far >> shift >> width == prefix) ? value(s.weights[i]) : 0;
      const int bin = (int)(far >> shift & ((1u << width) - 1));
      const u32 going = __ballot_sync(ALL, v != 0);
      if (!going) continue;
      const int leader = __ffs((int)going) - 1, common = __shfl_sync(ALL, bin, leader);
      // Where logits lie close a whole warp meets in one bin, and its adds would queue: one lane adds for all.
      if (__ballot_sync(ALL, v == 0 || bin == common) == ALL) {
        const u64 sum = warp_reduce_sum((u64)(v >> 16) << 32 | (v & 0xffffu));
        if (lane == leader) { atomicAdd(&s.low[bin], (u32)sum); atomicAdd(&s.high[bin], (u32)(sum >> 32)); }
      } else if (v) {
        atomicAdd(&s.low[bin], v & 0xffffu);
        if (v >> 16) atomicAdd(&s.high[bin], v >> 16);
      }
    }`;

/** The sum of all blocks, and the bin in which it reaches what is needed. */
const boundary = `\
    row_sync();
    // Each block adds up its share of the bins and tells all.
    for (int b = (int)rank * (BINS / BLOCKS) + threadIdx.x; b < ((int)rank + 1) * (BINS / BLOCKS); b += THREADS) {
      u64 sum = 0;
#pragma unroll
      for (int r = 0; r < BLOCKS; r++) sum += (u64)*at_row_rank(&s.low[b], r) + ((u64)*at_row_rank(&s.high[b], r) << 16);
#pragma unroll
      for (int r = 0; r < BLOCKS; r++) *at_row_rank(&s.bins[b], r) = sum;
    }
    row_sync();
    // The bin in which the running sum reaches the need: one thread finds it.
    const int first = threadIdx.x * PER;
    u64 own = 0;
    if (first < BINS) for (int b = 0; b < PER; b++) own += s.bins[first + b];
    const u64 run = warp_running_sum(own);
    if (lane == 31) s.sums[warp] = run;
    __syncthreads();
    add_warps<false>(s);
    u64 before = s.before[warp] + run - own;
    const u64 all = s.total;
    if (digit == 0) {
      need = need_of(all);
      if (need == 0 || need > all) return;  // everything stays; the same for every thread of the cluster
    }
    if (before < need && need <= before + own)
      for (int b = first; b < first + PER; before += s.bins[b++])
        if (before < need && need <= before + s.bins[b]) {
          s.found[0] = (u64)b; s.found[1] = before; s.found[2] = s.bins[b];
        }
    __syncthreads();
    prefix = prefix << width | (u32)s.found[0];
    need -= s.found[1];
  }`;

/** The last keys that stay, and where they end. */
const ends = `\
  // prefix is the distance of the last keys that stay, and some of them may have to go.
  const u64 each = value(weight_of(value_of(top - prefix), most, scale)), stay = (need + each - 1) / each;
  int last = D;
  if (stay * each < s.found[2]) {
    u64 total;
    const int i = locate(s, count, total, [&](int i) { return (u64)(top - s.keys[i] == prefix && s.weights[i] != 0); },
                         [&](u64) { return stay - 1; });
    if (i >= 0) for (int r = 0; r < BLOCKS; r++) *at_row_rank(&s.last_equal, r) = (int)rank * PART + i;
    row_sync();
    last = s.last_equal;
  }
  for (int i = threadIdx.x; i < count; i += THREADS) {
    const u32 far = top - s.keys[i];
    if (far > prefix || (far == prefix && (int)rank * PART + i > last)) s.weights[i] = 0;
  }
  __syncthreads();
}`;

export const cutText = [histogram, boundary, ends].join("\n");
