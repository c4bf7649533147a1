// Absorbed attention for sm_90a, for few tokens and short contexts: a cluster takes one token and 16 of its heads, its blocks take turns
// at the sequence's stages of 64 cached rows, and their parts meet in the shared memory of the blocks that add them up. There is no
// plan and no workspace, and how a sequence is divided depends on its own length only. Heads are the narrow side of each product, so
// that a stage's rows, which every product reads, spread over as many multiprocessors as there are stages and groups of heads.
// Guarantees: the same bits every run and in every batch; rows of a page past the sequence's end may hold anything.
import type { Gpu } from "../../../../ir/machine.ts";
import { DiagnosticError } from "../../../../ir/diagnostic.ts";
import type { KernelText } from "../../../../ir/kernel/catalogue.ts";
import { mul } from "../../../../ir/size.ts";
import type { MlaAttendProblem } from "../../../kernels/attention.ts";
import { fixedScheduleName, fixedSharedBytes, illegalFixed, MAILBOX_BYTES, type MlaFixedSchedule } from "./schedule.ts";
import { illegalSchedule } from "../diagnostics.ts";
import { cudaKernel, input, output, tensorMap } from "../../text/kernel.ts";

/** Prints the kernel of one problem. */
export function mlaDecodeFixed(p: MlaAttendProblem, schedule: MlaFixedSchedule, machine: Gpu): KernelText {
  const reason = illegalFixed(p, schedule);
  if (reason !== null) throw new DiagnosticError(illegalSchedule("mla_attend", p, schedule, reason));
  const { heads, r, d } = p;
  const { group, splits } = schedule;
  const name = `mla_attend_${heads}x${r}_${d}_${fixedScheduleName(schedule)}`;
  const definitions = `constexpr int HEADS = ${heads}, GROUP = ${group};           // heads of a cluster, the narrow side of its products
constexpr int SPLITS = ${splits}, OWN = GROUP / SPLITS;   // blocks of a cluster; heads each adds up at the end
constexpr int KEYS = 64, PAGE = ${p.pageRows / 64}, TEAMS = 2;     // cached rows of a stage; stages of a page; warpgroups, a stage each at a time
constexpr int CHUNK = KEYS * 128, CHUNKS = 9;   // 64 lanes of all rows: eight chunks of latents, one of the rotary part
constexpr int STAGE = CHUNKS * CHUNK, QUERY_CHUNK = GROUP * 128;
constexpr int LETTER = ${MAILBOX_BYTES};                    // a head's 512 sums as halves of the largest, then its maximum, its sum and that largest
constexpr float SCALE = ${(p.scale * Math.LOG2E).toPrecision(9)}f;           // of scores, for exp2`;
  const body = `  extern __shared__ u8 raw[];
  __shared__ float peaks[8][GROUP];  // a head's maximum over the 16 rows of a warp
  __shared__ float sums[8][GROUP];
  __shared__ int largest[GROUP];     // of a head's sums, as bits
  __shared__ u64 barriers[TEAMS + 2];
  const u32 ring = (shared_address(raw) + 1023) & ~1023u;  // the swizzle repeats every 1024 bytes
  const u32 query = ring + TEAMS * STAGE, weights = query + CHUNKS * QUERY_CHUNK, inbox = weights + TEAMS * GROUP * 128, outbox = query;
  const u32 full = shared_address(barriers), asked = full + 8 * TEAMS, received = asked + 8;
  // The shuffle tells the compiler that a warp's lanes agree: what follows from it, descriptors above all, stays in uniform registers.
  const int thread = threadIdx.x, warp = __shfl_sync(~0u, thread / 32, 0), lane = thread % 32, team = warp / 4, slab = warp % 4;
  const int rank = cluster_rank(), unit = blockIdx.x / SPLITS, token = unit / (HEADS / GROUP), head0 = unit % (HEADS / GROUP) * GROUP;

  // Before the kernel before has ended: the step's tables and the rows of earlier steps have long been there. Stages rank,
  // rank + SPLITS, ... of the sequence are this block's.
  const int position = ld_global_cg_s32(positions + token), stages = (u32)position / KEYS + 1, mine = (u32)(stages - rank + SPLITS - 1) / SPLITS;
  const int* page = pages + (long long)ld_global_cg_s32(sequence + token) * P;
  const auto first_row = [&](int i) {
    const int b = rank + i * SPLITS;
    return (ld_global_cg_s32(page + b / PAGE) * PAGE + b % PAGE) * KEYS;
  };
  const auto copy_stages = [&](int i) {
#pragma unroll 1
    for (int t = 0; t < min(mine - i, TEAMS); t++) {
      mbarrier_arrive_expect_tx(full + 8 * t, STAGE);
      tma_load_3d(ring + t * STAGE, &cache_map, full + 8 * t, 0, first_row(i + t), 0);
    }
  };
  if (thread == 0) {
    EACH(i, TEAMS + 2) mbarrier_init(full + 8 * i, 1);
    fence_mbarrier_init();
    copy_stages(0);
    mbarrier_arrive_expect_tx(received, (min(stages, SPLITS) - (mine > 0)) * OWN * LETTER);
    tma_prefetch_descriptor(&ql_map);
    tma_prefetch_descriptor(&qp_map);
  }
  if (thread < GROUP) largest[thread] = 0;
  __syncthreads();
  cluster_arrive_relaxed();  // no letter may reach a block before its barriers are there
  release_next();
  await_previous();
  if (thread == 0 && mine > 0) {
    mbarrier_arrive_expect_tx(asked, CHUNKS * QUERY_CHUNK);
    tma_load_4d(query, &ql_map, asked, 0, head0, 0, token);
    tma_load_3d(query + 8 * QUERY_CHUNK, &qp_map, asked, 0, head0, token);
  }
  cluster_wait();

  // Of a product's sums a lane holds rows lane / 4 and eight further, of heads 2 (lane % 4) and + 1 of every eight: two rows of each
  // of its own heads h.
  constexpr int SUMS = GROUP / 2, LANE_HEADS = GROUP / 4;
  const auto head_of = [&](int h) { return h / 2 * 8 + lane % 4 * 2 + h % 2; };
  const auto own = [](int n) { return n / 4 * 2 + n % 2; };
  float acc[4][SUMS] = {}, top[LANE_HEADS], sum[LANE_HEADS] = {};
  EACH(h, LANE_HEADS) top[h] = minus_infinity();
#pragma unroll 1
  for (int i = 0; i < mine; i += TEAMS) {
    const u32 tile = ring + team * STAGE;
    float s[SUMS];
    EACH(n, SUMS) s[n] = minus_infinity();
    if (i + team < mine) {
      const int first = (rank + (i + team) * SPLITS) * KEYS, seen = min(position + 1 - first, KEYS);
      mbarrier_wait(full + 8 * team, i / TEAMS & 1);
      // The end of the sequence: rows of this step were copied before they were written, and come again; what lies behind them, NaN even,
      // becomes zeros, for its weight is zero, and zero times NaN is not.
      const int settled = i == 0 ? min(max(position - T + 1 - first, 0), KEYS) : seen;
      if (settled < KEYS) {
        const uint4* from = (const uint4*)cache + (long long)first_row(i + team) * CHUNKS * 8;
#pragma unroll 1
        for (int w = settled * CHUNKS * 8 + thread % 128; w < KEYS * CHUNKS * 8; w += 128) {
          const int row = w / (CHUNKS * 8), word = w % (CHUNKS * 8);
          st_shared_v4_u32(tile + word / 8 * CHUNK + row * 128 + ((word ^ row) % 8) * 16, row < seen ? ld_global_cg_v4_u32(from + w) : make_uint4(0, 0, 0, 0));
        }
        fence_proxy_async();
        bar_sync(1 + team, 128);
      }

      // Scores: 64 rows by ${group} heads, in two chains so that one product need not wait for another's sums.
      if (i == 0) mbarrier_wait(asked, 0);
      const u64 k_tile = descriptor_k_major(tile), q_tile = descriptor_k_major(query);
      float even[SUMS], odd[SUMS];
      wgmma_fence();
      wgmma_m64n${group}k16_bf16(even, k_tile, q_tile, 0);
      wgmma_m64n${group}k16_bf16(odd, k_tile + 2, q_tile + 2, 0);
#pragma unroll
      for (int k = 2; k < 4 * CHUNKS; k++)
        wgmma_m64n${group}k16_bf16(k % 2 ? odd : even, k_tile + k / 4 * (CHUNK / 16) + k % 4 * 2, q_tile + k / 4 * (QUERY_CHUNK / 16) + k % 4 * 2, 1);
      wgmma_commit_group();
      wgmma_wait_group<0>(even);
      wgmma_wait_group<0>(odd);
      EACH(n, SUMS) s[n] = slab * 16 + lane / 4 + n / 2 % 2 * 8 < seen ? (even[n] + odd[n]) * SCALE : minus_infinity();
    }

    // Softmax: a head's rows lie in eight lanes of eight warps.
    float most[LANE_HEADS];
    EACH(h, LANE_HEADS) most[h] = quads_max(fmaxf(s[h / 2 * 4 + h % 2], s[h / 2 * 4 + h % 2 + 2]));
    if (lane < 4) EACH(h, LANE_HEADS) peaks[warp][head_of(h)] = most[h];
    __syncthreads();
    float less[LANE_HEADS];
    EACH(h, LANE_HEADS) {
      most[h] = top[h];
      EACH(w, 8) most[h] = fmaxf(most[h], peaks[w][head_of(h)]);
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
      stmatrix_x4_trans(weights + (team * GROUP + j * 16 + lane / 16 * 8 + lane % 8) * 128 + ((slab * 2 + lane / 8 % 2) ^ (lane % 8)) * 16,
          pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]), pack_bf16(v[4], v[5]), pack_bf16(v[6], v[7]));
    }
    fence_proxy_async();
    __syncthreads();

    // Mix: 512 lanes by ${group} heads. The rows are read across; each warpgroup has four chunks of 64 lanes of all stages here.
    if (i > 0) EACH(n, 4 * SUMS) acc[n / SUMS][n % SUMS] *= less[own(n % SUMS)];
#pragma unroll 1
    for (int t = 0; t < min(mine - i, TEAMS); t++) {
      wgmma_fence();
      const u64 v_tile = descriptor_mn_major<CHUNK>(ring + t * STAGE + team * 4 * CHUNK), p_tile = descriptor_k_major(weights + t * GROUP * 128);
      EACH(k, 4) EACH(c, 4) wgmma_m64n${group}k16_bf16_amn(acc[c], v_tile + c * (CHUNK / 16) + k * (16 * 128 / 16), p_tile + k * 2, 1);
      wgmma_commit_group();
      EACH(c, 4) wgmma_wait_group<0>(acc[c]);
    }
    if (i + TEAMS < mine) __syncthreads();
    if (thread == 0) copy_stages(i + TEAMS);
  }

  // A letter a head, to the block that adds it up: warp w sends block w its own.
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
      stmatrix_x4_trans(outbox + (j * 16 + lane / 16 * 8 + lane % 8) * LETTER + (team * 4 + c) * 128 + (slab * 2 + lane / 8 % 2) * 16,
          pack_f16(v[0] * f[0], v[1] * f[1]), pack_f16(v[2] * f[0], v[3] * f[1]), pack_f16(v[4] * f[2], v[5] * f[3]), pack_f16(v[6] * f[2], v[7] * f[3]));
    }
    if (thread < GROUP) {
      float all = 0.f;
      EACH(w, 8) all += sums[w][thread];
      st_shared_v4_u32(outbox + thread * LETTER + 1024, make_uint4(__float_as_int(peaks[0][thread]), __float_as_int(all), largest[thread], 0));
    }
    fence_proxy_async();
    __syncthreads();
    if (warp == rank) {
      // Its own it lays there itself. (compute-sanitizer takes a letter to oneself for one outside the cluster.)
      for (int w = lane; w < OWN * LETTER / 16; w += 32) st_shared_v4_u32(inbox + rank * OWN * LETTER + w * 16, ld_shared_v4_u32(outbox + rank * OWN * LETTER + w * 16));
    } else if (lane == 0) {
      cp_async_bulk_cluster(inbox + rank * OWN * LETTER, outbox + warp * OWN * LETTER, OWN * LETTER, received, warp);
    }
    __syncthreads();
  }

  // Adding up, in the order of blocks: two lanes a thread.
  mbarrier_wait(received, 0);
  cluster_arrive_relaxed();
  const int parts = min(stages, SPLITS);
#pragma unroll 1
  for (int o = 0; o < OWN; o++) {
    const auto letter_of = [&](int s) { return inbox + (min(s, parts - 1) * OWN + o) * LETTER; };
    float4 stat[SPLITS];
    float most = minus_infinity(), all = 0.f, low = 0.f, high = 0.f;
    EACH(s, SPLITS) {
      stat[s] = ld_shared_v4_f32(letter_of(s) + 1024);
      most = fmaxf(most, stat[s].x);
    }
    EACH(s, SPLITS) {
      const float w = s < parts ? ex2_approx(stat[s].x - most) : 0.f, scale = w * stat[s].z;
      const float2 v = unpack_f16(ld_shared_u32(letter_of(s) + thread * 4));
      all = fmaf(w, stat[s].y, all);
      low = fmaf(scale, v.x, low);
      high = fmaf(scale, v.y, high);
    }
    const float by = rcp_approx(all);
    ((u32*)y)[((long long)token * HEADS + head0 + rank * OWN + o) * 256 + thread] = pack_bf16(low * by, high * by);
  }
  cluster_wait();  // all have their letters: this block's shared memory may go`;
  return cudaKernel({
    name,
    header: [
      `mla_attend: y [T, ${heads}, ${r}] bf16 = softmax(q k^T * ${p.scale.toPrecision(6)}) v; k: cached rows [S, ${r + d}] bf16 by page, v: their first ${r} lanes`,
      `schedule ${JSON.stringify(schedule)}`,
      `floor on ${machine.short}: launch, one read of L2 and one of another block's shared memory; and ${2 * (r + d)} bytes a cached row and group of heads from L2`,
    ],
    params: [
      tensorMap("ql_map", {
        of: "ql",
        dtype: "bf16",
        dims: [64, heads, r / 64, "T"],
        strides: [2 * p.ql[1], 128, 2 * p.ql[0]],
        box: [64, group, 8, 1],
      }),
      tensorMap("qp_map", {
        of: "qp",
        dtype: "bf16",
        dims: [d, heads, "T"],
        strides: [2 * p.qp[1], 2 * p.qp[0]],
        box: [64, group, 1],
      }),
      // The page table bounds the rows; the map need not know how many pages there are.
      tensorMap("cache_map", {
        of: "cache",
        dtype: "bf16",
        dims: [64, 2 ** 31, (r + d) / 64],
        strides: [2 * (r + d), 128],
        box: [64, 64, 9],
      }),
      input("cache", "bf16"),
      input("positions", "i32"),
      input("sequence", "i32"),
      input("pages", "i32"),
      output("y", "bf16"),
    ],
    dims: ["T", "P"],
    launch: {
      grid: [mul("T", (heads / group) * splits), 1, 1],
      block: 256,
      sharedBytes: fixedSharedBytes(schedule),
      pdl: true,
      early: ["cache", "positions", "sequence", "pages"],
      cluster: [splits, 1, 1],
      blocksPerSM: 1,
    },
    definitions,
    body,
  });
}
