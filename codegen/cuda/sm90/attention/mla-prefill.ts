// Causal attention of one sequence over expanded heads for sm_90a: 128 query rows of one head a block, the rotary key shared by
// all heads. Two warpgroups take turns on the tensor cores: while one computes products, the other computes its softmax.
// Guarantees: any t from 1 and s from t; strided operands; the same bits every run.
import { floorText, type Gpu } from "../../../../ir/machine.ts";
import { DiagnosticError } from "../../../../ir/diagnostic.ts";
import type { KernelText } from "../../../../ir/kernel/catalogue.ts";
import { ceildiv, mul } from "../../../../ir/size.ts";
import type { AttendProblem } from "../../../kernels/attention.ts";
import { illegalPrefill, keyChunk, prefillSchedule, prefillSharedBytes } from "./schedule.ts";
import { illegalSchedule } from "../diagnostics.ts";
import { cudaKernel, tensorMap, type Parameter } from "../../text/kernel.ts";
import { indented, lines } from "../../text/lines.ts";
import { nextStage } from "../../text/ring.ts";
import { roles } from "../../text/roles.ts";
import { consumer, exponents, pack, products } from "./mla-prefill-consumer.ts";

/** Prints the kernel of one problem. */
export function mlaPrefill(p: AttendProblem, machine: Gpu): KernelText {
  const reason = illegalPrefill(p);
  const { form: _, ...schedule } = prefillSchedule(p);
  if (reason !== null) throw new DiagnosticError(illegalSchedule({ op: "attend", problem: p, schedule, reason }));
  const { heads, n, d, v } = p;
  return cudaKernel({
    name: `attend_${heads}x${n}_${d}_${v}_q${schedule.rows}k${schedule.keys}`,
    header: [
      `attend: y [t, ${heads}, ${v}] bf16 = softmax((q k^T + qp kp^T) * ${p.scale.toPrecision(6)}) v, causal;`,
      `  q [t, ${heads}, ${n}], k [s, ${heads}, ${n}], kp [s, ${d}] for all heads`,
      `schedule ${JSON.stringify(schedule)}`,
      floorText(machine, { computes: [`${2 * heads * (n + d + v)} operations a pair of a row and a key it sees`, "bf16"] }),
    ],
    params: maps(p),
    dims: ["t", "s"],
    launch: {
      grid: [mul(heads, ceildiv("t", schedule.rows)), 1, 1],
      block: 384,
      sharedBytes: prefillSharedBytes(p),
      pdl: true,
      blocksPerSM: 1,
    },
    definitions: lines(constants(p), "", products(p), exponents(p), pack(p)),
    body: indented(
      lines(
        shared,
        "",
        tileOf(p),
        "",
        initBarriers,
        "",
        roles(["producer", "warp >= 8", producer(p)], ["consumer", null, consumer(p)]),
      ),
    ),
  });
}

/** All operands by heads of 64-lane boxes; the rotary key has no heads. */
function maps(p: AttendProblem): Parameter[] {
  const { heads, n, d, v, ...strides } = p;
  const { rows: queries, keys } = prefillSchedule(p);
  const rows = (
    key: string,
    of: string,
    width: number,
    [row, step]: readonly [number, number],
    length: string,
    box: number,
  ): Parameter =>
    tensorMap(`${key}_map`, { of, dtype: "bf16", dims: [width, heads, length], strides: [2 * step, 2 * row], box: [64, 1, box] });
  return [
    rows("q", "q", n, strides.q, "t", queries),
    rows("qp", "qp", d, strides.qp, "t", queries),
    rows("k", "keys", n, strides.k, "s", keys),
    tensorMap("kp_map", { of: "kp", dtype: "bf16", dims: [d, "s"], strides: [2 * strides.kp], box: [64, keys] }),
    rows("v", "values", v, strides.vStrides, "s", keys),
    rows("y", "y", v, strides.y, "t", 64),
  ];
}

function constants(p: AttendProblem): string {
  const { heads, n, d, v, scale } = p;
  const { rows, keys, stages } = prefillSchedule(p);
  const sizes =
    keys === rows
      ? `constexpr int QUERY = ${(n + d) / 64} * CHUNK, K_STAGE = QUERY, V_STAGE = ${v / 64} * CHUNK;`
      : `constexpr int KEY_CHUNK = KEYS * 128;                // the rows of a stage by 64 lanes
constexpr int QUERY = ${(n + d) / 64} * CHUNK, K_STAGE = ${(n + d) / 64} * KEY_CHUNK, V_STAGE = ${v / 64} * KEY_CHUNK;`;
  return `constexpr int HEADS = ${heads}, ROWS = ${rows}, KEYS = ${keys}, STAGES = ${stages};
constexpr int CHUNK = 128 * 128;                    // 128 rows by 64 lanes
${sizes}
constexpr float SCALE = ${(scale * Math.LOG2E).toPrecision(9)}f;            // of scores, for exp2
constexpr float LEAST = -1e30f;                     // below any score, yet finite: a row may see nothing of a tile`;
}

const shared = `extern __shared__ u8 raw[];
__shared__ u64 barriers[4 * STAGES + 1];
const u32 query = (shared_address(raw) + 1023) & ~1023u, k_ring = query + QUERY, v_ring = k_ring + STAGES * K_STAGE;
const u32 k_full = shared_address(barriers), k_empty = k_full + 8 * STAGES;
const u32 v_full = k_empty + 8 * STAGES, v_empty = v_full + 8 * STAGES, q_full = v_empty + 8 * STAGES;
const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;`;

const tileOf = ({
  n,
  v,
}: AttendProblem): string => `// Some heads at a time, so that L2 keeps their keys and values for all rows; of those the longest rows first.
const int row_tiles = (t + ROWS - 1) / ROWS, group = max(1, min(HEADS, (32 << 20) / (s * ${2 * (n + v)})));
const int first_head = blockIdx.x / (row_tiles * group) * group, width = min(group, HEADS - first_head);
const int within = blockIdx.x - first_head * row_tiles;
const int head = first_head + within % width, row0 = (row_tiles - 1 - within / width) * ROWS;
const int past = s - t, tiles = (min(s, past + row0 + ROWS) + KEYS - 1) / KEYS;`;

const initBarriers = `if (threadIdx.x == 0) {
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
release_next();`;

function producer(p: AttendProblem): string {
  const { n, v } = p;
  const chunk = keyChunk(p);
  return `// Producer: one thread; keys come backwards from the diagonal, each ahead of its values.
setmaxnreg_dec<40>();
if (warp == 8 && lane == 0) {
  await_previous();
  mbarrier_arrive_expect_tx(q_full, QUERY);
  for (int c = 0; c < ${n / 64}; c++) tma_load_3d(query + c * CHUNK, &q_map, q_full, c * 64, head, row0);
  tma_load_3d(query + ${n / 64} * CHUNK, &qp_map, q_full, 0, head, row0);
  int stage = 0; u32 phase = 0;
  for (int j = tiles - 1; j >= 0; j--) {
    const u32 k_tile = k_ring + stage * K_STAGE, v_tile = v_ring + stage * V_STAGE;
    mbarrier_wait(k_empty + 8 * stage, phase ^ 1);
    mbarrier_arrive_expect_tx(k_full + 8 * stage, K_STAGE);
    for (int c = 0; c < ${n / 64}; c++) tma_load_3d(k_tile + c * ${chunk}, &k_map, k_full + 8 * stage, c * 64, head, j * KEYS);
    tma_load_2d(k_tile + ${n / 64} * ${chunk}, &kp_map, k_full + 8 * stage, 0, j * KEYS);
    mbarrier_wait(v_empty + 8 * stage, phase ^ 1);
    mbarrier_arrive_expect_tx(v_full + 8 * stage, V_STAGE);
    for (int c = 0; c < ${v / 64}; c++) tma_load_3d(v_tile + c * ${chunk}, &v_map, v_full + 8 * stage, c * 64, head, j * KEYS);
    ${nextStage}
  }
}`;
}
