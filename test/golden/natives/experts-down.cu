// experts_down: y [T, 512] bf16 = x + the sum over a token's 3 experts of
//   weight * (a quantised row [512]) w [e, 512, 512]^T e4m3/128x128, f32 sums; T up to 1
// schedule {"form":"slice","tokens":1,"rows":8,"kGroups":2,"stages":64,"ahead":4}
// floor on H200: 262144 bytes an expert with rows / 4539 GB/s = 0.1 us each

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;
struct __align__(64) TensorMap { u64 words[16]; };  // CUtensorMap, opaque
__device__ __forceinline__ u32 shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }
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
__device__ __forceinline__ float ld_shared_f32(u32 from) {
  float v; asm volatile("ld.shared.f32 %0, [%1];" : "=f"(v) : "r"(from) : "memory"); return v;
}
__device__ __forceinline__ float2 ld_shared_v2_f32(u32 from) {
  float2 v; asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];" : "=f"(v.x), "=f"(v.y) : "r"(from) : "memory"); return v;
}
__device__ __forceinline__ void st_shared_u32(u32 to, u32 v) {
  asm volatile("st.shared.u32 [%0], %1;" :: "r"(to), "r"(v) : "memory");
}
__device__ __forceinline__ void st_shared_f32(u32 to, float v) {
  asm volatile("st.shared.f32 [%0], %1;" :: "r"(to), "f"(v) : "memory");
}
// From L2: nothing of what an earlier kernel wrote may come from what this multiprocessor still holds.
__device__ __forceinline__ int ld_relaxed_s32(const int* p) {
  int v; asm volatile("ld.relaxed.gpu.global.s32 %0, [%1];" : "=r"(v) : "l"(p) : "memory"); return v;
}
__device__ __forceinline__ void mbarrier_init(u32 barrier, u32 arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" :: "r"(barrier), "r"(arrivals) : "memory");
}
// Barriers must be visible to TMA (async proxy) and to the cluster before the first copy names them.
__device__ __forceinline__ void fence_mbarrier_init() {
  asm volatile("fence.mbarrier_init.release.cluster;\nfence.proxy.async.shared::cta;" ::: "memory");
}
// Arrives, and adds bytes of copies to what the phase waits for.
__device__ __forceinline__ void mbarrier_arrive_expect_tx(u32 barrier, u32 bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" :: "r"(barrier), "r"(bytes) : "memory");
}
__device__ __forceinline__ void mbarrier_arrive(u32 barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" :: "r"(barrier) : "memory");
}
__device__ __forceinline__ void mbarrier_wait(u32 barrier, u32 parity) {
  asm volatile("{\n.reg .pred done;\nAGAIN: mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
               "@done bra DONE;\nbra AGAIN;\nDONE:\n}" :: "r"(barrier), "r"(parity) : "memory");
}
__device__ __forceinline__ void tma_load_4d(u32 to, const TensorMap* map, u32 barrier, int x, int y, int z, int w) {
  asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6}], [%2];"
               :: "r"(to), "l"(map), "r"(barrier), "r"(x), "r"(y), "r"(z), "r"(w) : "memory");
}
// Bytes in a row, multiples of 16.
__device__ __forceinline__ void cp_async_bulk(u32 to, const void* from, u32 bytes, u32 barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];"
               :: "r"(to), "l"(from), "r"(bytes), "r"(barrier) : "memory");
}
// Ordinary stores to shared memory become visible to TMA and to the tensor cores.
__device__ __forceinline__ void fence_proxy_async() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
// K-major: rows of 128 bytes, 128-byte swizzle, 8-row groups 1024 bytes apart; 32 bytes further is the next product's k.
__device__ __forceinline__ u64 descriptor_k_major(u32 address) {
  return (u64)((address & 0x3FFFF) >> 4) | (1ull << 16) | (64ull << 32) | (1ull << 62);
}
// Without swizzle: eight rows of 16 bytes side by side, the next 16 bytes of all rows LEADING bytes further. Where there are fewer
// than eight rows what lies behind them is read in their place, and their columns of the product are not looked at.
template <int LEADING, int STRIDE> __device__ __forceinline__ u64 descriptor_no_swizzle(u32 address) {
  return (u64)((address & 0x3FFFF) >> 4) | ((u64)(LEADING / 16) << 16) | ((u64)(STRIDE / 16) << 32);
}
__device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void wgmma_commit_group() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// Waits until at most LATER groups are in flight. Only then are the registers named, so that nothing reads them earlier.
template <int LATER, int COUNT> __device__ __forceinline__ void wgmma_wait_group(float (&d)[COUNT]) {
  asm volatile("wgmma.wait_group.sync.aligned %0;" :: "n"(LATER) : "memory");
#pragma unroll
  for (int i = 0; i < COUNT; i++) asm volatile("" : "+f"(d[i]) :: "memory");
}
#define SUMS4(d, i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
template <int ADD> __device__ __forceinline__ void wgmma_m64n8k32_e4m3(float (&d)[4], u64 a, u64 b) {
  asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, %6, 0;\n"
    "wgmma.mma_async.sync.aligned.m64n8k32.f32.e4m3.e4m3 "
    "{%0, %1, %2, %3}, "
    "%4, %5, add, 1, 1;\n}"
    : SUMS4(d, 0)
    : "l"(a), "l"(b), "n"(ADD));
}
// One step of 128 columns by eight rows without swizzle: x moves on by two times 16 columns, LEADING bytes each.
template <int LEADING> __device__ __forceinline__ void wgmma_m64n8k128_e4m3_no_swizzle(float (&part)[4], u64 w, u64 x) {
  wgmma_fence();
  wgmma_m64n8k32_e4m3<0>(part, w, x);
  wgmma_m64n8k32_e4m3<1>(part, w + 2, x + 2 * (LEADING / 16));
  wgmma_m64n8k32_e4m3<1>(part, w + 4, x + 4 * (LEADING / 16));
  wgmma_m64n8k32_e4m3<1>(part, w + 6, x + 6 * (LEADING / 16));
  wgmma_commit_group();
}

constexpr int PER = 3;                          // experts a token
constexpr int N = 512, K = 512, STEPS = 4;      // rows and columns of an expert's matrix; steps of 128 columns
constexpr int TOKENS = 1, ROWS = 3;             // tokens at most, and pairs of a token and an expert
// Rows of every matrix that this block owns, as many of each part.
constexpr int PARTS = 1, SLICE = 8, PART_ROWS = 8;
// A ring stage holds K_GROUPS steps, a warpgroup for each; stages of an expert.
constexpr int K_GROUPS = 2, UNITS = 2;
constexpr int PROMOTION = 2;                        // stages between two drains of the tensor cores
constexpr int MATH = 256, QUANTISE = 128, THREADS = MATH + QUANTISE + 32;  // threads that multiply, that make rows of x, that copy
constexpr int STAGES = 64, STAGE = 2048;
// Blocks of 128 rows that a part meets; experts whose scales are here, and the bytes of one.
constexpr int SCALE_ROWS = 1, SCALE_SLOTS = 33, SCALE_BYTES = 16;
constexpr int PITCH = 16 * TOKENS, X_STEP = 8 * PITCH;  // bytes to the next 16, and the next 128, columns of x
constexpr int X_PITCH = 2;                      // floats of a step's scales of x
constexpr int W_SCALES = 131072, X = 131600, X_SCALES = 133648, SUMS = 133776, FULL = 133968;  // behind the ring
struct Run { int expert, row, end; };          // the rows of an expert that has some
// Experts whose rows of x are made ahead, and their room.
constexpr int AHEAD = 4, X_BYTES = 512, X_SCALE_BYTES = 32;
// Rows that are on their way; blocks of 128 columns go round the warps.
constexpr int IN_FLIGHT = 4, WORKERS = QUANTISE / 32, TURNS = 1;

// Sorts the pairs of tokens and experts: the experts that have rows, in order, and every pair's row among all.
// There are so few that each is compared with each. All threads of the block; gives how many experts, and of its own pair which of them.
__device__ __forceinline__ int find_runs(int pairs, const int* expert_of, int* leads, Run* runs, int* row_of, int& run) {
  const int pair = threadIdx.x;
  __syncthreads();
  const int mine = pair < pairs ? expert_of[pair] : -1;
  int row = 0, rows = 0, earlier = 0;
  for (int q = 0; q < pairs; q++) {
    row += expert_of[q] < mine;
    rows += expert_of[q] == mine;
    earlier += q < pair && expert_of[q] == mine;
  }
  if (pair < pairs) {
    leads[pair] = earlier == 0;
    row_of[pair] = row + earlier;
  }
  __syncthreads();
  int count = 0;
  run = 0;
  for (int q = 0; q < pairs; q++) {
    count += leads[q];
    run += leads[q] && expert_of[q] < mine;
  }
  if (pair < pairs && earlier == 0) runs[run] = {mine, row, row + rows};
  __syncthreads();
  return count;
}

extern "C" __global__ void __launch_bounds__(416, 1)
experts_down_9x512x512_t1n8k2s64a4(const __grid_constant__ TensorMap w_map, const float* acts, const float* w_scale,
    const int* indices, const float* weights, const u16* x, u16* y, int T) {
  extern __shared__ u8 raw[];
  __shared__ Run runs[ROWS];
  __shared__ int expert_of[ROWS];  // of a token's pairs: the expert, whether it is the expert's first, the row among the sorted, the weight
  __shared__ int leads[ROWS];
  __shared__ int row_of[ROWS];
  __shared__ float weight_of[ROWS];
  __shared__ float onto[TOKENS * SLICE];
  const u32 ring = (shared_address(raw) + 1023) & ~1023u;  // the swizzle repeats every 1024 bytes
  const u32 full = ring + FULL, empty = full + 8 * STAGES, x_full = empty + 8 * STAGES, x_empty = x_full + 8 * AHEAD;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int row0 = blockIdx.x * PART_ROWS, scale_row0 = min(row0 / 128, N / PARTS / 128 - SCALE_ROWS);
  auto fetch = [&](int i, int expert) {
    const u32 barrier = full + 8 * (i % STAGES), scales = ring + W_SCALES + i / UNITS % SCALE_SLOTS * SCALE_BYTES;
    const bool first = i % UNITS == 0;
    mbarrier_arrive_expect_tx(barrier, STAGE + (first ? SCALE_BYTES : 0));
    tma_load_4d(ring + i % STAGES * STAGE, &w_map, barrier, 0, row0, expert * PARTS, i % UNITS * K_GROUPS);
    if (first)
      for (int part = 0; part < PARTS; part++)
        cp_async_bulk(scales + part * (SCALE_BYTES / PARTS),
            w_scale + (i64)((expert * PARTS + part) * (N / PARTS / 128) + scale_row0) * STEPS, SCALE_BYTES / PARTS, barrier);
  };

  if (threadIdx.x == MATH + QUANTISE) {
    for (int i = 0; i < STAGES; i++) {
      mbarrier_init(full + 8 * i, 1);
      mbarrier_init(empty + 8 * i, MATH / 32);  // one arrival a math warp
    }
    for (int i = 0; i < AHEAD; i++) {
      mbarrier_init(x_full + 8 * i, QUANTISE / 32);
      mbarrier_init(x_empty + 8 * i, MATH / 32);
    }
    fence_mbarrier_init();
  }
  // Before the wait: the kernel before lets this one start only once it has waited for the choice of experts itself.
  if (threadIdx.x < T * PER) expert_of[threadIdx.x] = ld_relaxed_s32(indices + threadIdx.x);
  int own;
  const int count = find_runs(T * PER, expert_of, leads, runs, row_of, own);
  release_next();

  if (warp == (MATH + QUANTISE) / 32) {
    // One thread keeps the weights coming: bytes in flight are what bandwidth needs.
    if (lane == 0)
      for (int i = 0; i < count * UNITS; i++) {
        if (i >= STAGES) mbarrier_wait(empty + 8 * (i % STAGES), (i / STAGES - 1) & 1);
        fetch(i, runs[i / UNITS].expert);
      }
  } else if (warp >= MATH / 32) {
    const int worker = warp - MATH / 32;
    await_previous();
    // Rows in their order, quantised by blocks of 128 columns: a warp a block, four columns a lane. While weights stream a load takes 2 us,
    // so some rows are on their way at any time.
    const int rows = T * PER;
    float next[IN_FLIGHT][TURNS][4];
    auto read = [&](float (&to)[TURNS][4], int i) {
#pragma unroll
      for (int t = 0; t < TURNS; t++) load4_f32(to[t], acts + (i64)i * K + (worker + t * WORKERS) * 128 + lane * 4);
    };
#pragma unroll
    for (int f = 0; f < IN_FLIGHT; f++)
      if (f < rows) read(next[f], f);
    int visit = 0;
    for (int i0 = 0; i0 < rows; i0 += IN_FLIGHT)
#pragma unroll
      for (int f = 0; f < IN_FLIGHT; f++) {
        const int i = i0 + f;
        if (i >= rows) continue;
        const u32 slot = visit % AHEAD, x_tile = ring + X + slot * X_BYTES, x_scales = ring + X_SCALES + slot * X_SCALE_BYTES;
        const int token = i - runs[visit].row;  // a column of the product
        if (token == 0 && visit >= AHEAD) mbarrier_wait(x_empty + 8 * slot, (visit / AHEAD - 1) & 1);
#pragma unroll
        for (int t = 0; t < TURNS; t++) {
          const int block = worker + t * WORKERS;
          float sizes[4];
#pragma unroll
          for (int e = 0; e < 4; e++) sizes[e] = fabsf(next[f][t][e]);
          const float plain = __fdiv_rn(larger(warp_max<128>(sizes), 0.0001f), 448.0f), scale = plain;
          u32 word = 0;
#pragma unroll
          for (int e = 0; e < 4; e++) word |= (u32)to_e4m3(__fdiv_rn(next[f][t][e], scale)) << 8 * e;
          st_shared_u32(x_tile + (block * 8 + lane / 4) * PITCH + token * 16 + lane % 4 * 4, word);
          if (lane == 0) st_shared_f32(x_scales + (block * X_PITCH + token) * 4, scale);
        }
        if (i + IN_FLIGHT < rows) read(next[f], i + IN_FLIGHT);
        if (i + 1 < runs[visit].end) continue;
        // The expert's last row.
        fence_proxy_async();
        __syncwarp();
        if (lane == 0) mbarrier_arrive(x_full + 8 * slot);
        visit++;
      }
    // What the end needs, while others multiply.
    for (int c = threadIdx.x - MATH; c < T * PER; c += QUANTISE) weight_of[c] = weights[c];
    for (int c = threadIdx.x - MATH; c < T * SLICE; c += QUANTISE) onto[c] = from_bf16(x[(i64)(c / SLICE) * N + row0 + c % SLICE]);
  } else {
    const int k_group = warp / 4, slice_row = warp % 4 * 16 + lane / 4, column = lane % 4 * 2;
    // Of the slice's rows of scales, parts one after the other; rows past the slice take any.
    auto scale_of = [&](int row) {
      return min(row / PART_ROWS, PARTS - 1) * SCALE_ROWS + min((row0 + row % PART_ROWS) / 128 - scale_row0, SCALE_ROWS - 1);
    };
    const int upper_scale = scale_of(slice_row), lower_scale = scale_of(slice_row + 8);
    for (int visit = 0; visit < count; visit++) {
      const u32 slot = visit % AHEAD, x_tile = ring + X + slot * X_BYTES, x_scales = ring + X_SCALES + slot * X_SCALE_BYTES;
      mbarrier_wait(x_full + 8 * slot, visit / AHEAD & 1);
      float sum[4] = {};
      const u32 scales = ring + W_SCALES + visit % SCALE_SLOTS * SCALE_BYTES;
      for (int u = 0; u < UNITS; u += PROMOTION) {
        // Two sets of partial sums: while one is scaled and added, the product of the next stage runs.
        float part[2][4];
#pragma unroll
        for (int c = -1; c < PROMOTION; c++) {
          if (c + 1 < PROMOTION) {
            const int next = visit * UNITS + u + c + 1, stage = next % STAGES;
            mbarrier_wait(full + 8 * stage, next / STAGES & 1);
            wgmma_m64n8k128_e4m3_no_swizzle<PITCH>(part[(c + 1) & 1], descriptor_k_major(ring + stage * STAGE + k_group * SLICE * 128),
                descriptor_no_swizzle<PITCH, 0>(x_tile + ((u + c + 1) * K_GROUPS + k_group) * X_STEP));
          }
          if (c < 0) continue;
          const int step = (u + c) * K_GROUPS + k_group;
          const float upper = ld_shared_f32(scales + (upper_scale * STEPS + step) * 4);
          const float lower = PARTS * SCALE_ROWS > 1 ? ld_shared_f32(scales + (lower_scale * STEPS + step) * 4) : upper;
          const float2 x_now = ld_shared_v2_f32(x_scales + (step * X_PITCH + min(column, X_PITCH - 2)) * 4);
          if (c + 1 < PROMOTION) wgmma_wait_group<1>(part[c & 1]);
          else wgmma_wait_group<0>(part[c & 1]);
          if (lane == 0) mbarrier_arrive(empty + 8 * ((visit * UNITS + u + c) % STAGES));
          sum[0] = fmaf(part[c & 1][0], x_now.x * upper, sum[0]);
          sum[1] = fmaf(part[c & 1][1], x_now.y * upper, sum[1]);
          sum[2] = fmaf(part[c & 1][2], x_now.x * lower, sum[2]);
          sum[3] = fmaf(part[c & 1][3], x_now.y * lower, sum[3]);
        }
      }
      if (lane == 0) mbarrier_arrive(x_empty + 8 * slot);
      // Columns of the product are the expert's rows.
      const Run run = runs[visit];
#pragma unroll
      for (int v = 0; v < 4; v++) {
        const int row = slice_row + v / 2 * 8, i = run.row + column + v % 2;
        if (i < run.end && row < SLICE) st_shared_f32(ring + SUMS + ((k_group * ROWS + i) * SLICE + row) * 4, sum[v]);
      }
    }
  }
  __syncthreads();

  // A token's experts in ascending order: each row rounded as it would have been stored, weighted, added; then the residual.
  for (int c = threadIdx.x; c < T * SLICE; c += THREADS) {
    const int token = c / SLICE, row = c % SLICE;
    float acc = 0.0f;
#pragma unroll
    for (int j = 0; j < PER; j++) {
      const u32 from = ring + SUMS + (row_of[token * PER + j] * SLICE + row) * 4;
      float product = 0.0f;
#pragma unroll
      for (int d = 0; d < K_GROUPS; d++) product += ld_shared_f32(from + d * ROWS * SLICE * 4);
      acc = __fadd_rn(acc, __fmul_rn(weight_of[token * PER + j], from_bf16(to_bf16(product))));
    }
    y[(i64)token * N + row0 + row] = to_bf16(__fadd_rn(onto[c], acc));
  }
}
