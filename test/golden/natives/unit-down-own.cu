// experts_down: y [T, 512] bf16 = residual + the sum over a token's 3 experts of weight * x [r, 512] bf16 times w [e, 512, 512]^T bf16; T up to 8
// schedule {"form":"units","tokens":8,"rows":16,"pieces":8,"steps":1,"stages":8,"tiles":"own"}
// floor on H200: 524288 bytes an expert with rows / 4539 GB/s = 0.1 us each

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;
struct __align__(64) TensorMap { u64 words[16]; };  // CUtensorMap, opaque
__device__ __forceinline__ u32 shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }
// The place of 16 bytes, a chunk, of a row of 128 in a tile that TMA swizzled.
__device__ __forceinline__ u32 swizzle_128b(u32 tile, int row, int chunk) {
  return tile + row * 128 + ((chunk ^ (row & 7)) * 16);
}
// Programmatic dependent launch: blocks of the next kernel start as these leave. What the kernel before wrote may be read,
// and what it reads overwritten, only after await_previous; weights were there all along.
__device__ __forceinline__ void release_next() { asm volatile("griddepcontrol.launch_dependents;" ::: "memory"); }
__device__ __forceinline__ void await_previous() { asm volatile("griddepcontrol.wait;" ::: "memory"); }
__device__ __forceinline__ float from_bf16(u16 code) { return __uint_as_float((u32)code << 16); }
__device__ __forceinline__ u32 pack_bf16(float low, float high) {
  u32 v; asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(v) : "f"(high), "f"(low)); return v;
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
// From L2: nothing of what an earlier kernel wrote may come from what this multiprocessor still holds.
__device__ __forceinline__ int ld_relaxed_s32(const int* p) {
  int v; asm volatile("ld.relaxed.gpu.global.s32 %0, [%1];" : "=r"(v) : "l"(p) : "memory"); return v;
}
// From L2: nothing of what an earlier kernel wrote may come from what this multiprocessor still holds.
__device__ __forceinline__ float ld_relaxed_f32(const float* p) {
  float v; asm volatile("ld.relaxed.gpu.global.f32 %0, [%1];" : "=f"(v) : "l"(p) : "memory"); return v;
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
// Weights are read once a step and go first when L2 needs room: kernels, gains and rows stay, and so need not queue for memory
// behind the rings of the kernels that follow.
__device__ __forceinline__ u64 l2_evict_first() {
  u64 policy; asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy)); return policy;
}
__device__ __forceinline__ void tma_load_4d_hint(u32 to, const TensorMap* map, u32 barrier, int x, int y, int z, int w, u64 policy) {
  asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.L2::cache_hint "
               "[%0], [%1, {%3, %4, %5, %6}], [%2], %7;"
               :: "r"(to), "l"(map), "r"(barrier), "r"(x), "r"(y), "r"(z), "r"(w), "l"(policy) : "memory");
}
// Bytes in a row, multiples of 16.
__device__ __forceinline__ void cp_async_bulk(u32 to, const void* from, u32 bytes, u32 barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];"
               :: "r"(to), "l"(from), "r"(bytes), "r"(barrier) : "memory");
}
// 16 rows of a by 8 rows of b by 16 columns. Of a lane: rows lane / 4 and + 8, then columns 2 (lane % 4) and + 1 of the sums.
__device__ __forceinline__ void mma_m16n8k16_bf16(float (&d)[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
__device__ __forceinline__ void ldmatrix_x4(u32 from, u32& a, u32& b, u32& c, u32& d) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(a), "=r"(b), "=r"(c), "=r"(d) : "r"(from) : "memory");
}
__device__ __forceinline__ void ldmatrix_x2(u32 from, u32& a, u32& b) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];" : "=r"(a), "=r"(b) : "r"(from) : "memory");
}

constexpr int EXPERTS = 9, PER = 3;              // experts, and those of a token
constexpr int SHARED = 1;                        // the last ones, which every token visits

constexpr int N = 512, K = 512, PARTS = 1;             // rows of a part, columns, parts of an expert's matrix
// Pairs, and experts with rows, of 8 tokens at most; words of a bit a token.
constexpr int PAIRS = 24, MOST = 9, WORDS = 1;
// Rows of a tile, as many of each part; tiles of an expert.
constexpr int ROWS = 16, PART_ROWS = 16, TILES = 32;
// Warps with 16 rows of their own, warps that share their columns; eights of tokens.
constexpr int ROW_WARPS = 1, K_WARPS = 8, COLUMNS = 1;
// Pieces of 64 columns in a stage, stages of a tile, stages of the ring.
constexpr int PIECES = 8, STEPS = 1, STAGES = 8;
// Bytes of weights in a stage; from row to row of x, and of a stage's rows.
constexpr int STAGE = 16384, PITCH = 1040, X_SLOT = 8320;
constexpr int XS = 131072, PARTIAL = 197632, SUMS = 201216, FULL = 201728;  // behind the ring
constexpr int MATH = 256, THREADS = 288;       // threads that multiply, a warp more copies; that choose experts
struct Run { int expert, row, end; };          // the rows of an expert that has some, among all sorted by expert
struct Unit { int run, tile; };                // of an expert with rows, a tile of its matrix

// Sorts the pairs of tokens and experts by expert, tokens in order: of an expert that has rows which ones, of a row its pair.
// An expert's tokens are bits, so a pair's place is a count of bits, whatever order threads come in. All threads of the block;
// gives how many experts.
__device__ __forceinline__ int sort_pairs(int T, const int* expert_of, u32* visits, int* starts, Run* runs,
    int* count_of, int* pair_of, const float* weight_of, float* weight_at) {
  for (int i = threadIdx.x; i < EXPERTS * WORDS; i += THREADS) visits[i] = 0;
  __syncthreads();
  for (int i = threadIdx.x; i < T * PER; i += THREADS) atomicOr(visits + expert_of[i] * WORDS + i / PER / 32, 1u << (i / PER % 32));
  __syncthreads();
  if (threadIdx.x < 32) {
    const int lane = threadIdx.x;
    int rows = 0, count = 0;
    for (int e0 = 0; e0 < EXPERTS; e0 += 32) {
      const int e = e0 + lane;
      int own = 0;
      if (e < EXPERTS)
#pragma unroll
        for (int w = 0; w < WORDS; w++) own += __popc(visits[e * WORDS + w]);
      const int upto = warp_running_sum(own), row = rows + upto - own;
      const u32 has = __ballot_sync(0xffffffffu, own > 0);
      if (e < EXPERTS) starts[e] = row;
      if (own > 0) runs[count + __popc(has & ((1u << lane) - 1))] = {e, row, row + own};
      rows += __shfl_sync(0xffffffffu, upto, 31);
      count += __popc(has);
    }
    if (lane == 0) *count_of = count;
  }
  __syncthreads();
  for (int i = threadIdx.x; i < T * PER; i += THREADS) {
    const int expert = expert_of[i], token = i / PER;
    int at = starts[expert];
#pragma unroll
    for (int w = 0; w < WORDS; w++) {
      const u32 bits = visits[expert * WORDS + w];
      at += w < token / 32 ? __popc(bits) : w == token / 32 ? __popc(bits & ((1u << token % 32) - 1)) : 0;
    }
    pair_of[at] = i;
    weight_at[at] = weight_of[i];
  }
  __syncthreads();
  return *count_of;
}

extern "C" __global__ void __launch_bounds__(288, 1)
experts_down_9x512x512_bf16_t8n16p8s8o(const __grid_constant__ TensorMap w_map, const u16* x, const int* indices,
    const float* weights, const u16* residual, u16* y, int T) {
  extern __shared__ u8 raw[];
  __shared__ Run runs[MOST];
  __shared__ int expert_of[PAIRS];   // of a token's pairs
  __shared__ int pair_of[PAIRS];     // of the sorted rows
  __shared__ float weight_of[PAIRS];
  __shared__ float weight_at[PAIRS];
  __shared__ u32 visits[EXPERTS * WORDS];  // of an expert: the tokens that visit it, a bit each
  __shared__ int starts[EXPERTS];
  __shared__ int count_of[1];
  const u32 base = shared_address(raw), ring = (base + 1023) & ~1023u;  // the swizzle repeats every 1024 bytes
  const u32 full = ring + FULL, empty = full + 8 * STAGES, partial_full = empty + 8 * STAGES, partial_empty = partial_full + 8 * ROW_WARPS;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  // Tiles of this block's own, each of all experts.
  const int blocks = gridDim.x, block = blockIdx.x, tile0 = block * TILES / blocks, tiles = (block + 1) * TILES / blocks - tile0;
  if (threadIdx.x == MATH) {
    for (int i = 0; i < STAGES; i++) {
      mbarrier_init(full + 8 * i, 1);
      mbarrier_init(empty + 8 * i, MATH / 32);  // one arrival a math warp
    }
    for (int i = 0; i < ROW_WARPS; i++) {
      mbarrier_init(partial_full + 8 * i, max(1, K_WARPS - 1));
      mbarrier_init(partial_empty + 8 * i, 1);
    }
    fence_mbarrier_init();
  }
  const u64 policy = l2_evict_first();
  auto fetch_weights = [&](int i, int expert, int tile, int step, int rows) {
    mbarrier_arrive_expect_tx(full + 8 * (i % STAGES), STAGE + rows * PIECES * 128);
    tma_load_4d_hint(ring + i % STAGES * STAGE, &w_map, full + 8 * (i % STAGES), 0,
        tile * PART_ROWS, expert * PARTS, step * PIECES, policy);
  };

  // Shared experts come first, for they are known: a ring of their weights is under way while the block routes.
  const int early = min(STAGES, SHARED * STEPS);
  if (threadIdx.x == MATH)
    for (int i = 0; i < early; i++) fetch_weights(i, EXPERTS - SHARED + i / STEPS, tile0, i % STEPS, T);
  // Before the wait: the kernel before lets this one start only once it has waited for the choice of experts itself.
  for (int i = threadIdx.x; i < T * PER; i += THREADS) {
    expert_of[i] = ld_relaxed_s32(indices + i);
    weight_of[i] = ld_relaxed_f32(weights + i);
  }
  const int count = sort_pairs(T, expert_of, visits, starts, runs, count_of, pair_of, weight_of, weight_at);
  release_next();
  const int units = tiles * count;
  auto unit_of = [&](int u) { return Unit{(u % count + count - SHARED) % count, tile0 + u / count}; };
  const int ahead = min(STAGES, units * STEPS);

  if (warp == MATH / 32) {
    if (lane == 0)
      for (int i = early; i < ahead; i++) {
        const Unit unit = unit_of(i / STEPS);
        fetch_weights(i, runs[unit.run].expert, unit.tile, i % STEPS, runs[unit.run].end - runs[unit.run].row);
      }
    await_previous();
    for (int i = 0; i < units * STEPS; i++) {
      const Unit unit = unit_of(i / STEPS);
      const Run run = runs[unit.run];
      const int rows = run.end - run.row, slot = i % STAGES;
      if (i >= ahead && lane == 0) {
        if (i >= STAGES) mbarrier_wait(empty + 8 * slot, (i / STAGES - 1) & 1);
        fetch_weights(i, run.expert, unit.tile, i % STEPS, rows);
      }
      __syncwarp();
      for (int r = lane; r < rows; r += 32)
        cp_async_bulk(ring + XS + slot * X_SLOT + r * PITCH,
            x + (i64)(run.row + r) * K + i % STEPS * PIECES * 64, PIECES * 128, full + 8 * slot);
    }
  } else {
    await_previous();
    const int row_warp = warp / K_WARPS, k_warp = warp % K_WARPS;
    float* const sums = (float*)(raw + (ring - base) + SUMS) + row_warp * 16;
    auto begin_tile = [&](int tile) {
      for (int i = lane; i < T * 16; i += 32)
        sums[i / 16 * ROWS + i % 16] = from_bf16(residual[(i64)(i / 16) * N + tile * ROWS + row_warp * 16 + i % 16]);
      __syncwarp();
    };
    if (k_warp == 0 && units > 0) begin_tile(tile0);
    // Rows of a group of warps: eight of gate and the same eight of up, or sixteen.
    const int w_row = PARTS == 2 ? lane % 16 / 8 * PART_ROWS + row_warp * 8 + lane % 8 : row_warp * 16 + lane % 16;
    int slot = 0; u32 phase = 0;
    for (int u = 0; u < units; u++) {
      const Unit unit = unit_of(u);
      const Run run = runs[unit.run];
      const int rows = run.end - run.row, columns = (rows + 7) / 8;
      float sum[COLUMNS][4] = {};
      for (int step = 0; step < STEPS; step++) {
        mbarrier_wait(full + 8 * slot, phase);
        const u32 w_tile = ring + slot * STAGE, x_tile = ring + XS + slot * X_SLOT + lane / 8 % 2 * 16;
        // Steps of 16 columns go round the warps: four in each piece of 64.
#pragma unroll
        for (int q = k_warp; q < 4 * PIECES; q += K_WARPS) {
          const int piece = q / 4, chunk = q % 4 * 2;  // of 16 bytes
          u32 w[4], x[2];
          ldmatrix_x4(swizzle_128b(w_tile, piece * ROWS + w_row, chunk + lane / 16), w[0], w[1], w[2], w[3]);
#pragma unroll
          for (int c = 0; c < COLUMNS; c++)
            if (c < columns) {
              // Columns past the last row repeat it, and nobody looks at their sums.
              ldmatrix_x2(x_tile + min(c * 8 + lane % 8, rows - 1) * PITCH + q * 32, x[0], x[1]);
              mma_m16n8k16_bf16(sum[c], w[0], w[1], w[2], w[3], x[0], x[1]);
            }
        }
        __syncwarp();
        if (lane == 0) mbarrier_arrive(empty + 8 * slot);
        if (++slot == STAGES) { slot = 0; phase ^= 1; }
      }
      // Warps that share columns add up in their order, at the first of them.
      float* const partial = (float*)(raw + (ring - base) + PARTIAL) + (row_warp * (K_WARPS - 1) * COLUMNS * 32 + lane) * 4;
      if (K_WARPS > 1 && k_warp > 0) {
        if (u > 0) mbarrier_wait(partial_empty + 8 * row_warp, (u - 1) & 1);
#pragma unroll
        for (int c = 0; c < COLUMNS; c++)
          if (c < columns)
            *(float4*)(partial + ((k_warp - 1) * COLUMNS + c) * 128) = make_float4(sum[c][0], sum[c][1], sum[c][2], sum[c][3]);
        __syncwarp();
        if (lane == 0) mbarrier_arrive(partial_full + 8 * row_warp);
        continue;
      }
      if (K_WARPS > 1) {
        mbarrier_wait(partial_full + 8 * row_warp, u & 1);
#pragma unroll
        for (int c = 0; c < COLUMNS; c++)
          if (c < columns)
#pragma unroll
            for (int v = 0; v < K_WARPS - 1; v++) {
              const float4 more = *(const float4*)(partial + (v * COLUMNS + c) * 128);
              sum[c][0] += more.x; sum[c][1] += more.y; sum[c][2] += more.z; sum[c][3] += more.w;
            }
        __syncwarp();
        if (lane == 0) mbarrier_arrive(partial_empty + 8 * row_warp);
      }
#pragma unroll
      for (int c = 0; c < COLUMNS; c++)
#pragma unroll
        for (int v = 0; v < 4; v++) {
          const int column = c * 8 + lane % 4 * 2 + v % 2;
          if (column < rows) {
            float* const to = sums + pair_of[run.row + column] / PER * ROWS + lane / 4 + v / 2 * 8;
            *to = __fadd_rn(*to, __fmul_rn(weight_at[run.row + column], sum[c][v]));
          }
        }
      __syncwarp();
      if ((u + 1) % count == 0) {
        for (int i = lane; i < T * 16; i += 32)
          y[(i64)(i / 16) * N + unit.tile * ROWS + row_warp * 16 + i % 16] = (u16)pack_bf16(sums[i / 16 * ROWS + i % 16], 0.0f);
        __syncwarp();
        if (u + 1 < units) begin_tile(unit.tile + 1);
      }
    }
  }
}
