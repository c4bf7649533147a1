// route: logits [T, 64] f32 to 4 experts, ascending, and their weights
// sigmoid, noaux_tc, best 2 of 8 groups, normalised, times 2.5

typedef unsigned int u32;
typedef long long i64;
// Programmatic dependent launch: blocks of the next kernel start as these leave. What the kernel before wrote may be read,
// and what it reads overwritten, only after await_previous; weights were there all along.
__device__ __forceinline__ void release_next() { asm volatile("griddepcontrol.launch_dependents;" ::: "memory"); }
__device__ __forceinline__ void await_previous() { asm volatile("griddepcontrol.wait;" ::: "memory"); }
// Orders like the float.
__device__ __forceinline__ u32 ordered_bits(float v) {
  const u32 bits = __float_as_uint(v);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
// Every lane gets the sum: of lanes 16 apart first.
template <class T> __device__ __forceinline__ T warp_reduce_sum(T v) {
#pragma unroll
  for (int apart = 16; apart > 0; apart /= 2) v += __shfl_xor_sync(0xffffffffu, v, apart);
  return v;
}

constexpr int OWN = 2;  // experts a lane

extern "C" __global__ void __launch_bounds__(128)
route_64_top4_rows(const float* logits, const float* bias, int* indices, float* weights, int T) {
  const int lane = threadIdx.x % 32, row = blockIdx.x * 4 + threadIdx.x / 32;
  release_next();
  float bias_of[OWN];
#pragma unroll
  for (int q = 0; q < OWN; q++) bias_of[q] = bias[lane * OWN + q];
  await_previous();
  if (row >= T) return;

  // Experts lane * OWN .. + OWN - 1 of a lane.
  float scores[OWN], choice[OWN];
#pragma unroll
  for (int q = 0; q < OWN; q++) scores[q] = logits[(i64)row * 64 + lane * OWN + q];
#pragma unroll
  for (int q = 0; q < OWN; q++) scores[q] = __fdiv_rn(1.0f, __fadd_rn(1.0f, expf(-scores[q])));
  // The bias chooses, it never weighs. Adding zero makes -0 a 0, so that equal choices have equal ranks.
#pragma unroll
  for (int q = 0; q < OWN; q++) choice[q] = __fadd_rn(__fadd_rn(scores[q], bias_of[q]), 0.0f);

  // A group is 4 lanes; its rank is the sum of its two best.
  float first = -3e+38f, second = -3e+38f;
#pragma unroll
  for (int q = 0; q < OWN; q++) {
    second = fmaxf(second, fminf(first, choice[q]));
    first = fmaxf(first, choice[q]);
  }
#pragma unroll
  for (int apart = 1; apart < 4; apart *= 2) {
    const float other = __shfl_xor_sync(0xffffffffu, first, apart);
    second = fmaxf(fmaxf(second, __shfl_xor_sync(0xffffffffu, second, apart)), fminf(first, other));
    first = fmaxf(first, other);
  }
  const float rank = __fadd_rn(first, second);
  // Kept: fewer than 2 groups are better, earlier ones winning ties.
  int better = 0;
#pragma unroll
  for (int g = 0; g < 8; g++) {
    const float other = __shfl_sync(0xffffffffu, rank, g * 4);
    better += other > rank || (other == rank && g < lane / 4);
  }
  if (better >= 2) {
#pragma unroll
    for (int q = 0; q < OWN; q++) choice[q] = -3e+38f;
  }

  // The best of what is left, 4 times: the largest rank of the warp, in the first lane that has it.
  u32 chosen = 0;
  for (int j = 0; j < 4; j++) {
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
        if (q == at) choice[q] = -3.4e+38f;
    }
  }

  // Ascending: chosen experts of the lanes below, then own ones.
  float picked = 0.0f;
  int place = 0;
#pragma unroll
  for (int q = 0; q < OWN; q++) {
    if (chosen >> q & 1) picked += scores[q];
    place += __popc(__ballot_sync(0xffffffffu, chosen >> q & 1) & ((1u << lane) - 1));
  }
  const float total = __fadd_rn(warp_reduce_sum(picked), 1e-20f);
#pragma unroll
  for (int q = 0; q < OWN; q++)
    if (chosen >> q & 1) {
      indices[(i64)row * 4 + place] = lane * OWN + q;
      weights[(i64)row * 4 + place] = __fmul_rn(__fdiv_rn(scores[q], total), 2.5f);
      place++;
    }
}
