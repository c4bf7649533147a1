// The rest of a few tokens' way through their experts on sm_90a: gated rows are quantised as the product wants them, every block
// multiplies them by its slice of each expert's matrix, and adds up what a token's experts say, weighted, onto the residual.
// The experts are known from before the kernel before, so a ring of weights is under way while that one ends. Same bits every run,
// and those of silu_mul_quant, the product and combine_add one after another.
import { floorText, type Gpu } from "../../../../ir/machine.ts";
import type { KernelText } from "../../../../ir/kernel/catalogue.ts";
import { rowBytes, sliceLayout, sliceName, type ExpertsProblem, type SliceSchedule } from "./experts-schedule.ts";
import {
  blockRows,
  choiceOf,
  fetchStage,
  findRuns,
  mathPlace,
  multiplySlice,
  sliceConstants,
  sliceMap,
  type Routing,
} from "./fragments.ts";
import { cudaKernel, input, output } from "../../text/kernel.ts";
import { literal } from "../../printed/element.ts";
import { routeConstants } from "./route-rows.ts";

export interface ExpertsDownProblem extends ExpertsProblem, Routing {
  /** Scales of quantised rows are powers of two. */
  ue8m0: boolean;
}

/** Threads that quantise, eight warps where a row has blocks for them: four take 8 us to gate and quantise a row, and an expert's weights are here after three. */
const quantisers = (k: number): number => 32 * [8, 7, 6, 5, 4, 3, 2, 1].find((n) => (k / 128) % n === 0)!;

/** Rows on their way to the threads that quantise. */
const FLYING = 4;

export function expertsDown(p: ExpertsDownProblem, s: SliceSchedule, machine: Gpu): KernelText {
  const { experts, n, k } = p;
  const choice = choiceOf(p.routing, true);
  const name = `${p.routing ? "route_" : ""}experts_down_${experts}x${n}x${k}${p.ue8m0 ? "_ue8m0" : ""}_${sliceName(s)}`;
  const { codes, scales } = rowBytes(s, k);
  const quantise = quantisers(k);
  const constants = `${sliceConstants(p, s, `QUANTISE = ${quantise}, THREADS = MATH + QUANTISE + 32;  // threads that multiply, and that make rows of x; a warp more copies`)}constexpr int AHEAD = ${s.ahead}, X_BYTES = ${codes}, X_SCALE_BYTES = ${scales};  // experts whose rows of x are made ahead, and their room
constexpr int FLYING = ${FLYING}, WORKERS = QUANTISE / 32, TURNS = ${k / 4 / quantise};               // blocks of 128 columns go round the warps
`;
  const body = `  extern __shared__ u8 raw[];
  __shared__ Run runs[ROWS];
  __shared__ int expert_of[ROWS];  // of a token's pairs: the expert, whether it is the expert's first, the row among the sorted, the weight
  __shared__ int leads[ROWS];
  __shared__ int row_of[ROWS];
  __shared__ float weight_of[ROWS];
  __shared__ float onto[TOKENS * SLICE];
  const u32 ring = (shared_address(raw) + 1023) & ~1023u;  // the swizzle repeats every 1024 bytes
  const u32 full = ring + FULL, empty = full + 8 * STAGES, x_full = empty + 8 * STAGES, x_empty = x_full + 8 * AHEAD;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
${blockRows}${fetchStage}
  if (threadIdx.x == MATH + QUANTISE) {
    for (int i = 0; i < STAGES; i++) {
      mbarrier_init(full + 8 * i, 1);
      mbarrier_init(empty + 8 * i, MATH / 32);  // one arrival a math warp
    }
    for (int i = 0; i < AHEAD; i++) {
      mbarrier_init(x_full + 8 * i, QUANTISE / 32);
      mbarrier_init(x_empty + 8 * i, MATH / 32);
    }
    fence_mbarrier_init();
  }
  // Before the wait: the kernel before lets this one start only once it has waited for the choice of experts itself.
${choice.weights}${choice.steps}  int own;
  const int count = find_runs(T * PER, expert_of, leads, runs, row_of, own);
  release_next();

  if (warp == (MATH + QUANTISE) / 32) {
    // One thread keeps the weights coming: bytes in flight are what bandwidth needs.
    if (lane == 0)
      for (int i = 0; i < count * UNITS; i++) {
        if (i >= STAGES) mbarrier_wait(empty + 8 * (i % STAGES), (i / STAGES - 1) & 1);
        fetch(i, runs[i / UNITS].expert);
      }
  } else if (warp >= MATH / 32) {
    const int worker = warp - MATH / 32;
    await_previous();
    // Rows in their order, quantised by blocks of 128 columns: a warp a block, four columns a lane. While weights stream a load takes 2 us,
    // so some rows are on their way at any time.
    const int rows = T * PER;
    float next[FLYING][TURNS][4];
    auto read = [&](float (&to)[TURNS][4], int i) {
#pragma unroll
      for (int t = 0; t < TURNS; t++) load4_f32(to[t], acts + (i64)i * K + (worker + t * WORKERS) * 128 + lane * 4);
    };
#pragma unroll
    for (int f = 0; f < FLYING; f++)
      if (f < rows) read(next[f], f);
    int visit = 0;
    for (int i0 = 0; i0 < rows; i0 += FLYING)
#pragma unroll
      for (int f = 0; f < FLYING; f++) {
        const int i = i0 + f;
        if (i >= rows) continue;
        const u32 slot = visit % AHEAD, x_tile = ring + X + slot * X_BYTES, x_scales = ring + X_SCALES + slot * X_SCALE_BYTES;
        const int token = i - runs[visit].row;  // a column of the product
        if (token == 0 && visit >= AHEAD) mbarrier_wait(x_empty + 8 * slot, (visit / AHEAD - 1) & 1);
#pragma unroll
        for (int t = 0; t < TURNS; t++) {
          const int block = worker + t * WORKERS;
          float sizes[4];
#pragma unroll
          for (int e = 0; e < 4; e++) sizes[e] = fabsf(next[f][t][e]);
          const float plain = __fdiv_rn(larger(warp_max<128>(sizes), ${literal(Math.fround(1e-4), "f32")}), 448.0f), scale = ${p.ue8m0 ? "pow2_ceil(plain)" : "plain"};
          u32 word = 0;
#pragma unroll
          for (int e = 0; e < 4; e++) word |= (u32)to_e4m3(__fdiv_rn(next[f][t][e], scale)) << 8 * e;
          st_shared_u32(x_tile + (block * 8 + lane / 4) * PITCH + token * 16 + lane % 4 * 4, word);
          if (lane == 0) st_shared_f32(x_scales + (block * X_PITCH + token) * 4, scale);
        }
        if (i + FLYING < rows) read(next[f], i + FLYING);
        if (i + 1 < runs[visit].end) continue;
        // The expert's last row.
        fence_proxy_async();
        __syncwarp();
        if (lane == 0) mbarrier_arrive(x_full + 8 * slot);
        visit++;
      }
    // What the end needs, while others multiply.
${p.routing ? "" : "    for (int c = threadIdx.x - MATH; c < T * PER; c += QUANTISE) weight_of[c] = weights[c];\n"}    for (int c = threadIdx.x - MATH; c < T * SLICE; c += QUANTISE) onto[c] = from_bf16(x[(i64)(c / SLICE) * N + row0 + c % SLICE]);
  } else {
${mathPlace}    for (int visit = 0; visit < count; visit++) {
      const u32 slot = visit % AHEAD, x_tile = ring + X + slot * X_BYTES, x_scales = ring + X_SCALES + slot * X_SCALE_BYTES;
      mbarrier_wait(x_full + 8 * slot, visit / AHEAD & 1);
${multiplySlice}      if (lane == 0) mbarrier_arrive(x_empty + 8 * slot);
      // Columns of the product are the expert's rows.
      const Run run = runs[visit];
#pragma unroll
      for (int v = 0; v < 4; v++) {
        const int row = slice_row + v / 2 * 8, i = run.row + column + v % 2;
        if (i < run.end && row < SLICE) st_shared_f32(ring + SUMS + ((deep * ROWS + i) * SLICE + row) * 4, sum[v]);
      }
    }
  }
  __syncthreads();

  // A token's experts in ascending order: each row rounded as it would have been stored, weighted, added; then the residual.
  for (int c = threadIdx.x; c < T * SLICE; c += THREADS) {
    const int token = c / SLICE, row = c % SLICE;
    float acc = 0.0f;
#pragma unroll
    for (int j = 0; j < PER; j++) {
      const u32 from = ring + SUMS + (row_of[token * PER + j] * SLICE + row) * 4;
      float said = 0.0f;
#pragma unroll
      for (int d = 0; d < DEEP; d++) said += ld_shared_f32(from + d * ROWS * SLICE * 4);
      acc = __fadd_rn(acc, __fmul_rn(weight_of[token * PER + j], from_bf16(to_bf16(said))));
    }
    y[(i64)token * N + row0 + row] = to_bf16(__fadd_rn(onto[c], acc));
  }`;
  const loose = { restrict: false };
  return cudaKernel({
    name,
    header: [
      `experts_down: y [T, ${n}] bf16 = x + the sum over a token's ${p.per} experts of weight * (a quantised row [${k}]) w [e, ${n}, ${k}]^T e4m3/128x128, f32 sums; T up to ${s.tokens}`,
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
      block: 128 * s.kGroups + quantise + 32,
      sharedBytes: sliceLayout(p, s).bytes,
      pdl: true,
      blocksPerSM: 1,
      early: p.routing?.bias ? ["w", "w_scale", "bias"] : ["w", "w_scale"],
      chained: p.routing ? ["logits"] : ["indices"],
    },
    definitions: `${p.routing ? `${routeConstants(p.routing)}\n` : ""}${constants}${findRuns}`,
    body,
  });
}
