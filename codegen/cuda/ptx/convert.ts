// Number formats in storage. They are exact: the same bits as ir/numeric.ts, checked by test/kernels.
import { plain, type Entry } from "./entry.ts";

export const convert: readonly Entry[] = [
  plain("from_bf16", `__device__ __forceinline__ float from_bf16(u16 code) { return __uint_as_float((u32)code << 16); }`),
  plain(
    "to_bf16",
    `// To nearest even; NaN stays NaN.
__device__ __forceinline__ u16 to_bf16(float x) {
  const u32 bits = __float_as_uint(x);
  return x != x ? 0x7fc0 : (u16)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}`,
  ),
  plain(
    "from_e4m3",
    `// The code's bits moved under an f32 exponent lack a bias of 120.
__device__ __forceinline__ float from_e4m3(u8 code) {
  const float value = __fmul_rn(__uint_as_float(((code & 0x7fu) << 20) | ((code & 0x80u) << 24)), 1.329227995784916e36f);
  return (code & 0x7f) == 0x7f ? __uint_as_float(0x7fffffffu) : value;
}`,
  ),
  plain(
    "to_e4m3",
    `// To nearest even, saturating at 448; NaN is 0x7f.
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
}`,
  ),
  plain(
    "pow2_ceil",
    `// The least power of two that is not below x > 0.
__device__ __forceinline__ float pow2_ceil(float x) { return __uint_as_float((__float_as_uint(x) + 0x7fffffu) & 0xff800000u); }`,
  ),
];
