// linear: y [m, 256] bf16 = x [m, 512] bf16 times w [256, 512]^T bf16, f32 sums
// schedule {"form":"persistent","columns":256,"stages":4,"group":8}
// floor on H200: max((262144 + 1536 m) bytes / 4539 GB/s, 262144 m operations / 989 TFLOP/s)

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
// At the barrier that another block of the cluster has at this place.
__device__ __forceinline__ void mbarrier_arrive_cluster(u32 barrier, u32 rank) {
  asm volatile("{\n.reg .b32 there;\nmapa.shared::cluster.u32 there, %0, %1;\n"
               "mbarrier.arrive.shared::cluster.b64 _, [there];\n}" :: "r"(barrier), "r"(rank) : "memory");
}
__device__ __forceinline__ void mbarrier_wait(u32 barrier, u32 parity) {
  asm volatile("{\n.reg .pred done;\nAGAIN: mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
               "@done bra DONE;\nbra AGAIN;\nDONE:\n}" :: "r"(barrier), "r"(parity) : "memory");
}
// A barrier among some warps of the block; 0 is the whole block's.
__device__ __forceinline__ void bar_sync(int id, int threads) {
  asm volatile("bar.sync %0, %1;" :: "r"(id), "r"(threads) : "memory");
}
__device__ __forceinline__ u32 cluster_rank() { u32 r; asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(r)); return r; }
__device__ __forceinline__ void cluster_sync() {
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}
// TMA writes a box of the tensor, 128-byte swizzled, zeros outside the tensor; the bytes count either way.
__device__ __forceinline__ void tma_load_2d(u32 to, const TensorMap* map, u32 barrier, int x, int y) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];"
               :: "r"(to), "l"(map), "r"(barrier), "r"(x), "r"(y) : "memory");
}
// To the same place in every block of the cluster that `ranks` has a bit for, counted by the barrier of each.
__device__ __forceinline__ void tma_load_2d_multicast(u32 to, const TensorMap* map, u32 barrier, int x, int y, u16 ranks) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster "
               "[%0], [%1, {%3, %4}], [%2], %5;"
               :: "r"(to), "l"(map), "r"(barrier), "r"(x), "r"(y), "h"(ranks) : "memory");
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
__device__ __forceinline__ void wgmma_m64n256k16_bf16(float (&d)[128], u64 a, u64 b, int add) {
  asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, %130, 0;\n"
    "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 "
    "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19,"
    " %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39,"
    " %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59,"
    " %60, %61, %62, %63, %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79,"
    " %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, %96, %97, %98, %99,"
    " %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, %112, %113, %114, %115, %116, %117, %118, %119,"
    " %120, %121, %122, %123, %124, %125, %126, %127}, "
    "%128, %129, add, 1, 1, 0, 0;\n}"
    : SUMS4(d, 0), SUMS4(d, 4), SUMS4(d, 8), SUMS4(d, 12), SUMS4(d, 16), SUMS4(d, 20),
      SUMS4(d, 24), SUMS4(d, 28), SUMS4(d, 32), SUMS4(d, 36), SUMS4(d, 40), SUMS4(d, 44),
      SUMS4(d, 48), SUMS4(d, 52), SUMS4(d, 56), SUMS4(d, 60), SUMS4(d, 64), SUMS4(d, 68),
      SUMS4(d, 72), SUMS4(d, 76), SUMS4(d, 80), SUMS4(d, 84), SUMS4(d, 88), SUMS4(d, 92),
      SUMS4(d, 96), SUMS4(d, 100), SUMS4(d, 104), SUMS4(d, 108), SUMS4(d, 112), SUMS4(d, 116),
      SUMS4(d, 120), SUMS4(d, 124)
    : "l"(a), "l"(b), "r"(add));
}
// One step of 64 columns; the first step of a sum overwrites it.
__device__ __forceinline__ void wgmma_m64n256k64_bf16(float (&sum)[128], u64 a, u64 b, int add) {
  wgmma_fence();
  wgmma_m64n256k16_bf16(sum, a, b, add);
  wgmma_m64n256k16_bf16(sum, a + 2, b + 2, 1);
  wgmma_m64n256k16_bf16(sum, a + 4, b + 4, 1);
  wgmma_m64n256k16_bf16(sum, a + 6, b + 6, 1);
  wgmma_commit_group();
}
// Registers go from the warps that copy to those that multiply; every warp of a warpgroup says so.
template <int COUNT> __device__ __forceinline__ void setmaxnreg_dec() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" :: "n"(COUNT));
}
template <int COUNT> __device__ __forceinline__ void setmaxnreg_inc() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" :: "n"(COUNT));
}

constexpr int STEPS = 8;                    // of 64 columns of k
constexpr int ROWS = 128, COLUMNS = 256;      // a block's tile of y; a cluster's is twice as high
constexpr int COLUMN_TILES = 1, GROUP = 8;
constexpr int STAGES = 4, X_BYTES = ROWS * 128, W_HALF = COLUMNS * 64, STAGE = X_BYTES + 2 * W_HALF;

// Tiles run down GROUP row pairs before the next column: one wave reuses a few rows of x and a few of w from L2.
__device__ __forceinline__ void locate(int tile, int row_tiles, int& row_tile, int& column_tile) {
  int first = tile / (GROUP * COLUMN_TILES) * GROUP, height = min(GROUP, row_tiles - first), within = tile % (GROUP * COLUMN_TILES);
  row_tile = first + within % height;
  column_tile = within / height;
}

extern "C" __global__ void __launch_bounds__(384, 1)
linear_256x512_bf16_t256s4g8(const __grid_constant__ TensorMap x_map, const __grid_constant__ TensorMap w_map,
    const __grid_constant__ TensorMap y_map, int m) {
  extern __shared__ u8 raw[];
  const u32 ring = (shared_address(raw) + 1023) & ~1023u;  // the swizzle repeats every 1024 bytes
  const u32 staging = ring + STAGES * STAGE, full = staging + 4 * 8192, empty = full + 8 * STAGES;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, rank = cluster_rank();
  const int row_tiles = (m + 2 * ROWS - 1) / (2 * ROWS), tiles = row_tiles * COLUMN_TILES;

  if (threadIdx.x == 0) {
    for (int i = 0; i < STAGES; i++) {
      mbarrier_init(full + 8 * i, 1);
      mbarrier_init(empty + 8 * i, 16);  // one arrival a math warp of either block: what is sent to both must be free in both
    }
    fence_mbarrier_init();
  }
  cluster_sync();
  release_next();

  if (warp >= 8) {
    // Producer: one thread keeps the ring full; its registers go to the math warpgroups.
    setmaxnreg_dec<40>();
    if (warp == 8 && lane == 0) {
      int stage = 0; u32 phase = 0;
      for (int tile = blockIdx.x / 2; tile < tiles; tile += gridDim.x / 2) {
        int row_tile, column_tile, fetched = 0;
        locate(tile, row_tiles, row_tile, column_tile);
        const int row0 = (row_tile * 2 + rank) * ROWS, column0 = column_tile * COLUMNS + rank * (COLUMNS / 2);
        if (tile == (int)blockIdx.x / 2) {
          // Weights do not wait for the kernel before; the first ring of them is under way while it still runs.
          fetched = min(STAGES, STEPS);
          for (int i = 0; i < fetched; i++) {
            mbarrier_arrive_expect_tx(full + 8 * i, STAGE);
            tma_load_2d_multicast(ring + i * STAGE + X_BYTES + rank * W_HALF, &w_map, full + 8 * i, i * 64, column0, 3);
          }
          await_previous();
        }
        for (int p = 0; p < STEPS; p++) {
          const u32 x_tile = ring + stage * STAGE, barrier = full + 8 * stage;
          if (p >= fetched) {
            mbarrier_wait(empty + 8 * stage, phase ^ 1);
            mbarrier_arrive_expect_tx(barrier, STAGE);
            tma_load_2d_multicast(x_tile + X_BYTES + rank * W_HALF, &w_map, barrier, p * 64, column0, 3);
          }
          tma_load_2d(x_tile, &x_map, barrier, p * 64, row0);
          if (++stage == STAGES) { stage = 0; phase ^= 1; }
        }
      }
    }
  } else {
    // Math: two warpgroups, 64 rows each.
    setmaxnreg_inc<232>();
    await_previous();
    const int warpgroup = warp / 4, warp_row = warp % 4;
    const u32 out = staging + warpgroup * 16384;
    int stage = 0; u32 phase = 0;
    for (int tile = blockIdx.x / 2; tile < tiles; tile += gridDim.x / 2) {
      int row_tile, column_tile;
      locate(tile, row_tiles, row_tile, column_tile);
      const int row0 = (row_tile * 2 + rank) * ROWS + warpgroup * 64;
      float sum[COLUMNS / 2];
      int before = 0;
      for (int p = 0; p < STEPS; p++) {
        mbarrier_wait(full + 8 * stage, phase);
        wgmma_m64n256k64_bf16(sum, descriptor_k_major(ring + stage * STAGE + warpgroup * 8192),
            descriptor_k_major(ring + stage * STAGE + X_BYTES), p != 0);
        // The step before has been read: hand its stage back, to both blocks, while this one multiplies.
        wgmma_wait_group<1>(sum);
        if (p > 0 && lane < 2) mbarrier_arrive_cluster(empty + 8 * before, lane);
        before = stage;
        if (++stage == STAGES) { stage = 0; phase ^= 1; }
      }
      wgmma_wait_group<0>(sum);
      if (lane < 2) mbarrier_arrive_cluster(empty + 8 * before, lane);

      // Output: 64 x 64 bf16 at a time through shared memory; TMA writes whole lines and clips both edges.
#pragma unroll
      for (int b = 0; b < COLUMNS / 64; b++) {
        if (threadIdx.x % 128 == 0) tma_store_wait_read<1>();  // what was in this staging has left it
        bar_sync(1 + warpgroup, 128);
#pragma unroll
        for (int c = 0; c < 8; c += 2) {  // two 8-column chunks a store, in TMA's 128-byte swizzle
          const int row = warp_row * 16 + lane % 16, chunk = c + lane / 16;
          const float* v = sum + b * 32 + c * 4;
          stmatrix_x4(out + b % 2 * 8192 + row * 128 + ((chunk ^ (row % 8)) * 16),
              pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]), pack_bf16(v[4], v[5]), pack_bf16(v[6], v[7]));
        }
        fence_proxy_async();
        bar_sync(1 + warpgroup, 128);
        if (threadIdx.x % 128 == 0) {
          tma_store_2d(&y_map, out + b % 2 * 8192, column_tile * COLUMNS + b * 64, row0);
          tma_store_commit();
        }
      }
    }
    if (threadIdx.x % 128 == 0) tma_store_wait();
  }
  __syncwarp();    // the producer's lane comes late, and a barrier of the cluster wants whole warps
  cluster_sync();  // the other block may still send into this one's shared memory
}
