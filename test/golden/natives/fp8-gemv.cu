// block_gemm: y [m, 256] bf16 = x [m, 1024] e4m3/1x128 times w [256, 1024]^T e4m3/128x128, f32 sums; m up to 1
// schedule {"warpgroups":1,"rowsPerWarpgroup":8,"kGroups":2,"split":1,"stages":4,"maxRows":1}
// floor on H200: 262144 bytes of weights / 4539 GB/s = 0.1 us

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
struct __align__(64) TensorMap { u64 words[16]; };  // CUtensorMap, opaque
__device__ __forceinline__ u32 shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }
// Programmatic dependent launch: blocks of the next kernel start as these leave. What the kernel before wrote may be read,
// and what it reads overwritten, only after await_previous; weights were there all along.
__device__ __forceinline__ void release_next() { asm volatile("griddepcontrol.launch_dependents;" ::: "memory"); }
__device__ __forceinline__ void await_previous() { asm volatile("griddepcontrol.wait;" ::: "memory"); }
__device__ __forceinline__ u32 pack_bf16(float low, float high) {
  u32 v; asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(v) : "f"(high), "f"(low)); return v;
}
__device__ __forceinline__ float ld_shared_f32(u32 from) {
  float v; asm volatile("ld.shared.f32 %0, [%1];" : "=f"(v) : "r"(from) : "memory"); return v;
}
__device__ __forceinline__ float2 ld_shared_v2_f32(u32 from) {
  float2 v; asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];" : "=f"(v.x), "=f"(v.y) : "r"(from) : "memory"); return v;
}
__device__ __forceinline__ float4 ld_shared_v4_f32(u32 from) {
  float4 v;
  asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w) : "r"(from) : "memory");
  return v;
}
__device__ __forceinline__ void st_shared_f32(u32 to, float v) {
  asm volatile("st.shared.f32 [%0], %1;" :: "r"(to), "f"(v) : "memory");
}
// One store: left to itself the compiler makes four of it.
__device__ __forceinline__ void st_global_v4_u32(u16* to, u32 a, u32 b, u32 c, u32 d) {
  asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" :: "l"(to), "r"(a), "r"(b), "r"(c), "r"(d) : "memory");
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
// Weights are read once a step and go first when L2 needs room: kernels, gains and rows stay, and so need not queue for memory
// behind the rings of the kernels that follow.
__device__ __forceinline__ u64 l2_evict_first() {
  u64 policy; asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy)); return policy;
}
__device__ __forceinline__ void tma_load_2d_hint(u32 to, const TensorMap* map, u32 barrier, int x, int y, u64 policy) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.L2::cache_hint "
               "[%0], [%1, {%3, %4}], [%2], %5;"
               :: "r"(to), "l"(map), "r"(barrier), "r"(x), "r"(y), "l"(policy) : "memory");
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

constexpr int N = 256, K = 1024, STEPS = K / 128;  // columns of y; steps of 128 columns of k
constexpr int MAX_ROWS = 1;                       // rows of x there may be: their codes stay here from the first step to the last
// Four warps multiply WARPGROUP_ROWS rows of w; wgmma takes 64, those past WARPGROUP_ROWS go nowhere.
constexpr int WARPGROUPS = 1, WARPGROUP_ROWS = 8, ROWS = WARPGROUPS * WARPGROUP_ROWS;
constexpr int K_GROUPS = 2, UNITS = STEPS / K_GROUPS;     // a ring stage holds K_GROUPS steps, each for its own warpgroups
constexpr int SPLIT = 1;                      // blocks that share the k of their rows
constexpr int MAX_STEPS = (UNITS + SPLIT - 1) / SPLIT * K_GROUPS;  // steps a block may have
constexpr int MATH = 256;   // threads that multiply; a warp more copies w
constexpr int STAGES = 4, TILE = WARPGROUP_ROWS * 128, STAGE = K_GROUPS * WARPGROUPS * TILE;
constexpr int PREFETCH = 3, IN_FLIGHT = 3;           // stages under way at once: while the ring fills, and after
// Blocks of 128 rows, with scales of their own, that a block's rows may meet.
constexpr int SCALE_BLOCKS = 1;
constexpr int PITCH = ROWS + 4;                 // floats a token of sums, padded against bank conflicts

extern "C" __global__ void __launch_bounds__(288, 1)
block_gemm_256x1024_m1_1x8k2x1s4(const __grid_constant__ TensorMap w_map, const u8* __restrict__ x,
    const float* __restrict__ x_scale, const float* __restrict__ w_scale, u16* __restrict__ y, int m) {
  extern __shared__ u8 raw[];
  const u32 ring = (shared_address(raw) + 1023) & ~1023u;  // the swizzle repeats every 1024 bytes
  const u32 x_codes = ring + STAGES * STAGE, x_scales = x_codes + MAX_STEPS * 128 * MAX_ROWS + 128, w_scales = x_scales + MAX_STEPS * 32;
  const u32 full = (w_scales + SCALE_BLOCKS * MAX_STEPS * 4 + 7) & ~7u, empty = full + 8 * STAGES;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int rank = blockIdx.x, column0 = blockIdx.y * ROWS;
  const int begin = rank * UNITS / SPLIT, units = (rank + 1) * UNITS / SPLIT - begin, first = begin * K_GROUPS, count = units * K_GROUPS;
  auto load_stage = [&](int u) {
    const int stage = u % STAGES;
    mbarrier_arrive_expect_tx(full + 8 * stage, STAGE);
    for (int i = 0; i < K_GROUPS * WARPGROUPS; i++)
      tma_load_2d_hint(ring + stage * STAGE + i * TILE, &w_map, full + 8 * stage, (first + u * K_GROUPS + i / WARPGROUPS) * 128,
          column0 + i % WARPGROUPS * WARPGROUP_ROWS, l2_evict_first());
  };

  if (threadIdx.x == MATH) {
    for (int i = 0; i < STAGES; i++) {
      mbarrier_init(full + 8 * i, 1);
      mbarrier_init(empty + 8 * i, MATH / 32);  // one arrival a math warp
    }
    fence_mbarrier_init();
    // Weights do not wait for the kernel before: a ring of them comes while it still runs.
    for (int u = 0; u < min(PREFETCH, units); u++) load_stage(u);
  }
  __syncthreads();
  release_next();
  // Of the result a thread has 8 columns of a token.
  const int token = threadIdx.x / (ROWS / 8), column = threadIdx.x % (ROWS / 8) * 8;
  const bool mine = token < m && column0 + column < N;
  const long long at = (long long)token * N + column0 + column;

  if (warp == MATH / 32) {
    // One thread keeps the weights coming: bytes in flight are what bandwidth needs.
    if (lane == 0)
      for (int u = PREFETCH; u < units; u++) {
        if (u >= STAGES) mbarrier_wait(empty + 8 * (u % STAGES), (u / STAGES - 1) & 1);
        // What is asked for beyond these only queues, and what the kernel before still reads and stores would queue behind.
        const int landed = u - (u < STAGES ? PREFETCH : IN_FLIGHT);
        mbarrier_wait(full + 8 * (landed % STAGES), landed / STAGES & 1);
        load_stage(u);
      }
    __syncwarp();
  } else {
    const int warpgroup = warp / 4 % WARPGROUPS, k_group = warp / 4 / WARPGROUPS,
        row = warpgroup * WARPGROUP_ROWS + warp % 4 * 16 + lane / 4;
    for (int e = threadIdx.x; e < SCALE_BLOCKS * count; e += MATH)
      cp_async_4(w_scales + (e / count * MAX_STEPS + e % count) * 4,
          w_scale + min(column0 / 128 + e / count, (N - 1) / 128) * STEPS + first + e % count);
    await_previous();
    for (int e = threadIdx.x; e < count * 8 * m; e += MATH) {
      const int r = e / (count * 8), piece = e % (count * 8);
      cp_async_16(x_codes + (piece * MAX_ROWS + r) * 16, x + (long long)r * K + first * 128 + piece * 16);
    }
    for (int e = threadIdx.x; e < count * m; e += MATH)
      cp_async_4(x_scales + (e % count * 8 + e / count) * 4, x_scale + e / count * STEPS + first + e % count);
    cp_async_wait_all();
    fence_proxy_async();  // the tensor cores read the codes of all these threads
    bar_sync(1, MATH);

    // Scales of the two rows of w a lane has sums of.
    const u32 w_upper = w_scales + ((column0 + warpgroup * WARPGROUP_ROWS) / 128 - column0 / 128) * MAX_STEPS * 4;
    float sum[4] = {};
    for (int u = 0; u < units; u++) {
      const int stage = u % STAGES, p = u * K_GROUPS + k_group;
      const float2 x_now = ld_shared_v2_f32(x_scales + p * 32 + lane % 4 * 8);
      const float upper = ld_shared_f32(w_upper + p * 4);
      mbarrier_wait(full + 8 * stage, u / STAGES & 1);
      float part[4];
      const u64 w_tile = descriptor_k_major(ring + stage * STAGE + (k_group * WARPGROUPS + warpgroup) * TILE),
          x_tile = descriptor_no_swizzle<16 * MAX_ROWS, 128>(x_codes + p * 128 * MAX_ROWS);
      wgmma_m64n8k128_e4m3_no_swizzle<16 * MAX_ROWS>(part, w_tile, x_tile);
      wgmma_wait_group<0>(part);
      if (lane == 0) mbarrier_arrive(empty + 8 * stage);
#pragma unroll
      for (int i = 0; i < 4; i++) sum[i] = fmaf(part[i], (i % 2 ? x_now.y : x_now.x) * upper, sum[i]);
    }

    // The ring has been read and nothing more is coming: it now takes the sums, a token a row.
    bar_sync(1, MATH);
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const int of = lane % 4 * 2 + i % 2, to = row + i / 2 * 8;
      if (of < MAX_ROWS && to < (warpgroup + 1) * WARPGROUP_ROWS)
        st_shared_f32(ring + ((k_group * MAX_ROWS + of) * PITCH + to) * 4, sum[i]);
    }
  }
  __syncthreads();

  // Output: added up over steps and blocks in their order, 16 bytes a store.
  if (mine) {
    float v[8] = {};
#pragma unroll
    for (int d = 0; d < SPLIT * K_GROUPS; d++) {
      const u32 from = ring + ((d % K_GROUPS * MAX_ROWS + token) * PITCH + column) * 4;
      const float4 a = ld_shared_v4_f32(from), b = ld_shared_v4_f32(from + 16);
      v[0] += a.x; v[1] += a.y; v[2] += a.z; v[3] += a.w; v[4] += b.x; v[5] += b.y; v[6] += b.z; v[7] += b.w;
    }
    st_global_v4_u32(y + at, pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]), pack_bf16(v[4], v[5]), pack_bf16(v[6], v[7]));
  }
}
