// block_gemm: y [m, 256] bf16 = x [m, 1024] e4m3/1x128 times w [256, 1024]^T e4m3/128x128, f32 sums
// schedule {"form":"persistent","rows":192,"stages":4,"group":16,"multicast":"none","tail":"whole"}
// floor on H200: max((262144 + 1024 m + 512 m) bytes / 4539 GB/s, 524288 m operations / 1979 TFLOP/s)

typedef unsigned char u8;
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
// volatile pins the load above the wgmma chain, whose run time hides its latency.
__device__ __forceinline__ float ld_global_nc_f32(const float* p) {
  float v; asm volatile("ld.global.nc.f32 %0, [%1];" : "=f"(v) : "l"(p)); return v;
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
// A box on its way from shared memory; what lies outside the tensor is left out.
__device__ __forceinline__ void tma_store_2d(const TensorMap* map, u32 from, int x, int y) {
  asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%0, {%2, %3}], [%1];"
               :: "l"(map), "r"(from), "r"(x), "r"(y) : "memory");
}
__device__ __forceinline__ void tma_store_commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
// But for the last LATER stores: the shared side may be written again; the global side may still be on its way.
template <int LATER> __device__ __forceinline__ void tma_store_wait_read() {
  asm volatile("cp.async.bulk.wait_group.read %0;" :: "n"(LATER) : "memory");
}
__device__ __forceinline__ void tma_store_wait() { asm volatile("cp.async.bulk.wait_group 0;" ::: "memory"); }
// Ordinary stores to shared memory become visible to TMA and to the tensor cores.
__device__ __forceinline__ void fence_proxy_async() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
// stmatrix takes the accumulator layout of wgmma as it is: register i of a lane is row lane / 4, columns 2 (lane % 4) of matrix i.
__device__ __forceinline__ void stmatrix_x4(u32 to, u32 a, u32 b, u32 c, u32 d) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};"
               :: "r"(to), "r"(a), "r"(b), "r"(c), "r"(d) : "memory");
}
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
template <int ADD> __device__ __forceinline__ void wgmma_m64n64k32_e4m3(float (&d)[32], u64 a, u64 b) {
  asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, %34, 0;\n"
    "wgmma.mma_async.sync.aligned.m64n64k32.f32.e4m3.e4m3 "
    "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19,"
    " %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
    "%32, %33, add, 1, 1;\n}"
    : SUMS4(d, 0), SUMS4(d, 4), SUMS4(d, 8), SUMS4(d, 12), SUMS4(d, 16), SUMS4(d, 20),
      SUMS4(d, 24), SUMS4(d, 28)
    : "l"(a), "l"(b), "n"(ADD));
}
// One step of 128 columns: four wgmma, the first overwrites. Longer chains would lose bits: the adder keeps about 14.
__device__ __forceinline__ void wgmma_m64n64k128_e4m3(float (&part)[32], u64 a, u64 b) {
  wgmma_fence();
  wgmma_m64n64k32_e4m3<0>(part, a, b);
  wgmma_m64n64k32_e4m3<1>(part, a + 2, b + 2);
  wgmma_m64n64k32_e4m3<1>(part, a + 4, b + 4);
  wgmma_m64n64k32_e4m3<1>(part, a + 6, b + 6);
  wgmma_commit_group();
}
// Registers go from the warps that copy to those that multiply; every warp of a warpgroup says so.
template <int COUNT> __device__ __forceinline__ void setmaxnreg_dec() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" :: "n"(COUNT));
}
template <int COUNT> __device__ __forceinline__ void setmaxnreg_inc() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" :: "n"(COUNT));
}

constexpr int STEPS = 8;                    // of 128 columns of k
constexpr int ROWS = 192, COLUMNS = 128;      // a block's tile of y, 64 rows to each of three math warpgroups
constexpr int COLUMN_TILES = 2, GROUP = 16;
constexpr int STAGES = 4, X_BYTES = ROWS * 128, STAGE = X_BYTES + COLUMNS * 128;
constexpr int PROMOTION = 4, PADDED_STEPS = 8;  // steps between two drains of the tensor cores; all steps

// Tiles run down GROUP row tiles before the next column: one wave reuses a few rows of x and a few of w from L2.
struct Tile { int row, end, column; };
__device__ __forceinline__ Tile locate(int tile, int row_tiles, int m) {
  const int first = tile / (GROUP * COLUMN_TILES) * GROUP, height = min(GROUP, row_tiles - first), within = tile % (GROUP * COLUMN_TILES);
  return {(first + within % height) * ROWS, m, within / height};
}

extern "C" __global__ void __launch_bounds__(512, 1)
block_gemm_256x1024_t4r192g16(const __grid_constant__ TensorMap x_map, const __grid_constant__ TensorMap w_map,
    const __grid_constant__ TensorMap y_map, const float* __restrict__ x_scale, const float* __restrict__ w_scale, int m) {
  extern __shared__ u8 raw[];
  const u32 ring = (shared_address(raw) + 1023) & ~1023u;  // the swizzle repeats every 1024 bytes
  const u32 staging = ring + STAGES * STAGE, full = staging + 3 * 16384, empty = full + 8 * STAGES;
  // One value a warp: descriptors need no vector registers.
  const int warp = __shfl_sync(~0u, threadIdx.x / 32, 0), lane = threadIdx.x % 32;
  const int first_tile = blockIdx.x, stride = gridDim.x;

  if (threadIdx.x == 0) {
    for (int s = 0; s < STAGES; s++) {
      mbarrier_init(full + 8 * s, 1);
      mbarrier_init(empty + 8 * s, 12);  // one arrival a math warp
    }
    fence_mbarrier_init();
  }
  __syncthreads();
  release_next();
  const int row_tiles = (m + ROWS - 1) / ROWS, tiles = row_tiles * COLUMN_TILES;

  if (warp >= 12) {
    // Producer: one thread keeps the ring full; its registers go to the math warpgroups.
    setmaxnreg_dec<32>();
    if (warp == 12 && lane == 0) {
      int stage = 0; u32 phase = 0;
      for (int tile = first_tile; tile < tiles; tile += stride) {
        const Tile at = locate(tile, row_tiles, m);
        const int column = at.column;
        int fetched = 0;
        if (tile == first_tile) {
          // Weights do not wait for the kernel before; the first ring of them is under way while it still runs.
          fetched = min(STAGES, PADDED_STEPS);
          for (int i = 0; i < fetched; i++) {
            mbarrier_arrive_expect_tx(full + 8 * i, STAGE);
            tma_load_2d(ring + i * STAGE + X_BYTES, &w_map, full + 8 * i, i * 128, column * COLUMNS);
          }
          await_previous();
        }
        for (int p = 0; p < PADDED_STEPS; p++) {
          const u32 to = ring + stage * STAGE, barrier = full + 8 * stage;
          if (p >= fetched) {
            mbarrier_wait(empty + 8 * stage, phase ^ 1);
            mbarrier_arrive_expect_tx(barrier, STAGE);
            tma_load_2d(to + X_BYTES, &w_map, barrier, p * 128, column * COLUMNS);
          }
          tma_load_2d(to, &x_map, barrier, p * 128, at.row);
          if (++stage == STAGES) { stage = 0; phase ^= 1; }
        }
      }
    }
  } else {
    // Math: three warpgroups, one above the other on the rows of a tile.
    setmaxnreg_inc<160>();
    await_previous();
    const int warpgroup = warp / 4, warp_row = warp % 4;
    const u32 out = staging + warpgroup * 16384;
    int stage = 0, ahead = 0; u32 phase = 0;  // the stage being added up, and the one being multiplied
    for (int tile = first_tile; tile < tiles; tile += stride) {
      const Tile at = locate(tile, row_tiles, m);
      const int column = at.column;
      const int row0 = at.row + warpgroup * 64;
      // Past the edges any scale will do: the codes there are zeros, or their sums go nowhere. The index only has to stay inside.
      const float* w_scales = w_scale + column * STEPS;
      const float* upper_scales = x_scale + (long long)min(row0 + warp_row * 16 + lane / 4, at.end - 1) * STEPS;
      const float* lower_scales = x_scale + (long long)min(row0 + warp_row * 16 + lane / 4 + 8, at.end - 1) * STEPS;
      float sum[64];
#pragma unroll
      for (int i = 0; i < 64; i++) sum[i] = 0.f;

      for (int p = 0; p < PADDED_STEPS; p += PROMOTION) {
        // Halves of a step's columns take turns: while one is scaled and added, the product of the other runs. Registers hold no more.
        float part[2][32], upper = 0.f, lower = 0.f;
#pragma unroll
        for (int i = 0; i <= 2 * PROMOTION; i++) {
          if (i < 2 * PROMOTION) {
            if (i % 2 == 0) mbarrier_wait(full + 8 * ahead, phase);
            else {
              const float w_now = ld_global_nc_f32(w_scales + p + i / 2);
              upper = ld_global_nc_f32(upper_scales + p + i / 2) * w_now;
              lower = ld_global_nc_f32(lower_scales + p + i / 2) * w_now;
            }
            const u32 from = ring + ahead * STAGE;
            wgmma_m64n64k128_e4m3(part[i & 1], descriptor_k_major(from + warpgroup * 8192),
                descriptor_k_major(from + X_BYTES + i % 2 * 8192));
            if (i % 2 == 1 && ++ahead == STAGES) { ahead = 0; phase ^= 1; }
          }
          if (i == 0) continue;
          if (i < 2 * PROMOTION) wgmma_wait_group<1>(part[(i - 1) & 1]);
          else wgmma_wait_group<0>(part[(i - 1) & 1]);
          if (i % 2 == 0) {
            // Both halves are read: hand the stage back before the arithmetic.
            if (lane == 0) mbarrier_arrive(empty + 8 * stage);
            if (++stage == STAGES) stage = 0;
          }
#pragma unroll
          for (int j = 0; j < 32; j++)
            sum[(i - 1) % 2 * 32 + j] = fmaf(part[(i - 1) & 1][j], j & 2 ? lower : upper, sum[(i - 1) % 2 * 32 + j]);
        }
      }

      // Output: 64 x 128 bf16 through shared memory; TMA writes whole lines and clips the edges of y.
      if (threadIdx.x % 128 == 0) tma_store_wait_read<0>();  // the last tile has left the staging
      bar_sync(1 + warpgroup, 128);
#pragma unroll
      for (int c = 0; c < 16; c += 2) {  // two 8-column chunks a store, in TMA's 128-byte swizzle
        const int row = warp_row * 16 + lane % 16, chunk = c % 8 + lane / 16;
        const float* v = sum + c * 4;
        stmatrix_x4(out + c / 8 * 8192 + row * 128 + ((chunk ^ (row % 8)) * 16),
            pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]), pack_bf16(v[4], v[5]), pack_bf16(v[6], v[7]));
      }
      fence_proxy_async();
      bar_sync(1 + warpgroup, 128);
      if (threadIdx.x % 128 == 0) {
        tma_store_2d(&y_map, out, column * COLUMNS, row0);
        tma_store_2d(&y_map, out + 8192, column * COLUMNS + 64, row0);
        tma_store_commit();
      }
    }
    if (threadIdx.x % 128 == 0) tma_store_wait();
  }
}
