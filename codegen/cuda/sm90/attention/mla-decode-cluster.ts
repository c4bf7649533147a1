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
import { cudaKernel, input, output } from "../../text/kernel.ts";
import { indented, lines } from "../../text/lines.ts";
import { ringBase } from "../../text/ring.ts";
import { addUp, sendParts } from "./mla-decode-cluster-combine.ts";
import { attendStages, clearEarly } from "./mla-decode-cluster-stages.ts";
import { attendMaps, attendText, scaleText } from "./mla-decode-params.ts";

/** Prints the kernel of one problem. */
export function mlaDecodeFixed(p: MlaAttendProblem, schedule: MlaFixedSchedule, machine: Gpu): KernelText {
  const reason = illegalFixed(p, schedule);
  if (reason !== null) throw new DiagnosticError(illegalSchedule({ op: "mla_attend", problem: p, schedule, reason }));
  const { heads, r, d } = p;
  const { group, splits } = schedule;
  return cudaKernel({
    name: `mla_attend_${heads}x${r}_${d}_${fixedScheduleName(schedule)}`,
    header: [
      attendText(p),
      `schedule ${JSON.stringify(schedule)}`,
      `floor on ${machine.short}: launch, one read of L2 and one of another block's shared memory;`,
      `  and ${2 * (r + d)} bytes a cached row and group of heads from L2`,
    ],
    params: [
      ...attendMaps(p, group, 9),
      input("cache", "bf16"),
      input("positions", "i32"),
      input("sequence", "i32"),
      input("pages", "i32"),
      output("y", "bf16"),
    ],
    dims: ["T", "P"],
    launch: {
      grid: [mul("T", Math.ceil(heads / group) * splits), 1, 1],
      block: 256,
      sharedBytes: fixedSharedBytes(schedule),
      pdl: true,
      early: ["cache", "positions", "sequence", "pages"],
      cluster: [splits, 1, 1],
      blocksPerSM: 1,
    },
    definitions: constants(p, schedule),
    body: indented(
      lines(
        shared(p, schedule),
        "",
        lookUpRows,
        start,
        "",
        attendStages(schedule),
        "",
        sendParts(group, splits),
        "",
        addUp(heads, group),
      ),
    ),
  });
}

const constants = (
  p: MlaAttendProblem,
  { group, splits }: MlaFixedSchedule,
): string => `constexpr int HEADS = ${p.heads}, GROUP = ${group};           // heads of a cluster, the narrow side of its products
constexpr int SPLITS = ${splits}, OWN = GROUP / SPLITS;   // blocks of a cluster; heads each adds up at the end
constexpr int KEYS = 64, PAGE = ${p.pageRows / 64};            // cached rows of a stage; stages of a page
constexpr int WARPGROUPS = 2;                 // a stage each at a time
constexpr int CHUNK = KEYS * 128, CHUNKS = 9;   // 64 lanes of all rows: eight chunks of latents, one of the rotary part
constexpr int STAGE = CHUNKS * CHUNK, QUERY_CHUNK = GROUP * 128;
constexpr int MAILBOX = ${MAILBOX_BYTES};                 // 512 sums of a head as halves of the largest, its maximum, its sum, that largest
constexpr float SCALE = ${scaleText(p)};           // of scores, for exp2`;

const shared = (p: MlaAttendProblem, s: MlaFixedSchedule): string => {
  const groups = p.heads % s.group ? "((HEADS + GROUP - 1) / GROUP)" : "(HEADS / GROUP)";
  return `extern __shared__ u8 raw[];
__shared__ float peaks[8][GROUP];  // a head's maximum over the 16 rows of a warp
__shared__ float sums[8][GROUP];
__shared__ int largest[GROUP];     // of a head's sums, as bits
__shared__ u64 barriers[WARPGROUPS + 2];
${ringBase}
const u32 query = ring + WARPGROUPS * STAGE, weights = query + CHUNKS * QUERY_CHUNK;
const u32 inbox = weights + WARPGROUPS * GROUP * 128, outbox = query;
const u32 full = shared_address(barriers), asked = full + 8 * WARPGROUPS, received = asked + 8;
// The shuffle tells the compiler that a warp's lanes agree: what follows from it, descriptors above all, stays in uniform registers.
const int thread = threadIdx.x, warp = __shfl_sync(~0u, thread / 32, 0), lane = thread % 32;
const int warpgroup = warp / 4, warp_row = warp % 4;
const int rank = cluster_rank(), unit = blockIdx.x / SPLITS, token = unit / ${groups}, head0 = unit % ${groups} * GROUP;`;
};

const lookUpRows = `// Before the kernel before has ended: the step's tables and the rows of earlier steps have long been there.
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
};`;

/** Copies of the first stages are under way before the kernel before has ended, the query after it. */
const start = `if (thread == 0) {
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
${clearEarly}
await_previous();
if (thread == 0 && mine > 0) {
  mbarrier_arrive_expect_tx(asked, CHUNKS * QUERY_CHUNK);
  tma_load_4d(query, &ql_map, asked, 0, head0, 0, token);
  tma_load_3d(query + 8 * QUERY_CHUNK, &qp_map, asked, 0, head0, token);
}
cluster_wait();`;
