// The first product of a few tokens through their experts on sm_90a: every pair of a token and an expert gets its row, silu(gate) * up.
// All tokens lie in shared memory and are multiplied by every expert that any of them visits; wgmma's narrow side is eight anyway, so
// nothing is gathered: an expert keeps the columns of its own tokens. Each sum is one block's: same bits every run.
import { floorText, type Gpu } from "../../../../ir/machine.ts";
import type { KernelText } from "../../../../ir/kernel/catalogue.ts";
import { cudaKernel, input, output } from "../../text/kernel.ts";
import { indented, lines } from "../../text/lines.ts";
import { initRing, ringBase } from "../../text/ring.ts";
import { roles } from "../../text/roles.ts";
import { choiceOf, findRuns, type Choice, type Routing } from "./choice.ts";
import { sliceLayout, sliceName, type ExpertsProblem, type SliceSchedule } from "./experts-schedule.ts";
import { blockRows, fetchStage, mathPlace, multiplySlice, producer, sliceConstants, sliceMap } from "./slice-text.ts";

export function expertsGateUp(p: ExpertsProblem & Routing, s: SliceSchedule, machine: Gpu): KernelText {
  const { experts, n, k } = p;
  const choice = choiceOf(p, false);
  const loose = { restrict: false };
  return cudaKernel({
    name: `${choice.prefix}experts_gate_up_${experts}x${n}x${k}_${sliceName(s)}`,
    header: [
      `experts_gate_up: y [r, ${n / 2}] f32 = silu(gate) * up, gate and up = x [T, ${k}] e4m3/1x128 times`,
      `  w [e, 2, ${n / 2}, ${k}]^T e4m3/128x128, for the r = ${p.per} T pairs of a token and an expert, sorted by expert;`,
      `  T up to ${s.tokens}`,
      `schedule ${JSON.stringify(s)}`,
      `${floorText(machine, { reads: `${n * k} bytes an expert with rows`, bytes: n * k })} each`,
    ],
    params: [
      sliceMap(p, s),
      input("x", "e4m3", loose),
      input("x_scale", "f32", loose),
      input("w_scale", "f32", loose),
      ...choice.params,
      output("y", "f32", loose),
    ],
    dims: ["T"],
    launch: {
      grid: [n / s.rows, 1, 1],
      block: 128 * s.kGroups + 32,
      sharedBytes: sliceLayout(p, s).bytes,
      pdl: true,
      blocksPerSM: 1,
      early: ["w", "w_scale", ...choice.early],
    },
    definitions: lines(choice.constants, constants(p, s), "", findRuns),
    body: indented(
      lines(
        shared,
        blockRows,
        fetchStage,
        "",
        startRing,
        chooseExperts(choice),
        "",
        roles(
          ["producer", "warp == MATH / 32", producer("ahead", "runs[run_of(i / UNITS)].expert")],
          ["consumer", null, consumer],
        ),
      ),
    ),
  });
}

const constants = (p: ExpertsProblem, s: SliceSchedule): string =>
  lines(
    sliceConstants(p, s, "THREADS = MATH + 32;  // threads that multiply; a warp more copies"),
    `constexpr int EXPERTS = ${p.experts}, SHARED = ${p.shared};          // experts; the last ones, which every token visits`,
  );

const shared = `extern __shared__ u8 raw[];
__shared__ Run runs[ROWS];
__shared__ int expert_of[ROWS];  // of a token's pairs: the expert, whether it is the expert's first, the row among the sorted
__shared__ int leads[ROWS];
__shared__ int row_of[ROWS];
__shared__ int row_at[ROWS * TOKENS];  // by expert with rows and token: its row among the sorted, or -1
${ringBase}
const u32 full = ring + FULL, empty = full + 8 * STAGES;
const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;`;

const startRing = `const int ahead = min(STAGES, SHARED * UNITS);
if (threadIdx.x == MATH) {
${indented(initRing("MATH / 32"))}
  fence_mbarrier_init();
  // What every token visits is known before the choice: a ring of its weights is under way while the router still runs.
  for (int i = 0; i < ahead; i++) fetch(i, EXPERTS - SHARED + i / UNITS);
}
for (int c = threadIdx.x; c < ROWS * TOKENS; c += THREADS) row_at[c] = -1;`;

const chooseExperts = (choice: Choice): string =>
  lines(
    choice.readEarly,
    "await_previous();",
    copyTokens,
    choice.steps,
    `int run;
const int count = find_runs(T * PER, expert_of, leads, runs, row_of, run);
// Not earlier: that the next kernel runs then says that the choice of experts is there.
release_next();
// Shared experts first, whose weights come first, then the others in order.
auto run_of = [&](int visit) { return visit < SHARED ? count - SHARED + visit : visit - SHARED; };`,
  );

const copyTokens = `// All tokens, 16 columns of each side by side, with all their scales: on their way while the choice is looked at.
if (threadIdx.x < MATH) {
  for (int c = threadIdx.x; c < T * (K / 16); c += MATH)
    cp_async_16(ring + X + c % (K / 16) * PITCH + c / (K / 16) * 16, x + (i64)c * 16);
  for (int c = threadIdx.x; c < T * STEPS; c += MATH)
    cp_async_4(ring + X_SCALES + (c % STEPS * X_PITCH + c / STEPS) * 4, x_scale + c);
}`;

const keepOwnColumns = `// Columns of the product are tokens: those of this expert's tokens are rows of the result.
#pragma unroll
for (int v = 0; v < 4; v++) {
  const int row = slice_row + v / 2 * 8, token = column + v % 2;
  const int i = token < TOKENS ? row_at[run_of(visit) * TOKENS + token] : -1;
  if (i >= 0 && row < SLICE) st_shared_f32(ring + SUMS + ((k_group * ROWS + i) * SLICE + row) * 4, sum[v]);
}`;

const gateRows = `// Every row's slice: the warpgroups' sums in their order, rounded as rows of gate and up would be stored, and gated.
for (int c = threadIdx.x; c < T * PER * PART_ROWS; c += MATH) {
  const int i = c / PART_ROWS, row = c % PART_ROWS;
  float product[PARTS] = {};
#pragma unroll
  for (int part = 0; part < PARTS; part++) {
#pragma unroll
    for (int d = 0; d < K_GROUPS; d++)
      product[part] += ld_shared_f32(ring + SUMS + ((d * ROWS + i) * SLICE + part * PART_ROWS + row) * 4);
    product[part] = from_bf16(to_bf16(product[part]));
  }
  y[(i64)i * (N / PARTS) + row0 + row] = __fmul_rn(__fdiv_rn(product[0], __fadd_rn(1.0f, expf(-product[0]))), product[1]);
}`;

const consumer = lines(
  `if (threadIdx.x < T * PER) row_at[run * TOKENS + threadIdx.x / PER] = row_of[threadIdx.x];
cp_async_wait_all();
fence_proxy_async();
bar_sync(1, MATH);
`,
  mathPlace,
  `const u32 x_tile = ring + X, x_scales = ring + X_SCALES;
for (int visit = 0; visit < count; visit++) {`,
  indented(lines(multiplySlice, keepOwnColumns)),
  `}
bar_sync(1, MATH);
`,
  gateRows,
);
