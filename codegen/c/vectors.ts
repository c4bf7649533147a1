// vectors.h: the types and functions of vectors that printed kernels name, for one width and its halves. Portable C with vector extensions
// (gcc 12 or later, clang), and intrinsics where a processor has an instruction that C has no word for.
import { functionOf, type FunctionName } from "../loops/functions.ts";
import { matrixFunctions } from "./matrix.ts";
import { printFunction } from "./print.ts";

const halves = (lanes: number): number[] => (lanes === 1 ? [] : [...halves(lanes / 2), lanes]);
const all = (lanes: number, text: (i: number) => string, join = ", "): string =>
  Array.from({ length: lanes }, (_, i) => text(i)).join(join);

const scalars = `typedef uint16_t bf16;
typedef uint8_t e4m3;

static inline float as_f32_i32(int32_t x) {
  float y;
  __builtin_memcpy(&y, &x, 4);
  return y;
}
static inline int32_t as_i32_f32(float x) {
  int32_t y;
  __builtin_memcpy(&y, &x, 4);
  return y;
}
static inline float to_f32_i32(int32_t x) { return (float)x; }
static inline float to_f32_i64(int64_t x) { return (float)x; }
static inline int32_t to_i32_i64(int64_t x) { return (int32_t)x; }
static inline int32_t to_i32_f32(float x) {
  return x != x ? 0 : x >= 2147483648.0f ? INT32_MAX : x <= -2147483648.0f ? INT32_MIN : (int32_t)x;
}
static inline float abs_f32(float x) { return __builtin_fabsf(x); }
static inline float sqrt_f32(float x) { return __builtin_sqrtf(x); }
static inline float floor_f32(float x) { return __builtin_floorf(x); }
// Adding and taking away 1.5 * 2^23 rounds to the nearest even; larger numbers are whole.
static inline float round_f32(float x) {
  return __builtin_fabsf(x) < 4194304.0f ? (x + 12582912.0f) - 12582912.0f : x;
}
// NaN where either is.
static inline float min_f32(float a, float b) { return a != a || a < b ? a : b; }
static inline float max_f32(float a, float b) { return a != a || a > b ? a : b; }
#ifdef __FMA__
static inline float fma_f32(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
#else
static inline float fma_f32(float a, float b, float c) { return a * b + c; }
#endif
static inline int32_t abs_i32(int32_t x) { return x < 0 ? -x : x; }
static inline float value_bf16_i32(int32_t x) { return as_f32_i32((int32_t)((uint32_t)x << 16)); }
${["i32", "i64"]
  .map((t) =>
    `static inline ${t}_t min_${t}(${t}_t a, ${t}_t b) { return a < b ? a : b; }
static inline ${t}_t max_${t}(${t}_t a, ${t}_t b) { return a > b ? a : b; }
// Division and remainder floor.
static inline ${t}_t div_${t}(${t}_t a, ${t}_t b) { return a / b - (a % b != 0 && (a < 0) != (b < 0)); }
static inline ${t}_t mod_${t}(${t}_t a, ${t}_t b) { return a - b * div_${t}(a, b); }`.replace(/\bi(32|64)_t/g, "int$1_t"),
  )
  .join("\n")}
`;

const scalarOf = { f32: "float", i32: "int32_t" } as const;

/** Types, moves and lane-wise operations of vectors of n lanes. */
function width(n: number): string {
  const [f, i] = [`f32x${n}`, `i32x${n}`];
  const half = n / 2;
  const each = (type: string, value: string): string => `  ${type} y;
  for (int l = 0; l < ${n}; l++) y[l] = ${value};
  return y;`;
  const lowHigh = (t: "f32" | "i32"): string =>
    half === 1
      ? `static inline ${scalarOf[t]} low_${t}x2(${t}x2 x) { return x[0]; }
static inline ${scalarOf[t]} high_${t}x2(${t}x2 x) { return x[1]; }`
      : `static inline ${t}x${half} low_${t}x${n}(${t}x${n} x) { return __builtin_shufflevector(x, x, ${all(half, String)}); }
static inline ${t}x${half} high_${t}x${n}(${t}x${n} x) { return __builtin_shufflevector(x, x, ${all(half, (l) => String(l + half))}); }`;
  return `typedef float ${f} __attribute__((vector_size(${4 * n})));
typedef int32_t ${i} __attribute__((vector_size(${4 * n})));
typedef float u${f} __attribute__((vector_size(${4 * n}), aligned(4), may_alias));
typedef int32_t u${i} __attribute__((vector_size(${4 * n}), aligned(4), may_alias));
typedef uint16_t u16x${n} __attribute__((vector_size(${2 * n})));
typedef uint16_t uu16x${n} __attribute__((vector_size(${2 * n}), aligned(2), may_alias));
typedef uint8_t u8x${n} __attribute__((vector_size(${n})));
typedef uint8_t uu8x${n} __attribute__((vector_size(${n}), aligned(1), may_alias));

static inline ${f} splat_${f}(float x) { return (${f}){${all(n, () => "x")}}; }
static inline ${i} splat_${i}(int32_t x) { return (${i}){${all(n, () => "x")}}; }
static inline ${f} as_f32_${i}(${i} x) { return (${f})x; }
static inline ${i} as_i32_${f}(${f} x) { return (${i})x; }
static inline ${f} to_f32_${i}(${i} x) { return __builtin_convertvector(x, ${f}); }
static inline ${f} select_${f}(${i} m, ${f} a, ${f} b) { return (${f})(((${i})a & m) | ((${i})b & ~m)); }
static inline ${i} select_${i}(${i} m, ${i} a, ${i} b) { return (a & m) | (b & ~m); }
static inline ${i} to_i32_${f}(${f} x) {
  const ${i} inside = __builtin_convertvector(select_${f}((x > -2147483648.0f) & (x < 2147483648.0f), x, splat_${f}(0.0f)), ${i});
  return select_${i}(x >= 2147483648.0f, splat_${i}(INT32_MAX), select_${i}(x <= -2147483648.0f, splat_${i}(INT32_MIN), inside));
}
static inline ${f} abs_${f}(${f} x) { return (${f})((${i})x & INT32_MAX); }
static inline ${i} abs_${i}(${i} x) { return select_${i}(x < 0, -x, x); }
static inline ${i} min_${i}(${i} a, ${i} b) { return select_${i}(a < b, a, b); }
static inline ${i} max_${i}(${i} a, ${i} b) { return select_${i}(a > b, a, b); }
static inline ${i} div_${i}(${i} a, ${i} b) {
${each(i, "div_i32(a[l], b[l])")}
}
static inline ${i} mod_${i}(${i} a, ${i} b) {
${each(i, "mod_i32(a[l], b[l])")}
}
${lowHigh("f32")}
${lowHigh("i32")}

static inline ${f} load_f32x${n}(const float *p) { return *(const u${f} *)p; }
static inline ${i} load_i32x${n}(const int32_t *p) { return *(const u${i} *)p; }
static inline void store_f32x${n}(float *p, ${f} x) { *(u${f} *)p = x; }
static inline void store_i32x${n}(int32_t *p, ${i} x) { *(u${i} *)p = x; }
static inline ${f} load_bf16x${n}(const bf16 *p) {
  return (${f})(__builtin_convertvector(*(const uu16x${n} *)p, ${i}) << 16);
}
static inline ${f} gather_f32x${n}(const float *p, int64_t step) { return (${f}){${all(n, (l) => `p[${l} * step]`)}}; }
static inline ${i} gather_i32x${n}(const int32_t *p, int64_t step) { return (${i}){${all(n, (l) => `p[${l} * step]`)}}; }
static inline ${f} gather_bf16x${n}(const bf16 *p, int64_t step) {
  return (${f})((${i}){${all(n, (l) => `p[${l} * step]`)}} << 16);
}
`;
}

/** NaN where either operand is. */
const extremes = (
  n: number,
): string => `static inline f32x${n} min_f32x${n}(f32x${n} a, f32x${n} b) { return select_f32x${n}((a != a) | (a < b), a, b); }
static inline f32x${n} max_f32x${n}(f32x${n} a, f32x${n} b) { return select_f32x${n}((a != a) | (a > b), a, b); }
`;

/** A value that stays in a register: an operand in memory would be read again at each use. */
const pinned = (n: number): string => `static inline f32x${n} pinned_f32x${n}(f32x${n} x) {
#if defined(__AVX512F__)
  __asm__("" : "+v"(x));
#elif defined(__x86_64__)
  __asm__("" : "+x"(x));
#elif defined(__ARM_NEON)
  __asm__("" : "+w"(x));
#endif
  return x;
}
`;

/** What there are instructions for: AVX-512, AVX2 and NEON have them for 16, 8 and 4 lanes. */
function arithmetic(n: number): string {
  const f = `f32x${n}`;
  const portable = `static inline ${f} sqrt_${f}(${f} x) {
  for (int l = 0; l < ${n}; l++) x[l] = sqrt_f32(x[l]);
  return x;
}
static inline ${f} floor_${f}(${f} x) {
  for (int l = 0; l < ${n}; l++) x[l] = floor_f32(x[l]);
  return x;
}
static inline ${f} round_${f}(${f} x) { return select_${f}(abs_${f}(x) < 4194304.0f, (x + 12582912.0f) - 12582912.0f, x); }
${extremes(n)}`;
  const x86 = (bits: 512 | 256, has: string): string => {
    const mm = `_mm${bits}`;
    const vector = `__m${bits}`;
    const near = "_MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC";
    const down = "_MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC";
    const rounding = bits === 512 ? `${mm}_roundscale_ps` : `${mm}_round_ps`;
    // The instruction gives its second operand where either is NaN.
    return `#if defined(${has})
static inline ${f} sqrt_${f}(${f} x) { return (${f})${mm}_sqrt_ps((${vector})x); }
static inline ${f} floor_${f}(${f} x) { return (${f})${rounding}((${vector})x, ${down}); }
static inline ${f} round_${f}(${f} x) { return (${f})${rounding}((${vector})x, ${near}); }
static inline ${f} min_${f}(${f} a, ${f} b) { return select_${f}(a == a, (${f})${mm}_min_ps((${vector})a, (${vector})b), a); }
static inline ${f} max_${f}(${f} a, ${f} b) { return select_${f}(a == a, (${f})${mm}_max_ps((${vector})a, (${vector})b), a); }
static inline ${f} fma_${f}(${f} a, ${f} b, ${f} c) { return (${f})${mm}_fmadd_ps((${vector})a, (${vector})b, (${vector})c); }
#else
${portable}static inline ${f} fma_${f}(${f} a, ${f} b, ${f} c) { return a * b + c; }
#endif
`;
  };
  const neon = `${portable}#if defined(__ARM_NEON)
static inline ${f} fma_${f}(${f} a, ${f} b, ${f} c) { return (${f})vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }
#else
static inline ${f} fma_${f}(${f} a, ${f} b, ${f} c) { return a * b + c; }
#endif
`;
  return n === 16 ? x86(512, "__AVX512F__") : n === 8 ? x86(256, "__AVX2__") : neon;
}

/** Loads and stores of codes, by functions of as many lanes. */
const codes = (n: number): string => `static inline f32x${n} load_e4m3x${n}(const e4m3 *p) {
  return value_e4m3_i32x${n}(__builtin_convertvector(*(const uu8x${n} *)p, i32x${n}));
}
static inline f32x${n} gather_e4m3x${n}(const e4m3 *p, int64_t step) {
  return value_e4m3_i32x${n}((i32x${n}){${all(n, (l) => `p[${l} * step]`)}});
}
static inline void store_bf16x${n}(bf16 *p, f32x${n} x) {
  *(uu16x${n} *)p = __builtin_convertvector(code_bf16_f32x${n}(x), u16x${n});
}
static inline void store_e4m3x${n}(e4m3 *p, f32x${n} x) {
  *(uu8x${n} *)p = __builtin_convertvector(code_e4m3_f32x${n}(x), u8x${n});
}
`;

const functions: readonly FunctionName[] = ["exp", "log", "code_bf16", "code_e4m3", "value_e4m3", "pow2ceil"];
const definitions = (lanes: number): string => functions.flatMap((f) => printFunction(functionOf(f, lanes))).join("\n");

const NONE = "";

/** vectors.h for vectors of so many lanes; `matrix`: and for registers of tiles. */
export function vectorsHeader(lanes: number, matrix = false): string {
  return `// Vectors of ${lanes} lanes of f32 or i32, and their halves, for the kernels beside this file: types and functions.
#pragma once
#include <math.h>
#include <stdint.h>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

${scalars}
${halves(lanes).map(width).join("\n")}
${halves(lanes / 2)
  .map(extremes)
  .join("")}
${arithmetic(lanes)}
${pinned(lanes)}
${definitions(1)}
${definitions(lanes)}

${codes(lanes)}${matrix ? matrixFunctions : NONE}`;
}
