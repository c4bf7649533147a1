// Absorbed attention for sm_90a: every head of a token against the same cached rows of 512 + 64 lanes, keys and values at once.
// A cluster holds all heads of one token, 64 a block; the rows of all tokens, cut into blocks of 64, are dealt out evenly to the
// clusters, wherever tokens begin and end. ClusterTexts that share a token exchange sums through L2 and each adds up a slice.
// Guarantees: the same bits every run; rows of a page past the sequence's end may hold anything.
import { floorText, type Gpu } from "../../../../ir/machine.ts";
import { DiagnosticError } from "../../../../ir/diagnostic.ts";
import type { KernelText } from "../../../../ir/kernel/catalogue.ts";
import { add, mul } from "../../../../ir/size.ts";
import type { MlaAttendProblem } from "../../../kernels/attention.ts";
import {
  decodeSchedule,
  decodeScheduleName,
  decodeSharedBytes,
  illegalDecode,
  isPadded,
  type MlaDecodeSchedule,
} from "./schedule.ts";
import { illegalSchedule } from "../diagnostics.ts";
import { cudaKernel, input, output } from "../../text/kernel.ts";
import { indented, lines } from "../../text/lines.ts";
import { roles } from "../../text/roles.ts";
import { combine } from "./mla-decode-combine.ts";
import { alone, inPair } from "./mla-decode-pair.ts";
import { mix, storeSums } from "./mla-decode-mix.ts";
import { attendMaps, attendText, scaleText } from "./mla-decode-params.ts";
import { producer } from "./mla-decode-producer.ts";
import { plan } from "./mla-decode-scheduler.ts";
import { score } from "./mla-decode-score.ts";

/** Prints the kernel of one problem. */
export function mlaDecode(p: MlaAttendProblem, machine: Gpu): KernelText {
  const schedule = decodeSchedule(p);
  const reason = illegalDecode(p);
  if (reason !== null) throw new DiagnosticError(illegalSchedule({ op: "mla_attend", problem: p, schedule, reason }));
  const { heads, r, d } = p;
  const { cluster } = schedule;
  const of = cluster > 1 ? inPair : alone;
  return cudaKernel({
    name: `mla_attend_${heads}x${r}_${d}_${decodeScheduleName(schedule)}`,
    header: [
      attendText(p),
      `schedule ${JSON.stringify(schedule)}`,
      floorText(machine, {
        reads: `${2 * (r + d)} bytes a cached row`,
        computes: [`${2 * heads * (2 * r + d)} operations a cached row and token`, "bf16"],
      }),
    ],
    params: [
      ...attendMaps(p, 64, 3),
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
      ...of.launch,
    },
    workspace: { type: "float", bytes: add(mul("SMs", 2 * (64 * 512 * 2 + 64 * 16)), mul(8 * cluster, "T")) },
    definitions: lines(constants(p, schedule), "", plan(), storeSums),
    body: indented(
      lines(
        shared(of.rank),
        "",
        initBarriers,
        of.started,
        "release_next();",
        pieces,
        "",
        roles(
          ["producer", "warp < 4", producer(of)],
          ["scores", "warp < 8", score(of)],
          ["sums of latents", null, lines(mix(of, isPadded(p)), combine(p))],
        ),
        of.end,
      ),
    ),
  });
}

const constants = (
  p: MlaAttendProblem,
  { cluster }: MlaDecodeSchedule,
): string => `constexpr int HEADS = ${p.heads}, CLUSTER = ${cluster};        // 64 heads a block
constexpr int KEYS = 64, STAGES = 2, PAGE = ${p.pageRows / 64};     // cached rows of a stage; stages of a page
constexpr int CHUNK = 64 * 128, CHUNKS = 9;    // 64 rows by 64 lanes: eight of latents, one of the rotary part
constexpr int STAGE = CHUNKS * CHUNK, PARTS = 3;   // three chunks a copy: scores begin with the first
constexpr float SCALE = ${scaleText(p)};       // of scores, for exp2`;

const shared = (rank: string): string => `extern __shared__ u8 raw[];
__shared__ Plan plan;
__shared__ float shrink[STAGES][64];   // what earlier sums of a head shrink by when a stage raises its maximum
__shared__ float2 totals[STAGES][64];  // a head's maximum and sum at the end of a piece
__shared__ u64 barriers[(PARTS + 2) * STAGES + 2];
const u32 ring = (shared_address(raw) + 1023) & ~1023u, query = ring + STAGES * STAGE;  // the swizzle repeats every 1024 bytes
const u32 full = shared_address(barriers), empty = full + 8 * STAGES * PARTS, scored = empty + 8 * STAGES;
const u32 q_full = scored + 8 * STAGES, q_empty = q_full + 8;
const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, warp_row = warp % 4;
const int rank = ${rank}, me = blockIdx.x / CLUSTER, clusters = gridDim.x / CLUSTER;`;

const initBarriers = `if (threadIdx.x == 0) {
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
}`;

/** Every block makes the plan; a role then goes through its cluster's run of it. */
const pieces = `// Before the kernel before has ended: the step's tables and the rows of earlier steps have long been there.
make_plan(plan, positions, T, clusters, me);

// The run of this cluster, piece by piece: stages [from, to) of a token of so many cached rows.
const int2 &begin = plan.begin, &end = plan.end;
struct Piece { int from, to, length; };
const auto piece_of = [&](int row) {
  const int length = positions[row] + 1;
  return Piece{row == begin.x ? begin.y : 0, row == end.x ? end.y : (length + KEYS - 1) / KEYS, length};
};`;
