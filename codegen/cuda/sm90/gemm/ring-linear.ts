// A bf16 linear of few rows through shared memory: one thread keeps a ring of weight tiles full with TMA, eight warps
// multiply them by up to 16 tokens with mma, each warp its own columns, and add up what they have. A block has rows of its own, so
// blocks never wait for each other. The ring is filled as soon as there is room for the block, before the kernel before has
// ended, for weights never wait. Rows of x come with the stages or lie in shared memory whole (ring-rows.ts), normalised or gated
// there; a residual is added where y is written. k must be a multiple of 64; other products stream through registers. Same bits every run.
import { floorText, type Gpu } from "../../../../ir/machine.ts";
import type { KernelText } from "../../../../ir/kernel/catalogue.ts";
import { DiagnosticError } from "../../../../ir/diagnostic.ts";
import {
  ringBytes,
  ringName,
  ringParts,
  ringResident,
  ringStage,
  illegalRing,
  type RingProblem,
  type RingSchedule,
} from "./ring-schedule.ts";
import { illegalSchedule } from "../diagnostics.ts";
import { cudaKernel, input, output, tensorMap } from "../../text/kernel.ts";
import { lines } from "../../text/lines.ts";
import { initRing } from "../../text/ring.ts";
import { stagedRows, wholeRows, type TokenRows } from "./ring-tokens.ts";

/** What the rows of a product are, as names and headers have it. */
const ROWS = {
  as_is: { op: "", text: (k: number) => `x [m, ${k}] bf16`, early: ["w"] },
  rms_norm: { op: "norm_", text: (k: number) => `rms_norm(x [m, ${k}] bf16)`, early: ["w", "gain"] },
  silu_mul: { op: "silu_", text: (k: number) => `silu_mul(x [m, 2, ${k}] bf16)`, early: ["w"] },
} as const;

/** Constants. */
const definitions = ({ n }: RingProblem, s: RingSchedule, x: TokenRows): string =>
  `constexpr int N = ${n}, ${x.k}TOKENS = ${s.tokens}, MMA_TOKENS = ${Math.max(8, s.tokens)}, SHARES = ${s.blocks * s.tiles};
constexpr int ROWS = ${s.rows}, PIECES = ${s.pieces};          // a stage: ROWS rows of w${x.stageSummary}, PIECES times 64 columns
// Stages of a row; stages in the ring; under way at once while the ring fills, and after.
constexpr int STEPS = ${s.steps}, STAGES = ${s.stages}, ${x.early}IN_FLIGHT = ${s.flying};
constexpr int STAGE = ${ringStage(s)}, BYTES = ${x.stageRows} * PIECES * 128;  // TMA counts those outside the tensor too
${x.constants}
constexpr int TILES = (ROWS + 15) / 16;        // of 16 rows; past ROWS they hold what no one stores
constexpr int WRITES = (ROWS * TOKENS + 255) / 256;  // of y, by each thread`;

/** Addresses, barriers, the block's rows of w. */
const prologue = (s: RingSchedule, x: TokenRows): string =>
  lines(
    `  extern __shared__ u8 raw[];
  const u32 base = shared_address(raw), ring = (base + 1023) & ~1023u;  // the swizzle repeats every 1024 bytes
  float* const parts = (float*)(raw + (ring - base) + STAGES * STAGE);  // [8 warps][16 TILES rows][MMA_TOKENS tokens]`,
    x.address,
    `  const u32 full = ring + STAGES * STAGE + ${ringParts(s) + ringResident(s)}, empty = full + 8 * STAGES;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int share0 = blockIdx.x * ${s.tiles}, shares = min(${s.tiles}, SHARES - share0);
  auto row_of = [](int share) { return (int)((long long)share * N / SHARES); };

  if (threadIdx.x == 0) {
    ${initRing("8").replaceAll("\n", "\n    ")}
    fence_mbarrier_init();
  }
  __syncthreads();
  release_next();
`,
  );

/** One thread: the ring of weights, and of tokens where a stage brings them. */
const producer = (x: TokenRows): string =>
  lines(
    `  if (warp == 8) {
    if (lane != 0) return;
    // Weights do not wait for the kernel before; the first ring of them comes while it still runs. Few stages are under
    // way at once: what is asked for beyond only queues, and what the kernel before still reads and stores would queue behind.
    const int all = shares * STEPS, ahead = min(STAGES, all);
    const u64 policy = l2_evict_first();
    for (int i = 0; i < ahead; i++) {`,
    x.queue,
    `      mbarrier_arrive_expect_tx(full + 8 * i, BYTES);
      tma_load_3d_hint(ring + i * STAGE, &w_map, full + 8 * i, 0, row_of(share0 + i / STEPS), i % STEPS * PIECES, policy);
    }`,
    x.prefetch,
    `    int stage = ahead % STAGES; u32 phase = ahead / STAGES;
    for (int i = ahead; i < all; i++) {
      mbarrier_wait(empty + 8 * stage, phase ^ 1);
      mbarrier_wait(full + 8 * ((i - IN_FLIGHT) % STAGES), (i - IN_FLIGHT) / STAGES & 1);
      mbarrier_arrive_expect_tx(full + 8 * stage, BYTES);
      tma_load_3d_hint(ring + stage * STAGE, &w_map, full + 8 * stage, 0, row_of(share0 + i / STEPS), i % STEPS * PIECES, policy);`,
    x.load,
    `      if (++stage == STAGES) { stage = 0; phase ^= 1; }
    }
    return;
  }
`,
  );

/** Eight math warps: their steps of 16 columns of every stage of a share. */
const products = (x: TokenRows): string => `    float sum[TILES][MMA_TOKENS / 8][4] = {};
    for (int step = 0; step < STEPS; step++) {
      mbarrier_wait(full + 8 * stage, phase);
      const u32 w_tile = ring + stage * STAGE${x.tile};
      // Steps of 16 columns go round the warps: four in each piece of 64.
#pragma unroll
      for (int q = warp; q < 4 * PIECES; q += 8) {
        const int piece = q / 4, chunk = q % 4 * 2;  // of 16 bytes
        u32 x[MMA_TOKENS / 8][2];
        ${x.read}
#pragma unroll
        for (int t = 0; t < TILES; t++) {
          u32 w[4];
          ldmatrix_x4(swizzle_128b(w_tile, piece * ROWS + t * 16 + lane % 16, chunk + lane / 16), w[0], w[1], w[2], w[3]);
#pragma unroll
          for (int c = 0; c < MMA_TOKENS / 8; c++) mma_m16n8k16_bf16(sum[t][c], w[0], w[1], w[2], w[3], x[c][0], x[c][1]);
        }
      }
      __syncwarp();
      if (lane == 0) mbarrier_arrive(empty + 8 * stage);
      if (++stage == STAGES) { stage = 0; phase ^= 1; }
    }
`;

/** What is added to a share's rows of y: fetched before its products, added after. */
const residualText = (stride: number): { fetch: string; add: string } => ({
  fetch: `    // What is added to this share, fetched while its weights are multiplied.
    u16 addend[WRITES];
#pragma unroll
    for (int i = 0; i < WRITES; i++) {
      const int e = threadIdx.x + i * 256, row = e % rows, token = e / rows;
      if (token < m) addend[i] = residual[(long long)token * ${stride} + row0 + row];
    }`,
  add: `      // The product is rounded, then the sum, as if each were stored.
      total = __uint_as_float(pack_bf16(0.f, total)) + __uint_as_float((u32)addend[i] << 16);`,
});

/** The warps' sums of a share, added up and written. */
function epilogue(p: RingProblem, s: RingSchedule, add: string | null): string {
  const value = p.y === "f32" ? "total" : "(u16)pack_bf16(total, 0.f)";
  const again = s.tiles > 1 ? "bar_sync(1, 256);  // before the next share's sums" : "";
  return lines(
    `    // Every warp has sums over its columns: rows lane / 4 and + 8 of a tile, tokens 2 (lane % 4) and + 1.
    // They add up in the order of warps.
#pragma unroll
    for (int t = 0; t < TILES; t++)
#pragma unroll
      for (int c = 0; c < MMA_TOKENS / 8; c++)
#pragma unroll
        for (int h = 0; h < 2; h++)
          *(float2*)(parts + ((warp * TILES + t) * 16 + lane / 4 + h * 8) * MMA_TOKENS + c * 8 + lane % 4 * 2) =
              make_float2(sum[t][c][2 * h], sum[t][c][2 * h + 1]);
    bar_sync(1, 256);
#pragma unroll
    for (int i = 0; i < WRITES; i++) {
      const int e = threadIdx.x + i * 256, row = e % rows, token = e / rows;
      if (token >= m) continue;
      float total = 0.f;
#pragma unroll
      for (int v = 0; v < 8; v++) total += parts[(v * TILES * 16 + row) * MMA_TOKENS + token];`,
    add,
    `      y[(long long)token * ${p.yStride} + row0 + row] = ${value};
    }
    ${again}`,
  );
}

/** Share after share: rows of w that a block multiplies one after another. */
function consumer(p: RingProblem, s: RingSchedule, x: TokenRows): string {
  const residual = p.residualStride === undefined ? null : residualText(p.residualStride);
  return lines(
    x.ready,
    `  int stage = 0; u32 phase = 0;
  for (int share = share0; share < share0 + shares; share++) {
    const int row0 = row_of(share), rows = row_of(share + 1) - row0;`,
    residual?.fetch,
    products(x),
    epilogue(p, s, residual?.add ?? null),
    "  }",
  );
}

export function ringLinear(p: RingProblem, s: RingSchedule, machine: Gpu): KernelText {
  const reason = illegalRing(p, machine, s.tokens);
  if (reason !== null)
    throw new DiagnosticError(illegalSchedule({ op: "linear", problem: { ...p }, schedule: { ...s }, reason }));
  const { n, k } = p;
  const rows = ROWS[p.rows ?? "as_is"];
  const added = p.residualStride !== undefined;
  const [suffix, sum] = added ? ["_add", " + residual, each rounded"] : ["", ""];
  const x = s.x === "staged" ? stagedRows(p, s) : wholeRows(p, s);
  const op = `${rows.op}linear${suffix}`;
  const loose = { restrict: false };
  return cudaKernel({
    name: `${op}_${n}x${k}_${p.y}_${ringName(s)}`,
    header: [
      `${op}: y [m, ${n}] ${p.y} = ${rows.text(k)} times w [${n}, ${k}]^T bf16${sum}, f32 sums; m up to ${s.tokens}`,
      `schedule ${JSON.stringify(s)}`,
      floorText(machine, { reads: `${2 * n * k} bytes of weights`, bytes: 2 * n * k }),
    ],
    params: [
      x.param,
      tensorMap("w_map", { of: "w", dtype: "bf16", dims: [64, n, k / 64], strides: [2 * k, 128], box: [64, s.rows, s.pieces] }),
      ...(p.rows === "rms_norm" ? [input("gain", "bf16")] : []),
      // y may be the buffer of the residual.
      ...(added ? [input("residual", "bf16", loose), output("y", p.y, loose)] : [output("y", p.y)]),
    ],
    dims: ["m"],
    launch: {
      grid: [s.blocks, 1, 1],
      block: 288,
      sharedBytes: ringBytes(s),
      pdl: true,
      early: [...rows.early],
      blocksPerSM: 1,
    },
    definitions: definitions(p, s, x),
    body: lines(prologue(s, x), producer(x), consumer(p, s, x)),
  });
}
