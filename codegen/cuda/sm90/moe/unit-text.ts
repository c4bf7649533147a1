// CUDA text that the kernels of bf16 experts share: constants, the ring that one warp fills with weights and rows, and the loop that
// multiplies tile by tile.
import { tensorMap, type Parameter } from "../../text/kernel.ts";
import { indented, lines } from "../../text/lines.ts";
import { initRing } from "../../text/ring.ts";
import { when } from "../../../text.ts";
import {
  columnTiles,
  kWarps,
  mostPairs,
  rowWarps,
  tilesOf,
  unitLayout,
  type UnitProblem,
  type UnitSchedule,
} from "./unit-schedule.ts";

/** The matrices: columns of a piece, rows of a part, parts of all experts, pieces. */
export const unitMap = (p: UnitProblem, s: UnitSchedule): Parameter =>
  tensorMap("w_map", {
    of: "w",
    dtype: "bf16",
    dims: [64, p.n, p.experts * p.parts, p.k / 64],
    strides: [2 * p.k, 2 * p.n * p.k, 128],
    box: [64, s.rows / p.parts, p.parts, s.pieces],
  });

/** Constants of problem and schedule, and where things lie. */
export function unitConstants(p: UnitProblem, s: UnitSchedule): string {
  const at = unitLayout(s);
  const words = Math.ceil(s.tokens / 32);
  const choosing = s.tiles === "asked" ? 256 : 288;
  const sums = when(s.tiles === "own", `SUMS = ${at.sums}, `);
  return lines(
    `constexpr int EXPERTS = ${p.experts}, PER = ${p.per};              // experts, and those of a token`,
    `constexpr int SHARED = ${p.shared};                        // the last ones, which every token visits`,
    "",
    `constexpr int N = ${p.n}, K = ${p.k}, PARTS = ${p.parts};             // rows of a part, columns, parts of an expert's matrix
// Pairs, and experts with rows, of ${s.tokens} tokens at most; words of a bit a token.
constexpr int PAIRS = ${mostPairs(p, s)}, MOST = ${Math.min(p.experts, mostPairs(p, s))}, WORDS = ${words};
// Rows of a tile, as many of each part; tiles of an expert.
constexpr int ROWS = ${s.rows}, PART_ROWS = ${s.rows / p.parts}, TILES = ${tilesOf(p, s)};
// Warps with 16 rows of their own, warps that share their columns; eights of tokens.
constexpr int ROW_WARPS = ${rowWarps(s)}, K_WARPS = ${kWarps(s)}, COLUMNS = ${columnTiles(s)};
// Pieces of 64 columns in a stage, stages of a tile, stages of the ring.
constexpr int PIECES = ${s.pieces}, STEPS = ${s.steps}, STAGES = ${s.stages};
// Bytes of weights in a stage; from row to row of x, and of a stage's rows.
constexpr int STAGE = ${at.stage}, PITCH = ${at.pitch}${when(s.tiles !== "asked", `, X_SLOT = ${s.tokens * at.pitch}`)};
constexpr int XS = ${at.xs}, PARTIAL = ${at.parts}, ${sums}FULL = ${at.barriers};  // behind the ring
constexpr int MATH = 256, THREADS = ${choosing};       // threads that multiply, a warp more copies; that choose experts
struct Run { int expert, row, end; };          // the rows of an expert that has some, among all sorted by expert`,
  );
}

/** Shared variables. */
export const unitVariables = (weighted: boolean): string =>
  lines(
    `extern __shared__ u8 raw[];
__shared__ Run runs[MOST];
__shared__ int expert_of[PAIRS];   // of a token's pairs
__shared__ int pair_of[PAIRS];     // of the sorted rows`,
    weighted && "__shared__ float weight_of[PAIRS];\n__shared__ float weight_at[PAIRS];",
    `__shared__ u32 visits[EXPERTS * WORDS];  // of an expert: the tokens that visit it, a bit each
__shared__ int starts[EXPERTS];
__shared__ int count_of[1];
const u32 base = shared_address(raw), ring = (base + 1023) & ~1023u;  // the swizzle repeats every 1024 bytes
const u32 full = ring + FULL, empty = full + 8 * STAGES, partial_full = empty + 8 * STAGES, partial_empty = partial_full + 8 * ROW_WARPS;
const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;`,
  );

export const unitBarriers = (more: readonly string[] = []): string => `if (threadIdx.x == MATH) {
${indented(lines(initRing("MATH / 32"), ...more))}
  for (int i = 0; i < ROW_WARPS; i++) {
    mbarrier_init(partial_full + 8 * i, max(1, K_WARPS - 1));
    mbarrier_init(partial_empty + 8 * i, 1);
  }
  fence_mbarrier_init();
}`;

/** Weights of stage i, which is step `step` of a tile, with the bytes of so many rows of x. */
export const fetchWeights = `const u64 policy = l2_evict_first();
auto fetch_weights = [&](int i, int expert, int tile, int step, int rows) {
  mbarrier_arrive_expect_tx(full + 8 * (i % STAGES), STAGE + rows * PIECES * 128);
  tma_load_4d_hint(ring + i % STAGES * STAGE, &w_map, full + 8 * (i % STAGES), 0,
      tile * PART_ROWS, expert * PARTS, step * PIECES, policy);
};`;

/**
 * The warp that fills the ring. `ahead` stages have their weights already and lack their rows; `rowFrom`: the address of a row of x of
 * the given one among the sorted.
 */
export const producer = (rowFrom: (row: string) => string): string => `for (int i = 0; i < units * STEPS; i++) {
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
        ${rowFrom("(run.row + r)")} + i % STEPS * PIECES * 64, PIECES * 128, full + 8 * slot);
}`;

/** Where rows of x lie for a math warp: what it declares once, for a stage, and the address a lane gives ldmatrix for eights c. */
interface RowsOfX {
  tile: string | false;
  stage: string;
  at: string;
}

const stagedRows: RowsOfX = {
  tile: false,
  stage: ", x_tile = ring + XS + slot * X_SLOT + lane / 8 % 2 * 16",
  at: "x_tile + min(c * 8 + lane % 8, rows - 1) * PITCH + q * 32",
};

/** All tokens' rows lie there whole, and at most eight are of one expert. */
const wholeRows: RowsOfX = {
  tile: "const u32 x_row = ring + XS + pair_of[run.row + min(lane % 8, rows - 1)] / PER * PITCH + lane / 8 % 2 * 16;",
  stage: ", x_tile = x_row + step * PIECES * 128",
  at: "x_tile + q * 32",
};

/**
 * The loop of a math warp over its block's tiles; `done`: statements that see sum, unit, run, rows and columns of a tile. `asked`:
 * statements that give its next unit, or leave.
 */
export const multiplyUnits = (done: string, { first, asked }: { first?: string; asked?: string } = {}): string => {
  const x = asked === undefined ? stagedRows : wholeRows;
  return lines(
    "const int row_warp = warp / K_WARPS, k_warp = warp % K_WARPS;",
    first,
    `// Rows of a group of warps: eight of gate and the same eight of up, or sixteen.
const int w_row = PARTS == 2 ? lane % 16 / 8 * PART_ROWS + row_warp * 8 + lane % 8 : row_warp * 16 + lane % 16;
int slot = 0; u32 phase = 0;
for (int u = 0; ${when(asked === undefined, "u < units")}; u++) {`,
    indented(lines(asked ?? "const Unit unit = unit_of(u);", startTile, x.tile, multiplySteps(x), addShared, done)),
    "}",
  );
};

const startTile = `const Run run = runs[unit.run];
const int rows = run.end - run.row, columns = (rows + 7) / 8;
float sum[COLUMNS][4] = {};`;

const multiplySteps = (x: RowsOfX): string => `for (int step = 0; step < STEPS; step++) {
  mbarrier_wait(full + 8 * slot, phase);
  const u32 w_tile = ring + slot * STAGE${x.stage};
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
        ldmatrix_x2(${x.at}, x[0], x[1]);
        mma_m16n8k16_bf16(sum[c], w[0], w[1], w[2], w[3], x[0], x[1]);
      }
  }
  __syncwarp();
  if (lane == 0) mbarrier_arrive(empty + 8 * slot);
  if (++slot == STAGES) { slot = 0; phase ^= 1; }
}`;

const addShared = `// Warps that share columns add up in their order, at the first of them.
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
}`;

/**
 * Tiles of all experts with rows in one line, dealt to the blocks: first those of shared experts, which are known before the choice.
 * Declares `first_units`, tiles of shared experts; after the choice `dealtRest`, units and unit_of.
 */
export const dealtFirst = `const int blocks = gridDim.x, block = blockIdx.x;
const int shared0 = block * (SHARED * TILES) / blocks, first_units = (block + 1) * (SHARED * TILES) / blocks - shared0;`;

export const dealtRest = `// What other experts there are fills up: no block has more than one tile more than another.
const int routed = (count - SHARED) * TILES, all = routed + SHARED * TILES;
const bool even = routed >= blocks;
auto before = [&](int b) { return even ? b * all / blocks - b * (SHARED * TILES) / blocks : b * routed / blocks; };
const int routed0 = before(block), units = first_units + before(block + 1) - routed0;
auto unit_of = [&](int u) {
  if (u < first_units) return Unit{count - SHARED + (shared0 + u) / TILES, (shared0 + u) % TILES};
  const int t = routed0 + u - first_units;
  return Unit{t / TILES, t % TILES};
};`;

export const unitStruct = "struct Unit { int run, tile; };                // of an expert with rows, a tile of its matrix";
