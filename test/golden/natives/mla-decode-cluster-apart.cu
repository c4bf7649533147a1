// mla_attend: y [T, 64, 512] bf16 = softmax(q k^T * 0.135000) v; k: cached rows [S, 576] bf16 by page, v: their first 512 lanes
// schedule {"split":"fixed","group":16,"splits":2,"turns":"apart"}
// floor on H200: launch, one read of L2 and one of another block's shared memory;
//   and 1152 bytes a cached row and group of heads from L2

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
struct __align__(64) TensorMap { u64 words[16]; };  // CUtensorMap, opaque
#define EACH(i, count) _Pragma("unroll") for (int i = 0; i < count; i++)  // over registers, which have no addresses
__device__ __forceinline__ u32 shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }
// Programmatic dependent launch: blocks of the next kernel start as these leave. What the kernel before wrote may be read,
// and what it reads overwritten, only after await_previous; weights were there all along.
__device__ __forceinline__ void release_next() { asm volatile("griddepcontrol.launch_dependents;" ::: "memory"); }
__device__ __forceinline__ void await_previous() { asm volatile("griddepcontrol.wait;" ::: "memory"); }
__device__ __forceinline__ u32 pack_bf16(float low, float high) {
  u32 v; asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(v) : "f"(high), "f"(low)); return v;
}
__device__ __forceinline__ u32 pack_f16(float low, float high) {
  u32 v; asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(v) : "f"(high), "f"(low)); return v;
}
__device__ __forceinline__ float2 unpack_f16(u32 v) {
  float2 f;
  asm("{\n.reg .f16 a, b;\nmov.b32 {a, b}, %2;\ncvt.f32.f16 %0, a;\ncvt.f32.f16 %1, b;\n}" : "=f"(f.x), "=f"(f.y) : "r"(v));
  return f;
}
__device__ __forceinline__ float minus_infinity() { return __int_as_float(0xff800000); }
__device__ __forceinline__ float ex2_approx(float x) {
  float v; asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(v) : "f"(x)); return v;
}
__device__ __forceinline__ float rcp_approx(float x) {
  float v; asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(v) : "f"(x)); return v;
}
// Over the eight lanes of a warp that have the same lane % 4.
__device__ __forceinline__ float quads_max(float v) {
  v = fmaxf(v, __shfl_xor_sync(~0u, v, 4));
  v = fmaxf(v, __shfl_xor_sync(~0u, v, 8));
  return fmaxf(v, __shfl_xor_sync(~0u, v, 16));
}
__device__ __forceinline__ float quads_sum(float v) {
  v += __shfl_xor_sync(~0u, v, 4);
  v += __shfl_xor_sync(~0u, v, 8);
  return v + __shfl_xor_sync(~0u, v, 16);
}
__device__ __forceinline__ u32 ld_shared_u32(u32 from) {
  u32 v; asm volatile("ld.shared.u32 %0, [%1];" : "=r"(v) : "r"(from) : "memory"); return v;
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
__device__ __forceinline__ uint4 ld_shared_v4_u32(u32 from) {
  uint4 v;
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "r"(from) : "memory");
  return v;
}
__device__ __forceinline__ void st_shared_f32(u32 to, float v) {
  asm volatile("st.shared.f32 [%0], %1;" :: "r"(to), "f"(v) : "memory");
}
__device__ __forceinline__ void st_shared_v4_u32(u32 to, uint4 v) {
  asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" :: "r"(to), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w) : "memory");
}
// From L2: another block wrote it.
__device__ __forceinline__ uint4 ld_global_cg_v4_u32(const uint4* p) {
  uint4 v;
  asm volatile("ld.global.cg.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(p) : "memory");
  return v;
}
// From L2: a kernel that may still have run when this one started wrote it.
__device__ __forceinline__ int ld_global_cg_s32(const int* p) {
  int v; asm volatile("ld.global.cg.s32 %0, [%1];" : "=r"(v) : "l"(p) : "memory"); return v;
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
__device__ __forceinline__ void mbarrier_wait(u32 barrier, u32 parity) {
  asm volatile("{\n.reg .pred done;\nAGAIN: mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
               "@done bra DONE;\nbra AGAIN;\nDONE:\n}" :: "r"(barrier), "r"(parity) : "memory");
}
// A barrier among some warps of the block; 0 is the whole block's.
__device__ __forceinline__ void bar_sync(int id, int threads) {
  asm volatile("bar.sync %0, %1;" :: "r"(id), "r"(threads) : "memory");
}
__device__ __forceinline__ u32 cluster_rank() { u32 r; asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(r)); return r; }
// In halves, and without order among ordinary accesses, which would be a fence of all memory: for barriers, which have their own.
__device__ __forceinline__ void cluster_arrive_relaxed() {
  asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
}
__device__ __forceinline__ void cluster_wait() { asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory"); }
// Bytes to the same place in another block of the cluster, counted by its barrier.
__device__ __forceinline__ void cp_async_bulk_cluster(u32 to, u32 from, u32 bytes, u32 barrier, u32 rank) {
  asm volatile("{\n.reg .b32 there, counted;\nmapa.shared::cluster.u32 there, %0, %4;\nmapa.shared::cluster.u32 counted, %3, %4;\n"
               "cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes [there], [%1], %2, [counted];\n}"
               :: "r"(to), "r"(from), "r"(bytes), "r"(barrier), "r"(rank) : "memory");
}
__device__ __forceinline__ void tma_prefetch_descriptor(const TensorMap* map) {
  asm volatile("prefetch.tensormap [%0];" :: "l"(map) : "memory");
}
// A box on its way from memory to L2, ahead of the copy that will want it.
__device__ __forceinline__ void tma_prefetch_3d(const TensorMap* map, int x, int y, int z) {
  asm volatile("cp.async.bulk.prefetch.tensor.3d.L2.global.tile [%0, {%1, %2, %3}];"
               :: "l"(map), "r"(x), "r"(y), "r"(z) : "memory");
}
__device__ __forceinline__ void tma_load_3d(u32 to, const TensorMap* map, u32 barrier, int x, int y, int z) {
  asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], [%2];"
               :: "r"(to), "l"(map), "r"(barrier), "r"(x), "r"(y), "r"(z) : "memory");
}
__device__ __forceinline__ void tma_load_4d(u32 to, const TensorMap* map, u32 barrier, int x, int y, int z, int w) {
  asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6}], [%2];"
               :: "r"(to), "l"(map), "r"(barrier), "r"(x), "r"(y), "r"(z), "r"(w) : "memory");
}
// Ordinary stores to shared memory become visible to TMA and to the tensor cores.
__device__ __forceinline__ void fence_proxy_async() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
// Transposed: a lane's columns become rows of shared memory.
__device__ __forceinline__ void stmatrix_x4_trans(u32 to, u32 a, u32 b, u32 c, u32 d) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};"
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
__device__ __forceinline__ void wgmma_m64n16k16_bf16(float (&d)[8], u64 a, u64 b, int add) {
  asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, %10, 0;\n"
    "wgmma.mma_async.sync.aligned.m64n16k16.f32.bf16.bf16 "
    "{%0, %1, %2, %3, %4, %5, %6, %7}, "
    "%8, %9, add, 1, 1, 0, 0;\n}"
    : SUMS4(d, 0), SUMS4(d, 4)
    : "l"(a), "l"(b), "r"(add));
}
__device__ __forceinline__ void wgmma_m64n16k16_bf16_amn(float (&d)[8], u64 a, u64 b, int add) {
  asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, %10, 0;\n"
    "wgmma.mma_async.sync.aligned.m64n16k16.f32.bf16.bf16 "
    "{%0, %1, %2, %3, %4, %5, %6, %7}, "
    "%8, %9, add, 1, 1, 1, 0;\n}"
    : SUMS4(d, 0), SUMS4(d, 4)
    : "l"(a), "l"(b), "r"(add));
}

constexpr int HEADS = 64, GROUP = 16;           // heads of a cluster, the narrow side of its products
constexpr int SPLITS = 2, OWN = GROUP / SPLITS;   // blocks of a cluster; heads each adds up at the end
constexpr int KEYS = 64, PAGE = 1;            // cached rows of a stage; stages of a page
constexpr int WARPGROUPS = 2;                 // a stage each at a time
constexpr int CHUNK = KEYS * 128, CHUNKS = 9;   // 64 lanes of all rows: eight chunks of latents, one of the rotary part
constexpr int STAGE = CHUNKS * CHUNK, QUERY_CHUNK = GROUP * 128;
constexpr int MAILBOX = 1040;                 // 512 sums of a head as halves of the largest, its maximum, its sum, that largest
constexpr float SCALE = 0.194763831f;           // of scores, for exp2

extern "C" __global__ void __launch_bounds__(256, 1)
mla_attend_64x512_64_fixed16x2a(const __grid_constant__ TensorMap ql_map, const __grid_constant__ TensorMap qp_map,
    const __grid_constant__ TensorMap cache_map, const u16* __restrict__ cache, const int* __restrict__ positions,
    const int* __restrict__ sequence, const int* __restrict__ pages, u16* __restrict__ y, int T, int P) {
  extern __shared__ u8 raw[];
  __shared__ float peaks[8][GROUP];  // a head's maximum over the 16 rows of a warp
  __shared__ float sums[8][GROUP];
  __shared__ int largest[GROUP];     // of a head's sums, as bits
  __shared__ u64 barriers[WARPGROUPS + 2];
  const u32 ring = (shared_address(raw) + 1023) & ~1023u;  // the swizzle repeats every 1024 bytes
  const u32 query = ring + WARPGROUPS * STAGE, weights = query + CHUNKS * QUERY_CHUNK;
  const u32 inbox = weights + WARPGROUPS * GROUP * 128, outbox = query;
  const u32 full = shared_address(barriers), asked = full + 8 * WARPGROUPS, received = asked + 8;
  // The shuffle tells the compiler that a warp's lanes agree: what follows from it, descriptors above all, stays in uniform registers.
  const int thread = threadIdx.x, warp = __shfl_sync(~0u, thread / 32, 0), lane = thread % 32;
  const int warpgroup = warp / 4, warp_row = warp % 4;
  const int rank = cluster_rank(), unit = blockIdx.x / SPLITS, token = unit / (HEADS / GROUP), head0 = unit % (HEADS / GROUP) * GROUP;

  // Before the kernel before has ended: the step's tables and the rows of earlier steps have long been there.
  // Stages rank, rank + SPLITS, ... of the sequence are this block's.
  const int position = ld_global_cg_s32(positions + token);
  const int stages = (u32)position / KEYS + 1, mine = (u32)(stages - rank + SPLITS - 1) / SPLITS;
  const int* page = pages + (long long)ld_global_cg_s32(sequence + token) * P;
  const auto first_row = [&](int i) {
    const int b = rank + i * SPLITS;
    return (ld_global_cg_s32(page + b / PAGE) * PAGE + b % PAGE) * KEYS;
  };
  const auto copy_stages = [&](int i) {
#pragma unroll 1
    for (int t = 0; t < min(mine - i, WARPGROUPS); t++) {
      mbarrier_arrive_expect_tx(full + 8 * t, STAGE);
      tma_load_3d(ring + t * STAGE, &cache_map, full + 8 * t, 0, first_row(i + t), 0);
    }
  };
  if (thread == 0) {
    EACH(i, WARPGROUPS + 2) mbarrier_init(full + 8 * i, 1);
    fence_mbarrier_init();
    copy_stages(0);
    mbarrier_arrive_expect_tx(received, (min(stages, SPLITS) - (mine > 0)) * OWN * MAILBOX);
    tma_prefetch_descriptor(&ql_map);
    tma_prefetch_descriptor(&qp_map);
  }
  if (thread < GROUP) largest[thread] = 0;
  __syncthreads();
  cluster_arrive_relaxed();  // no part may reach a block before its barriers are there
  release_next();
  const auto word_at = [&](u32 tile, int w) {
    const int row = w / (CHUNKS * 8), word = w % (CHUNKS * 8);
    return tile + word / 8 * CHUNK + row * 128 + ((word ^ row) % 8) * 16;
  };
  const int end = position + 1 - (rank + warpgroup * SPLITS) * KEYS;  // of the sequence, in this warpgroup's first stage
  const uint4* first_stage = (const uint4*)cache;
  if (warpgroup < mine && end < KEYS + T) {
    first_stage += (long long)first_row(warpgroup) * CHUNKS * 8;
    mbarrier_wait(full + 8 * warpgroup, 0);
#pragma unroll 1
    for (int w = end * CHUNKS * 8 + thread % 128; w < KEYS * CHUNKS * 8; w += 128)
      st_shared_v4_u32(word_at(ring + warpgroup * STAGE, w), make_uint4(0, 0, 0, 0));
  }
  await_previous();
  if (thread == 0 && mine > 0) {
    mbarrier_arrive_expect_tx(asked, CHUNKS * QUERY_CHUNK);
    tma_load_4d(query, &ql_map, asked, 0, head0, 0, token);
    tma_load_3d(query + 8 * QUERY_CHUNK, &qp_map, asked, 0, head0, token);
  }
  cluster_wait();

  // Of a product's sums a lane holds rows lane / 4 and eight further, of heads 2 (lane % 4) and + 1 of every eight:
  // two rows of each of its own heads h.
  constexpr int SUMS = GROUP / 2, LANE_HEADS = GROUP / 4;
  const auto head_of = [&](int h) { return h / 2 * 8 + lane % 4 * 2 + h % 2; };
  const auto own = [](int n) { return n / 4 * 2 + n % 2; };
  float whole[8][SUMS] = {}, top[LANE_HEADS], sum[LANE_HEADS] = {};
  EACH(h, LANE_HEADS) top[h] = minus_infinity();
#pragma unroll 1
  for (int i = warpgroup; i < mine; i += WARPGROUPS) {
    const u32 tile = ring + warpgroup * STAGE;
    // Looked up, and sent for to L2, while this stage is worked on.
    const int next = i + WARPGROUPS < mine ? first_row(i + WARPGROUPS) : -1;
    if (thread % 128 == 0 && next >= 0) tma_prefetch_3d(&cache_map, 0, next, 0);
    float s[SUMS];
    const int stage = i, first = (rank + stage * SPLITS) * KEYS, seen = min(position + 1 - first, KEYS);
    mbarrier_wait(full + 8 * warpgroup, i / WARPGROUPS & 1);
    // The end of the sequence: in the first turn rows of this step, which were copied before they were written; later what lies behind them.
    const bool is_first = i < WARPGROUPS;
    const int settled = is_first ? min(max(position - T + 1 - first, 0), KEYS) : seen;
    if (settled < KEYS) {
#pragma unroll 1
      for (int w = settled * CHUNKS * 8 + thread % 128; w < (is_first ? seen : KEYS) * CHUNKS * 8; w += 128)
        st_shared_v4_u32(word_at(tile, w), is_first ? ld_global_cg_v4_u32(first_stage + w) : make_uint4(0, 0, 0, 0));
      fence_proxy_async();
      bar_sync(1 + warpgroup, 128);
    }

    // Scores: 64 rows by 16 heads, in two chains so that one product need not wait for another's sums.
    if (i < WARPGROUPS) mbarrier_wait(asked, 0);
    const u64 k_tile = descriptor_k_major(tile), q_tile = descriptor_k_major(query);
    float even[SUMS], odd[SUMS];
    wgmma_fence();
    wgmma_m64n16k16_bf16(even, k_tile, q_tile, 0);
    wgmma_m64n16k16_bf16(odd, k_tile + 2, q_tile + 2, 0);
#pragma unroll
    for (int k = 2; k < 4 * CHUNKS; k++)
      wgmma_m64n16k16_bf16(k % 2 ? odd : even, k_tile + k / 4 * (CHUNK / 16) + k % 4 * 2,
          q_tile + k / 4 * (QUERY_CHUNK / 16) + k % 4 * 2, 1);
    wgmma_commit_group();
    wgmma_wait_group<0>(even);
    wgmma_wait_group<0>(odd);
    EACH(n, SUMS) s[n] = warp_row * 16 + lane / 4 + n / 2 % 2 * 8 < seen ? (even[n] + odd[n]) * SCALE : minus_infinity();

    // Softmax: a head's rows lie in eight lanes of all warps.
    float most[LANE_HEADS];
    EACH(h, LANE_HEADS) most[h] = quads_max(fmaxf(s[h / 2 * 4 + h % 2], s[h / 2 * 4 + h % 2 + 2]));
    if (lane < 4) EACH(h, LANE_HEADS) peaks[warp][head_of(h)] = most[h];
    bar_sync(1 + warpgroup, 128);
    float less[LANE_HEADS];
    EACH(h, LANE_HEADS) {
      most[h] = top[h];
      EACH(w, 4) most[h] = fmaxf(most[h], peaks[warpgroup * 4 + w][head_of(h)]);
      less[h] = ex2_approx(top[h] - most[h]);
      top[h] = most[h];
      sum[h] *= less[h];
    }
    EACH(n, SUMS) {
      s[n] = ex2_approx(s[n] - top[own(n)]);
      sum[own(n)] += s[n];
    }
    // The weights, by head, as the second operand of what follows.
    EACH(j, GROUP / 16) {
      const float* v = s + 8 * j;
      stmatrix_x4_trans(
          weights + (warpgroup * GROUP + j * 16 + lane / 16 * 8 + lane % 8) * 128 + ((warp_row * 2 + lane / 8 % 2) ^ (lane % 8)) * 16,
          pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]), pack_bf16(v[4], v[5]), pack_bf16(v[6], v[7]));
    }
    fence_proxy_async();
    bar_sync(1 + warpgroup, 128);

    // Mix: 512 lanes by 16 heads. The rows are read across.
    if (i >= WARPGROUPS) EACH(n, 8 * SUMS) whole[n / SUMS][n % SUMS] *= less[own(n % SUMS)];
    wgmma_fence();
    const u64 v_tile = descriptor_mn_major<CHUNK>(tile), p_tile = descriptor_k_major(weights + warpgroup * GROUP * 128);
    EACH(k, 4) EACH(c, 8) wgmma_m64n16k16_bf16_amn(whole[c], v_tile + c * (CHUNK / 16) + k * (16 * 128 / 16), p_tile + k * 2, 1);
    wgmma_commit_group();
    EACH(c, 8) wgmma_wait_group<0>(whole[c]);
    if (next >= 0) {
      bar_sync(1 + warpgroup, 128);  // all have read the place that is filled anew
      if (thread % 128 == 0) {
        mbarrier_arrive_expect_tx(full + 8 * warpgroup, STAGE);
        tma_load_3d(tile, &cache_map, full + 8 * warpgroup, 0, next, 0);
      }
    }
  }

  // Each warpgroup takes half of the lanes, and gives its sums of the others by way of the ring, which has been read.
  float acc[4][SUMS];
  if (mine > 0) {
    if (lane < 4) EACH(h, LANE_HEADS) peaks[warp][head_of(h)] = top[h];
    __syncthreads();
    float less[LANE_HEADS];
    EACH(h, LANE_HEADS) {
      const float most = fmaxf(top[h], peaks[(warpgroup ^ 1) * 4][head_of(h)]);
      less[h] = ex2_approx(top[h] - most);
      top[h] = most;
      sum[h] *= less[h];
    }
    const auto place = [&](int half, int c, int n) { return ring + ((half * 4 + c) * SUMS + n) * 512 + thread % 128 * 4; };
    EACH(c, 4) EACH(n, SUMS) {
      st_shared_f32(place(warpgroup ^ 1, c, n), (warpgroup ? whole[c][n] : whole[c + 4][n]) * less[own(n)]);
      acc[c][n] = (warpgroup ? whole[c + 4][n] : whole[c][n]) * less[own(n)];
    }
    __syncthreads();
    EACH(c, 4) EACH(n, SUMS) acc[c][n] += ld_shared_f32(place(warpgroup, c, n));
  }

  // A part a head, to the mailbox of the block that adds it up: warp w sends block w its own.
  if (mine > 0) {
    float most[LANE_HEADS] = {};
    EACH(c, 4) EACH(n, SUMS) most[own(n)] = fmaxf(most[own(n)], fabsf(acc[c][n]));
    EACH(h, LANE_HEADS) most[h] = quads_max(most[h]);
    EACH(h, LANE_HEADS) sum[h] = quads_sum(sum[h]);
    if (lane < 4) EACH(h, LANE_HEADS) {
      atomicMax(&largest[head_of(h)], __float_as_int(most[h]));
      sums[warp][head_of(h)] = sum[h];
      peaks[warp][head_of(h)] = top[h];
    }
    __syncthreads();
    float by[LANE_HEADS];
    EACH(h, LANE_HEADS) by[h] = __int_as_float(largest[head_of(h)]) > 1e-30f ? rcp_approx(__int_as_float(largest[head_of(h)])) : 0.f;
    EACH(c, 4) EACH(j, GROUP / 16) {
      const float *v = acc[c] + 8 * j, *f = by + 4 * j;
      const u32 to = outbox + (j * 16 + lane / 16 * 8 + lane % 8) * MAILBOX + (warpgroup * 4 + c) * 128;
      stmatrix_x4_trans(to + (warp_row * 2 + lane / 8 % 2) * 16,
          pack_f16(v[0] * f[0], v[1] * f[1]), pack_f16(v[2] * f[0], v[3] * f[1]),
          pack_f16(v[4] * f[2], v[5] * f[3]), pack_f16(v[6] * f[2], v[7] * f[3]));
    }
    if (thread < GROUP) {
      float all = 0.f;
      EACH(w, 8) all += sums[w][thread];
      st_shared_v4_u32(outbox + thread * MAILBOX + 1024,
          make_uint4(__float_as_int(peaks[0][thread]), __float_as_int(all), largest[thread], 0));
    }
    fence_proxy_async();
    __syncthreads();
#pragma unroll 1
    for (int to = warp; to < SPLITS; to += 8) if (to == rank) {
      // Its own parts it stores itself. (compute-sanitizer takes a copy to oneself for one outside the cluster.)
      for (int w = lane; w < OWN * MAILBOX / 16; w += 32)
        st_shared_v4_u32(inbox + rank * OWN * MAILBOX + w * 16, ld_shared_v4_u32(outbox + rank * OWN * MAILBOX + w * 16));
    } else if (lane == 0) {
      cp_async_bulk_cluster(inbox + rank * OWN * MAILBOX, outbox + to * OWN * MAILBOX, OWN * MAILBOX, received, to);
    }
    __syncthreads();
  }

  // Adding up, in the order of blocks: two lanes a thread.
  mbarrier_wait(received, 0);
  cluster_arrive_relaxed();
  const int parts = min(stages, SPLITS);
#pragma unroll 1
  for (int o = 0; o < OWN; o++) {
    const auto mailbox_of = [&](int s) { return inbox + (min(s, parts - 1) * OWN + o) * MAILBOX; };
    float4 stat[SPLITS];
    float most = minus_infinity(), all = 0.f, low = 0.f, high = 0.f;
    EACH(s, SPLITS) {
      stat[s] = ld_shared_v4_f32(mailbox_of(s) + 1024);
      most = fmaxf(most, stat[s].x);
    }
    EACH(s, SPLITS) {
      const float w = s < parts ? ex2_approx(stat[s].x - most) : 0.f, scale = w * stat[s].z;
      const float2 v = unpack_f16(ld_shared_u32(mailbox_of(s) + thread * 4));
      all = fmaf(w, stat[s].y, all);
      low = fmaf(scale, v.x, low);
      high = fmaf(scale, v.y, high);
    }
    const float by = rcp_approx(all);
    ((u32*)y)[((long long)token * HEADS + head0 + rank * OWN + o) * 256 + thread] = pack_bf16(low * by, high * by);
  }
  cluster_wait();  // all have their parts: this block's shared memory may go
}
