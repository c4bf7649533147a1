// block_gemm: y [m, 256] bf16 = x [m, 1024] e4m3/1x128 times w [256, 1024]^T e4m3/128x128, f32 sums
// schedule {"form":"small-m","tokens":64,"columns":32,"kGroups":2,"stages":8,"xStages":9,"blocksPerSm":1}
// floor on H200: max((262144 + 1024 m + 512 m) bytes / 4539 GB/s, 524288 m operations / 1979 TFLOP/s)

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
__device__ __forceinline__ float4 ld_shared_v4_f32(u32 from) {
  float4 v;
  asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w) : "r"(from) : "memory");
  return v;
}
__device__ __forceinline__ void st_shared_v2_f32(u32 to, float a, float b) {
  asm volatile("st.shared.v2.f32 [%0], {%1, %2};" :: "r"(to), "f"(a), "f"(b) : "memory");
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
// TMA writes a box of the tensor, 128-byte swizzled, zeros outside the tensor; the bytes count either way.
__device__ __forceinline__ void tma_load_2d(u32 to, const TensorMap* map, u32 barrier, int x, int y) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];"
               :: "r"(to), "l"(map), "r"(barrier), "r"(x), "r"(y) : "memory");
}
__device__ __forceinline__ void cp_async_4(u32 to, const void* from) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" :: "r"(to), "l"(from) : "memory");
}
// All copies of this thread are there.
__device__ __forceinline__ void cp_async_wait_all() { asm volatile("cp.async.wait_all;" ::: "memory"); }
// K-major: rows of 128 bytes, 128-byte swizzle, 8-row groups 1024 bytes apart; 32 bytes further is the next product's k.
__device__ __forceinline__ u64 descriptor_k_major(u32 address) {
  return (u64)((address & 0x3FFFF) >> 4) | (1ull << 16) | (64ull << 32) | (1ull << 62);
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
template <int ADD> __device__ __forceinline__ void wgmma_m64n32k32_e4m3(float (&d)[16], u64 a, u64 b) {
  asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, %18, 0;\n"
    "wgmma.mma_async.sync.aligned.m64n32k32.f32.e4m3.e4m3 "
    "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15}, "
    "%16, %17, add, 1, 1;\n}"
    : SUMS4(d, 0), SUMS4(d, 4), SUMS4(d, 8), SUMS4(d, 12)
    : "l"(a), "l"(b), "n"(ADD));
}
// One step of 128 columns: four wgmma, the first overwrites. Longer chains would lose bits: the adder keeps about 14.
__device__ __forceinline__ void wgmma_m64n32k128_e4m3(float (&part)[16], u64 a, u64 b) {
  wgmma_fence();
  wgmma_m64n32k32_e4m3<0>(part, a, b);
  wgmma_m64n32k32_e4m3<1>(part, a + 2, b + 2);
  wgmma_m64n32k32_e4m3<1>(part, a + 4, b + 4);
  wgmma_m64n32k32_e4m3<1>(part, a + 6, b + 6);
  wgmma_commit_group();
}

constexpr int N = 256, STEPS = 8;       // columns of y; steps of 128 columns of k
constexpr int TOKENS = 64, COLUMNS = 32;  // a tile: rows of x by rows of w
// A ring stage holds K_GROUPS steps, each for its own warpgroups.
constexpr int K_GROUPS = 2, UNITS = (STEPS + K_GROUPS - 1) / K_GROUPS;
constexpr int PROMOTION = 4;                  // units between two drains of the tensor cores
constexpr int MATH = 256;  // threads that multiply; a warp more copies w, another x
constexpr int STAGES = 8, X_STAGES = 9;
constexpr int W_BYTES = COLUMNS * 128, X_BYTES = TOKENS * 128;
constexpr int SUMS = COLUMNS / 2;               // sums a thread holds
constexpr int X_PITCH = TOKENS + 2, PITCH = COLUMNS + 8;  // floats a step of x's scales, a token of sums: padded against bank conflicts

extern "C" __global__ void __launch_bounds__(320, 1)
block_gemm_256x1024_n32k2t64s8_9r1(const __grid_constant__ TensorMap x_map, const __grid_constant__ TensorMap w_map,
    const float* __restrict__ x_scale, const float* __restrict__ w_scale, u16* __restrict__ y, int m) {
  extern __shared__ u8 raw[];
  const u32 ring = (shared_address(raw) + 1023) & ~1023u;  // the swizzle repeats every 1024 bytes
  const u32 x_ring = ring + STAGES * K_GROUPS * W_BYTES, x_scales = x_ring + X_STAGES * K_GROUPS * X_BYTES,
      w_scales = x_scales + UNITS * K_GROUPS * X_PITCH * 4;
  const u32 full = (w_scales + 1 * UNITS * K_GROUPS * 4 + 7) & ~7u, empty = full + 8 * STAGES,
      x_full = empty + 8 * STAGES, x_empty = x_full + 8 * X_STAGES;
  // One value a warp: descriptors need no vector registers.
  const int warp = __shfl_sync(~0u, threadIdx.x / 32, 0), lane = threadIdx.x % 32;
  const int token0 = blockIdx.y * TOKENS, column0 = blockIdx.x * COLUMNS;

  if (threadIdx.x == MATH) {
    for (int s = 0; s < STAGES; s++) {
      mbarrier_init(full + 8 * s, 1);
      mbarrier_init(empty + 8 * s, MATH / 32);  // one arrival a math warp
    }
    for (int s = 0; s < X_STAGES; s++) {
      mbarrier_init(x_full + 8 * s, 1);
      mbarrier_init(x_empty + 8 * s, MATH / 32);
    }
    fence_mbarrier_init();
    // Weights do not wait for the kernel before: a ring of them is under way while it still runs.
    for (int i = 0; i < min(STAGES, UNITS); i++) {
      mbarrier_arrive_expect_tx(full + 8 * i, K_GROUPS * W_BYTES);
      for (int d = 0; d < K_GROUPS; d++)
        tma_load_2d(ring + (i * K_GROUPS + d) * W_BYTES, &w_map, full + 8 * i,
            (i * K_GROUPS + d) * 128, column0);
    }
  }
  __syncthreads();
  release_next();

  if (warp == MATH / 32 && lane == 0) {
    // One thread keeps the weights coming: bytes in flight are what bandwidth needs.
    for (int u = STAGES; u < UNITS; u++) {
      const int stage = u % STAGES;
      mbarrier_wait(empty + 8 * stage, (u / STAGES - 1) & 1);
      mbarrier_arrive_expect_tx(full + 8 * stage, K_GROUPS * W_BYTES);
      for (int d = 0; d < K_GROUPS; d++)
        tma_load_2d(ring + (stage * K_GROUPS + d) * W_BYTES, &w_map, full + 8 * stage,
            (u * K_GROUPS + d) * 128, column0);
    }
  } else if (warp == MATH / 32 + 1 && lane == 0) {
    await_previous();
    for (int u = 0; u < UNITS; u++) {
      const int stage = u % X_STAGES;
      if (u >= X_STAGES) mbarrier_wait(x_empty + 8 * stage, (u / X_STAGES - 1) & 1);
      mbarrier_arrive_expect_tx(x_full + 8 * stage, K_GROUPS * X_BYTES);
      for (int d = 0; d < K_GROUPS; d++)
        tma_load_2d(x_ring + (stage * K_GROUPS + d) * X_BYTES, &x_map, x_full + 8 * stage,
            (u * K_GROUPS + d) * 128, token0);
    }
  }
  if (warp < MATH / 32) {
    const int warpgroup = warp / 4, part_rows = warpgroup % (TOKENS / 64), k_group = warpgroup / (TOKENS / 64),
        row = part_rows * 64 + warp % 4 * 16 + lane / 4;
    // Scales of all steps at once, without passing through registers; past the ends any finite scale will do.
    for (int p = threadIdx.x; p < UNITS * K_GROUPS; p += MATH)
      cp_async_4(w_scales + p * 4, w_scale + min(column0 / 128, (N - 1) / 128) * STEPS + min(p, STEPS - 1));
    await_previous();
    for (int t = warp; t < TOKENS; t += MATH / 32)
      for (int p = lane; p < UNITS * K_GROUPS; p += 32)
        cp_async_4(x_scales + (p * X_PITCH + t) * 4, x_scale + min(token0 + t, m - 1) * STEPS + min(p, STEPS - 1));
    cp_async_wait_all();
    bar_sync(1, MATH);

    float sum[SUMS];
#pragma unroll
    for (int i = 0; i < SUMS; i++) sum[i] = 0.f;
    // Places in the rings of the unit that is multiplied next, and of the one handed back.
    int stage = 0, x_stage = 0, read = 0, x_read = 0;
    u32 phase = 0, x_phase = 0;
    for (int u = 0; u < UNITS; u += PROMOTION) {
      // Two sets of partial sums: while one is scaled and added, the product of the next unit runs.
      float part[2][SUMS];
#pragma unroll
      for (int i = -1; i < PROMOTION; i++) {
        if (i + 1 < PROMOTION) {
          mbarrier_wait(full + 8 * stage, phase);
          mbarrier_wait(x_full + 8 * x_stage, x_phase);
          const u32 w_tile = ring + (stage * K_GROUPS + k_group) * W_BYTES,
              x_tile = x_ring + (x_stage * K_GROUPS + k_group) * X_BYTES + part_rows * 8192;
          wgmma_m64n32k128_e4m3(part[(i + 1) & 1], descriptor_k_major(x_tile), descriptor_k_major(w_tile));
          if (++stage == STAGES) { stage = 0; phase ^= 1; }
          if (++x_stage == X_STAGES) { x_stage = 0; x_phase ^= 1; }
        }
        if (i < 0) continue;
        const int p = (u + i) * K_GROUPS + k_group;
        const float w_low = ld_shared_f32(w_scales + p * 4);
        const float upper = ld_shared_f32(x_scales + (p * X_PITCH + row) * 4),
            lower = ld_shared_f32(x_scales + (p * X_PITCH + row + 8) * 4);
        if (i + 1 < PROMOTION) wgmma_wait_group<1>(part[i & 1]);
        else wgmma_wait_group<0>(part[i & 1]);
        // The stages are read: hand them back before the arithmetic.
        if (lane == 0) { mbarrier_arrive(empty + 8 * read); mbarrier_arrive(x_empty + 8 * x_read); }
        if (++read == STAGES) read = 0;
        if (++x_read == X_STAGES) x_read = 0;
#pragma unroll
        for (int j = 0; j < COLUMNS / 8; j++) {
          const float above = upper * w_low, below = lower * w_low;
          sum[4 * j] = fmaf(part[i & 1][4 * j], above, sum[4 * j]);
          sum[4 * j + 1] = fmaf(part[i & 1][4 * j + 1], above, sum[4 * j + 1]);
          sum[4 * j + 2] = fmaf(part[i & 1][4 * j + 2], below, sum[4 * j + 2]);
          sum[4 * j + 3] = fmaf(part[i & 1][4 * j + 3], below, sum[4 * j + 3]);
        }
      }
    }

    // The ring has been read and nothing more is coming: it now takes the sums, a token a row.
    bar_sync(1, MATH);
    const u32 sums = ring + k_group * (TOKENS * PITCH * 4) + (row * PITCH + lane % 4 * 2) * 4;
#pragma unroll
    for (int j = 0; j < COLUMNS / 8; j++) {
      st_shared_v2_f32(sums + j * 32, sum[4 * j], sum[4 * j + 1]);
      st_shared_v2_f32(sums + 8 * PITCH * 4 + j * 32, sum[4 * j + 2], sum[4 * j + 3]);
    }
  }
  __syncthreads();

  // Output: 8 columns of a token a thread, added up over steps in their order, 16 bytes a store, by the warps that multiplied.
  const int chunks = min(TOKENS, m - token0) * (COLUMNS / 8);
  for (int c = threadIdx.x < MATH ? threadIdx.x : chunks; c < chunks; c += MATH) {
    const int token = c / (COLUMNS / 8), column = c % (COLUMNS / 8) * 8;
    if (column0 + column >= N) continue;
    float v[8] = {};
#pragma unroll
    for (int d = 0; d < K_GROUPS; d++) {
      const u32 from = ring + (d * TOKENS * PITCH + token * PITCH + column) * 4;
      const float4 a = ld_shared_v4_f32(from), b = ld_shared_v4_f32(from + 16);
      v[0] += a.x; v[1] += a.y; v[2] += a.z; v[3] += a.w; v[4] += b.x; v[5] += b.y; v[6] += b.z; v[7] += b.w;
    }
    st_global_v4_u32(y + (long long)(token0 + token) * N + column0 + column,
        pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]), pack_bf16(v[4], v[5]), pack_bf16(v[6], v[7]));
  }
}
