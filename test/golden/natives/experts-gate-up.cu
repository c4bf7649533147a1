// experts_gate_up: y [r, 256] f32 = silu(gate) * up, gate and up = x [T, 512] e4m3/1x128 times
//   w [e, 2, 256, 512]^T e4m3/128x128, for the r = 3 T pairs of a token and an expert, sorted by expert;
//   T up to 1
// schedule {"form":"slice","tokens":1,"rows":16,"kGroups":2,"stages":53,"ahead":0}
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
__device__ __forceinline__ float ld_shared_f32(u32 from) {
  float v; asm volatile("ld.shared.f32 %0, [%1];" : "=f"(v) : "r"(from) : "memory"); return v;
}
__device__ __forceinline__ float2 ld_shared_v2_f32(u32 from) {
  float2 v; asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];" : "=f"(v.x), "=f"(v.y) : "r"(from) : "memory"); return v;
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
// A barrier among some warps of the block; 0 is the whole block's.
__device__ __forceinline__ void bar_sync(int id, int threads) {
  asm volatile("bar.sync %0, %1;" :: "r"(id), "r"(threads) : "memory");
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
__device__ __forceinline__ void cp_async_4(u32 to, const void* from) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" :: "r"(to), "l"(from) : "memory");
}
__device__ __forceinline__ void cp_async_16(u32 to, const void* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" :: "r"(to), "l"(from) : "memory");
}
// All copies of this thread are there.
__device__ __forceinline__ void cp_async_wait_all() { asm volatile("cp.async.wait_all;" ::: "memory"); }
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
constexpr int PARTS = 2, SLICE = 16, PART_ROWS = 8;
// A ring stage holds K_GROUPS steps, a warpgroup for each; stages of an expert.
constexpr int K_GROUPS = 2, UNITS = 2;
constexpr int PROMOTION = 2;                        // stages between two drains of the tensor cores
constexpr int MATH = 256, THREADS = MATH + 32;  // threads that multiply; a warp more copies
constexpr int STAGES = 53, STAGE = 4096;
// Blocks of 128 rows that a part meets; experts whose scales are here, and the bytes of one.
constexpr int SCALE_ROWS = 1, SCALE_SLOTS = 28, SCALE_BYTES = 32;
constexpr int PITCH = 16 * TOKENS, X_STEP = 8 * PITCH;  // bytes to the next 16, and the next 128, columns of x
constexpr int X_PITCH = 2;                      // floats of a step's scales of x
constexpr int W_SCALES = 217088, X = 217984, X_SCALES = 218496, SUMS = 218528, FULL = 218912;  // behind the ring
struct Run { int expert, row, end; };          // the rows of an expert that has some
constexpr int EXPERTS = 9, SHARED = 1;          // experts; the last ones, which every token visits

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

extern "C" __global__ void __launch_bounds__(288, 1)
experts_gate_up_9x512x512_t1n16k2s53(const __grid_constant__ TensorMap w_map, const u8* x, const float* x_scale,
    const float* w_scale, const int* indices, float* y, int T) {
  extern __shared__ u8 raw[];
  __shared__ Run runs[ROWS];
  __shared__ int expert_of[ROWS];  // of a token's pairs: the expert, whether it is the expert's first, the row among the sorted
  __shared__ int leads[ROWS];
  __shared__ int row_of[ROWS];
  __shared__ int row_at[ROWS * TOKENS];  // by expert with rows and token: its row among the sorted, or -1
  const u32 ring = (shared_address(raw) + 1023) & ~1023u;  // the swizzle repeats every 1024 bytes
  const u32 full = ring + FULL, empty = full + 8 * STAGES;
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

  const int ahead = min(STAGES, SHARED * UNITS);
  if (threadIdx.x == MATH) {
    for (int i = 0; i < STAGES; i++) {
      mbarrier_init(full + 8 * i, 1);
      mbarrier_init(empty + 8 * i, MATH / 32);  // one arrival a math warp
    }
    fence_mbarrier_init();
    // What every token visits is known before the choice: a ring of its weights is under way while the router still runs.
    for (int i = 0; i < ahead; i++) fetch(i, EXPERTS - SHARED + i / UNITS);
  }
  for (int c = threadIdx.x; c < ROWS * TOKENS; c += THREADS) row_at[c] = -1;
  await_previous();
  // All tokens, 16 columns of each side by side, with all their scales: on their way while the choice is looked at.
  if (threadIdx.x < MATH) {
    for (int c = threadIdx.x; c < T * (K / 16); c += MATH)
      cp_async_16(ring + X + c % (K / 16) * PITCH + c / (K / 16) * 16, x + (i64)c * 16);
    for (int c = threadIdx.x; c < T * STEPS; c += MATH)
      cp_async_4(ring + X_SCALES + (c % STEPS * X_PITCH + c / STEPS) * 4, x_scale + c);
  }
  if (threadIdx.x < T * PER) expert_of[threadIdx.x] = ld_relaxed_s32(indices + threadIdx.x);
  int run;
  const int count = find_runs(T * PER, expert_of, leads, runs, row_of, run);
  // Not earlier: that the next kernel runs then says that the choice of experts is there.
  release_next();
  // Shared experts first, whose weights come first, then the others in order.
  auto run_of = [&](int visit) { return visit < SHARED ? count - SHARED + visit : visit - SHARED; };

  if (warp == MATH / 32) {
    // One thread keeps the weights coming: bytes in flight are what bandwidth needs.
    if (lane == 0)
      for (int i = ahead; i < count * UNITS; i++) {
        if (i >= STAGES) mbarrier_wait(empty + 8 * (i % STAGES), (i / STAGES - 1) & 1);
        fetch(i, runs[run_of(i / UNITS)].expert);
      }
  } else {
    if (threadIdx.x < T * PER) row_at[run * TOKENS + threadIdx.x / PER] = row_of[threadIdx.x];
    cp_async_wait_all();
    fence_proxy_async();
    bar_sync(1, MATH);

    const int k_group = warp / 4, slice_row = warp % 4 * 16 + lane / 4, column = lane % 4 * 2;
    // Of the slice's rows of scales, parts one after the other; rows past the slice take any.
    auto scale_of = [&](int row) {
      return min(row / PART_ROWS, PARTS - 1) * SCALE_ROWS + min((row0 + row % PART_ROWS) / 128 - scale_row0, SCALE_ROWS - 1);
    };
    const int upper_scale = scale_of(slice_row), lower_scale = scale_of(slice_row + 8);
    const u32 x_tile = ring + X, x_scales = ring + X_SCALES;
    for (int visit = 0; visit < count; visit++) {
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
      // Columns of the product are tokens: those of this expert's tokens are rows of the result.
#pragma unroll
      for (int v = 0; v < 4; v++) {
        const int row = slice_row + v / 2 * 8, token = column + v % 2;
        const int i = token < TOKENS ? row_at[run_of(visit) * TOKENS + token] : -1;
        if (i >= 0 && row < SLICE) st_shared_f32(ring + SUMS + ((k_group * ROWS + i) * SLICE + row) * 4, sum[v]);
      }
    }
    bar_sync(1, MATH);

    // Every row's slice: the warpgroups' sums in their order, rounded as rows of gate and up would be stored, and gated.
    for (int c = threadIdx.x; c < T * PER * PART_ROWS; c += MATH) {
      const int i = c / PART_ROWS, row = c % PART_ROWS;
      float product[PARTS] = {};
#pragma unroll
      for (int part = 0; part < PARTS; part++) {
#pragma unroll
        for (int d = 0; d < K_GROUPS; d++)
          product[part] += ld_shared_f32(ring + SUMS + ((d * ROWS + i) * SLICE + part * PART_ROWS + row) * 4);
        product[part] = from_bf16(to_bf16(product[part]));
      }
      y[(i64)i * (N / PARTS) + row0 + row] = __fmul_rn(__fdiv_rn(product[0], __fadd_rn(1.0f, expf(-product[0]))), product[1]);
    }
  }
}
