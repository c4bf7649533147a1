// Device functions that printed tile programs call: number formats, NaN-keeping extremes, flooring division, and what a warp does
// together. A text includes those it uses. Formats are exact: the same bits as ir/numeric.ts, checked by test/kernels.

const parts: readonly [name: string, text: string, uses?: readonly string[]][] = [
  ["from_bf16", `__device__ __forceinline__ float from_bf16(u16 code) { return __uint_as_float((u32)code << 16); }`],
  ["to_bf16", `// To nearest even; NaN stays NaN.
__device__ __forceinline__ u16 to_bf16(float x) {
  const u32 bits = __float_as_uint(x);
  return x != x ? 0x7fc0 : (u16)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}`],
  ["from_e4m3", `// The code's bits moved under an f32 exponent lack a bias of 120.
__device__ __forceinline__ float from_e4m3(u8 code) {
  const float value = __fmul_rn(__uint_as_float(((code & 0x7fu) << 20) | ((code & 0x80u) << 24)), 1.329227995784916e36f);
  return (code & 0x7f) == 0x7f ? __uint_as_float(0x7fffffffu) : value;
}`],
  ["to_e4m3", `// To nearest even, saturating at 448; NaN is 0x7f.
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
}`],
  ["pow2_ceil", `// The least power of two that is not below x > 0.
__device__ __forceinline__ float pow2_ceil(float x) { return __uint_as_float((__float_as_uint(x) + 0x7fffffu) & 0xff800000u); }`],
  ["larger", `// NaN stays.
__device__ __forceinline__ float larger(float a, float b) {
#ifdef __CUDA_ARCH__
  float v;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(v) : "f"(a), "f"(b));
  return v;
#else
  return a != a || b != b ? a + b : fmaxf(a, b);
#endif
}
__device__ __forceinline__ int larger(int a, int b) { return max(a, b); }`],
  ["smaller", `// NaN stays.
__device__ __forceinline__ float smaller(float a, float b) {
#ifdef __CUDA_ARCH__
  float v;
  asm("min.NaN.f32 %0, %1, %2;" : "=f"(v) : "f"(a), "f"(b));
  return v;
#else
  return a != a || b != b ? a + b : fminf(a, b);
#endif
}
__device__ __forceinline__ int smaller(int a, int b) { return min(a, b); }`],
  ["load4_f32", `// Four columns of a lane: one word where "left" says that all are inside, else one by one.
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
}`],
  ["load4_i32", `__device__ __forceinline__ void load4_i32(int* v, const int* p) {
  const int4 w = *(const int4*)p;
  v[0] = w.x; v[1] = w.y; v[2] = w.z; v[3] = w.w;
}
__device__ __forceinline__ void load4_i32(int* v, const int* p, bool inside, int fill) {
  const int4 w = inside ? *(const int4*)p : make_int4(fill, fill, fill, fill);
  v[0] = w.x; v[1] = w.y; v[2] = w.z; v[3] = w.w;
}
__device__ __forceinline__ void load4_i32(int* v, const int* p, int left, int fill) {
  if (left >= 4) return load4_i32(v, p);
#pragma unroll
  for (int e = 0; e < 4; e++) v[e] = e < left ? p[e] : fill;
}`],
  ["load4_bf16", `__device__ __forceinline__ void load4_bf16(float* v, const u16* p) {
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
}`, ["from_bf16"]],
  ["load4_e4m3", `__device__ __forceinline__ void load4_e4m3(float* v, const u8* p) {
  const u32 w = *(const u32*)p;
#pragma unroll
  for (int e = 0; e < 4; e++) v[e] = from_e4m3((u8)(w >> 8 * e));
}
__device__ __forceinline__ void load4_e4m3(float* v, const u8* p, bool inside, float fill) {
  const u32 w = inside ? *(const u32*)p : 0u;
#pragma unroll
  for (int e = 0; e < 4; e++) v[e] = inside ? from_e4m3((u8)(w >> 8 * e)) : fill;
}
__device__ __forceinline__ void load4_e4m3(float* v, const u8* p, int left, float fill) {
  if (left >= 4) return load4_e4m3(v, p);
#pragma unroll
  for (int e = 0; e < 4; e++) v[e] = e < left ? from_e4m3(p[e]) : fill;
}`, ["from_e4m3"]],
  ["store4_f32", `__device__ __forceinline__ void store4_f32(float* p, const float* v) { *(float4*)p = make_float4(v[0], v[1], v[2], v[3]); }
__device__ __forceinline__ void store4_f32(float* p, const float* v, int left) {
  if (left >= 4) return store4_f32(p, v);
#pragma unroll
  for (int e = 0; e < 4; e++)
    if (e < left) p[e] = v[e];
}`],
  ["store4_i32", `__device__ __forceinline__ void store4_i32(int* p, const int* v) { *(int4*)p = make_int4(v[0], v[1], v[2], v[3]); }
__device__ __forceinline__ void store4_i32(int* p, const int* v, int left) {
  if (left >= 4) return store4_i32(p, v);
#pragma unroll
  for (int e = 0; e < 4; e++)
    if (e < left) p[e] = v[e];
}`],
  ["store4_bf16", `__device__ __forceinline__ void store4_bf16(u16* p, const float* v) {
  *(uint2*)p = make_uint2((u32)to_bf16(v[0]) | (u32)to_bf16(v[1]) << 16, (u32)to_bf16(v[2]) | (u32)to_bf16(v[3]) << 16);
}
__device__ __forceinline__ void store4_bf16(u16* p, const float* v, int left) {
  if (left >= 4) return store4_bf16(p, v);
#pragma unroll
  for (int e = 0; e < 4; e++)
    if (e < left) p[e] = to_bf16(v[e]);
}`, ["to_bf16"]],
  ["store4_e4m3", `__device__ __forceinline__ void store4_e4m3(u8* p, const float* v) {
  u32 w = 0;
#pragma unroll
  for (int e = 0; e < 4; e++) w |= (u32)to_e4m3(v[e]) << 8 * e;
  *(u32*)p = w;
}
__device__ __forceinline__ void store4_e4m3(u8* p, const float* v, int left) {
  if (left >= 4) return store4_e4m3(p, v);
#pragma unroll
  for (int e = 0; e < 4; e++)
    if (e < left) p[e] = to_e4m3(v[e]);
}`, ["to_e4m3"]],
  ["floor_div", `__device__ __forceinline__ int floor_div(int a, int b) { return a / b - (a % b != 0 && (a < 0) != (b < 0)); }`],
  ["floor_mod", `__device__ __forceinline__ int floor_mod(int a, int b) { return a - b * floor_div(a, b); }`, ["floor_div"]],
  ["quotient", `// Flooring; a zero divisor, which only a masked element may have, becomes one.
__device__ __forceinline__ int quotient(int a, int b) { return floor_div(a, max(b, 1)); }`, ["floor_div"]],
  ["remainder_i32", `__device__ __forceinline__ int remainder_i32(int a, int b) { return a - max(b, 1) * quotient(a, b); }`, ["quotient", "floor_div"]],
  ["remainder_f32", `__device__ __forceinline__ float remainder_f32(float a, float b) { return __fsub_rn(a, __fmul_rn(b, floorf(__fdiv_rn(a, b)))); }`],
  ["warp_tree_sum", `// Sum of N <= 128 columns, column lane + 32 q in v[q], in the one order every target uses: column j to column j + n/2, halving n.
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
}`],
  ["warp_tree_sum_wide", `// The same sum of 128 columns where a lane has columns 4 lane .. + 3: columns 64 apart are 16 lanes apart, 2 and 1 in one lane. A lane
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
}`],
  ["warp_argmax_wide", `// The first largest of N columns where a lane has columns 4 lane .. + 3 of every 128.
template <int N, class T> __device__ __forceinline__ int warp_argmax_wide(const T* v) {
  const int lane = threadIdx.x % 32;
  T best = v[0];
  int at = 4 * lane;
#pragma unroll
  for (int i = 1; i < N / 32; i++)
    if (v[i] > best) { best = v[i]; at = 4 * lane + i / 4 * 128 + i % 4; }
#pragma unroll
  for (int apart = 16; apart > 0; apart /= 2) {
    const T other = __shfl_xor_sync(0xffffffffu, best, apart);
    const int from = __shfl_xor_sync(0xffffffffu, at, apart);
    if (other > best || (other == best && from < at)) { best = other; at = from; }
  }
  return at;
}`],
  ["warp_sum", `// Sum of N columns, column lane + 32 q in v[q]; every lane gets it.
template <int N, class T> __device__ __forceinline__ T warp_sum(const T* v) {
  const int lane = threadIdx.x % 32;
  T sum = 0;
#pragma unroll
  for (int q = 0; q < (N + 31) / 32; q++) sum += lane + 32 * q < N ? v[q] : (T)0;
#pragma unroll
  for (int apart = 16; apart > 0; apart /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, apart);
  return sum;
}`],
  ["warp_max", `// Lanes without a column repeat lane 0's.
template <int N, class T> __device__ __forceinline__ T warp_max(const T* v) {
  const int lane = threadIdx.x % 32;
  T most = N < 32 ? __shfl_sync(0xffffffffu, v[0], lane < N ? lane : 0) : v[0];
#pragma unroll
  for (int q = 1; q < (N + 31) / 32; q++) most = lane + 32 * q < N ? larger(most, v[q]) : most;
#pragma unroll
  for (int apart = 16; apart > 0; apart /= 2) most = larger(most, __shfl_xor_sync(0xffffffffu, most, apart));
  return most;
}`, ["larger"]],
  ["warp_min", `template <int N, class T> __device__ __forceinline__ T warp_min(const T* v) {
  const int lane = threadIdx.x % 32;
  T least = N < 32 ? __shfl_sync(0xffffffffu, v[0], lane < N ? lane : 0) : v[0];
#pragma unroll
  for (int q = 1; q < (N + 31) / 32; q++) least = lane + 32 * q < N ? smaller(least, v[q]) : least;
#pragma unroll
  for (int apart = 16; apart > 0; apart /= 2) least = smaller(least, __shfl_xor_sync(0xffffffffu, least, apart));
  return least;
}`, ["smaller"]],
  ["warp_argmax", `// The first largest of N columns.
template <int N, class T> __device__ __forceinline__ int warp_argmax(const T* v) {
  const int lane = threadIdx.x % 32;
  T best = v[0];
  int at = lane < N ? lane : N;
#pragma unroll
  for (int q = 1; q < (N + 31) / 32; q++)
    if (lane + 32 * q < N && v[q] > best) { best = v[q]; at = lane + 32 * q; }
#pragma unroll
  for (int apart = 16; apart > 0; apart /= 2) {
    const T other = __shfl_xor_sync(0xffffffffu, best, apart);
    const int from = __shfl_xor_sync(0xffffffffu, at, apart);
    if (from < N && (at == N || other > best || (other == best && from < at))) { best = other; at = from; }
  }
  return at;
}`],
  ["warp_scan", `// Exclusive running sum of N elements, element lane + 32 q in v[q].
template <int N> __device__ __forceinline__ void warp_scan(const int* v, int* before) {
  const int lane = threadIdx.x % 32;
  int total = 0;
#pragma unroll
  for (int q = 0; q < (N + 31) / 32; q++) {
    const int own = lane + 32 * q < N ? v[q] : 0;
    int sum = own;
#pragma unroll
    for (int apart = 1; apart < 32; apart *= 2) {
      const int below = __shfl_up_sync(0xffffffffu, sum, apart);
      if (lane >= apart) sum += below;
    }
    before[q] = total + sum - own;
    total += __shfl_sync(0xffffffffu, sum, 31);
  }
}`],
];

/** The helper functions a text calls, in order of definition. */
export function helpersFor(text: string): string {
  const used = new Set(parts.map(([name]) => name).filter((name) => new RegExp(`\\b${name}\\b`).test(text)));
  for (const [name, , uses] of [...parts].reverse()) if (used.has(name)) for (const u of uses ?? []) used.add(u);
  return parts.filter(([name]) => used.has(name)).map(([, body]) => body).join("\n");
}
