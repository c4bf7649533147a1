// rope: y [T, 16, 64] bf16 = pairs of lanes of x rotated by the row's position, in half-split order
// four pairs a thread; rows of x are 3072 apart, heads 192

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
__device__ __forceinline__ void store4_bf16(u16* p, const float* v) {
  *(uint2*)p = make_uint2((u32)to_bf16(v[0]) | (u32)to_bf16(v[1]) << 16, (u32)to_bf16(v[2]) | (u32)to_bf16(v[3]) << 16);
}
__device__ __forceinline__ void store4_bf16(u16* p, const float* v, int left) {
  if (left >= 4) return store4_bf16(p, v);
#pragma unroll
  for (int e = 0; e < 4; e++)
    if (e < left) p[e] = to_bf16(v[e]);
}

constexpr int HEADS = 16, HALF = 32, GROUPS = HALF / 4;  // of four pairs of a head

extern "C" __global__ void __launch_bounds__(256)
rope_16x64_rows(const u16* x, const float* table, const int* positions, u16* y, int T) {
  release_next();
  await_previous();
  const int i = blockIdx.x * 256 + threadIdx.x, token = i / (HEADS * GROUPS);
  if (token < T) {
    const int head = i / GROUPS % HEADS, pair = i % GROUPS * 4;
    const float* turn = table + (i64)positions[token] * 64;
    const u16* from = x + (i64)token * 3072 + head * 192 + 2 * pair;
    float first[4], second[4], cos[4], sin[4], left[4], right[4];
    load4_bf16(first, from);
    load4_bf16(second, from + 4);
    load4_f32(cos, turn + pair);
    load4_f32(sin, turn + HALF + pair);
    const float even[4] = {first[0], first[2], second[0], second[2]}, odd[4] = {first[1], first[3], second[1], second[3]};
#pragma unroll
    for (int e = 0; e < 4; e++) {
      left[e] = __fsub_rn(__fmul_rn(even[e], cos[e]), __fmul_rn(odd[e], sin[e]));
      right[e] = __fadd_rn(__fmul_rn(odd[e], cos[e]), __fmul_rn(even[e], sin[e]));
    }
    u16* to = y + ((i64)token * HEADS + head) * 64 + pair;
    store4_bf16(to, left);
    store4_bf16(to + HALF, right);
  }
}
