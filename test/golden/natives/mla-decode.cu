// mla_attend: y [T, 64, 512] bf16 = softmax(q k^T * 0.135000) v; k: cached rows [S, 576] bf16 by page, v: their first 512 lanes
// schedule {"split":"balanced","keys":64,"stages":2,"cluster":1}
// floor on H200: max(1152 bytes a cached row / 4539 GB/s, 139264 operations a cached row and token / 989 TFLOP/s)

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
// Every lane gets the sum: of neighbours first.
__device__ __forceinline__ float warp_reduce_sum_ascending(float v) {
  for (int d = 1; d < 32; d *= 2) v += __shfl_xor_sync(~0u, v, d);
  return v;
}
__device__ __forceinline__ float warp_reduce_max(float v) {
  for (int d = 1; d < 32; d *= 2) v = fmaxf(v, __shfl_xor_sync(~0u, v, d));
  return v;
}
// Running sum over the lanes, a lane's own value included.
template <class T> __device__ __forceinline__ T warp_running_sum(T v) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int apart = 1; apart < 32; apart *= 2) {
    const T below = __shfl_up_sync(0xffffffffu, v, apart);
    if (lane >= apart) v += below;
  }
  return v;
}
// Word i of lane q of four becomes word q of lane i: eight columns of one row instead of two of four groups.
__device__ __forceinline__ uint4 transpose_words(uint4 w, int lane) {
  const bool odd = lane & 1, upper = lane & 2;
  const u32 a = __shfl_xor_sync(~0u, odd ? w.x : w.y, 1), b = __shfl_xor_sync(~0u, odd ? w.z : w.w, 1);
  if (odd) { w.x = a; w.z = b; } else { w.y = a; w.w = b; }
  const u32 c = __shfl_xor_sync(~0u, upper ? w.x : w.z, 2), d = __shfl_xor_sync(~0u, upper ? w.y : w.w, 2);
  if (upper) { w.x = c; w.y = d; } else { w.z = c; w.w = d; }
  return w;
}
__device__ __forceinline__ void st_shared_v4_u32(u32 to, uint4 v) {
  asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" :: "r"(to), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w) : "memory");
}
// From L2: another block wrote it.
__device__ __forceinline__ float4 ld_global_cg_v4_f32(const float4* p) {
  float4 v;
  asm volatile("ld.global.cg.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w) : "l"(p) : "memory");
  return v;
}
// From L2: another block wrote it.
__device__ __forceinline__ uint4 ld_global_cg_v4_u32(const uint4* p) {
  uint4 v;
  asm volatile("ld.global.cg.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(p) : "memory");
  return v;
}
// Blocks that meet at a counter: what the others wrote before they raised it may be read by whoever has seen it raised.
__device__ __forceinline__ int ld_acquire_s32(const int* p) {
  int v; asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(v) : "l"(p) : "memory"); return v;
}
// Raises a counter by one, behind everything this thread has seen written.
__device__ __forceinline__ void red_release_increment(int* p) {
  asm volatile("red.release.gpu.global.add.s32 [%0], 1;" :: "l"(p) : "memory");
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
__device__ __forceinline__ void wgmma_m64n64k16_bf16(float (&d)[32], u64 a, u64 b, int add) {
  asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, %34, 0;\n"
    "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
    "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19,"
    " %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
    "%32, %33, add, 1, 1, 0, 0;\n}"
    : SUMS4(d, 0), SUMS4(d, 4), SUMS4(d, 8), SUMS4(d, 12), SUMS4(d, 16), SUMS4(d, 20),
      SUMS4(d, 24), SUMS4(d, 28)
    : "l"(a), "l"(b), "r"(add));
}
__device__ __forceinline__ void wgmma_m64n128k16_bf16_bmn(float (&d)[64], u64 a, u64 b, int add) {
  asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, %66, 0;\n"
    "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
    "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19,"
    " %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39,"
    " %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59,"
    " %60, %61, %62, %63}, "
    "%64, %65, add, 1, 1, 0, 1;\n}"
    : SUMS4(d, 0), SUMS4(d, 4), SUMS4(d, 8), SUMS4(d, 12), SUMS4(d, 16), SUMS4(d, 20),
      SUMS4(d, 24), SUMS4(d, 28), SUMS4(d, 32), SUMS4(d, 36), SUMS4(d, 40), SUMS4(d, 44),
      SUMS4(d, 48), SUMS4(d, 52), SUMS4(d, 56), SUMS4(d, 60)
    : "l"(a), "l"(b), "r"(add));
}
// Registers go from the warps that copy to those that multiply; every warp of a warpgroup says so.
template <int COUNT> __device__ __forceinline__ void setmaxnreg_dec() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" :: "n"(COUNT));
}
template <int COUNT> __device__ __forceinline__ void setmaxnreg_inc() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" :: "n"(COUNT));
}

constexpr int HEADS = 64, CLUSTER = 1;        // 64 heads a block
constexpr int KEYS = 64, STAGES = 2, PAGE = 1;     // cached rows of a stage; stages of a page
constexpr int CHUNK = 64 * 128, CHUNKS = 9;    // 64 rows by 64 lanes: eight of latents, one of the rotary part
constexpr int STAGE = CHUNKS * CHUNK, PARTS = 3;   // three chunks a copy: scores begin with the first
constexpr float SCALE = 0.194763831f;       // of scores, for exp2

// Stages of all tokens, in order, are dealt out in runs of equal cost, one a cluster.
// A run may begin and end inside a token. Costs are in stages.
constexpr int MOST = 1024;  // tokens that are balanced; of more, clusters get whole ones
constexpr int FIXED = 1;    // a token's query, first copies and output
constexpr int SHARED = 2;   // what it costs to leave a part for others, and to add up theirs
struct Plan {
  int before[MOST + 1];  // cost of the tokens before
  int2 starts[134];      // token and stage each run begins with; runs that nobody needs begin behind the last token
  int2 begin, end;       // of this cluster's run
  int last;              // behind its last token
  u32 best;              // cost and number of runs, the least of those tried
  // Where run c of n begins: at its share of the cost, moved to the beginning of a token when that is near.
  __device__ __forceinline__ int2 start(int c, int n, int T) const {
    if (c >= n) return make_int2(T, 0);
    const float share = (float)before[T] / n;
    const int at = c * share, near = min(3.f, share / 4);
    int token = 0;  // the last that begins at or before
#pragma unroll 1
    for (int end = T; end - token > 1; ) {
      const int middle = (token + end) / 2;
      if (before[middle] <= at) token = middle; else end = middle;
    }
    const int stage = at - before[token] - FIXED;
    return stage <= near ? make_int2(token, 0) : before[token + 1] - at <= near ? make_int2(token + 1, 0) : make_int2(token, stage);
  }
  __device__ __forceinline__ int cost(int2 a, int2 b) const {
    return before[b.x] + b.y - before[a.x] - a.y + (b.y > 0) * (FIXED + SHARED) + (a.y > 0) * SHARED;
  }
};
__device__ void make_plan(Plan& plan, const int* positions, int T, int clusters, int me) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  if (warp == 0 && T <= MOST) {
    int all = 0;
#pragma unroll 1
    for (int t = lane; t - lane < T; t += 32) {
      const int sum = warp_running_sum(t < T ? positions[t] / KEYS + 1 + FIXED : 0);
      if (t < T) plan.before[t + 1] = all + sum;
      all += __shfl_sync(~0u, sum, 31);
    }
    if (lane == 0) { plan.before[0] = 0; plan.best = ~0u; }
  }
  __syncthreads();
  if (T <= MOST) {
    // A warp tries one number of runs: all clusters or a few less, a fraction of them, or so many that no run has two tokens' parts.
    const int most = min(clusters, plan.before[T] - T * FIXED);
    const int n = warp < 4 ? most - warp : warp < 12 ? most / (warp - 3) / T * T : most / (warp - 10);
    if (n >= 1 && n <= most) {
      int worst = 0;
#pragma unroll 1
      for (int c = lane; c < n; c += 32) worst = max(worst, plan.cost(plan.start(c, n, T), plan.start(c + 1, n, T)));
      worst = __reduce_max_sync(~0u, worst);
      if (lane == 0) atomicMin(&plan.best, (worst * 16u + n) * 256 + n);  // a part more is a sixteenth of a stage
    }
  }
  __syncthreads();
#pragma unroll 1
  for (int c = threadIdx.x; c <= clusters; c += blockDim.x) {
    const int2 start = T > MOST ? make_int2((int)((long long)c * T / clusters), 0) : plan.start(c, plan.best % 256, T);
    plan.starts[c] = start;
    if (c == me) plan.begin = start;
    if (c == me + 1) { plan.end = start; plan.last = start.x + (start.y > 0); }
  }
  __syncthreads();
}

// One of a lane's two rows of sums. Lanes of four change words, so that each holds eight columns of a row:
// 64 bytes of a head at a time.
template <u32 (*PACK)(float, float)>
__device__ __forceinline__ void store_sums(uint4* out, const float (&acc)[2][64], int h, float by, int lane) {
#pragma unroll
  for (int j = 0; j < 32; j += 4) {
    const float* v = acc[j / 16] + j % 16 * 4 + 2 * h;
    const uint4 words = make_uint4(PACK(v[0] * by, v[1] * by), PACK(v[4] * by, v[5] * by),
        PACK(v[8] * by, v[9] * by), PACK(v[12] * by, v[13] * by));
    out[j] = transpose_words(words, lane);
  }
}

extern "C" __global__ void __launch_bounds__(512, 1)
mla_attend_64x512_64_k64s2c1(const __grid_constant__ TensorMap ql_map, const __grid_constant__ TensorMap qp_map,
    const __grid_constant__ TensorMap cache_map, const int* __restrict__ positions, const int* __restrict__ sequence,
    const int* __restrict__ pages, u16* __restrict__ y, int T, int P, float* __restrict__ workspace) {
  extern __shared__ u8 raw[];
  __shared__ Plan plan;
  __shared__ float shrink[STAGES][64];   // what earlier sums of a head shrink by when a stage raises its maximum
  __shared__ float2 totals[STAGES][64];  // a head's maximum and sum at the end of a piece
  __shared__ u64 barriers[(PARTS + 2) * STAGES + 2];
  const u32 ring = (shared_address(raw) + 1023) & ~1023u, query = ring + STAGES * STAGE;  // the swizzle repeats every 1024 bytes
  const u32 full = shared_address(barriers), empty = full + 8 * STAGES * PARTS, scored = empty + 8 * STAGES;
  const u32 q_full = scored + 8 * STAGES, q_empty = q_full + 8;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, warp_row = warp % 4;
  const int rank = 0, me = blockIdx.x / CLUSTER, clusters = gridDim.x / CLUSTER;

  if (threadIdx.x == 0) {
    for (int i = 0; i < STAGES * PARTS; i++) mbarrier_init(full + 8 * i, 1);
    for (int s = 0; s < STAGES; s++) {
      mbarrier_init(empty + 8 * s, 8 * CLUSTER);  // the mixing warps of every block that receives the copy
      mbarrier_init(scored + 8 * s, 4);
    }
    mbarrier_init(q_full, 1);
    mbarrier_init(q_empty, 4);
    fence_mbarrier_init();
    tma_prefetch_descriptor(&ql_map);
    tma_prefetch_descriptor(&qp_map);
    tma_prefetch_descriptor(&cache_map);
  }
  release_next();
  // Before the kernel before has ended: the step's tables and the rows of earlier steps have long been there.
  make_plan(plan, positions, T, clusters, me);

  // The run of this cluster, piece by piece: stages [from, to) of a token of so many cached rows.
  const int2 &begin = plan.begin, &end = plan.end;
  struct Piece { int from, to, length; };
  const auto piece_of = [&](int row) {
    const int length = positions[row] + 1;
    return Piece{row == begin.x ? begin.y : 0, row == end.x ? end.y : (length + KEYS - 1) / KEYS, length};
  };

  if (warp < 4) {
    // Producer: a thread for queries and one for each part of a stage; their registers go to the others.
    setmaxnreg_dec<40>();
    if (warp == PARTS && lane == 0) {
      // The next token's query comes when the last scores of the one before are there.
      u32 phase = 0;
      await_previous();
      for (int row = begin.x; row < plan.last; row++, phase ^= 1) {
        mbarrier_wait(q_empty, phase ^ 1);
        mbarrier_arrive_expect_tx(q_full, STAGE);
        tma_load_4d(query, &ql_map, q_full, 0, rank * 64, 0, row);
        tma_load_3d(query + 8 * CHUNK, &qp_map, q_full, 0, rank * 64, row);
      }
    }
    // Two stages ahead of the copies, rows are looked up and prefetched into L2: a ring of two is too short to hide that.
    // Each part is fetched by one block of the cluster, for all. A stage that may hold rows of this step is odd: it comes after they do.
    const bool works = warp < PARTS && lane == 0;
    int row = begin.x, b = begin.y, turn_ahead = warp;
    Piece p = row < plan.last ? piece_of(row) : Piece{0, 0, 0};
    const int* page = pages + (long long)(row < plan.last ? sequence[row] : 0) * P;
    const auto look_up = [&]() {
      if (row >= plan.last) return -1;
      const int at = (page[b / PAGE] * PAGE + b % PAGE) * KEYS, fresh = (b + 1) * KEYS > p.length - T;
      if (turn_ahead++ % CLUSTER == rank) tma_prefetch_3d(&cache_map, 0, at, warp * (CHUNKS / PARTS));
      if (++b == p.to && ++row < plan.last) {
        p = piece_of(row);
        b = 0;
        page = pages + (long long)sequence[row] * P;
      }
      return at + fresh;
    };
    int now = works ? look_up() : -1, next = works ? look_up() : -1;
    for (int i = 0; now >= 0; i++) {
      const int stage = i % STAGES;
      const u32 to = ring + stage * STAGE + warp * (STAGE / PARTS), barrier = full + 8 * (stage * PARTS + warp);
      if (now & 1) await_previous();
      mbarrier_wait(empty + 8 * stage, i / STAGES & 1 ^ 1);
      mbarrier_arrive_expect_tx(barrier, STAGE / PARTS);
      if ((warp + i) % CLUSTER == rank)
        tma_load_3d(to, &cache_map, barrier, 0, now & ~1, warp * (CHUNKS / PARTS));
      now = next;
      next = look_up();
    }
  } else if (warp < 8) {
    // Scores: 64 heads by 64 cached rows, softmax, and the weights in bf16 where the stage's rotary lanes were.
    setmaxnreg_inc<136>();
    int stage = 0; u32 phase = 0, q_phase = 0;
    for (int row = begin.x; row < plan.last; row++) {
      const Piece p = piece_of(row);
      float top[2] = {minus_infinity(), minus_infinity()}, sum[2] = {0.f, 0.f};
      mbarrier_wait(q_full, q_phase);
      q_phase ^= 1;
      for (int b = p.from; b < p.to; b++) {
        const u32 tile = ring + stage * STAGE;
        const int seen = p.length - b * KEYS;
        float s[32];
        if (seen < KEYS) {
          for (int i = 0; i < PARTS; i++) mbarrier_wait(full + 8 * (stage * PARTS + i), phase);
          // Whatever lies past the end, NaN even, becomes zeros: its weight is zero, and zero times NaN is not.
          for (int i = threadIdx.x - 128; i < (KEYS - seen) * 64; i += 128)
            st_shared_v4_u32(tile + i % 8 * CHUNK + (seen + i / 64) * 128 + i / 8 % 8 * 16, make_uint4(0, 0, 0, 0));
          fence_proxy_async();
          bar_sync(1, 128);
        }
        const u64 q_tile = descriptor_k_major(query), k_tile = descriptor_k_major(tile);
        EACH(k, 4 * CHUNKS) {
          const int at = k / 4 * (CHUNK / 16) + k % 4 * 2;
          if (k % (4 * CHUNKS / PARTS) == 0) {
            mbarrier_wait(full + 8 * (stage * PARTS + k / (4 * CHUNKS / PARTS)), phase);
            wgmma_fence();
          }
          wgmma_m64n64k16_bf16(s, q_tile + at, k_tile + at, k > 0);
        }
        wgmma_commit_group();
        wgmma_wait_group<0>(s);
        if (b == p.to - 1 && lane == 0) mbarrier_arrive(q_empty);

        // A lane holds columns 2 (lane % 4) of every 8, of rows lane / 4 and eight further; four lanes hold a row.
        if (seen < KEYS) {
          EACH(i, 32) if (i / 4 * 8 + lane % 4 * 2 + i % 2 >= seen) s[i] = minus_infinity();
        }
        // Exponents are taken from the maximum as it was; it moves only when a score lies 2^8 above it, and then they are taken anew.
        // So they need not wait for the lanes to agree on the maximum, and sums seldom have to shrink.
        float e[32], less[2] = {1.f, 1.f}, most[2];
        EACH(i, 32) e[i] = ex2_approx(fmaf(s[i], SCALE, -top[i / 2 % 2]));
        EACH(h, 2) {
          most[h] = s[2 * h];
#pragma unroll
          for (int i = 1; i < 16; i++) most[h] = fmaxf(most[h], s[i / 2 * 4 + 2 * h + i % 2]);
          most[h] = fmaxf(most[h], __shfl_xor_sync(~0u, most[h], 1));
          most[h] = SCALE * fmaxf(most[h], __shfl_xor_sync(~0u, most[h], 2));
        }
        if (__any_sync(~0u, most[0] > top[0] + 8.f || most[1] > top[1] + 8.f)) {
          EACH(h, 2) {
            const float higher = most[h] > top[h] + 8.f ? most[h] : top[h];
            less[h] = ex2_approx(top[h] - higher);
            top[h] = higher;
            sum[h] *= less[h];
          }
          EACH(i, 32) e[i] = ex2_approx(fmaf(s[i], SCALE, -top[i / 2 % 2]));
        }
        EACH(i, 32) sum[i / 2 % 2] += e[i];
        // All warps have read the rotary lanes; the weights take their place, in the layout of a tile.
        bar_sync(1, 128);
        const int to = warp_row * 16 + lane % 16;
#pragma unroll
        for (int c = 0; c < 8; c += 2) {
          const float* v = e + c * 4;
          stmatrix_x4(tile + 8 * CHUNK + to * 128 + (((c + lane / 16) ^ (to % 8)) * 16),
              pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]), pack_bf16(v[4], v[5]), pack_bf16(v[6], v[7]));
        }
        EACH(h, 2) {
          const int head = warp_row * 16 + lane / 4 + 8 * h;
          if (lane % 4 == 0) shrink[stage][head] = less[h];
          if (b == p.to - 1) {
            float all = sum[h] + __shfl_xor_sync(~0u, sum[h], 1);
            all += __shfl_xor_sync(~0u, all, 2);
            if (lane % 4 == 0) totals[stage][head] = make_float2(top[h], all);
          }
        }
        fence_proxy_async();
        __syncwarp();
        if (lane == 0) mbarrier_arrive(scored + 8 * stage);
        if (++stage == STAGES) { stage = 0; phase ^= 1; }
      }
    }
  } else {
    // Mixing: two warpgroups, each 64 heads by half of the value's lanes; the sums fill 128 registers a thread.
    setmaxnreg_inc<168>();
    const int warpgroup = warp / 4 - 2, thread = threadIdx.x - 256, head = warp_row * 16 + lane / 4;
    constexpr int SLOT = 65 * 64;  // 64 x 512 sums as halves; each head's maximum, its sum, and the largest of either half
    uint4* slots = (uint4*)workspace;                                // two a block
    int* counters = (int*)(slots + (long long)gridDim.x * 2 * SLOT);  // arrivals and departures, per token and block
    int stage = 0; u32 phase = 0;
    for (int row = begin.x; row < plan.last; row++) {
      const Piece p = piece_of(row);
      float acc[2][64];
      float2 total[2];
      EACH(i, 128) acc[i / 64][i % 64] = 0.f;
      for (int b = p.from; b < p.to; b++) {
        const u32 tile = ring + stage * STAGE;
        for (int i = 0; i < PARTS; i++) mbarrier_wait(full + 8 * (stage * PARTS + i), phase);
        mbarrier_wait(scored + 8 * stage, phase);
        const float upper = shrink[stage][head], lower = shrink[stage][head + 8];
        if (b > p.from && __any_sync(~0u, upper != 1.f || lower != 1.f)) {
          EACH(i, 128) acc[i / 64][i % 64] *= i & 2 ? lower : upper;
        }
        const u64 p_tile = descriptor_k_major(tile + 8 * CHUNK), v_tile = descriptor_mn_major<CHUNK>(tile + warpgroup * 4 * CHUNK);
        wgmma_fence();
        EACH(k, 8)
          wgmma_m64n128k16_bf16_bmn(acc[k / 4], p_tile + k % 4 * 2, v_tile + k / 4 * (2 * CHUNK / 16) + k % 4 * (16 * 128 / 16), 1);
        wgmma_commit_group();
        if (b == p.to - 1) { total[0] = totals[stage][head]; total[1] = totals[stage][head + 8]; }
        wgmma_wait_group<0>(acc[0]);
        wgmma_wait_group<0>(acc[1]);
        __syncwarp();
        if (lane < CLUSTER) mbarrier_arrive(empty + 8 * stage);
        if (++stage == STAGES) { stage = 0; phase ^= 1; }
      }

      // A whole token goes to y; a part of a shared one to L2, as halves of its largest sum.
      await_previous();  // it may still read y
      const bool whole = p.from == 0 && row < end.x;
      const long long slot = blockIdx.x * 2 + (p.from == 0);
      uint4* tile = whole ? (uint4*)y + ((long long)row * HEADS + rank * 64) * 64 : slots + slot * SLOT;
      uint4* out = tile + head * 64 + warpgroup * 32 + lane % 4;
      EACH(h, 2) {
        if (whole) {
          store_sums<pack_bf16>(out + h * 512, acc, h, rcp_approx(total[h].y), lane);
          continue;
        }
        float largest = 0.f;
        EACH(i, 64) largest = fmaxf(largest, fabsf(acc[i / 32][i % 32 / 2 * 4 + 2 * h + i % 2]));
        largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, 1));
        largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, 2));
        store_sums<pack_f16>(out + h * 512, acc, h, largest > 1e-30f ? rcp_approx(largest) : 0.f, lane);
        float* stat = (float*)(slots + slot * SLOT + 4096 + head + 8 * h);
        if (lane % 4 == 0 && warpgroup == 0) *(float2*)stat = total[h];
        if (lane % 4 == 0) stat[2 + warpgroup] = largest;
      }
      if (!whole) {
        bar_sync(2, 256);
        if (thread == 0) red_release_increment(counters + (row * CLUSTER + rank) * 2);
      }
    }
    // Shared tokens, the run's first and last: parts are added in the order of clusters, whoever adds them.
#pragma unroll 1
    for (int turn = 0; turn < 2; turn++) {
      const int row = turn == 0 ? begin.x : end.x;
      if (turn == 1 ? end.y == 0 || row == begin.x : begin.x >= plan.last) continue;
      int first = me, parts = 1;  // the run with its first stage; runs that begin inside it are the others
#pragma unroll 1
      for (int c = 1; c < clusters; c += 32) {
        const int2 start = plan.starts[min(c + lane, clusters)];
        const u32 later = __ballot_sync(~0u, start.x == row && start.y > 0);
        if (later && parts == 1) first = c + __ffs(later) - 2;
        parts += __popc(later);
      }
      if (parts == 1) continue;
      int* counter = counters + (row * CLUSTER + rank) * 2;
      if (thread == 0) while (ld_acquire_s32(counter) < parts) { }
      bar_sync(2, 256);

      // A warp has half of a head's lanes, eight a thread. Parts pass by eight at a time: lanes weigh one each while all are on their way.
      const auto slot_of = [&](int part) { return ((long long)(first + min(part, parts - 1)) * CLUSTER + rank) * 2 + (part == 0); };
#pragma unroll 1
      for (int half = 128 * (me - first) / parts + warp - 8; half < 128 * (me - first + 1) / parts; half += 8) {
        float top = minus_infinity(), all = 0.f, mixed[8] = {};
#pragma unroll 1
        for (int p = 0; p < parts; p += 8) {
          const float4 stat = ld_global_cg_v4_f32((const float4*)slots + slot_of(p + lane % 8) * SLOT + 4096 + half / 2);
          uint4 part[8];
          EACH(i, 8) part[i] = ld_global_cg_v4_u32(slots + slot_of(p + i) * SLOT + half * 32 + lane);
          const float most = warp_reduce_max(fmaxf(top, stat.x)), less = ex2_approx(top - most);
          const float w = lane < min(8, parts - p) ? ex2_approx(stat.x - most) : 0.f;
          const float by = w * (half % 2 ? stat.w : stat.z);
          all = all * less + warp_reduce_sum_ascending(w * stat.y);
          top = most;
          EACH(k, 8) mixed[k] *= less;
          EACH(i, 8) {
            const u32 words[4] = {part[i].x, part[i].y, part[i].z, part[i].w};
            const float weight = __shfl_sync(~0u, by, i);
            EACH(k, 4) {
              const float2 v = unpack_f16(words[k]);
              mixed[2 * k] = fmaf(weight, v.x, mixed[2 * k]);
              mixed[2 * k + 1] = fmaf(weight, v.y, mixed[2 * k + 1]);
            }
          }
        }
        const float by = rcp_approx(all);
        ((uint4*)y)[((long long)row * HEADS + rank * 64) * 64 + half * 32 + lane] = make_uint4(pack_bf16(mixed[0] * by, mixed[1] * by),
            pack_bf16(mixed[2] * by, mixed[3] * by), pack_bf16(mixed[4] * by, mixed[5] * by), pack_bf16(mixed[6] * by, mixed[7] * by));
      }
      // The last to leave makes the counters ready for the next launch.
      bar_sync(2, 256);
      if (thread == 0 && atomicAdd(counter + 1, 1) == parts - 1) { counter[0] = 0; counter[1] = 0; }
    }
  }
}
