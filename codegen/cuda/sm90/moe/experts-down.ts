// The rest of a few tokens' way through their experts on sm_90a: gated rows are quantised as the product wants them, every block
// multiplies them by its slice of each expert's matrix, and adds up what a token's experts say, weighted, onto the residual.
// The experts are known from before the kernel before, so a ring of weights is under way while that one ends. Same bits every run,
// and those of gated_quant, the product and combine_add one after another.
import { floorText, type Gpu } from "../../../../ir/machine.ts";
import type { KernelText } from "../../../../ir/kernel/catalogue.ts";
import { cudaKernel, input, output } from "../../text/kernel.ts";
import { indented, lines } from "../../text/lines.ts";
import { initRing, ringBase } from "../../text/ring.ts";
import { roles } from "../../text/roles.ts";
import { choiceOf, findRuns, type Choice, type Routing } from "./choice.ts";
import { quantiser } from "./experts-down-rows.ts";
import { rowBytes, sliceLayout, sliceName, type ExpertsProblem, type SliceSchedule } from "./experts-schedule.ts";
import { blockRows, fetchStage, mathPlace, multiplySlice, producer, sliceConstants, sliceMap } from "./slice-text.ts";

export interface ExpertsDownProblem extends ExpertsProblem, Routing {
  /** Scales of quantised rows are powers of two. */
  ue8m0: boolean;
}

/**
 * Threads that quantise, eight warps where a row has blocks for them: four take 8 us to gate and quantise a row, and an expert's weights
 * are here after three.
 */
const quantisers = (k: number): number => 32 * [8, 7, 6, 5, 4, 3, 2, 1].find((n) => (k / 128) % n === 0)!;

/** Rows on their way to the threads that quantise. */
const ROWS_IN_FLIGHT = 4;

export function expertsDown(p: ExpertsDownProblem, s: SliceSchedule, machine: Gpu): KernelText {
  const { experts, n, k } = p;
  const choice = choiceOf(p, true);
  const scales = p.ue8m0 ? "_ue8m0" : "";
  const loose = { restrict: false };
  return cudaKernel({
    name: `${choice.prefix}experts_down_${experts}x${n}x${k}${scales}_${sliceName(s)}`,
    header: [
      `experts_down: y [T, ${n}] bf16 = x + the sum over a token's ${p.per} experts of`,
      `  weight * (a quantised row [${k}]) w [e, ${n}, ${k}]^T e4m3/128x128, f32 sums; T up to ${s.tokens}`,
      `schedule ${JSON.stringify(s)}`,
      `${floorText(machine, { reads: `${n * k} bytes an expert with rows`, bytes: n * k })} each`,
    ],
    params: [
      sliceMap(p, s),
      input("acts", "f32", loose),
      input("w_scale", "f32", loose),
      ...choice.params,
      input("x", "bf16", loose),
      output("y", "bf16", loose),
    ],
    dims: ["T"],
    launch: {
      grid: [n / s.rows, 1, 1],
      block: 128 * s.kGroups + quantisers(k) + 32,
      sharedBytes: sliceLayout(p, s).bytes,
      pdl: true,
      blocksPerSM: 1,
      early: ["w", "w_scale", ...choice.early],
      chained: choice.chained,
    },
    definitions: lines(choice.constants, constants(p, s), "", findRuns),
    body: indented(
      lines(
        shared,
        blockRows,
        fetchStage,
        "",
        initBarriers,
        chooseExperts(choice),
        "",
        roles(
          ["producer", "warp == (MATH + QUANTISE) / 32", producer("0", "runs[i / UNITS].expert")],
          ["quantiser", "warp >= MATH / 32", quantiser(p.ue8m0, choice)],
          ["consumer", null, consumer],
        ),
        "__syncthreads();",
        "",
        combine,
      ),
    ),
  });
}

function constants(p: ExpertsDownProblem, s: SliceSchedule): string {
  const quantise = quantisers(p.k);
  const { codes, scales } = rowBytes(s, p.k);
  return lines(
    sliceConstants(
      p,
      s,
      `QUANTISE = ${quantise}, THREADS = MATH + QUANTISE + 32;  // threads that multiply, that make rows of x, that copy`,
    ),
    `// Experts whose rows of x are made ahead, and their room.
constexpr int AHEAD = ${s.ahead}, X_BYTES = ${codes}, X_SCALE_BYTES = ${scales};
// Rows that are on their way; blocks of 128 columns go round the warps.
constexpr int IN_FLIGHT = ${ROWS_IN_FLIGHT}, WORKERS = QUANTISE / 32, TURNS = ${p.k / 4 / quantise};`,
  );
}

const shared = `extern __shared__ u8 raw[];
__shared__ Run runs[ROWS];
__shared__ int expert_of[ROWS];  // of a token's pairs: the expert, whether it is the expert's first, the row among the sorted, the weight
__shared__ int leads[ROWS];
__shared__ int row_of[ROWS];
__shared__ float weight_of[ROWS];
__shared__ float onto[TOKENS * SLICE];
${ringBase}
const u32 full = ring + FULL, empty = full + 8 * STAGES, x_full = empty + 8 * STAGES, x_empty = x_full + 8 * AHEAD;
const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;`;

const initBarriers = `if (threadIdx.x == MATH + QUANTISE) {
${indented(initRing("MATH / 32"))}
  for (int i = 0; i < AHEAD; i++) {
    mbarrier_init(x_full + 8 * i, QUANTISE / 32);
    mbarrier_init(x_empty + 8 * i, MATH / 32);
  }
  fence_mbarrier_init();
}`;

const chooseExperts = (choice: Choice): string =>
  lines(
    "// Before the wait: the kernel before lets this one start only once it has waited for the choice of experts itself.",
    choice.readEarly,
    choice.steps,
    `int own;
const int count = find_runs(T * PER, expert_of, leads, runs, row_of, own);
release_next();`,
  );

const keepOwnColumns = `if (lane == 0) mbarrier_arrive(x_empty + 8 * slot);
// Columns of the product are the expert's rows.
const Run run = runs[visit];
#pragma unroll
for (int v = 0; v < 4; v++) {
  const int row = slice_row + v / 2 * 8, i = run.row + column + v % 2;
  if (i < run.end && row < SLICE) st_shared_f32(ring + SUMS + ((k_group * ROWS + i) * SLICE + row) * 4, sum[v]);
}`;

const consumer = lines(
  mathPlace,
  `for (int visit = 0; visit < count; visit++) {
  const u32 slot = visit % AHEAD, x_tile = ring + X + slot * X_BYTES, x_scales = ring + X_SCALES + slot * X_SCALE_BYTES;
  mbarrier_wait(x_full + 8 * slot, visit / AHEAD & 1);`,
  indented(lines(multiplySlice, keepOwnColumns)),
  "}",
);

const combine = `// A token's experts in ascending order: each row rounded as it would have been stored, weighted, added; then the residual.
for (int c = threadIdx.x; c < T * SLICE; c += THREADS) {
  const int token = c / SLICE, row = c % SLICE;
  float acc = 0.0f;
#pragma unroll
  for (int j = 0; j < PER; j++) {
    const u32 from = ring + SUMS + (row_of[token * PER + j] * SLICE + row) * 4;
    float product = 0.0f;
#pragma unroll
    for (int d = 0; d < K_GROUPS; d++) product += ld_shared_f32(from + d * ROWS * SLICE * 4);
    acc = __fadd_rn(acc, __fmul_rn(weight_of[token * PER + j], from_bf16(to_bf16(product))));
  }
  y[(i64)token * N + row0 + row] = to_bf16(__fadd_rn(onto[c], acc));
}`;
