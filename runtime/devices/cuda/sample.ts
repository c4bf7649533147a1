// Drawn ids on the GPU: one kernel after the logits does what runtime/sample.ts defines, bit for bit, so that a step that samples
// stays one graph and brings back four bytes a sequence. Options are a record a row in the step's tables: one graph serves all.
import { POWERS } from "../../sample.ts";
import type { LaunchText } from "./kernel.ts";

/** Blocks that share a row, and threads of each. */
export interface SampleShape {
  blocks: number;
  threads: number;
}

export const sampleName = "dsc_sample";

const BINS = 2048;

/** Small vocabularies fit one block; beyond, eight halve the time of four, and more need another kind of launch. */
const sampleShape = (vocab: number): SampleShape => ({ blocks: vocab <= 8192 ? 1 : 8, threads: 1024 });

const partOf = (vocab: number, { blocks }: SampleShape): number => Math.ceil(vocab / blocks / 32) * 32;
const sharedBytes = (vocab: number, s: SampleShape): number =>
  8 * partOf(vocab, s) + 16 * BINS + 8 * (2 * (s.threads / 32) + 4) + 16;

/** Whether a row of that many logits fits the shared memory of the blocks that share it, so many bytes each. */
export const canSample = (vocab: number, sharedPerBlock: number): boolean =>
  sharedBytes(vocab, sampleShape(vocab)) <= sharedPerBlock;

/** What leads from one block of a cluster to the others; a row in one block needs nothing of it. */
const clusters = `
__device__ __forceinline__ u32 cluster_rank() { u32 r; asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(r)); return r; }
__device__ __forceinline__ void cluster_sync() {
  asm volatile("barrier.cluster.arrive.release.aligned;\\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}
// The same variable in another block of the cluster.
template <class T> __device__ __forceinline__ T* at_rank(T* p, u32 rank) {
  T* there; asm volatile("mapa.u64 %0, %1, %2;" : "=l"(there) : "l"(p), "r"(rank)); return there;
}
`;
const alone = `
__device__ __forceinline__ u32 cluster_rank() { return 0; }
__device__ __forceinline__ void cluster_sync() { __syncthreads(); }
template <class T> __device__ __forceinline__ T* at_rank(T* p, u32) { return p; }
`;

/** The kernel's text for a vocabulary. */
export function sampleSource(vocab: number, shape = sampleShape(vocab)): string {
  const { blocks, threads } = shape;
  return `// dsc_sample: the next id of every row, y [m] i32, drawn from logits [m, ${vocab}] f32 as runtime/sample.ts defines, bit for bit;
// -1 - id of the first logit that is NaN or infinite, where one is.
// schedule: ${blocks === 1 ? "one block" : `a cluster of ${blocks} blocks`} a row of ${threads} threads; keys and weights of its ids in shared memory, read once from L2
// floor on H200: ${4 * vocab} m bytes; what it takes is barriers: two for each of three digits of top-k and of top-p
// Weights are whole numbers below 2^32, so sums are exact and no order of adding matters.
typedef unsigned char u8; typedef unsigned int u32; typedef unsigned long long u64;
__device__ __forceinline__ void release_next() { asm volatile("griddepcontrol.launch_dependents;" ::: "memory"); }
__device__ __forceinline__ void await_previous() { asm volatile("griddepcontrol.wait;" ::: "memory"); }
${blocks === 1 ? alone : clusters}
constexpr int D = ${vocab}, BLOCKS = ${blocks}, THREADS = ${threads}, WARPS = THREADS / 32;
constexpr int PART = ${partOf(vocab, shape)};  // ids a block keeps
constexpr int RUN = (PART / 32 + WARPS - 1) / WARPS * 32;  // consecutive ids of a warp, where their order counts
constexpr int BINS = ${BINS}, PER = BINS / THREADS > 0 ? BINS / THREADS : 1;
constexpr u32 ALL = 0xffffffffu;

// How a row's id is chosen; runtime/sample.ts writes it. scale 0: the first maximum. sequence < 0: a row of padding.
struct Choice { double scale, top_p, penalty; u32 seed_low, seed_high; int top_k, sequence; };
struct Shared {
  u64 bins[BINS];                 // what the cluster has in each bin
  u64 sums[WARPS], before[WARPS];  // of each warp, and of all warps before it
  u64 total;
  u64 found[3];                   // the bin a cut falls in: which, the sum before it, its own
  u32 low[BINS], high[BINS];      // what this block has in each bin: 16 bits of every value, because 64-bit adds are loops
  u32 top; int last_equal;
  u32 keys[PART], weights[PART];  // weight 0: cannot be drawn
};
static_assert(sizeof(Shared) <= ${sharedBytes(vocab, shape)}, "shared memory");

// Keys order as the values do, -0 as 0. What is no number has the key ALL, above all others.
__device__ __forceinline__ u32 key_of(float v) {
  const u32 bits = __float_as_uint(__fadd_rn(v, 0.f));
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
__device__ __forceinline__ float value_of(u32 key) { return __uint_as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key); }

// 2^31 2^((l - most) scale), rounded. No operation is fused: JavaScript has none that are.
__device__ __forceinline__ u32 weight_of(float l, float most, double scale) {
  const double z = __dmul_rn(__dsub_rn((double)l, (double)most), scale);
  if (!(z > -33.0)) return 0;
  const double n = floor(__dadd_rn(z, 0.5)), f = __dsub_rn(z, n);
  double p = ${POWERS[0]};
${POWERS.slice(1)
  .map((c) => `  p = __dadd_rn(__dmul_rn(p, f), ${Number.isInteger(c) ? `${c}.0` : c});`)
  .join("\n")}
  return (u32)floor(__dadd_rn(__dmul_rn(p, __hiloint2double((1023 + 31 + (int)n) << 20, 0)), 0.5));
}

// Word 0 of Philox4x32-10: key = seed, counter = (position, sequence, 0, 0).
__device__ __forceinline__ u32 philox(u32 position, u32 sequence, u32 low, u32 high) {
  u32 c0 = position, c1 = sequence, c2 = 0, c3 = 0;
  for (int round = 0; round < 10; round++) {
    const u64 a = (u64)0xd2511f53u * c0, b = (u64)0xcd9e8d57u * c2;
    c0 = (u32)(b >> 32) ^ c1 ^ low; c1 = (u32)b; c2 = (u32)(a >> 32) ^ c3 ^ high; c3 = (u32)a;
    low += 0x9e3779b9u; high += 0xbb67ae85u;
  }
  return c0;
}

__device__ __forceinline__ u64 warp_sum(u64 v) {
  for (int apart = 16; apart > 0; apart /= 2) v += __shfl_xor_sync(ALL, v, apart);
  return v;
}
__device__ __forceinline__ u32 warp_max(u32 v) {
  for (int apart = 16; apart > 0; apart /= 2) { const u32 other = __shfl_xor_sync(ALL, v, apart); v = other > v ? other : v; }
  return v;
}
__device__ __forceinline__ u64 warp_scan(u64 v) {  // running sum, own value included
  const int lane = threadIdx.x % 32;
  for (int by = 1; by < 32; by *= 2) { const u64 before = __shfl_up_sync(ALL, v, by); if (lane >= by) v += before; }
  return v;
}

// What lies before each warp of the cluster, and in all: of sums[], by one warp, because 32 of them would queue for shared memory.
// The block's own sums only where a sum is of the whole cluster already.
template <bool CLUSTER> __device__ __forceinline__ void add_warps(Shared& s) {
  if (threadIdx.x < 32) {
    const int lane = threadIdx.x, rank = CLUSTER ? (int)cluster_rank() : 0;
    u64 earlier = 0, all = 0;  // of other blocks
    if (CLUSTER)
      for (int w = lane; w < BLOCKS * WARPS; w += 32) {
        const u64 v = w / WARPS == rank ? 0 : *at_rank(&s.sums[w % WARPS], (u32)(w / WARPS));
        all += v;
        if (w / WARPS < rank) earlier += v;
      }
    if (CLUSTER && BLOCKS > 1) { earlier = warp_sum(earlier); all = warp_sum(all); }
    const u64 own = lane < WARPS ? s.sums[lane] : 0, run = warp_scan(own);
    if (lane < WARPS) s.before[lane] = earlier + run - own;
    if (lane == 31) s.total = all + run;
  }
  __syncthreads();
}

// The first id whose running sum of values, ids ascending through the cluster, exceeds target(sum of all): to the one lane that
// holds it; -1 to every other. total: the sum of all.
template <class Value, class Target> __device__ __forceinline__ int locate(Shared& s, int count, u64& total, Value value, Target target) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int end = min(count, (warp + 1) * RUN);
  u64 own = 0;
  for (int i = warp * RUN + lane; i < end; i += 32) own += value(i);
  own = warp_sum(own);
  if (lane == 0) s.sums[warp] = own;
  cluster_sync();
  add_warps<true>(s);
  u64 before = s.before[warp];
  total = s.total;
  const u64 goal = target(total);
  if (goal < before || goal >= before + own) return -1;
  for (int from = warp * RUN; from < end; from += 32) {
    const u64 sum = before + warp_scan(from + lane < end ? value(from + lane) : 0);
    const u32 past = __ballot_sync(ALL, sum > goal);
    if (past) return lane == __ffs((int)past) - 1 ? from + lane : -1;
    before = __shfl_sync(ALL, sum, 31);
  }
  return -1;
}

// Zeroes the weights of all but the fewest largest keys whose values reach need(sum of all): digit by digit of the distance from the
// top key, a histogram each over the whole cluster. Of equal keys at the edge lower ids stay. value(i, w) is 0 where w is.
template <class Value, class Need> __device__ __forceinline__ void cut(Shared& s, int count, float most, double scale, Value value, Need need_of) {
  const u32 rank = cluster_rank(), top = key_of(most);
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
        const u64 sum = warp_sum((u64)(v >> 16) << 32 | (v & 0xffffu));
        if (lane == leader) { atomicAdd(&s.low[bin], (u32)sum); atomicAdd(&s.high[bin], (u32)(sum >> 32)); }
      } else if (v) {
        atomicAdd(&s.low[bin], v & 0xffffu);
        if (v >> 16) atomicAdd(&s.high[bin], v >> 16);
      }
    }
    cluster_sync();
    // Each block adds up its share of the bins and tells all.
    for (int b = (int)rank * (BINS / BLOCKS) + threadIdx.x; b < ((int)rank + 1) * (BINS / BLOCKS); b += THREADS) {
      u64 sum = 0;
#pragma unroll
      for (int r = 0; r < BLOCKS; r++) sum += (u64)*at_rank(&s.low[b], r) + ((u64)*at_rank(&s.high[b], r) << 16);
#pragma unroll
      for (int r = 0; r < BLOCKS; r++) *at_rank(&s.bins[b], r) = sum;
    }
    cluster_sync();
    // The bin in which the running sum reaches the need: one thread finds it.
    const int first = threadIdx.x * PER;
    u64 own = 0;
    if (first < BINS) for (int b = 0; b < PER; b++) own += s.bins[first + b];
    const u64 run = warp_scan(own);
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
        if (before < need && need <= before + s.bins[b]) { s.found[0] = (u64)b; s.found[1] = before; s.found[2] = s.bins[b]; }
    __syncthreads();
    prefix = prefix << width | (u32)s.found[0];
    need -= s.found[1];
  }
  // prefix is the distance of the last keys that stay, and some of them may have to go.
  const u64 each = value(weight_of(value_of(top - prefix), most, scale)), stay = (need + each - 1) / each;
  int last = D;
  if (stay * each < s.found[2]) {
    u64 total;
    const int i = locate(s, count, total, [&](int i) { return (u64)(top - s.keys[i] == prefix && s.weights[i] != 0); }, [&](u64) { return stay - 1; });
    if (i >= 0) for (int r = 0; r < BLOCKS; r++) *at_rank(&s.last_equal, r) = (int)rank * PART + i;
    cluster_sync();
    last = s.last_equal;
  }
  for (int i = threadIdx.x; i < count; i += THREADS) {
    const u32 far = top - s.keys[i];
    if (far > prefix || (far == prefix && (int)rank * PART + i > last)) s.weights[i] = 0;
  }
  __syncthreads();
}

extern "C" __global__ void __launch_bounds__(${threads}, 1)
dsc_sample(const float* logits, const int* choices, const int* ids, const int* starts, const int* lengths, int* seen, int* y, int m) {
  extern __shared__ u8 raw[];
  Shared& s = *(Shared*)raw;
  release_next();
  const int row = blockIdx.x / BLOCKS, rank = (int)cluster_rank(), first = rank * PART, count = max(0, min(PART, D - first));
  const float* from = logits + (long long)row * D;
  await_previous();
  const Choice c = ((const Choice*)choices)[row];

  // Logits to keys. The id that was fed joins those the sequence holds; the host wrote the ones before it.
  const bool penalises = c.penalty != 1.0 && c.sequence >= 0;
  u32* held = (u32*)seen + (long long)c.sequence * ((D + 31) / 32);
  const int fed = penalises ? ids[starts[row + 1] - 1] : -1;
  u32 top = 0;
  for (int i = threadIdx.x; i < count; i += THREADS) {
    float l = from[first + i];
    const bool number = (__float_as_uint(l) & 0x7f800000u) != 0x7f800000u;
    if (penalises) {
      const int id = first + i;
      const u32 bit = 1u << id % 32;
      const bool holds = (held[id / 32] & bit) != 0;
      if (id == fed && !holds) atomicOr(held + id / 32, bit);
      if (holds || id == fed) l = __double2float_rn(l > 0.f ? __ddiv_rn((double)l, c.penalty) : __dmul_rn((double)l, c.penalty));
    }
    s.keys[i] = number ? key_of(l) : ALL;
    top = s.keys[i] > top ? s.keys[i] : top;
  }
  // The largest of the block, then of the cluster.
  top = warp_max(top);
  if (threadIdx.x % 32 == 0) s.sums[threadIdx.x / 32] = top;
  __syncthreads();
  top = warp_max(threadIdx.x % 32 < WARPS ? (u32)s.sums[threadIdx.x % 32] : 0);
  if (threadIdx.x == 0) s.top = top;
  cluster_sync();
  for (int r = 0; r < BLOCKS; r++) { const u32 other = *at_rank(&s.top, r); top = other > top ? other : top; }
  const float most = value_of(top);
  // With NaN or infinity among the logits nothing is drawn: the first of them is said, as -1 - id.
  const bool broken = top == ALL, greedy = broken || c.scale == 0.0;

  for (int i = threadIdx.x; i < count; i += THREADS)
    s.weights[i] = greedy ? s.keys[i] == top : weight_of(value_of(s.keys[i]), most, c.scale);
  __syncthreads();
  if (!greedy && c.top_k > 0 && c.top_k < D)
    cut(s, count, most, c.scale, [](u32 w) { return w ? 1u : 0u; }, [&](u64) { return (u64)c.top_k; });
  if (!greedy && c.top_p < 1.0)
    cut(s, count, most, c.scale, [](u32 w) { return w; }, [&](u64 all) { return (u64)ceil(__dmul_rn(c.top_p, (double)all)); });

  const u32 word = greedy ? 0 : philox((u32)lengths[row], (u32)c.sequence, c.seed_low, c.seed_high);
  u64 total;
  const int i = locate(s, count, total, [&](int i) { return (u64)s.weights[i]; }, [&](u64 all) { return __umul64hi((u64)word << 32, all); });
  if (i >= 0) y[row] = broken ? -1 - (first + i) : first + i;
  if (total == 0 && rank == 0 && threadIdx.x == 0) y[row] = 0;
  cluster_sync();  // none leaves while another reads its sums
}
`;
}

const buffer = (name: string, dtype: "i32" | "f32", access: "in" | "out" | "inout") =>
  ({ kind: "buffer", name, dtype, access }) as const;

/** How it is launched: a row of logits, a record of options and the batch's tables a sequence. */
export function sampleText(vocab: number, shape = sampleShape(vocab)): LaunchText {
  return {
    name: sampleName,
    params: [
      buffer("logits", "f32", "in"),
      buffer("choices", "i32", "in"),
      buffer("ids", "i32", "in"),
      buffer("starts", "i32", "in"),
      buffer("lengths", "i32", "in"),
      buffer("seen", "i32", "inout"),
      buffer("y", "i32", "out"),
    ],
    dims: ["m"],
    launch: {
      grid: [{ op: "mul", of: ["m", shape.blocks] }, 1, 1],
      block: shape.threads,
      sharedBytes: sharedBytes(vocab, shape),
      pdl: true,
      ...(shape.blocks > 1 ? { cluster: [shape.blocks, 1, 1] as [number, number, number] } : {}),
    },
  };
}
