// add_norm_quant: rows of 512 bf16, sum = a + b, codes and scales of the normalised row
// 4 warps a row, 1 blocks of 128 columns each; a row stays in registers
//   a: bf16
//   b: bf16
//   gain: bf16
//   out sum: bf16
//   out codes: e4m3
//   out scales: f32

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef long long i64;
// Programmatic dependent launch: blocks of the next kernel start as these leave. What the kernel before wrote may be read,
// and what it reads overwritten, only after await_previous; weights were there all along.
__device__ __forceinline__ void release_next() { asm volatile("griddepcontrol.launch_dependents;" ::: "memory"); }
__device__ __forceinline__ void await_previous() { asm volatile("griddepcontrol.wait;" ::: "memory"); }
__device__ __forceinline__ float from_bf16(u16 code) { return __uint_as_float((u32)code << 16); }
// To nearest even; NaN stays NaN.
__device__ __forceinline__ u16 to_bf16(float x) {
  const u32 bits = __float_as_uint(x);
  return x != x ? 0x7fc0 : (u16)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}
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
__device__ __forceinline__ void store4_bf16(u16* p, const float* v) {
  *(uint2*)p = make_uint2((u32)to_bf16(v[0]) | (u32)to_bf16(v[1]) << 16, (u32)to_bf16(v[2]) | (u32)to_bf16(v[3]) << 16);
}
__device__ __forceinline__ void store4_bf16(u16* p, const float* v, int left) {
  if (left >= 4) return store4_bf16(p, v);
#pragma unroll
  for (int e = 0; e < 4; e++)
    if (e < left) p[e] = to_bf16(v[e]);
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

constexpr int D = 512, BLOCKS = 4, WARPS = 4, TURNS = 1;

extern "C" __global__ void __launch_bounds__(128)
add_norm_quant_512_rows(const u16* a, const u16* b, const u16* gain, u16* sum, u8* codes, float* scales, int m) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const i64 row = blockIdx.x;
  release_next();
  float gains[TURNS][4], v[TURNS][4];
#pragma unroll
  for (int t = 0; t < TURNS; t++) load4_bf16(gains[t], gain + (warp + WARPS * t) * 128 + lane * 4);
  await_previous();

#pragma unroll
  for (int t = 0; t < TURNS; t++) load4_bf16(v[t], a + row * 512 + (warp + WARPS * t) * 128 + lane * 4);
  // The sum goes on as it is stored, rounded.
  float other[TURNS][4];
#pragma unroll
  for (int t = 0; t < TURNS; t++) load4_bf16(other[t], b + row * 512 + (warp + WARPS * t) * 128 + lane * 4);
#pragma unroll
  for (int t = 0; t < TURNS; t++) {
#pragma unroll
    for (int i = 0; i < 4; i++) v[t][i] = from_bf16(to_bf16(__fadd_rn(v[t][i], other[t][i])));
    store4_bf16(sum + row * D + (warp + WARPS * t) * 128 + lane * 4, v[t]);
  }
  __shared__ float parts[BLOCKS];
#pragma unroll
  for (int t = 0; t < TURNS; t++) {
    float squares[4];
#pragma unroll
    for (int i = 0; i < 4; i++) squares[i] = __fmul_rn(v[t][i], v[t][i]);
    const float part = warp_tree_sum_wide<128>(squares);
    if (lane == 0) parts[warp + WARPS * t] = part;
  }
  __syncthreads();
  float squares = 0.0f;
#pragma unroll
  for (int b = 0; b < BLOCKS; b++) squares = __fadd_rn(squares, parts[b]);
  const float by = __fdiv_rn(1.0f, __fsqrt_rn(__fadd_rn(__fdiv_rn(squares, 512.0f), 0.000001f)));

#pragma unroll
  for (int t = 0; t < TURNS; t++) {
    const int block = warp + WARPS * t;
    float n[4];
#pragma unroll
    for (int i = 0; i < 4; i++) n[i] = __fmul_rn(__fmul_rn(v[t][i], by), gains[t][i]);
    // One scale for the block's 128 columns.
    float sizes[4], codes_now[4];
#pragma unroll
    for (int i = 0; i < 4; i++) sizes[i] = fabsf(n[i]);
    const float plain = __fdiv_rn(larger(warp_max<128>(sizes), 0.0001f), 448.0f), s = plain;
#pragma unroll
    for (int i = 0; i < 4; i++) codes_now[i] = __fdiv_rn(n[i], s);
    store4_e4m3(codes + row * D + block * 128 + lane * 4, codes_now);
    if (lane == 0) scales[row * BLOCKS + block] = s;
  }
}
