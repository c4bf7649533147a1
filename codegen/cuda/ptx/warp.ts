// What the lanes of a warp do together.
import { device, plain, type Entry } from "./entry.ts";

/** The largest or the smallest of N columns. */
const warpExtreme = (name: string, best: string, of: "larger" | "smaller", doc = ""): Entry =>
  plain(
    name,
    `${doc}template <int N, class T> __device__ __forceinline__ T ${name}(const T* v) {
  const int lane = threadIdx.x % 32;
  T ${best} = N < 32 ? __shfl_sync(0xffffffffu, v[0], lane < N ? lane : 0) : v[0];
#pragma unroll
  for (int q = 1; q < (N + 31) / 32; q++) ${best} = lane + 32 * q < N ? ${of}(${best}, v[q]) : ${best};
#pragma unroll
  for (int apart = 16; apart > 0; apart /= 2) ${best} = ${of}(${best}, __shfl_xor_sync(0xffffffffu, ${best}, apart));
  return ${best};
}`,
  );

export const warp: readonly Entry[] = [
  plain(
    "warp_tree_sum",
    `// Sum of N <= 128 columns, column lane + 32 q in v[q], in the one order every target uses: column j to column j + n/2, halving n.
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
}`,
  ),
  plain(
    "warp_tree_sum_wide",
    `// The same sum of 128 columns where a lane has columns 4 lane .. + 3: columns 64 apart are 16 lanes apart, 2 and 1 in one lane. A lane
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
}`,
  ),
  plain(
    "warp_argmax_wide",
    `// The first largest of N columns where a lane has columns 4 lane .. + 3 of every 128.
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
}`,
  ),
  plain(
    "warp_sum",
    `// Sum of N columns, column lane + 32 q in v[q]; every lane gets it.
template <int N, class T> __device__ __forceinline__ T warp_sum(const T* v) {
  const int lane = threadIdx.x % 32;
  T sum = 0;
#pragma unroll
  for (int q = 0; q < (N + 31) / 32; q++) sum += lane + 32 * q < N ? v[q] : (T)0;
#pragma unroll
  for (int apart = 16; apart > 0; apart /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, apart);
  return sum;
}`,
  ),
  warpExtreme("warp_max", "most", "larger", "// Lanes without a column repeat lane 0's.\n"),
  warpExtreme("warp_min", "least", "smaller"),
  plain(
    "warp_argmax",
    `// The first largest of N columns.
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
}`,
  ),
  plain(
    "warp_scan",
    `// Exclusive running sum of N elements, element lane + 32 q in v[q].
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
}`,
  ),
  device({
    doc: "Every lane gets the sum: of lanes 16 apart first.",
    is: "template <class T> T warp_reduce_sum(T v)",
    does: `#pragma unroll
for (int apart = 16; apart > 0; apart /= 2) v += __shfl_xor_sync(0xffffffffu, v, apart);
return v;`,
  }),
  device({
    doc: "Every lane gets the sum: of neighbours first.",
    is: "float warp_reduce_sum_ascending(float v)",
    does: "for (int d = 1; d < 32; d *= 2) v += __shfl_xor_sync(~0u, v, d);\nreturn v;",
  }),
  device({
    is: "float warp_reduce_max(float v)",
    does: "for (int d = 1; d < 32; d *= 2) v = fmaxf(v, __shfl_xor_sync(~0u, v, d));\nreturn v;",
  }),
  device({
    doc: "Over the eight lanes of a warp that have the same lane % 4.",
    is: "float quads_max(float v)",
    does: `v = fmaxf(v, __shfl_xor_sync(~0u, v, 4));
v = fmaxf(v, __shfl_xor_sync(~0u, v, 8));
return fmaxf(v, __shfl_xor_sync(~0u, v, 16));`,
  }),
  device({
    is: "float quads_sum(float v)",
    does: "v += __shfl_xor_sync(~0u, v, 4);\nv += __shfl_xor_sync(~0u, v, 8);\nreturn v + __shfl_xor_sync(~0u, v, 16);",
  }),
  device({
    doc: "Running sum over the lanes, a lane's own value included.",
    is: "template <class T> T warp_running_sum(T v)",
    does: `const int lane = threadIdx.x % 32;
#pragma unroll
for (int apart = 1; apart < 32; apart *= 2) {
  const T below = __shfl_up_sync(0xffffffffu, v, apart);
  if (lane >= apart) v += below;
}
return v;`,
  }),
  device({
    doc: `Sum of the squares of 128 columns, eight a lane of half a warp: columns 64 apart first, then 32, ... 1. A lane gives away half
of its sums at 64, at 32 and at 16, so that eleven exchanges are enough; every lane has the sum.`,
    is: "float half_warp_sum_of_squares(const float (&v)[8])",
    does: `const int lane = threadIdx.x % 32;
float a[4], b[2];
#pragma unroll
for (int i = 0; i < 4; i++) {
  const float low = __fmul_rn(v[i], v[i]), high = __fmul_rn(v[i + 4], v[i + 4]);
  a[i] = __fadd_rn(lane & 8 ? high : low, __shfl_xor_sync(0xffffffffu, lane & 8 ? low : high, 8));
}
#pragma unroll
for (int i = 0; i < 2; i++) b[i] = __fadd_rn(lane & 4 ? a[i + 2] : a[i], __shfl_xor_sync(0xffffffffu, lane & 4 ? a[i] : a[i + 2], 4));
float sum = __fadd_rn(lane & 2 ? b[1] : b[0], __shfl_xor_sync(0xffffffffu, lane & 2 ? b[0] : b[1], 2));
sum = __fadd_rn(sum, __shfl_xor_sync(0xffffffffu, sum, 1));
sum = __fadd_rn(sum, __shfl_xor_sync(0xffffffffu, sum, 8));  // columns 4, then 2, then 1 apart: sums of other lanes by now
sum = __fadd_rn(sum, __shfl_xor_sync(0xffffffffu, sum, 4));
return __fadd_rn(sum, __shfl_xor_sync(0xffffffffu, sum, 2));`,
  }),
  device({
    doc: "Word i of lane q of four becomes word q of lane i: eight columns of one row instead of two of four groups.",
    is: "uint4 transpose_words(uint4 w, int lane)",
    does: `const bool odd = lane & 1, upper = lane & 2;
const u32 a = __shfl_xor_sync(~0u, odd ? w.x : w.y, 1), b = __shfl_xor_sync(~0u, odd ? w.z : w.w, 1);
if (odd) { w.x = a; w.z = b; } else { w.y = a; w.w = b; }
const u32 c = __shfl_xor_sync(~0u, upper ? w.x : w.z, 2), d = __shfl_xor_sync(~0u, upper ? w.y : w.w, 2);
if (upper) { w.x = c; w.y = d; } else { w.z = c; w.w = d; }
return w;`,
  }),
];
