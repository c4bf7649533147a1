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
// Programmatic dependent launch: blocks of the next kernel start as these leave. What the kernel before wrote may be read,
// and what it reads overwritten, only after await_previous; weights were there all along.
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
// Four columns of a lane: one word where "left" says that all are inside, else one by one.
__device__ __forceinline__ void load4_f32(float* v, const float* p) {
  const float4 w = *(const float4*)p;
  v[0] = w.x; v[1] = w.y; v[2] = w.z; v[3] = w.w;
}
__device__ __forceinline__ void load4_f32(float* v, const float* p, bool inside, float fill) {
  const float4 w = inside ? *(const float4*)p : make_float4(fill, fill, fill, fill);
  v[0] = w.x; v[1] = w.y; v[2] = w.z; v[3] = w.w;
}
__device__ __forceinline__ void load4_f32(float* v, const float* p, int left, float fill) {
  if (left >= 4) return load4_f32(v, p);
#pragma unroll
  for (int e = 0; e < 4; e++) v[e] = e < left ? p[e] : fill;
}
__device__ __forceinline__ void load4_bf16(float* v, const u16* p) {
  const uint2 w = *(const uint2*)p;
  v[0] = __uint_as_float(w.x << 16); v[1] = __uint_as_float(w.x & 0xffff0000u);
  v[2] = __uint_as_float(w.y << 16); v[3] = __uint_as_float(w.y & 0xffff0000u);
}
__device__ __forceinline__ void load4_bf16(float* v, const u16* p, bool inside, float fill) {
  const uint2 w = inside ? *(const uint2*)p : make_uint2(0, 0);
  v[0] = inside ? __uint_as_float(w.x << 16) : fill; v[1] = inside ? __uint_as_float(w.x & 0xffff0000u) : fill;
  v[2] = inside ? __uint_as_float(w.y << 16) : fill; v[3] = inside ? __uint_as_float(w.y & 0xffff0000u) : fill;
}
__device__ __forceinline__ void load4_bf16(float* v, const u16* p, int left, float fill) {
  if (left >= 4) return load4_bf16(v, p);
#pragma unroll
  for (int e = 0; e < 4; e++) v[e] = e < left ? from_bf16(p[e]) : fill;
}
__device__ __forceinline__ void store4_e4m3(u8* p, const float* v) {
  u32 w = 0;
#ifdef __CUDA_ARCH__
  asm("{\n.reg .b16 low, high;\ncvt.rn.satfinite.e4m3x2.f32 low, %2, %1;\ncvt.rn.satfinite.e4m3x2.f32 high, %4, %3;\n"
      "mov.b32 %0, {low, high};\n}" : "=r"(w) : "f"(v[0]), "f"(v[1]), "f"(v[2]), "f"(v[3]));
#else
  for (int e = 0; e < 4; e++) w |= (u32)to_e4m3(v[e]) << 8 * e;
#endif
  *(u32*)p = w;
}
__device__ __forceinline__ void store4_e4m3(u8* p, const float* v, int left) {
  if (left >= 4) return store4_e4m3(p, v);
#pragma unroll
  for (int e = 0; e < 4; e++)
    if (e < left) p[e] = to_e4m3(v[e]);
}
// The same sum of 128 columns where a lane has columns 4 lane .. + 3: columns 64 apart are 16 lanes apart, 2 and 1 in one lane. A lane
// gives away half of its sums at 64 and again at 32, so that eight exchanges are enough.
template <int N> __device__ __forceinline__ float warp_tree_sum_wide(const float* v) {
  const int lane = threadIdx.x % 32;
  const bool high = lane & 16, second = lane & 8;
  const float keep0 = high ? v[2] : v[0], keep1 = high ? v[3] : v[1], give0 = high ? v[0] : v[2], give1 = high ? v[1] : v[3];
  const float a = __fadd_rn(keep0, __shfl_xor_sync(0xffffffffu, give0, 16)), b = __fadd_rn(keep1, __shfl_xor_sync(0xffffffffu, give1, 16));
  float sum = __fadd_rn(second ? b : a, __shfl_xor_sync(0xffffffffu, second ? a : b, 8));
#pragma unroll
  for (int apart = 4; apart > 0; apart /= 2) sum = __fadd_rn(sum, __shfl_xor_sync(0xffffffffu, sum, apart));
  sum = __fadd_rn(sum, __shfl_xor_sync(0xffffffffu, sum, 16));  // a lane's columns 0 and 2, 1 and 3
  return __fadd_rn(sum, __shfl_xor_sync(0xffffffffu, sum, 8));
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
    for (int q = 0; q < 1; q++) {
      const int c = 4 * lane + 128 * q;
      float v[4];
      load4_f32(v, x + (i64)i * 2112 + p + c);
#pragma unroll
      for (int e = 0; e < 4; e++) {
        sq[4 * q + e] = __fmul_rn(v[e], v[e]);
      }
    }
    const float sum = warp_tree_sum_wide<128>(sq);
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
    for (int q = 0; q < 1; q++) {
      const int c = 4 * lane + 128 * q;
      float v1[4], g[4];
      load4_f32(v1, x + (i64)i * 2112 + p + c);
      load4_bf16(g, gain + p + c);
#pragma unroll
      for (int e = 0; e < 4; e++) {
        n[4 * q + e] = __fmul_rn(__fmul_rn(v1[e], by), g[e]);
        size[4 * q + e] = fabsf(n[4 * q + e]);
      }
    }
    const float amax = warp_max<128>(size);
    const float s = __fdiv_rn(larger(amax, 0.0001f), 448.0f);
    // code[1, 128] = n / s
    // store codes[i, p : 128 | 1536] = code
#pragma unroll
    for (int q = 0; q < 1; q++) {
      const int c = 4 * lane + 128 * q;
      float code[4];
#pragma unroll
      for (int e = 0; e < 4; e++) {
        code[e] = __fdiv_rn(n[4 * q + e], s);
      }
      store4_e4m3(codes + (i64)i * 1536 + p + c, code);
    }
    // store scales[i, p / 128] = s
    if (lane == 0) { scales[(i64)i * 12 + p / 128] = s; }
  }
}
