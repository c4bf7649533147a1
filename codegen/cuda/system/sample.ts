// Drawn ids on the GPU: one kernel after the logits does what runtime/sample.ts defines, bit for bit, so that a step that samples
// stays one graph and brings back four bytes a sequence. Options are a record a row in the step's tables: one graph serves all.
import { floorText, type Gpu } from "../../../ir/machine.ts";
import type { KernelText } from "../../../ir/kernel/catalogue.ts";
import { mul } from "../../../ir/size.ts";
import { cudaKernel, inout, input, output } from "../text/kernel.ts";
import { cutText } from "./sample-cut.ts";
import { keysText, largestText, locateText, philoxText, sumsText, weightText } from "./sample-row.ts";

/** Blocks that share a row, and threads of each. */
export interface SampleShape {
  blocks: number;
  threads: number;
}

const BINS = 2048;

/** Small vocabularies fit one block; beyond, eight halve the time of four, and more need another kind of launch. */
const sampleShape = (vocab: number): SampleShape => ({ blocks: vocab <= 8192 ? 1 : 8, threads: 1024 });

const partOf = (vocab: number, { blocks }: SampleShape): number => Math.ceil(vocab / blocks / 32) * 32;
const sharedBytes = (vocab: number, s: SampleShape): number =>
  8 * partOf(vocab, s) + 16 * BINS + 8 * (2 * (s.threads / 32) + 4) + 16;

/** Whether a row of that many logits fits the shared memory of the blocks that share it. */
export const canSample = (vocab: number, { sharedPerBlock }: Gpu): boolean =>
  sharedBytes(vocab, sampleShape(vocab)) <= sharedPerBlock;

/** What leads from one block of a row's cluster to the others. */
const clusters = `\
__device__ __forceinline__ u32 row_rank() { return cluster_rank(); }
__device__ __forceinline__ void row_sync() { cluster_sync(); }
template <class T> __device__ __forceinline__ T* at_row_rank(T* p, u32 rank) { return at_rank(p, rank); }`;
/** The same for a row in one block, which needs nothing of it. */
const alone = `\
__device__ __forceinline__ u32 row_rank() { return 0; }
__device__ __forceinline__ void row_sync() { __syncthreads(); }
template <class T> __device__ __forceinline__ T* at_row_rank(T* p, u32) { return p; }`;

/** Constants, and what lies in shared memory. */
const sizes = (vocab: number, s: SampleShape): string => `\
constexpr int D = ${vocab}, BLOCKS = ${s.blocks}, THREADS = ${s.threads}, WARPS = THREADS / 32;
constexpr int PART = ${partOf(vocab, s)};  // ids a block keeps
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
static_assert(sizeof(Shared) <= ${sharedBytes(vocab, s)}, "shared memory");`;

/** Logits to keys, penalties paid. */
const read = `\
  extern __shared__ u8 raw[];
  Shared& s = *(Shared*)raw;
  release_next();
  const int row = blockIdx.x / BLOCKS, rank = (int)row_rank();
  const int first = rank * PART, count = max(0, min(PART, D - first));
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
      if (holds || id == fed)
        l = __double2float_rn(l > 0.f ? __ddiv_rn((double)l, c.penalty) : __dmul_rn((double)l, c.penalty));
    }
    s.keys[i] = number ? key_of(l) : ALL;
    top = s.keys[i] > top ? s.keys[i] : top;
  }`;

/** The largest key of the row. */
const top = `\
  // The largest of the block, then of the cluster.
  top = largest_of_warp(top);
  if (threadIdx.x % 32 == 0) s.sums[threadIdx.x / 32] = top;
  __syncthreads();
  top = largest_of_warp(threadIdx.x % 32 < WARPS ? (u32)s.sums[threadIdx.x % 32] : 0);
  if (threadIdx.x == 0) s.top = top;
  row_sync();
  for (int r = 0; r < BLOCKS; r++) { const u32 other = *at_row_rank(&s.top, r); top = other > top ? other : top; }
  const float most = value_of(top);
  // With NaN or infinity among the logits nothing is drawn: the first of them is said, as -1 - id.
  const bool broken = top == ALL, greedy = broken || c.scale == 0.0;`;

/** Weights, cut by top-k and top-p, and the id at which their running sum passes a random part of all. */
const draw = `\
  for (int i = threadIdx.x; i < count; i += THREADS)
    s.weights[i] = greedy ? s.keys[i] == top : weight_of(value_of(s.keys[i]), most, c.scale);
  __syncthreads();
  if (!greedy && c.top_k > 0 && c.top_k < D)
    cut(s, count, most, c.scale, [](u32 w) { return w ? 1u : 0u; }, [&](u64) { return (u64)c.top_k; });
  if (!greedy && c.top_p < 1.0)
    cut(s, count, most, c.scale, [](u32 w) { return w; },
        [&](u64 all) { return (u64)ceil(__dmul_rn(c.top_p, (double)all)); });

  const u32 word = greedy ? 0 : philox((u32)lengths[row], (u32)c.sequence, c.seed_low, c.seed_high);
  u64 total;
  const int i = locate(s, count, total, [&](int i) { return (u64)s.weights[i]; },
                       [&](u64 all) { return __umul64hi((u64)word << 32, all); });
  if (i >= 0) y[row] = broken ? -1 - (first + i) : first + i;
  if (total == 0 && rank == 0 && threadIdx.x == 0) y[row] = 0;
  row_sync();  // none leaves while another reads its sums`;

const loose = { restrict: false };

/** The kernel for a vocabulary: a row of logits, a record of options and the batch's tables a sequence. */
export function sampleKernel(vocab: number, machine: Gpu, shape = sampleShape(vocab)): KernelText {
  const { blocks, threads } = shape;
  const who = blocks === 1 ? "one block" : `a cluster of ${blocks} blocks`;
  return cudaKernel({
    name: "dsc_sample",
    header: [
      `dsc_sample: the next id of every row, y [m] i32, drawn from logits [m, ${vocab}] f32`,
      "as runtime/sample.ts defines, bit for bit; -1 - id of the first logit that is NaN or infinite, where one is.",
      `schedule: ${who} a row of ${threads} threads; keys and weights of its ids in shared memory, read once from L2`,
      floorText(machine, { reads: `${4 * vocab} m bytes` }),
      "what it takes is barriers: two for each of three digits of top-k and of top-p",
      "Weights are whole numbers below 2^32, so sums are exact and no order of adding matters.",
    ],
    params: [
      input("logits", "f32", loose),
      ...["choices", "ids", "starts", "lengths"].map((name) => input(name, "i32", loose)),
      inout("seen", "i32", loose),
      output("y", "i32", loose),
    ],
    dims: ["m"],
    launch: {
      grid: [mul("m", blocks), 1, 1],
      block: threads,
      blocksPerSM: 1,
      sharedBytes: sharedBytes(vocab, shape),
      pdl: true,
      ...(blocks > 1 ? { cluster: [blocks, 1, 1] as [number, number, number] } : {}),
    },
    definitions: [
      blocks === 1 ? alone : clusters,
      sizes(vocab, shape),
      keysText,
      weightText,
      philoxText,
      largestText,
      sumsText,
      locateText,
      cutText,
    ].join("\n\n"),
    body: [read, top, draw].join("\n"),
  });
}
