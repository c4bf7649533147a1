// Normalise a row and quantise it to e4m3 with one scale per 128 columns, in one visit.
//   x: f32[m, 1536] strides [2112, 1]
//   gain: bf16[1536]
//   out codes: e4m3[m, 1536]
//   out scales: f32[m, 12]
// Origin: tile program norm_quant_1536; 12 warps a cell, tiles in registers (element lane + 32 q of a warp's tile in v[q])
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef long long i64;

__device__ __forceinline__ void release_next() { asm volatile("griddepcontrol.launch_dependents;" ::: "memory"); }
__device__ __forceinline__ void await_previous() { asm volatile("griddepcontrol.wait;" ::: "memory"); }
__device__ __forceinline__ float from_bf16(u16 code) { return __uint_as_float((u32)code << 16); }
// To nearest even, saturating at 448; NaN is 0x7f.
__device__ __forceinline__ u8 to_e4m3(float x) {
#ifdef __CUDA_ARCH__
  u16 pair;  // the instruction converts two
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(pair) : "f"(0.0f), "f"(x));
  return (u8)pair;
#else
  // Below 2^-6 the grid is uniform: adding 2^14 aligns its step with the last bit.
  const float a = fminf(fabsf(x), 448.0f);
  const u32 bits = __float_as_uint(a);
  const u32 normal = ((bits + 0x7ffffu + ((bits >> 20) & 1u)) >> 20) - 960u;
  const u32 small = __float_as_uint(__fadd_rn(a, 16384.0f)) - 0x46800000u;
  const u32 code = (a < 0.015625f ? small : normal) | ((__float_as_uint(x) >> 24) & 0x80u);
  return x != x ? 0x7f : (u8)code;
#endif
}
// NaN stays.
__device__ __forceinline__ float larger(float a, float b) {
#ifdef __CUDA_ARCH__
  float v;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(v) : "f"(a), "f"(b));
  return v;
#else
  return a != a || b != b ? a + b : fmaxf(a, b);
#endif
}
__device__ __forceinline__ int larger(int a, int b) { return max(a, b); }
// Sum of N <= 128 columns, column lane + 32 q in v[q], in the one order every target uses: column j to column j + n/2, halving n.
// 64 and 32 columns apart lie in one lane; nearer ones meet by shuffles. Every lane gets the sum.
template <int N> __device__ __forceinline__ float warp_tree_sum(const float* v) {
  constexpr int Q = (N + 31) / 32;
  const int lane = threadIdx.x % 32;
  float s[4];
#pragma unroll
  for (int q = 0; q < 4; q++) s[q] = q < Q && lane + 32 * q < N ? v[q] : 0.0f;
  float sum = N > 64 ? __fadd_rn(__fadd_rn(s[0], s[2]), __fadd_rn(s[1], s[3])) : N > 32 ? __fadd_rn(s[0], s[1]) : s[0];
#pragma unroll
  for (int apart = N > 16 ? 16 : N > 8 ? 8 : N > 4 ? 4 : N > 2 ? 2 : N > 1 ? 1 : 0; apart > 0; apart /= 2)
    sum = __fadd_rn(sum, __shfl_xor_sync(0xffffffffu, sum, apart));
  return N > 16 ? sum : __shfl_sync(0xffffffffu, sum, 0);
}
// Lanes without a column repeat lane 0's.
template <int N, class T> __device__ __forceinline__ T warp_max(const T* v) {
  const int lane = threadIdx.x % 32;
  T most = N < 32 ? __shfl_sync(0xffffffffu, v[0], lane < N ? lane : 0) : v[0];
#pragma unroll
  for (int q = 1; q < (N + 31) / 32; q++) most = lane + 32 * q < N ? larger(most, v[q]) : most;
#pragma unroll
  for (int apart = 16; apart > 0; apart /= 2) most = larger(most, __shfl_xor_sync(0xffffffffu, most, apart));
  return most;
}

constexpr int WARPS = 12;  // of a block; they share one cell

extern "C" __global__ void __launch_bounds__(384)
norm_quant_1536(const float* __restrict__ x, const u16* __restrict__ gain, u8* __restrict__ codes, float* __restrict__ scales, int m) {
  release_next();  // the next kernel's blocks come in as these leave
  await_previous();  // nothing is read or written before the kernel before has ended
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int i = blockIdx.x;  // grid i < m
  float squares = 0.0f;
  // for p = 0 .. 1536 by 128; iterations go round the warps, their results join in order: the bits do not depend on the number of warps
  __shared__ float squares_parts[12];
  for (int turn = 0; turn < 1; turn++) {
    const int p = 128 * (warp + WARPS * turn);
    float sq[4];
    // v[1, 128] = load x[i, p : 128 | 1536]
    // sq[1, 128] = v * v
#pragma unroll
    for (int q = 0; q < 4; q++) {
      const int c = lane + 32 * q;
      const float v = x[(i64)i * 2112 + p + c];
      sq[q] = __fmul_rn(v, v);
    }
    const float sum = warp_tree_sum<128>(sq);
    if (lane == 0) squares_parts[p / 128] = sum;
  }
  __syncthreads();
#pragma unroll 8
  for (int step = 0; step < 12; step++) squares = __fadd_rn(squares, squares_parts[step]);
  const float by = __fdiv_rn(1.0f, __fsqrt_rn(__fadd_rn(__fdiv_rn(squares, 1536.0f), 0.000001f)));
  // for p = 0 .. 1536 by 128; iterations go round the warps
  for (int turn = 0; turn < 1; turn++) {
    const int p = 128 * (warp + WARPS * turn);
    float n[4];
    float size[4];
    // v1[1, 128] = load x[i, p : 128 | 1536]
    // g[1, 128] = load gain[p : 128 | 1536]
    // n[1, 128] = v1 * by * g
    // size[1, 128] = abs(n)
#pragma unroll
    for (int q = 0; q < 4; q++) {
      const int c = lane + 32 * q;
      const float v1 = x[(i64)i * 2112 + p + c];
      const float g = from_bf16(gain[p + c]);
      n[q] = __fmul_rn(__fmul_rn(v1, by), g);
      size[q] = fabsf(n[q]);
    }
    const float amax = warp_max<128>(size);
    const float s = __fdiv_rn(larger(amax, 0.0001f), 448.0f);
    // code[1, 128] = n / s
    // store codes[i, p : 128 | 1536] = code
#pragma unroll
    for (int q = 0; q < 4; q++) {
      const int c = lane + 32 * q;
      const float code = __fdiv_rn(n[q], s);
      codes[(i64)i * 1536 + p + c] = to_e4m3(code);
    }
    // store scales[i, p / 128] = s
    if (lane == 0) { scales[(i64)i * 12 + p / 128] = s; }
  }
}
