// Absorbed attention for sm_90a: every head of a token against the same cached rows of 512 + 64 lanes, keys and values at once.
// A cluster holds all heads of one token, 64 a block; the rows of all tokens, cut into blocks of 64, are dealt out evenly to the
// clusters, wherever tokens begin and end. Clusters that share a token exchange sums through L2 and each adds up a slice.
// Guarantees: the same bits every run; rows of a page past the sequence's end may hold anything.
import { floorText, type Gpu } from "../../../../ir/machine.ts";
import { DiagnosticError } from "../../../../ir/diagnostic.ts";
import type { KernelText } from "../../../../ir/kernel/catalogue.ts";
import { add, mul } from "../../../../ir/size.ts";
import type { MlaAttendProblem } from "../../../kernels/attention.ts";
import { decodeSchedule, decodeScheduleName, decodeSharedBytes, illegalDecode } from "./schedule.ts";
import { illegalSchedule } from "../diagnostics.ts";
import { cudaKernel, input, output, tensorMap } from "../../text/kernel.ts";
import { combine } from "./mla-decode-combine.ts";
import { plan } from "./mla-decode-scheduler.ts";
import { score } from "./mla-decode-score.ts";

/** Prints the kernel of one problem. */
export function mlaDecode(p: MlaAttendProblem, machine: Gpu): KernelText {
  const schedule = decodeSchedule(p);
  const reason = illegalDecode(p);
  if (reason !== null) throw new DiagnosticError(illegalSchedule("mla_attend", p, schedule, reason));
  const { heads, r, d } = p;
  const { cluster } = schedule;
  const two = cluster > 1;
  const name = `mla_attend_${heads}x${r}_${d}_${decodeScheduleName(schedule)}`;
  const definitions = `constexpr int HEADS = ${heads}, CLUSTER = ${cluster};        // 64 heads a block
constexpr int KEYS = 64, STAGES = 2, PAGE = ${p.pageRows / 64};     // cached rows of a stage; stages of a page
constexpr int CHUNK = 64 * 128, CHUNKS = 9;    // 64 rows by 64 lanes: eight of latents, one of the rotary part
constexpr int STAGE = CHUNKS * CHUNK, PARTS = 3;   // three chunks a copy: scores begin with the first
constexpr float SCALE = ${(p.scale * Math.LOG2E).toPrecision(9)}f;       // of scores, for exp2

${plan()}
// One of a lane's two rows of sums. Lanes of four change words, so that each holds eight columns of a row: 64 bytes of a head at a time.
template <u32 (*PACK)(float, float)> __device__ __forceinline__ void store_sums(uint4* out, const float (&acc)[2][64], int h, float by, int lane) {
#pragma unroll
  for (int j = 0; j < 32; j += 4) {
    const float* v = acc[j / 16] + j % 16 * 4 + 2 * h;
    out[j] = transpose_words(make_uint4(PACK(v[0] * by, v[1] * by), PACK(v[4] * by, v[5] * by), PACK(v[8] * by, v[9] * by), PACK(v[12] * by, v[13] * by)), lane);
  }
}`;
  const body = `  extern __shared__ u8 raw[];
  __shared__ Plan plan;
  __shared__ float shrink[STAGES][64];   // what earlier sums of a head shrink by when a stage raises its maximum
  __shared__ float2 totals[STAGES][64];  // a head's maximum and sum at the end of a piece
  __shared__ u64 barriers[(PARTS + 2) * STAGES + 2];
  const u32 ring = (shared_address(raw) + 1023) & ~1023u, query = ring + STAGES * STAGE;  // the swizzle repeats every 1024 bytes
  const u32 full = shared_address(barriers), empty = full + 8 * STAGES * PARTS, scored = empty + 8 * STAGES, q_full = scored + 8 * STAGES, q_empty = q_full + 8;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, slab = warp % 4;
  const int rank = ${two ? "cluster_rank()" : "0"}, me = blockIdx.x / CLUSTER, clusters = gridDim.x / CLUSTER;

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
  ${two ? "cluster_arrive_relaxed();  // the others' barriers: no copy may reach a block before they are there\n  " : ""}release_next();
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
    // Two stages ahead of the copies, rows are looked up and sent for from memory to L2: a ring of two is too short to hide that.
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
${two ? "    cluster_wait();\n" : ""}    for (int i = 0; now >= 0; i++) {
      const int stage = i % STAGES;
      const u32 to = ring + stage * STAGE + warp * (STAGE / PARTS), barrier = full + 8 * (stage * PARTS + warp);
      if (now & 1) await_previous();
      mbarrier_wait(empty + 8 * stage, i / STAGES & 1 ^ 1);
      mbarrier_arrive_expect_tx(barrier, STAGE / PARTS);
      if ((warp + i) % CLUSTER == rank) ${two ? "tma_load_3d_multicast(to, &cache_map, barrier, 0, now & ~1, warp * (CHUNKS / PARTS), (1 << CLUSTER) - 1)" : "tma_load_3d(to, &cache_map, barrier, 0, now & ~1, warp * (CHUNKS / PARTS))"};
      now = next;
      next = look_up();
    }
  } else if (warp < 8) {
${score(two)}
  } else {
    // Mixing: two warpgroups, each 64 heads by half of the value's lanes; the sums fill 128 registers a thread.
    setmaxnreg_inc<168>();
${two ? "    cluster_wait();\n" : ""}    const int team = warp / 4 - 2, thread = threadIdx.x - 256, head = slab * 16 + lane / 4;
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
        const u64 p_tile = descriptor_k_major(tile + 8 * CHUNK), v_tile = descriptor_mn_major<CHUNK>(tile + team * 4 * CHUNK);
        wgmma_fence();
        EACH(k, 8) wgmma_m64n128k16_bf16_bmn(acc[k / 4], p_tile + k % 4 * 2, v_tile + k / 4 * (2 * CHUNK / 16) + k % 4 * (16 * 128 / 16), 1);
        wgmma_commit_group();
        if (b == p.to - 1) { total[0] = totals[stage][head]; total[1] = totals[stage][head + 8]; }
        wgmma_wait_group<0>(acc[0]);
        wgmma_wait_group<0>(acc[1]);
        __syncwarp();
        if (lane < CLUSTER) ${two ? "mbarrier_arrive_cluster(empty + 8 * stage, lane)" : "mbarrier_arrive(empty + 8 * stage)"};
        if (++stage == STAGES) { stage = 0; phase ^= 1; }
      }

      // A whole token goes to y; a part of a shared one to L2, as halves of its largest sum.
      await_previous();  // it may still read y
      const bool whole = p.from == 0 && row < end.x;
      const long long slot = blockIdx.x * 2 + (p.from == 0);
      uint4* out = (whole ? (uint4*)y + ((long long)row * HEADS + rank * 64) * 64 : slots + slot * SLOT) + head * 64 + team * 32 + lane % 4;
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
        if (lane % 4 == 0 && team == 0) *(float2*)stat = total[h];
        if (lane % 4 == 0) stat[2 + team] = largest;
      }
      if (!whole) {
        bar_sync(2, 256);
        if (thread == 0) red_release_increment(counters + (row * CLUSTER + rank) * 2);
      }
    }
${combine()}
  }${two ? "\n  cluster_arrive_relaxed();  // the other block may still copy into this one, and arrive at its barriers\n  cluster_wait();" : ""}`;
  return cudaKernel({
    name,
    header: [
      `mla_attend: y [T, ${heads}, ${r}] bf16 = softmax(q k^T * ${p.scale.toPrecision(6)}) v; k: cached rows [S, ${r + d}] bf16 by page, v: their first ${r} lanes`,
      `schedule ${JSON.stringify(schedule)}`,
      floorText(machine, {
        reads: `${2 * (r + d)} bytes a cached row`,
        computes: [`${2 * heads * (2 * r + d)} operations a cached row and token`, "bf16"],
      }),
    ],
    params: [
      tensorMap("ql_map", {
        of: "ql",
        dtype: "bf16",
        dims: [64, heads, r / 64, "T"],
        strides: [2 * p.ql[1], 128, 2 * p.ql[0]],
        box: [64, 64, 8, 1],
      }),
      tensorMap("qp_map", {
        of: "qp",
        dtype: "bf16",
        dims: [d, heads, "T"],
        strides: [2 * p.qp[1], 2 * p.qp[0]],
        box: [64, 64, 1],
      }),
      // The page table bounds the rows; the map need not know how many pages there are.
      tensorMap("cache_map", {
        of: "cache",
        dtype: "bf16",
        dims: [64, 2 ** 31, (r + d) / 64],
        strides: [2 * (r + d), 128],
        box: [64, 64, 3],
      }),
      input("positions", "i32"),
      input("sequence", "i32"),
      input("pages", "i32"),
      output("y", "bf16"),
    ],
    dims: ["T", "P"],
    launch: {
      grid: ["SMs", 1, 1],
      block: 512,
      sharedBytes: decodeSharedBytes(schedule),
      pdl: true,
      blocksPerSM: 1,
      early: ["cache", "positions", "sequence", "pages"],
      ...(two ? { cluster: [cluster, 1, 1] as [number, number, number] } : {}),
    },
    workspace: { type: "float", bytes: add(mul("SMs", 2 * (64 * 512 * 2 + 64 * 16)), mul(8 * cluster, "T")) },
    definitions,
    body,
  });
}
