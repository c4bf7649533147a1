// How ranks exchange through mailboxes in each other's memory (one-shot push). Every rank stores what it has into a slot of its own in
// the mailbox of every peer, and waits in its own memory until the peers' words are there. A word travels with a tag in one store of 64
// bits: it is its own flag, and no order among stores is needed. The tag has the number of the exchange, which the device counts, and
// what is exchanged, so that a word of another exchange is never taken for one of this. Two halves are used by turns: who writes a half
// again has been through the exchange between, for which every peer had left this one. A kernel lets the next begin only when it ends.
import { CONTROL, PEER_MAILBOX, STUCK } from "../../../ir/system.ts";
import type { Launch } from "../../../ir/kernel/catalogue.ts";
import type { Size } from "../../../ir/size.ts";
import { ceildiv } from "../../../ir/size.ts";
import { inout, input, output, scalar, type Parameter } from "../text/kernel.ts";

/** Threads of a block, unless a test wants fewer. */
export const BLOCK = 512;
/** Blocks of a launch at most: all of them wait, so all have to be resident, beside those of other ranks where a device has several. */
const MOST_BLOCKS = 16;
/** Looks between those at the host's word and at the time. */
const LOOKS = 1024;

const loose = { restrict: false };

/** x and y, then the addresses of all mailboxes and the control block. */
export const exchangeParams = (): Parameter[] => [
  input("x", "f32", loose),
  output("y", "f32", loose),
  ...mailboxParams(),
  scalar("bf16", "i32"),
];

/** The addresses of all mailboxes, the control block, and which rank this is. */
export const mailboxParams = (): Parameter[] => [
  input("mailboxes", "i32", loose),
  inout("control", "i32", loose),
  ...["rank", "ranks", "what", "limit_ms"].map((name) => scalar(name, "i32")),
];

/** `units`: of 16 bytes, a thread each as far as blocks go; `block`: threads of a block. */
export const exchangeLaunch = (units: Size, block: number): Launch => ({
  grid: [{ op: "min", of: [ceildiv(units, block), MOST_BLOCKS] }, 1, 1],
  block,
  sharedBytes: 0,
  pdl: true,
});

export const exchangeDefinitions = `constexpr int UNITS = ${PEER_MAILBOX.units};              // of a rank in a half
constexpr int HEAD = ${PEER_MAILBOX.headBytes / 8}, HALVES = 2;       // words of 64 bits

// An exchange as one rank takes part in it.
struct Exchange {
  u64* const* mailboxes;  // of all ranks
  volatile int* control;
  int rank, ranks, what, limit_ms, epoch;
  u32 tag;
};

// The head of a mailbox: how many exchanges there have been, and how many blocks of this one have left it.
__device__ __forceinline__ int* head(const Exchange& e) { return (int*)e.mailboxes[e.rank]; }

__device__ __forceinline__ Exchange enter(const int* mailboxes, int* control, int rank, int ranks, int what, int limit_ms) {
  Exchange e = {(u64* const*)mailboxes, control, rank, ranks, what, limit_ms, 0, 0};
  e.epoch = *(volatile int*)head(e);
  e.tag = (u32)e.epoch << 8 | (u32)what;  // what is not 0, which memory begins with
  return e;
}

// The last block to leave counts the exchange: all have read the number by then.
__device__ __forceinline__ void leave(const Exchange& e) {
  __syncthreads();
  if (threadIdx.x != 0) return;
  __threadfence();
  int* state = head(e);
  if (atomicAdd(state + 1, 1) != (int)gridDim.x - 1) return;
  state[1] = 0;
  *(volatile int*)state = e.epoch + 1;
}

// Where rank from puts unit i for the owner of a mailbox.
__device__ __forceinline__ u64* slot(const Exchange& e, u64* mailbox, int from, int i) {
  return mailbox + HEAD + 2 * (((i64)(e.epoch % HALVES) * e.ranks + from) * UNITS + i);
}

__device__ __forceinline__ void push_to(const Exchange& e, int peer, int i, uint2 v) {
  const u64 tag = (u64)e.tag << 32;
  st_relaxed_sys_v2_u64(slot(e, e.mailboxes[peer], e.rank, i), tag | v.x, tag | v.y);
}

// To every peer, the next one first, so that not all of them write to one.
__device__ __forceinline__ void push(const Exchange& e, int i, uint2 v) {
  for (int r = 1; r < e.ranks; r++) push_to(e, (e.rank + r) % e.ranks, i, v);
}

// The kernel cannot go on: what it knows goes to the host, and it ends with a fault that no result survives.
__device__ __noinline__ void stuck(const Exchange& e, int why, int peer, u32 seen) {
  e.control[${CONTROL.rank}] = e.rank; e.control[${CONTROL.peer}] = peer; e.control[${CONTROL.epoch}] = e.epoch;
  e.control[${CONTROL.what}] = e.what; e.control[${CONTROL.seen}] = (int)(seen & 255u);
  __threadfence_system();
  e.control[${CONTROL.why}] = why;
  __threadfence_system();
  trap();
}

// Looks at what a wait may end by, other than what it waits for.
__device__ __noinline__ void look_around(const Exchange& e, int peer, u32 seen, u64& since) {
  const u64 now = globaltimer();
  if (since == 0) since = now;
  if (e.control[${CONTROL.stop}] != 0) stuck(e, ${STUCK.stopped}, peer, seen);
  if (seen != 0 && seen >> 8 == e.tag >> 8 && seen != e.tag) stuck(e, ${STUCK.apart}, peer, seen);
  if (now - since > (u64)e.limit_ms * 1000000u) stuck(e, ${STUCK.late}, peer, seen);
}

// Unit i of a peer, once it is there. What was taken is cleared: no tag that comes again after many exchanges finds an old word.
__device__ __forceinline__ uint2 received(const Exchange& e, int peer, int i) {
  u64* const from = slot(e, e.mailboxes[e.rank], peer, i);
  u64 a, b, since = 0;
  for (u32 looks = 1;; looks++) {
    ld_relaxed_sys_v2_u64(from, a, b);
    if ((u32)(a >> 32) == e.tag && (u32)(b >> 32) == e.tag) break;
    if (looks % ${LOOKS} == 0) look_around(e, peer, (u32)(a >> 32), since);
  }
  st_relaxed_sys_v2_u64(from, 0, 0);
  return make_uint2((u32)a, (u32)b);
}`;

/** Words of 32 bits as they lie in memory: an f32, or two bf16; of an odd number the last unit has one. */
export const wordDefinitions = `
__device__ __forceinline__ uint2 unit_of(const float* x, int words, int i) {
  const u32* w = (const u32*)x;
  return make_uint2(w[2 * i], 2 * i + 1 < words ? w[2 * i + 1] : 0);
}
__device__ __forceinline__ void keep_unit(float* y, int words, int i, uint2 v) {
  u32* w = (u32*)y;
  w[2 * i] = v.x;
  if (2 * i + 1 < words) w[2 * i + 1] = v.y;
}`;

/** The sum of a unit over the ranks, in their order. */
export const sumDefinitions = `
// A word, or two of bf16, in f32.
struct Sum { float low[2], high[2]; };
__device__ __forceinline__ void add_word(float& low, float& high, bool first, bool bf16, u32 v) {
  const float a = bf16 ? low_bf16(v) : __uint_as_float(v), b = bf16 ? high_bf16(v) : 0.f;
  low = first ? a : __fadd_rn(low, a);
  high = first ? b : __fadd_rn(high, b);
}
__device__ __forceinline__ void add_unit(Sum& s, bool first, bool bf16, uint2 v) {
  add_word(s.low[0], s.high[0], first, bf16, v.x);
  add_word(s.low[1], s.high[1], first, bf16, v.y);
}
__device__ __forceinline__ u32 word_of(float low, float high, bool bf16) {
  return bf16 ? (u32)to_bf16(high) << 16 | to_bf16(low) : __float_as_uint(low);
}
__device__ __forceinline__ uint2 unit_of_sum(const Sum& s, bool bf16) {
  return make_uint2(word_of(s.low[0], s.high[0], bf16), word_of(s.low[1], s.high[1], bf16));
}`;
