// Absorbed attention for sm_90a, for few tokens and short contexts: a cluster takes one token and 16 of its heads, its blocks take turns
// at the sequence's stages of 64 cached rows, and their parts meet in the shared memory of the blocks that add them up. There is no
// plan and no workspace, and how a sequence is divided depends on its own length only. Heads are the narrow side of each product, so
// that a stage's rows, which every product reads, spread over as many multiprocessors as there are stages and groups of heads.
// Guarantees: the same bits every run and in every batch; rows of a page past the sequence's end may hold anything.
import { DiagnosticError } from "../../ir/diagnostic.ts";
import type { KernelText } from "../../ir/kernel/catalogue.ts";
import { mul } from "../../ir/size.ts";
import type { MlaAttendProblem } from "../kernels/attention.ts";
import { fixedScheduleName, fixedSharedBytes, illegalFixed, LETTER_BYTES, type MlaFixedSchedule } from "../schedules/sm90-attend.ts";
import { attendFragments } from "./attend-fragments.ts";
import { illegalSchedule } from "./diagnostics.ts";
import { called, fragments, header } from "./fragments.ts";
import { wgmmaBf16 } from "./wgmma-bf16.ts";

/** Prints the kernel of one problem. */
export function mlaDecodeFixed(p: MlaAttendProblem, schedule: MlaFixedSchedule): KernelText {
  const reason = illegalFixed(p);
  if (reason !== null) throw new DiagnosticError(illegalSchedule("mla_attend", p, schedule, reason));
  const { heads, r, d } = p;
  const { group, splits, stages } = schedule;
  const name = `mla_attend_${heads}x${r}_${d}_${fixedScheduleName(schedule)}`;
  const opening = header([
    `mla_attend: y [T, ${heads}, ${r}] bf16 = softmax(q k^T * ${p.scale.toPrecision(6)}) v; k: cached rows [S, ${r + d}] bf16 by page, v: their first ${r} lanes`,
    `schedule ${JSON.stringify(schedule)}`,
    `floor on H200: launch, one read of L2 and one of another block's shared memory; and ${2 * (r + d)} bytes a cached row and group of heads from L2`,
  ]);
  const body = `constexpr int HEADS = ${heads}, GROUP = ${group};                 // heads of a cluster, the narrow side of its products
constexpr int SPLITS = ${splits}, OWN = GROUP / SPLITS;        // blocks of a cluster; heads each adds up at the end
constexpr int KEYS = 64, STAGES = ${stages}, PAGE = ${p.pageRows / 64};        // cached rows of a stage; stages of a page
constexpr int CHUNK = KEYS * 128, CHUNKS = 9, STAGE = CHUNKS * CHUNK;  // 64 lanes of all rows: eight chunks of latents, one of the rotary part
constexpr int QUERY_CHUNK = GROUP * 128;          // the same lanes of the heads
constexpr int LETTER = ${LETTER_BYTES};                      // a head's 512 sums as halves, then its maximum, its sum, and what the halves are to be multiplied by
constexpr float SCALE = ${(p.scale * Math.LOG2E).toPrecision(9)}f;          // of scores, for exp2

extern "C" __global__ void __launch_bounds__(256, 2)
${name}(const __grid_constant__ TensorMap ql_map, const __grid_constant__ TensorMap qp_map, const __grid_constant__ TensorMap cache_map,
    const u16* __restrict__ cache, const int* __restrict__ positions, const int* __restrict__ sequence, const int* __restrict__ pages, u16* __restrict__ y, int T, int P) {
  extern __shared__ u8 raw[];
  __shared__ float peaks[4][GROUP];   // of each scoring warp's 16 rows, by head
  __shared__ float sums[4][GROUP];
  __shared__ float shrink[GROUP];     // what earlier sums of a head shrink by when a stage raises its maximum
  __shared__ int largest;             // of all sums of the block, as bits
  __shared__ u64 barriers[STAGES + 2];
  const u32 ring = (shared_address(raw) + 1023) & ~1023u;  // the swizzle repeats every 1024 bytes
  const u32 query = ring + STAGES * STAGE, weights = query + CHUNKS * QUERY_CHUNK, inbox = weights + GROUP * 128, outbox = query;
  const u32 full = shared_address(barriers), asked = full + 8 * STAGES, received = asked + 8;
  const int thread = threadIdx.x, warp = thread / 32, lane = thread % 32, team = warp / 4, slab = warp % 4;
  const int rank = cluster_rank(), unit = blockIdx.x / SPLITS, token = unit / (HEADS / GROUP), head0 = unit % (HEADS / GROUP) * GROUP;

  // Before the kernel before has ended: the step's tables and the rows of earlier steps have long been there. Stages rank,
  // rank + SPLITS, ... of the sequence are this block's.
  const int position = load_word(positions + token), stages = position / KEYS + 1, mine = (stages - rank + SPLITS - 1) / SPLITS;
  const int* page = pages + (long long)load_word(sequence + token) * P;
  const auto first_row = [&](int i) {
    const int b = rank + i * SPLITS;
    return (load_word(page + b / PAGE) * PAGE + b % PAGE) * KEYS;
  };
  const auto copy_stage = [&](int i) {
    const u32 barrier = full + 8 * (i % STAGES);
    barrier_expect(barrier, STAGE);
    copy_box(ring + i % STAGES * STAGE, &cache_map, barrier, 0, first_row(i), 0);
  };
  if (thread == 0) {
    for (int i = 0; i < STAGES + 2; i++) barrier_init(full + 8 * i, 1);
    barrier_init_done();
    for (int i = 0; i < min(mine, STAGES); i++) copy_stage(i);
    barrier_expect(received, min(stages, SPLITS) * OWN * LETTER);
    prefetch_map(&ql_map);
    prefetch_map(&qp_map);
    largest = 0;
  }
  __syncthreads();
  cluster_arrive();  // no letter may reach a block before its barriers are there
  release_next();
  await_previous();
  if (thread == 0 && mine > 0) {
    barrier_expect(asked, CHUNKS * QUERY_CHUNK);
    copy_chunks(query, &ql_map, asked, head0, token);
    copy_box(query + 8 * QUERY_CHUNK, &qp_map, asked, 0, head0, token);
  }
  cluster_wait();

  // Of a product's sums a lane holds rows lane / 4 and eight further, of heads 2 (lane % 4) and + 1 and eight further.
  const auto head_of = [&](int n) { return n / 4 * 8 + lane % 4 * 2 + n % 2; };
  float acc[4][8] = {}, top[4], sum[4] = {};
  for (int h = 0; h < 4; h++) top[h] = minus_infinity();
#pragma unroll 1
  for (int i = 0; i < mine; i++) {
    const u32 tile = ring + i % STAGES * STAGE;
    const int first = (rank + i * SPLITS) * KEYS, seen = min(position + 1 - first, KEYS);
    barrier_wait(full + 8 * (i % STAGES), i / STAGES & 1);
    // The end of the sequence: rows of this step were copied before they were written, and come again; what lies behind them, NaN even,
    // becomes zeros, for its weight is zero, and zero times NaN is not.
    const int settled = i < STAGES ? min(max(position - T + 1 - first, 0), KEYS) : seen;
    if (settled < KEYS) {
      const uint4* from = (const uint4*)cache + (long long)first_row(i) * CHUNKS * 8;
#pragma unroll 1
      for (int w = settled * CHUNKS * 8 + thread; w < KEYS * CHUNKS * 8; w += 256) {
        const int row = w / (CHUNKS * 8), word = w % (CHUNKS * 8);
        store_shared16(tile + word / 8 * CHUNK + row * 128 + ((word ^ row) % 8) * 16, row < seen ? load_words(from + w) : make_uint4(0, 0, 0, 0));
      }
      fence_async();
      __syncthreads();
    }

    if (team == 0) {
      // Scores: 64 rows by 16 heads, in two chains so that one product need not wait for another's sums.
      if (i == 0) barrier_wait(asked, 0);
      const u64 k_tile = tile_descriptor(tile), q_tile = tile_descriptor(query);
      float even[8], odd[8];
      wgmma_fence();
      wgmma_64x16x16<0>(even, k_tile, q_tile);
      wgmma_64x16x16<0>(odd, k_tile + 2, q_tile + 2);
#pragma unroll
      for (int k = 2; k < 4 * CHUNKS; k++)
        wgmma_64x16x16<1>(k % 2 ? odd : even, k_tile + k / 4 * (CHUNK / 16) + k % 4 * 2, q_tile + k / 4 * (QUERY_CHUNK / 16) + k % 4 * 2);
      wgmma_commit();
      wgmma_wait<0>(even);
      wgmma_wait<0>(odd);

      // Softmax: a head's rows lie in eight lanes of four warps.
      EACH(n, 8) even[n] = slab * 16 + lane / 4 + n / 2 % 2 * 8 < seen ? (even[n] + odd[n]) * SCALE : minus_infinity();
      EACH(h, 4) {
        float most = fmaxf(even[h / 2 * 4 + h % 2], even[h / 2 * 4 + 2 + h % 2]);
        for (int d = 4; d < 32; d *= 2) most = fmaxf(most, __shfl_xor_sync(~0u, most, d));
        if (lane < 4) peaks[slab][head_of(h / 2 * 4 + h % 2)] = most;
      }
      group_sync(1, 128);
      EACH(h, 4) {
        const int head = head_of(h / 2 * 4 + h % 2);
        const float most = fmaxf(top[h], fmaxf(fmaxf(peaks[0][head], peaks[1][head]), fmaxf(peaks[2][head], peaks[3][head])));
        const float less = exp2_fast(top[h] - most);
        if (thread < 4) shrink[head] = less;
        top[h] = most;
        sum[h] *= less;
      }
      EACH(n, 8) {
        even[n] = exp2_fast(even[n] - top[n / 4 * 2 + n % 2]);
        sum[n / 4 * 2 + n % 2] += even[n];
      }
      // The weights, by head, as the second operand of what follows.
      store_matrices_turned(weights + (lane / 16 * 8 + lane % 8) * 128 + ((slab * 2 + lane / 8 % 2) ^ (lane % 8)) * 16,
          pack_bf16(even[0], even[1]), pack_bf16(even[2], even[3]), pack_bf16(even[4], even[5]), pack_bf16(even[6], even[7]));
      fence_async();
    }
    __syncthreads();

    // Mix: 512 lanes by 16 heads. The rows are read across; each warpgroup has four chunks of 64 lanes.
    if (i > 0) {
      EACH(n, 32) acc[n / 8][n % 8] *= shrink[head_of(n % 8)];
    }
    const u64 v_tile = turned_descriptor<CHUNK>(tile + team * 4 * CHUNK), p_tile = tile_descriptor(weights);
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < 4; k++)
      EACH(c, 4) wgmma_64x16x16_across<1>(acc[c], v_tile + c * (CHUNK / 16) + k * (16 * 128 / 16), p_tile + k * 2);
    wgmma_commit();
    EACH(c, 4) wgmma_wait<0>(acc[c]);
    if (i + 1 < mine) __syncthreads();
    if (thread == 0 && i + STAGES < mine) copy_stage(i + STAGES);
  }

  // A letter a head, to the block that adds it up: halves of the block's largest sum, so that no cached value is too large for them.
  if (mine > 0) {
    float most = 0.f;
    EACH(n, 32) most = fmaxf(most, fabsf(acc[n / 8][n % 8]));
    const int bits = __reduce_max_sync(~0u, __float_as_int(most));
    if (lane == 0) atomicMax(&largest, bits);
    if (team == 0) {
      EACH(h, 4) {
        for (int d = 4; d < 32; d *= 2) sum[h] += __shfl_xor_sync(~0u, sum[h], d);
        if (lane < 4) sums[slab][head_of(h / 2 * 4 + h % 2)] = sum[h];
        if (thread < 4) peaks[0][head_of(h / 2 * 4 + h % 2)] = top[h];
      }
    }
    __syncthreads();
    const float by = largest > 0 ? 1.f / __int_as_float(largest) : 0.f;
    EACH(c, 4) {
      const float* v = acc[c];
      store_matrices_turned(outbox + (lane / 16 * 8 + lane % 8) * LETTER + (team * 4 + c) * 128 + (slab * 2 + lane / 8 % 2) * 16,
          pack_half(v[0] * by, v[1] * by), pack_half(v[2] * by, v[3] * by), pack_half(v[4] * by, v[5] * by), pack_half(v[6] * by, v[7] * by));
    }
    if (thread < GROUP) {
      const float all = sums[0][thread] + sums[1][thread] + sums[2][thread] + sums[3][thread];
      store_shared16(outbox + thread * LETTER + 1024, make_uint4(__float_as_int(peaks[0][thread]), __float_as_int(all), largest, 0));
    }
    fence_async();
    __syncthreads();
    if (thread < GROUP) send_to(inbox + (thread % OWN * SPLITS + rank) * LETTER, outbox + thread * LETTER, LETTER, received, thread / OWN);
  }

  // Adding up, in the order of blocks: two lanes a thread.
  barrier_wait(received, 0);
  cluster_arrive();
  const int parts = min(stages, SPLITS);
  EACH(own, OWN) {
    const u32 letters = inbox + own * SPLITS * LETTER;
    float4 stat[SPLITS];
    float most = minus_infinity(), all = 0.f, low = 0.f, high = 0.f;
    EACH(s, SPLITS) {
      stat[s] = load_shared4(letters + min(s, parts - 1) * LETTER + 1024);
      most = fmaxf(most, stat[s].x);
    }
    EACH(s, SPLITS) {
      const float w = s < parts ? exp2_fast(stat[s].x - most) : 0.f, by = w * stat[s].z;
      const float2 v = unpack_half(load_shared_word(letters + min(s, parts - 1) * LETTER + thread * 4));
      all = fmaf(w, stat[s].y, all);
      low = fmaf(by, v.x, low);
      high = fmaf(by, v.y, high);
    }
    ((u32*)y)[((long long)token * HEADS + head0 + rank * OWN + own) * 256 + thread] = pack_bf16(low / all, high / all);
  }
  cluster_wait();  // all have their letters: this block's shared memory may go
}
`;
  const helpers = fragments(["types", "barriers", "cluster", "dependent", "load", "store", "bf16", "floats"], 64) + attendFragments + wgmmaBf16([{ n: 16, b: "keys" }, { n: 16, b: "keys", a: "lanes" }]);
  return {
    name, language: "cuda", source: `${opening}\n${called(helpers, body)}\n${body}`,
    params: [
      { kind: "tensormap", name: "ql_map", of: "ql", dtype: "bf16", dims: [64, heads, r / 64, "T"], strides: [2 * p.ql[1], 128, 2 * p.ql[0]], box: [64, group, 8, 1], swizzle: 128 },
      { kind: "tensormap", name: "qp_map", of: "qp", dtype: "bf16", dims: [d, heads, "T"], strides: [2 * p.qp[1], 2 * p.qp[0]], box: [64, group, 1], swizzle: 128 },
      // The page table bounds the rows; the map need not know how many pages there are.
      { kind: "tensormap", name: "cache_map", of: "cache", dtype: "bf16", dims: [64, 2 ** 31, (r + d) / 64], strides: [2 * (r + d), 128], box: [64, 64, 9], swizzle: 128 },
      { kind: "buffer", name: "cache", dtype: "bf16", access: "in" },
      { kind: "buffer", name: "positions", dtype: "i32", access: "in" },
      { kind: "buffer", name: "sequence", dtype: "i32", access: "in" },
      { kind: "buffer", name: "pages", dtype: "i32", access: "in" },
      { kind: "buffer", name: "y", dtype: "bf16", access: "out" },
    ],
    dims: ["T", "P"],
    launch: { grid: [mul("T", (heads / group) * splits), 1, 1], block: 256, sharedBytes: fixedSharedBytes(schedule), pdl: true, cluster: [splits, 1, 1] },
  };
}
