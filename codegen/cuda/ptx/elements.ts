// Elements of printed tile programs: extremes that keep NaN, four columns of a lane at a time, flooring division.
import { plain, type Entry } from "./entry.ts";

/** The larger or the smaller of two numbers; NaN stays. */
const extreme = (name: string, which: "max" | "min"): Entry =>
  plain(
    name,
    `// NaN stays.
__device__ __forceinline__ float ${name}(float a, float b) {
#ifdef __CUDA_ARCH__
  float v;
  asm("${which}.NaN.f32 %0, %1, %2;" : "=f"(v) : "f"(a), "f"(b));
  return v;
#else
  return a != a || b != b ? a + b : f${which}f(a, b);
#endif
}
__device__ __forceinline__ int ${name}(int a, int b) { return ${which}(a, b); }`,
  );

/** Four columns that are stored as they are computed. */
const load4 = (name: string, type: "float" | "int", doc = ""): Entry =>
  plain(
    name,
    `${doc}__device__ __forceinline__ void ${name}(${type}* v, const ${type}* p) {
  const ${type}4 w = *(const ${type}4*)p;
  v[0] = w.x; v[1] = w.y; v[2] = w.z; v[3] = w.w;
}
__device__ __forceinline__ void ${name}(${type}* v, const ${type}* p, bool inside, ${type} fill) {
  const ${type}4 w = inside ? *(const ${type}4*)p : make_${type}4(fill, fill, fill, fill);
  v[0] = w.x; v[1] = w.y; v[2] = w.z; v[3] = w.w;
}
__device__ __forceinline__ void ${name}(${type}* v, const ${type}* p, int left, ${type} fill) {
  if (left >= 4) return ${name}(v, p);
#pragma unroll
  for (int e = 0; e < 4; e++) v[e] = e < left ? p[e] : fill;
}`,
  );

const store4 = (name: string, type: "float" | "int"): Entry =>
  plain(
    name,
    `__device__ __forceinline__ void ${name}(${type}* p, const ${type}* v) { *(${type}4*)p = make_${type}4(v[0], v[1], v[2], v[3]); }
__device__ __forceinline__ void ${name}(${type}* p, const ${type}* v, int left) {
  if (left >= 4) return ${name}(p, v);
#pragma unroll
  for (int e = 0; e < 4; e++)
    if (e < left) p[e] = v[e];
}`,
  );

export const elements: readonly Entry[] = [
  extreme("larger", "max"),
  extreme("smaller", "min"),
  load4("load4_f32", "float", '// Four columns of a lane: one word where "left" says that all are inside, else one by one.\n'),
  load4("load4_i32", "int"),
  plain(
    "load4_bf16",
    `__device__ __forceinline__ void load4_bf16(float* v, const u16* p) {
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
}`,
  ),
  plain(
    "load4_e4m3",
    `__device__ __forceinline__ void load4_e4m3(float* v, const u8* p) {
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
}`,
  ),
  store4("store4_f32", "float"),
  store4("store4_i32", "int"),
  plain(
    "store4_bf16",
    `__device__ __forceinline__ void store4_bf16(u16* p, const float* v) {
  *(uint2*)p = make_uint2((u32)to_bf16(v[0]) | (u32)to_bf16(v[1]) << 16, (u32)to_bf16(v[2]) | (u32)to_bf16(v[3]) << 16);
}
__device__ __forceinline__ void store4_bf16(u16* p, const float* v, int left) {
  if (left >= 4) return store4_bf16(p, v);
#pragma unroll
  for (int e = 0; e < 4; e++)
    if (e < left) p[e] = to_bf16(v[e]);
}`,
  ),
  plain(
    "store4_e4m3",
    `__device__ __forceinline__ void store4_e4m3(u8* p, const float* v) {
  u32 w = 0;
#ifdef __CUDA_ARCH__
  asm("{\\n.reg .b16 low, high;\\ncvt.rn.satfinite.e4m3x2.f32 low, %2, %1;\\ncvt.rn.satfinite.e4m3x2.f32 high, %4, %3;\\n"
      "mov.b32 %0, {low, high};\\n}" : "=r"(w) : "f"(v[0]), "f"(v[1]), "f"(v[2]), "f"(v[3]));
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
}`,
  ),
  plain(
    "floor_div",
    `__device__ __forceinline__ int floor_div(int a, int b) { return a / b - (a % b != 0 && (a < 0) != (b < 0)); }`,
  ),
  plain("floor_mod", `__device__ __forceinline__ int floor_mod(int a, int b) { return a - b * floor_div(a, b); }`),
  plain(
    "quotient",
    `// Flooring; a zero divisor, which only a masked element may have, becomes one.
__device__ __forceinline__ int quotient(int a, int b) { return floor_div(a, max(b, 1)); }`,
  ),
  plain("remainder_i32", `__device__ __forceinline__ int remainder_i32(int a, int b) { return a - max(b, 1) * quotient(a, b); }`),
  plain(
    "remainder_f32",
    `__device__ __forceinline__ float remainder_f32(float a, float b) { return __fsub_rn(a, __fmul_rn(b, floorf(__fdiv_rn(a, b)))); }`,
  ),
];
