// Absorbed attention for sm_90a: every head of a token against the same cached rows of 512 + 64 lanes, keys and values at once.
// A cluster holds all heads of one token, 64 a block; the rows of all tokens, cut into blocks of 64, are dealt out evenly to the
// clusters, wherever tokens begin and end. Clusters that share a token exchange sums through L2 and each adds up a slice.
// Guarantees: the same bits every run; rows of a page past the sequence's end may hold anything.
import { DiagnosticError } from "../../ir/diagnostic.ts";
import type { KernelText } from "../../ir/kernel/catalogue.ts";
import { add, mul } from "../../ir/size.ts";
import type { MlaAttendProblem } from "../kernels/attention.ts";
import { decodeSchedule, decodeScheduleName, decodeSharedBytes, illegalDecode } from "../schedules/sm90-attend.ts";
import { attendFragments } from "./attend-fragments.ts";
import { illegalSchedule } from "./diagnostics.ts";
import { called, fragments, header } from "./fragments.ts";
import { combine } from "./mla-decode-combine.ts";
import { plan } from "./mla-decode-plan.ts";
import { score } from "./mla-decode-score.ts";
import { wgmmaBf16 } from "./wgmma-bf16.ts";

/** Prints the kernel of one problem. */
export function mlaDecode(p: MlaAttendProblem): KernelText {
  const schedule = decodeSchedule(p);
  const reason = illegalDecode(p);
  if (reason !== null) throw new DiagnosticError(illegalSchedule("mla_attend", p, schedule, reason));
  const { heads, r, d } = p;
  const { cluster } = schedule;
  const name = `mla_attend_${heads}x${r}_${d}_${decodeScheduleName(schedule)}`;
  const opening = header([
    `mla_attend: y [T, ${heads}, ${r}] bf16 = softmax(q k^T * ${p.scale.toPrecision(6)}) v; k: cached rows [S, ${r + d}] bf16 by page, v: their first ${r} lanes`,
    `schedule ${JSON.stringify(schedule)}`,
    `floor on H200: max(${2 * (r + d)} bytes a cached row / 4539 GB/s, ${2 * heads * (2 * r + d)} operations a cached row and token / 989 TFLOP/s)`,
  ]);
  const body = `constexpr int HEADS = ${heads}, CLUSTER = ${cluster};        // 64 heads a block
constexpr int KEYS = 64, STAGES = 2, PAGE = ${p.pageRows / 64};     // cached rows of a stage; stages of a page
constexpr int CHUNK = 64 * 128, CHUNKS = 9;    // 64 rows by 64 lanes: eight of latents, one of the rotary part
constexpr int STAGE = CHUNKS * CHUNK, PARTS = 3;   // three chunks a copy: scores begin with the first
constexpr float SCALE = ${(p.scale * Math.LOG2E).toPrecision(9)}f;       // of scores, for exp2

${plan()}
extern "C" __global__ void __launch_bounds__(512, 1)
${name}(const __grid_constant__ TensorMap ql_map, const __grid_constant__ TensorMap qp_map, const __grid_constant__ TensorMap cache_map,
    const int* __restrict__ positions, const int* __restrict__ sequence, const int* __restrict__ pages, u16* __restrict__ y, int T, int P,
    float* __restrict__ workspace) {
  extern __shared__ u8 raw[];
  __shared__ Plan plan;
  __shared__ float shrink[STAGES][64];   // what earlier sums of a head shrink by when a stage raises its maximum
  __shared__ float2 totals[STAGES][64];  // a head's maximum and sum at the end of a piece
  __shared__ u64 barriers[(PARTS + 2) * STAGES + 2];
  const u32 ring = (shared_address(raw) + 1023) & ~1023u, query = ring + STAGES * STAGE;  // the swizzle repeats every 1024 bytes
  const u32 full = shared_address(barriers), empty = full + 8 * STAGES * PARTS, scored = empty + 8 * STAGES, q_full = scored + 8 * STAGES, q_empty = q_full + 8;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, slab = warp % 4;
  const int rank = ${cluster > 1 ? "cluster_rank()" : "0"}, me = blockIdx.x / CLUSTER, clusters = gridDim.x / CLUSTER;

  if (threadIdx.x == 0) {
    for (int s = 0; s < STAGES; s++) {
      for (int i = 0; i < PARTS; i++) barrier_init(full + 8 * (s * PARTS + i), 1);
      barrier_init(empty + 8 * s, 8 * CLUSTER);  // the mixing warps of every block that receives the copy
      barrier_init(scored + 8 * s, 4);
    }
    barrier_init(q_full, 1);
    barrier_init(q_empty, 4);
    barrier_init_done();
    prefetch_map(&ql_map);
    prefetch_map(&qp_map);
    prefetch_map(&cache_map);
  }
  ${cluster > 1 ? "cluster_arrive();  // the others' barriers: no copy may reach a block before they are there\n  " : ""}release_next();
  await_previous();
  make_plan(plan, positions, T, clusters, T > clusters && sequence[0] == sequence[1] ? (T + clusters - 1) / clusters : 0);
  const Tokens tokens = {positions, T > MOST ? nullptr : plan.order};
  const Range mine = plan.range(me);

  if (warp < 4) {
    // Producer: a thread for queries and one for each part of a stage; their registers go to the others.
    registers_down<48>();
    Piece p = mine.first(tokens);
    u32 phase = 0;
    if (warp == PARTS && lane == 0) {
      // The next token's query comes when the last scores of the one before are there.
      for (; p.valid(); p.next(tokens), phase ^= 1) {
        barrier_wait(q_empty, phase ^ 1);
        barrier_expect(q_full, STAGE);
        copy_chunks(query, &ql_map, q_full, rank * 64, tokens.at(p.row));
        copy_box(query + 8 * CHUNK, &qp_map, q_full, 0, rank * 64, tokens.at(p.row));
      }
    }
    // Two stages ahead of the copies, rows are looked up and sent for from memory to L2: a ring of two is too short to hide that.
    // Each part is fetched by one block of the cluster, for all.
    int stage = 0, b = p.from, turn = warp, turn_ahead = warp, row = 0, next = 0;
    const int* page = pages + (long long)sequence[p.valid() ? tokens.at(p.row) : 0] * P;
    const auto look_up = [&]() {
      if (!p.valid()) return -1;
      const int row = (page[b / PAGE] * PAGE + b % PAGE) * KEYS;
      if (turn_ahead++ % CLUSTER == rank) prefetch_box(&cache_map, 0, row, warp * (CHUNKS / PARTS));
      if (++b == p.to) {
        p.next(tokens);
        b = 0;
        if (p.valid()) page = pages + (long long)sequence[tokens.at(p.row)] * P;
      }
      return row;
    };
    const bool works = warp < PARTS && lane == 0;
    if (works) { row = look_up(); next = look_up(); }
    ${cluster > 1 ? "cluster_wait();" : ""}
    if (works) {
      while (row >= 0) {
        const u32 to = ring + stage * STAGE + warp * (STAGE / PARTS), barrier = full + 8 * (stage * PARTS + warp);
        barrier_wait(empty + 8 * stage, phase ^ 1);
        barrier_expect(barrier, STAGE / PARTS);
        if (turn++ % CLUSTER == rank) ${cluster > 1 ? "copy_box_all(to, &cache_map, barrier, 0, row, warp * (CHUNKS / PARTS), (1 << CLUSTER) - 1)" : "copy_box(to, &cache_map, barrier, 0, row, warp * (CHUNKS / PARTS))"};
        if (++stage == STAGES) { stage = 0; phase ^= 1; }
        row = next;
        next = look_up();
      }
    }
  } else if (warp < 8) {
${score(cluster)}
  } else {
    // Mixing: two warpgroups, each 64 heads by half of the value's lanes; the sums fill 128 registers a thread.
    registers_up<160>();
    ${cluster > 1 ? "cluster_wait();" : ""}
    const int team = warp / 4 - 2, thread = threadIdx.x - 256, head = slab * 16 + lane / 4;
    u16* slots = (u16*)workspace;                                           // per block: two parts of 64 x 512 sums
    float4* stats = (float4*)(slots + (long long)gridDim.x * 2 * 64 * 512);  // their maxima and sums, and the largest of each half
    int* counters = (int*)(stats + (long long)gridDim.x * 2 * 64);          // arrivals and departures, per token and block
    int stage = 0; u32 phase = 0;
    for (Piece p = mine.first(tokens); p.valid(); p.next(tokens)) {
      float acc[2][64];
      float2 total[2];
#pragma unroll
      for (int i = 0; i < 128; i++) acc[i / 64][i % 64] = 0.f;
      for (int b = p.from; b < p.to; b++) {
        const u32 tile = ring + stage * STAGE;
        for (int i = 0; i < PARTS; i++) barrier_wait(full + 8 * (stage * PARTS + i), phase);
        barrier_wait(scored + 8 * stage, phase);
        const float upper = shrink[stage][head], lower = shrink[stage][head + 8];
        if (b > p.from && __any_sync(~0u, upper != 1.f || lower != 1.f)) {
#pragma unroll
          for (int i = 0; i < 128; i++) acc[i / 64][i % 64] *= i & 2 ? lower : upper;
        }
        const u64 p_tile = tile_descriptor(tile + 8 * CHUNK), v_tile = turned_descriptor<CHUNK>(tile + team * 4 * CHUNK);
        wgmma_fence();
#pragma unroll
        for (int k = 0; k < 8; k++) wgmma_64x128x16_turned<1>(acc[k / 4], p_tile + k % 4 * 2, v_tile + k / 4 * (2 * CHUNK / 16) + k % 4 * (16 * 128 / 16));
        wgmma_commit();
        if (b == p.to - 1) { total[0] = totals[stage][head]; total[1] = totals[stage][head + 8]; }
        wgmma_wait<0>(acc[0]);
        wgmma_wait<0>(acc[1]);
        __syncwarp();
        if (lane < CLUSTER) ${cluster > 1 ? "barrier_arrive_at(empty + 8 * stage, lane)" : "barrier_arrive(empty + 8 * stage)"};
        if (++stage == STAGES) { stage = 0; phase ^= 1; }
      }

      // Lanes of four change words, so that each holds eight columns of a row: 64 bytes of a head at a time.
      const long long slot = blockIdx.x * 2 + (p.from == 0);
      const bool whole = p.whole();
      if (whole) {
        uint4* out = (uint4*)(y + (long long)(tokens.at(p.row) * HEADS + rank * 64 + head) * 512) + team * 32 + lane % 4;
#pragma unroll
        for (int h = 0; h < 2; h++) {
          const float by = 1.f / total[h].y;
#pragma unroll
          for (int j = 0; j < 32; j += 4) {
            const float* v = acc[j / 16] + j % 16 * 4 + 2 * h;
            out[h * 512 + j] = turn_words(make_uint4(pack_bf16(v[0] * by, v[1] * by), pack_bf16(v[4] * by, v[5] * by),
                pack_bf16(v[8] * by, v[9] * by), pack_bf16(v[12] * by, v[13] * by)), lane);
          }
        }
      } else {
        // A shared token: leave the part in L2, as halves of its largest sum.
        uint4* out = (uint4*)slots + slot * 4096 + head * 64 + team * 32 + lane % 4;
#pragma unroll
        for (int h = 0; h < 2; h++) {
          float largest = 0.f;
#pragma unroll
          for (int i = 0; i < 64; i++) largest = fmaxf(largest, fabsf(acc[i / 32][i % 32 / 2 * 4 + 2 * h + i % 2]));
          largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, 1));
          largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, 2));
          const float by = largest > 0.f ? 1.f / largest : 0.f;
#pragma unroll
          for (int j = 0; j < 32; j += 4) {
            const float* v = acc[j / 16] + j % 16 * 4 + 2 * h;
            out[h * 512 + j] = turn_words(make_uint4(pack_half(v[0] * by, v[1] * by), pack_half(v[4] * by, v[5] * by),
                pack_half(v[8] * by, v[9] * by), pack_half(v[12] * by, v[13] * by)), lane);
          }
          float* stat = (float*)(stats + slot * 64 + head + 8 * h);
          if (lane % 4 == 0 && team == 0) *(float2*)stat = total[h];
          if (lane % 4 == 0) stat[2 + team] = largest;
        }
        group_sync(2, 256);
        if (thread == 0) add_release(counters + (p.row * CLUSTER + rank) * 2);
      }
    }
${combine()}
  }
  ${cluster > 1 ? "cluster_arrive();  // the other block may still copy into this one, and arrive at its barriers\n  cluster_wait();" : ""}
}
`;
  const helpers = fragments(["types", "barriers", "cluster", "dependent", "load", "multicast", "store", "registers", "bf16", "gather"], 64) + attendFragments + wgmmaBf16([{ n: 64, b: "keys" }, { n: 128, b: "lanes" }]);
  const source = `${opening}\n${called(helpers, body)}\n${body}`;
  const slots = mul("SMs", 2 * (64 * 512 * 2 + 64 * 16));
  return {
    name, language: "cuda", source,
    params: [
      { kind: "tensormap", name: "ql_map", of: "ql", dtype: "bf16", dims: [64, heads, r / 64, "T"], strides: [2 * p.ql[1], 128, 2 * p.ql[0]], box: [64, 64, 8, 1], swizzle: 128 },
      { kind: "tensormap", name: "qp_map", of: "qp", dtype: "bf16", dims: [d, heads, "T"], strides: [2 * p.qp[1], 2 * p.qp[0]], box: [64, 64, 1], swizzle: 128 },
      // The page table bounds the rows; the map need not know how many pages there are.
      { kind: "tensormap", name: "cache_map", of: "cache", dtype: "bf16", dims: [64, 2 ** 31, (r + d) / 64], strides: [2 * (r + d), 128], box: [64, 64, 3], swizzle: 128 },
      { kind: "buffer", name: "positions", dtype: "i32", access: "in" },
      { kind: "buffer", name: "sequence", dtype: "i32", access: "in" },
      { kind: "buffer", name: "pages", dtype: "i32", access: "in" },
      { kind: "buffer", name: "y", dtype: "bf16", access: "out" },
    ],
    dims: ["T", "P"],
    launch: { grid: ["SMs", 1, 1], block: 512, sharedBytes: decodeSharedBytes(schedule), pdl: true, ...(cluster > 1 ? { cluster: [cluster, 1, 1] as [number, number, number] } : {}) },
    workspaceBytes: add(slots, mul(8 * cluster, "T")),
  };
}
