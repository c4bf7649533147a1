// gated_quant: codes [m, 2048] e4m3 and a scale for every 128 columns of silu(gate) * up, bf16
// a warp 4 blocks of 128 columns of a row

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

constexpr int D = 2048, BLOCKS = 4, CELLS = D / 128 / BLOCKS;  // blocks of a warp; warps of a row

extern "C" __global__ void __launch_bounds__(128)
silu_mul_quant_2048_rows4(const u16* x, u8* codes, float* scales, int m) {
  release_next();
  await_previous();
  const int lane = threadIdx.x % 32, cell = blockIdx.x * 4 + threadIdx.x / 32, row = cell / CELLS;
  if (row >= m) return;
  const int column = cell % CELLS * BLOCKS * 128;
  float v[BLOCKS][4], up[BLOCKS][4];
#pragma unroll
  for (int t = 0; t < BLOCKS; t++) {
    load4_bf16(v[t], x + (i64)row * 4096 + column + t * 128 + lane * 4);
    load4_bf16(up[t], x + (i64)row * 4096 + column + t * 128 + lane * 4 + 2048);
  }
#pragma unroll
  for (int t = 0; t < BLOCKS; t++) {
    float sizes[4], codes_now[4];
#pragma unroll
    for (int e = 0; e < 4; e++)
      v[t][e] = __fmul_rn(__fdiv_rn(v[t][e], __fadd_rn(1.0f, expf(-v[t][e]))), up[t][e]);
#pragma unroll
    for (int e = 0; e < 4; e++) sizes[e] = fabsf(v[t][e]);
    const float plain = __fdiv_rn(larger(warp_max<128>(sizes), 0.0001f), 448.0f), s = plain;
#pragma unroll
    for (int e = 0; e < 4; e++) codes_now[e] = __fdiv_rn(v[t][e], s);
    store4_e4m3(codes + (i64)row * D + column + t * 128 + lane * 4, codes_now);
    if (lane == 0) scales[(i64)row * (D / 128) + column / 128 + t] = s;
  }
}
