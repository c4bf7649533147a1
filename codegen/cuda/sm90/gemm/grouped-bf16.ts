// The bf16 product of rows sorted by expert for sm_90a: every run of rows between two offsets by its own matrix, or gate and up with
// silu between. Offsets stay on the device: a persistent block per multiprocessor takes tiles that no two experts share, so one graph
// serves whatever the router chose. x on wgmma's 64-row side; one thread keeps a ring of both operands full by TMA.
import type { Gpu } from "../../../../ir/machine.ts";
import { DiagnosticError } from "../../../../ir/diagnostic.ts";
import type { KernelText } from "../../../../ir/kernel/catalogue.ts";
import {
  columnsOut,
  groupedBf16Header,
  groupedBf16Name,
  groupedSharedBytes,
  illegal,
  stagingOf,
  type GroupedBf16Problem,
  type GroupedBf16Schedule,
} from "./grouped-bf16-schedule.ts";
import { STEP } from "./bf16-schedule.ts";
import { illegalSchedule } from "../diagnostics.ts";
import { cudaKernel, input, output, tensorMap } from "../../text/kernel.ts";
import { indented, lines } from "../../text/lines.ts";
import { locateTiles } from "./persistent-tiles.ts";
import { initRing, nextStage, ringBase } from "../../text/ring.ts";
import { roles } from "../../text/roles.ts";
import { when } from "../../../text.ts";

/** Prints the kernel of one problem under one legal schedule. */
export function groupedBf16(p: GroupedBf16Problem, s: GroupedBf16Schedule, machine: Gpu): KernelText {
  const reason = illegal(s, p, machine);
  if (reason !== null)
    throw new DiagnosticError(illegalSchedule({ op: "grouped_linear", problem: { ...p }, schedule: { ...s }, reason }));
  const { experts, n, k } = p;
  const kind = p.gated ? "silu" : "bf16";
  return cudaKernel({
    name: `grouped_${kind}_${experts}x${n}x${k}_${groupedBf16Name(s)}`,
    header: groupedBf16Header(p, s, machine),
    params: [
      tensorMap("x_map", { of: "x", dtype: "bf16", dims: [k, "r"], strides: [2 * k], box: [64, s.rows] }),
      tensorMap("w_map", {
        of: "w",
        dtype: "bf16",
        dims: [k, experts * (p.gated ? 2 : 1) * n],
        strides: [2 * k],
        box: [64, s.columns / piecesOf(p, s)],
      }),
      tensorMap("y_map", { of: "y", dtype: "bf16", dims: [n, "r"], strides: [2 * n], box: [64, 64] }),
      input("offsets", "i32"),
      output("y", "bf16"),
    ],
    dims: ["r"],
    launch: { grid: ["SMs", 1, 1], block: 384, sharedBytes: groupedSharedBytes(p, s), pdl: true, blocksPerSM: 1 },
    definitions: definitionsOf(p, s),
    body: indented(
      lines(
        ringAndBarriers,
        countTiles,
        "",
        roles(
          ["producer", "warp >= 8", producer(p, s)],
          ["consumer", null, consumers(s.rows === 128 ? sharedColumns(p, s) : sharedRows(p, s))],
        ),
      ),
    ),
  });
}

/** Boxes of w in a stage: where a warpgroup meets gate and up, its rows of both lie one behind the other. */
const piecesOf = (p: GroupedBf16Problem, s: GroupedBf16Schedule): number => (p.gated ? (s.rows === 64 ? 4 : 2) : 1);

function definitionsOf(p: GroupedBf16Problem, s: GroupedBf16Schedule): string {
  const wide = s.columns / (p.gated ? 2 : 1);
  return `constexpr int N = ${p.n}, STEPS = ${Math.ceil(p.k / STEP)};  // columns of y; steps of 64 columns of k
constexpr int ROWS = ${s.rows}, COLUMNS = ${s.columns}, WIDE = ${wide};  // a tile: rows of x by rows of w, and its columns of y
constexpr int COLUMN_TILES = ${Math.ceil(p.n / wide)}, GROUP = ${s.group};
constexpr int STAGES = ${s.stages}, X_BYTES = ROWS * 128, STAGE = X_BYTES + COLUMNS * 128;
constexpr int SUMS = ${(s.columns * s.rows) / 256};  // sums of a thread
constexpr int BUFFERS = ${stagingOf(p, s)};  // 64 x 64 tiles of y that a warpgroup writes through
constexpr int EXPERTS = ${p.experts};

${locateTiles()}${when(p.gated, GATED)}`;
}

const GATED = `

// silu(gate) * up.
__device__ __forceinline__ float gated(float gate, float up) { return gate * up * rcp_approx(1.f + ex2_approx(gate * -1.44269504f)); }`;

const ringAndBarriers = `extern __shared__ u8 raw[];
${ringBase}
const u32 staging = ring + STAGES * STAGE, full = staging + 2 * BUFFERS * 8192, empty = full + 8 * STAGES;
// One value a warp: descriptors need no vector registers.
const int warp = __shfl_sync(~0u, threadIdx.x / 32, 0), lane = threadIdx.x % 32;
if (threadIdx.x == 0) {
${indented(initRing("8"))}
  fence_mbarrier_init();
}`;

/** Tiles of every expert, by each block for itself. */
const countTiles = `__shared__ int before[EXPERTS + 1];
if (warp == 0) {
  await_previous();  // offsets may just have been written
  count_tiles(offsets, before, lane);
}
__syncthreads();
release_next();
const int tiles = before[EXPERTS] * COLUMN_TILES;
int expert = 0;`;

/** Copies of a stage of w. */
function copiesOfW(p: GroupedBf16Problem, s: GroupedBf16Schedule): string[] {
  const pieces = piecesOf(p, s);
  const each = s.columns / pieces;
  return Array.from({ length: pieces }, (_, i) => {
    const [part, warpgroup] = p.gated ? [i % 2, i >> 1] : [0, 0];
    const to = `to + X_BYTES${when(i, ` + ${i * each * 128}`)}`;
    const row = `w_row${when(part, " + N")}${when(warpgroup, ` + ${warpgroup * each}`)}`;
    return `tma_load_2d(${to}, &w_map, barrier, p * 64, ${row});`;
  });
}

function producer(p: GroupedBf16Problem, s: GroupedBf16Schedule): string {
  const rowsOfW = p.gated ? "(2 * N)" : "N";
  return `// Producer: one thread keeps the ring full; its registers go to the math warpgroups.
setmaxnreg_dec<40>();
if (warp == 8 && lane == 0) {
  await_previous();
  int stage = 0; u32 phase = 0;
  for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    const Tile at = locate(tile, before, offsets, expert);
    const int w_row = expert * ${rowsOfW} + at.column * WIDE;
    for (int p = 0; p < STEPS; p++) {
      const u32 to = ring + stage * STAGE, barrier = full + 8 * stage;
      mbarrier_wait(empty + 8 * stage, phase ^ 1);
      mbarrier_arrive_expect_tx(barrier, STAGE);
      ${copiesOfW(p, s).join("\n      ")}
      tma_load_2d(to, &x_map, barrier, p * 64, at.row);
      ${nextStage}
    }
  }
}`;
}

/** How the two warpgroups have a tile: as text. */
interface Sharing {
  says: string;
  /** Products of a warpgroup: their width, and where its operands begin. */
  n: number;
  x: string;
  w: string;
  row0: string;
  column0: string;
  /** What a warpgroup does that has no rows of a tile. */
  without?: string;
  copyOut: string;
}

const sharedColumns = (p: GroupedBf16Problem, s: GroupedBf16Schedule): Sharing => ({
  says: "64 rows of the tile each",
  n: s.columns,
  x: "from + warpgroup * 8192",
  w: "from + X_BYTES",
  row0: "at.row + warpgroup * 64",
  column0: "at.column * WIDE",
  without: `if (row0 >= at.end) {
  // The expert's rows end in the other warpgroup's half: stages are handed back unread.
  for (int p = 0; p < STEPS; p++) {
    mbarrier_wait(full + 8 * stage, phase);
    if (lane == 0) mbarrier_arrive(empty + 8 * stage);
    ${nextStage}
  }
  continue;
}`,
  copyOut: copyOut(p, s),
});

const sharedRows = (p: GroupedBf16Problem, s: GroupedBf16Schedule): Sharing => ({
  says: "half of the tile's columns each",
  n: s.columns / 2,
  x: "from",
  w: `from + X_BYTES + warpgroup * ${s.columns * 64}`,
  row0: "at.row",
  column0: `at.column * WIDE + warpgroup * ${columnsOut(p, s)}`,
  copyOut: copyOut(p, s),
});

const consumers = (of: Sharing): string =>
  lines(
    `// Math: two warpgroups, ${of.says}.
setmaxnreg_inc<232>();
await_previous();
const int warpgroup = warp / 4, warp_row = warp % 4;
const u32 out = staging + warpgroup * (BUFFERS * 8192);
int stage = 0; u32 phase = 0;
for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
  const Tile at = locate(tile, before, offsets, expert);
  const int row0 = ${of.row0}, column0 = ${of.column0};`,
    of.without && indented(of.without),
    indented(multiplyTile(of)),
    "",
    indented(of.copyOut),
    `}
if (threadIdx.x % 128 == 0) tma_store_wait();`,
  );

const multiplyTile = ({ n, x, w }: Sharing): string => `float sum[SUMS];
int last = 0;
for (int p = 0; p < STEPS; p++) {
  mbarrier_wait(full + 8 * stage, phase);
  const u32 from = ring + stage * STAGE;
  wgmma_m64n${n}k64_bf16(sum, descriptor_k_major(${x}), descriptor_k_major(${w}), p != 0);
  // The step before has been read: hand its stage back while this one multiplies.
  wgmma_wait_group_n${n}<1>(sum);
  if (p > 0 && lane == 0) mbarrier_arrive(empty + 8 * last);
  last = stage;
  ${nextStage}
}
wgmma_wait_group_n${n}<0>(sum);
if (lane == 0) mbarrier_arrive(empty + 8 * last);`;

/** y's bf16 from the sums of a thread: 64 x 64 at a time through shared memory. */
function copyOut(p: GroupedBf16Problem, s: GroupedBf16Schedule): string {
  const buffers = stagingOf(p, s);
  const y = (i: number): string => (p.gated ? `gated(v[${i}], v[SUMS / 2 + ${i}])` : `v[${i}]`);
  const pair = (i: number): string => `pack_bf16(${y(i)}, ${y(i + 1)})`;
  const to = buffers === 2 ? "out + b % 2 * 8192" : "out";
  return `// Output: 64 x 64 bf16 at a time through shared memory; TMA writes whole lines and clips the last column tile.
#pragma unroll
for (int b = 0; b < ${columnsOut(p, s) / 64}; b++) {
  const u32 box = ${to};
  if (threadIdx.x % 128 == 0) tma_store_wait_read<${buffers - 1}>();  // what was in this staging has left it
  bar_sync(1 + warpgroup, 128);
#pragma unroll
  for (int c = 0; c < 8; c += 2) {  // two 8-column chunks a store, in TMA's 128-byte swizzle
    const int row = warp_row * 16 + lane % 16, chunk = c + lane / 16;
    const float* v = sum + b * 32 + c * 4;
    stmatrix_x4(box + row * 128 + ((chunk ^ (row % 8)) * 16),
        ${pair(0)}, ${pair(2)}, ${pair(4)}, ${pair(6)});
  }
  fence_proxy_async();
  bar_sync(1 + warpgroup, 128);
  if (row0 + 64 > at.end) {
    // The next expert's rows are not ours to write: what there is, 16 bytes a thread.
    for (int c = threadIdx.x % 128; c < 64 * 8; c += 128) {
      const int row = c / 8, chunk = c % 8, column = column0 + b * 64 + chunk * 8;
      if (row0 + row < at.end && column < N)
        *(uint4*)(y + (long long)(row0 + row) * N + column) = ld_shared_v4_u32(box + row * 128 + ((chunk ^ (row % 8)) * 16));
    }
  } else if (threadIdx.x % 128 == 0) {
    tma_store_2d(&y_map, box, column0 + b * 64, row0);
    tma_store_commit();
  }
}`;
}
