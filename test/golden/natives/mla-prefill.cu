// attend: y [t, 2, 128] bf16 = softmax((q k^T + qp kp^T) * 0.135000) v, causal;
//   q [t, 2, 128], k [s, 2, 128], kp [s, 64] for all heads
// schedule {"rows":128,"keys":128,"stages":2}
// floor on H200: 1280 operations a pair of a row and a key it sees / 989 TFLOP/s

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
__device__ __forceinline__ float minus_infinity() { return __int_as_float(0xff800000); }
__device__ __forceinline__ float ex2_approx(float x) {
  float v; asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(v) : "f"(x)); return v;
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
// Arrives and goes on.
__device__ __forceinline__ void bar_arrive(int id, int threads) {
  asm volatile("bar.arrive %0, %1;" :: "r"(id), "r"(threads) : "memory");
}
// TMA writes a box of the tensor, 128-byte swizzled, zeros outside the tensor; the bytes count either way.
__device__ __forceinline__ void tma_load_2d(u32 to, const TensorMap* map, u32 barrier, int x, int y) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];"
               :: "r"(to), "l"(map), "r"(barrier), "r"(x), "r"(y) : "memory");
}
__device__ __forceinline__ void tma_load_3d(u32 to, const TensorMap* map, u32 barrier, int x, int y, int z) {
  asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], [%2];"
               :: "r"(to), "l"(map), "r"(barrier), "r"(x), "r"(y), "r"(z) : "memory");
}
__device__ __forceinline__ void tma_store_3d(const TensorMap* map, u32 from, int x, int y, int z) {
  asm volatile("cp.async.bulk.tensor.3d.global.shared::cta.tile.bulk_group [%0, {%2, %3, %4}], [%1];"
               :: "l"(map), "r"(from), "r"(x), "r"(y), "r"(z) : "memory");
}
__device__ __forceinline__ void tma_store_commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
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
// MN-major, the same bytes read across: k runs down the rows, n along them and on into the next 64-column chunk, CHUNK bytes
// further.
template <int CHUNK> __device__ __forceinline__ u64 descriptor_mn_major(u32 address) {
  return (u64)((address & 0x3FFFF) >> 4) | ((u64)(CHUNK >> 4) << 16) | (64ull << 32) | (1ull << 62);
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
__device__ __forceinline__ void wgmma_m64n128k16_bf16(float (&d)[64], u64 a, u64 b, int add) {
  asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, %66, 0;\n"
    "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
    "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19,"
    " %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39,"
    " %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59,"
    " %60, %61, %62, %63}, "
    "%64, %65, add, 1, 1, 0, 0;\n}"
    : SUMS4(d, 0), SUMS4(d, 4), SUMS4(d, 8), SUMS4(d, 12), SUMS4(d, 16), SUMS4(d, 20),
      SUMS4(d, 24), SUMS4(d, 28), SUMS4(d, 32), SUMS4(d, 36), SUMS4(d, 40), SUMS4(d, 44),
      SUMS4(d, 48), SUMS4(d, 52), SUMS4(d, 56), SUMS4(d, 60)
    : "l"(a), "l"(b), "r"(add));
}
__device__ __forceinline__ void wgmma_m64n128k16_bf16_areg_bmn(float (&d)[64], const u32 (&a)[4], u64 b, int add) {
  asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, %69, 0;\n"
    "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
    "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19,"
    " %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39,"
    " %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59,"
    " %60, %61, %62, %63}, "
    "{%64, %65, %66, %67}, %68, add, 1, 1, 1;\n}"
    : SUMS4(d, 0), SUMS4(d, 4), SUMS4(d, 8), SUMS4(d, 12), SUMS4(d, 16), SUMS4(d, 20),
      SUMS4(d, 24), SUMS4(d, 28), SUMS4(d, 32), SUMS4(d, 36), SUMS4(d, 40), SUMS4(d, 44),
      SUMS4(d, 48), SUMS4(d, 52), SUMS4(d, 56), SUMS4(d, 60)
    : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add));
}
// Registers go from the warps that copy to those that multiply; every warp of a warpgroup says so.
template <int COUNT> __device__ __forceinline__ void setmaxnreg_dec() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" :: "n"(COUNT));
}
template <int COUNT> __device__ __forceinline__ void setmaxnreg_inc() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" :: "n"(COUNT));
}

constexpr int HEADS = 2, ROWS = 128, KEYS = 128, STAGES = 2;
constexpr int CHUNK = 128 * 128;                    // 128 rows by 64 lanes
constexpr int QUERY = 3 * CHUNK, K_STAGE = QUERY, V_STAGE = 2 * CHUNK;
constexpr float SCALE = 0.194763831f;            // of scores, for exp2
constexpr float LEAST = -1e30f;                     // below any score, yet finite: a row may see nothing of a tile

__device__ __forceinline__ void score(float (&scores)[64], u64 q_tile, u64 k_tile) {
  wgmma_fence();
#pragma unroll
  for (int k = 0; k < 12; k++)
    wgmma_m64n128k16_bf16(scores, q_tile + k / 4 * (CHUNK / 16) + k % 4 * 2, k_tile + k / 4 * (CHUNK / 16) + k % 4 * 2, k > 0);
  wgmma_commit_group();
}
__device__ __forceinline__ void mix(float (&acc)[64], const u32 (&weights)[8][4], u64 v_tile) {
  wgmma_fence();
#pragma unroll
  for (int k = 0; k < KEYS / 16; k++) wgmma_m64n128k16_bf16_areg_bmn(acc, weights[k], v_tile + k * (16 * 128 / 16), 1);
  wgmma_commit_group();
}
// Scores become exponentials under the running maximum; earlier sums shrink by `less`. A lane holds columns 2 (lane % 4)
// of every 8, of its upper row and the one 8 below; four lanes hold a row. `seen` is the last column its upper row sees.
__device__ __forceinline__ void exponents(
    float (&x)[64], float (&top)[2], float (&sum)[2], float (&less)[2], int seen, int lane) {
  if (__any_sync(~0u, seen < KEYS - 1)) {
#pragma unroll
    for (int i = 0; i < 64; i++) if (i / 4 * 8 + lane % 4 * 2 + i % 2 > seen + i / 2 % 2 * 8) x[i] = minus_infinity();
  }
#pragma unroll
  for (int h = 0; h < 2; h++) {
    float most = x[2 * h];
#pragma unroll
    for (int i = 1; i < 32; i++) most = fmaxf(most, x[i / 2 * 4 + 2 * h + i % 2]);
    most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
    most = fmaxf(top[h], SCALE * fmaxf(most, __shfl_xor_sync(~0u, most, 2)));
    less[h] = ex2_approx(top[h] - most);
    top[h] = most;
    float add = 0.f;
#pragma unroll
    for (int i = 0; i < 32; i++) {
      float& v = x[i / 2 * 4 + 2 * h + i % 2];
      v = ex2_approx(fmaf(v, SCALE, -most));
      add += v;
    }
    sum[h] = fmaf(sum[h], less[h], add);
  }
}
// Sums of a product lie in registers as wgmma wants its first operand: scores become weights lane by lane.
__device__ __forceinline__ void pack(u32 (&weights)[8][4], const float (&x)[64]) {
#pragma unroll
  for (int i = 0; i < 32; i++) weights[i / 4][i % 4] = pack_bf16(x[i * 2], x[i * 2 + 1]);
}

extern "C" __global__ void __launch_bounds__(384, 1)
attend_2x128_64_128_q128k128(const __grid_constant__ TensorMap q_map, const __grid_constant__ TensorMap qp_map,
    const __grid_constant__ TensorMap k_map, const __grid_constant__ TensorMap kp_map,
    const __grid_constant__ TensorMap v_map, const __grid_constant__ TensorMap y_map, int t, int s) {
  extern __shared__ u8 raw[];
  __shared__ u64 barriers[4 * STAGES + 1];
  const u32 query = (shared_address(raw) + 1023) & ~1023u, k_ring = query + QUERY, v_ring = k_ring + STAGES * K_STAGE;
  const u32 k_full = shared_address(barriers), k_empty = k_full + 8 * STAGES;
  const u32 v_full = k_empty + 8 * STAGES, v_empty = v_full + 8 * STAGES, q_full = v_empty + 8 * STAGES;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;

  // Some heads at a time, so that L2 keeps their keys and values for all rows; of those the longest rows first.
  const int row_tiles = (t + ROWS - 1) / ROWS, group = max(1, min(HEADS, (32 << 20) / (s * 512)));
  const int first_head = blockIdx.x / (row_tiles * group) * group, width = min(group, HEADS - first_head);
  const int within = blockIdx.x - first_head * row_tiles;
  const int head = first_head + within % width, row0 = (row_tiles - 1 - within / width) * ROWS;
  const int past = s - t, tiles = (min(s, past + row0 + ROWS) + KEYS - 1) / KEYS;

  if (threadIdx.x == 0) {
    for (int i = 0; i < STAGES; i++) {
      mbarrier_init(k_full + 8 * i, 1);
      mbarrier_init(k_empty + 8 * i, 8);  // one arrival a math warp
      mbarrier_init(v_full + 8 * i, 1);
      mbarrier_init(v_empty + 8 * i, 8);
    }
    mbarrier_init(q_full, 1);
    fence_mbarrier_init();
  }
  __syncthreads();
  release_next();

  if (warp >= 8) {
    // Producer: one thread; keys come backwards from the diagonal, each ahead of its values.
    setmaxnreg_dec<40>();
    if (warp == 8 && lane == 0) {
      await_previous();
      mbarrier_arrive_expect_tx(q_full, QUERY);
      for (int c = 0; c < 2; c++) tma_load_3d(query + c * CHUNK, &q_map, q_full, c * 64, head, row0);
      tma_load_3d(query + 2 * CHUNK, &qp_map, q_full, 0, head, row0);
      int stage = 0; u32 phase = 0;
      for (int j = tiles - 1; j >= 0; j--) {
        const u32 k_tile = k_ring + stage * K_STAGE, v_tile = v_ring + stage * V_STAGE;
        mbarrier_wait(k_empty + 8 * stage, phase ^ 1);
        mbarrier_arrive_expect_tx(k_full + 8 * stage, K_STAGE);
        for (int c = 0; c < 2; c++) tma_load_3d(k_tile + c * CHUNK, &k_map, k_full + 8 * stage, c * 64, head, j * KEYS);
        tma_load_2d(k_tile + 2 * CHUNK, &kp_map, k_full + 8 * stage, 0, j * KEYS);
        mbarrier_wait(v_empty + 8 * stage, phase ^ 1);
        mbarrier_arrive_expect_tx(v_full + 8 * stage, V_STAGE);
        for (int c = 0; c < 2; c++) tma_load_3d(v_tile + c * CHUNK, &v_map, v_full + 8 * stage, c * 64, head, j * KEYS);
        if (++stage == STAGES) { stage = 0; phase ^= 1; }
      }
    }
  } else {
    setmaxnreg_inc<232>();
    const int warpgroup = warp / 4, warp_row = warp % 4;
    // The last key that this lane's upper row sees; the lower sees 8 more.
    const int row = past + row0 + warpgroup * 64 + warp_row * 16 + lane / 4;
    const u64 q_tile = descriptor_k_major(query + warpgroup * 64 * 128);
    float scores[64], acc[64], less[2], top[2] = {LEAST, LEAST}, sum[2] = {0.f, 0.f};
    u32 weights[KEYS / 16][4];
    int stage = 0, v_stage = 0; u32 phase = 0, v_phase = 0;
#pragma unroll
    for (int i = 0; i < 64; i++) acc[i] = 0.f;

    // Products in this warpgroup's turn: the scores of a tile, and behind them the mix of the tile before.
    mbarrier_wait(q_full, 0);
    if (warpgroup == 1) bar_arrive(2, 256);  // the upper rows begin
    mbarrier_wait(k_full, 0);
    bar_sync(2 + warpgroup, 256);
    score(scores, q_tile, descriptor_k_major(k_ring));
    if (warpgroup == 0 || tiles > 1) bar_arrive(3 - warpgroup, 256);
    wgmma_wait_group<0>(scores);
    if (lane == 0) mbarrier_arrive(k_empty);
    exponents(scores, top, sum, less, row - (tiles - 1) * KEYS, lane);
    pack(weights, scores);

    for (int j = tiles - 2; j >= 0; j--) {
      if (++stage == STAGES) { stage = 0; phase ^= 1; }
      mbarrier_wait(k_full + 8 * stage, phase);
      bar_sync(2 + warpgroup, 256);
      score(scores, q_tile, descriptor_k_major(k_ring + stage * K_STAGE));
      mbarrier_wait(v_full + 8 * v_stage, v_phase);
      mix(acc, weights, descriptor_mn_major<CHUNK>(v_ring + v_stage * V_STAGE));
      if (warpgroup == 0 || j > 0) bar_arrive(3 - warpgroup, 256);
      wgmma_wait_group<1>(scores);
      if (lane == 0) mbarrier_arrive(k_empty + 8 * stage);
      // The weights in flight are still read; the new ones wait in the registers of their scores.
      exponents(scores, top, sum, less, row - j * KEYS, lane);
      wgmma_wait_group<0>(acc);
      if (lane == 0) mbarrier_arrive(v_empty + 8 * v_stage);
      if (++v_stage == STAGES) { v_stage = 0; v_phase ^= 1; }
#pragma unroll
      for (int i = 0; i < 64; i++) acc[i] *= less[i / 2 % 2];
      pack(weights, scores);
    }
    mbarrier_wait(v_full + 8 * v_stage, v_phase);
    mix(acc, weights, descriptor_mn_major<CHUNK>(v_ring + v_stage * V_STAGE));
    wgmma_wait_group<0>(acc);

    // Output: 64 x 128 bf16 where this warpgroup's queries were; TMA clips the last rows.
    const u32 out = query + warpgroup * 64 * 128;
#pragma unroll
    for (int h = 0; h < 2; h++) {
      sum[h] += __shfl_xor_sync(~0u, sum[h], 1);
      sum[h] += __shfl_xor_sync(~0u, sum[h], 2);
      sum[h] = 1.f / sum[h];
    }
#pragma unroll
    for (int c = 0; c < 16; c += 2) {
      const int at = warp_row * 16 + lane % 16, chunk = c % 8 + lane / 16;
      const float* x = acc + c * 4;
      stmatrix_x4(out + c / 8 * CHUNK + at * 128 + ((chunk ^ (at % 8)) * 16), pack_bf16(x[0] * sum[0], x[1] * sum[0]),
          pack_bf16(x[2] * sum[1], x[3] * sum[1]), pack_bf16(x[4] * sum[0], x[5] * sum[0]), pack_bf16(x[6] * sum[1], x[7] * sum[1]));
    }
    fence_proxy_async();
    bar_sync(4 + warpgroup, 128);
    if (threadIdx.x % 128 == 0 && row0 + warpgroup * 64 < t) {
      for (int c = 0; c < 2; c++) tma_store_3d(&y_map, out + c * CHUNK, c * 64, head, row0 + warpgroup * 64);
      tma_store_commit();
      tma_store_wait();
    }
  }
}
