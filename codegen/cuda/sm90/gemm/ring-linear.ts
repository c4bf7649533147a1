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
  ringPitch,
  ringResident,
  ringStage,
  ringTile,
  illegalRing,
  type RingProblem,
  type RingSchedule,
} from "./ring-schedule.ts";
import { illegalSchedule } from "../diagnostics.ts";
import { cudaKernel, input, output, tensorMap } from "../../text/kernel.ts";
import { residentRows } from "./ring-rows.ts";

/** The op in words, for the header of its text. */
function meaning(p: RingProblem, tokens: number): string {
  const rows =
    p.rows === "rms_norm"
      ? `rms_norm(x [m, ${p.k}] bf16)`
      : p.rows === "silu_mul"
        ? `silu_mul(x [m, 2, ${p.k}] bf16)`
        : `x [m, ${p.k}] bf16`;
  const sum = p.residualStride === undefined ? "" : " + residual, each rounded";
  return `y [m, ${p.n}] ${p.y} = ${rows} times w [${p.n}, ${p.k}]^T bf16${sum}, f32 sums; m up to ${tokens}`;
}

export function ringLinear(p: RingProblem, s: RingSchedule, machine: Gpu): KernelText {
  const reason = illegalRing(p, machine, s.tokens);
  if (reason !== null) throw new DiagnosticError(illegalSchedule("linear", { ...p }, { ...s }, reason));
  const { n, k } = p;
  const op = `${p.rows === "rms_norm" ? "norm_" : p.rows === "silu_mul" ? "silu_" : ""}linear${p.residualStride === undefined ? "" : "_add"}`;
  const name = `${op}_${n}x${k}_${p.y}_${ringName(s)}`;
  const wide = s.tokens === 16;
  const staged = s.x === "staged";
  const added = p.residualStride !== undefined;
  const held = Math.max(8, s.tokens);
  const rows = staged ? null : residentRows(p, s);
  const loose = { restrict: false };
  const params = [
    staged
      ? tensorMap("x_map", {
          of: "x",
          dtype: "bf16",
          dims: [64, "m", k / 64],
          strides: [2 * p.xStride, 128],
          box: [64, s.tokens, s.pieces],
        })
      : input("x", "bf16"),
    tensorMap("w_map", { of: "w", dtype: "bf16", dims: [64, n, k / 64], strides: [2 * k, 128], box: [64, s.rows, s.pieces] }),
    ...(p.rows === "rms_norm" ? [input("gain", "bf16")] : []),
    // y may be the buffer of the residual.
    ...(added ? [input("residual", "bf16", loose), output("y", p.y, loose)] : [output("y", p.y)]),
  ];
  const fromStage = wide
    ? `ldmatrix_x4(swizzle_128b(x_tile, piece * TOKENS + lane / 16 * 8 + lane % 8, chunk + lane / 8 % 2), x[0][0], x[0][1], x[1][0], x[1][1]);`
    : `ldmatrix_x2(swizzle_128b(x_tile, piece * TOKENS + ${s.tokens === 8 ? "lane % 8" : `min(lane % 8, ${s.tokens - 1})`}, chunk + lane / 8 % 2), x[0][0], x[0][1]);`;
  const fromRows = wide
    ? "ldmatrix_x4(x_lane + (step * PIECES * 4 + q) * 32, x[0][0], x[0][1], x[1][0], x[1][1]);"
    : "ldmatrix_x2(x_lane + (step * PIECES * 4 + q) * 32, x[0][0], x[0][1]);";
  const definitions = `constexpr int N = ${n}, ${staged ? "" : `K = ${k}, `}TOKENS = ${s.tokens}, HELD = ${held}, SHARES = ${s.blocks * s.tiles};  // of rows: ${s.tiles} a block, one after another
constexpr int ROWS = ${s.rows}, PIECES = ${s.pieces};          // a stage: ROWS rows of w${staged ? " and the tokens" : ""}, PIECES times 64 columns
constexpr int STEPS = ${s.steps}, STAGES = ${s.stages}, ${staged ? "" : `EARLY = ${s.early}, `}FLYING = ${s.flying};        // stages of a row; stages in the ring; under way at once while the ring fills, and after
constexpr int STAGE = ${ringStage(s)}, BYTES = ${staged ? "(ROWS + TOKENS)" : "ROWS"} * PIECES * 128;  // TMA counts those outside the tensor too
${
  staged
    ? `constexpr int X_AT = ${ringTile(s)};            // the tokens' columns in a stage`
    : `constexpr int X_STRIDE = ${p.xStride}, PITCH = ${ringPitch(s)};  // from row to row of x; of what lies in shared memory, 16 bytes apart in banks
constexpr int TURNS = (K + 2047) / 2048;       // of 256 threads over a row, 8 columns each`
}
constexpr int TILES = (ROWS + 15) / 16;        // of 16 rows; past ROWS they hold what no one stores
constexpr int WRITES = (ROWS * TOKENS + 255) / 256;  // of y, by each thread`;
  const body = `  extern __shared__ u8 raw[];
  const u32 base = shared_address(raw), ring = (base + 1023) & ~1023u;  // the swizzle repeats every 1024 bytes
  float* const parts = (float*)(raw + (ring - base) + STAGES * STAGE);  // [8 warps][16 TILES rows][HELD tokens]
${staged ? "" : `  u16* const x_rows = (u16*)((u8*)parts + ${ringParts(s)});  // [TOKENS][PITCH]\n`}  const u32 full = ring + STAGES * STAGE + ${ringParts(s) + ringResident(s)}, empty = full + 8 * STAGES;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int share0 = blockIdx.x * ${s.tiles}, shares = min(${s.tiles}, SHARES - share0);
  auto row_of = [](int share) { return (int)((long long)share * N / SHARES); };

  if (threadIdx.x == 0) {
    for (int i = 0; i < STAGES; i++) {
      mbarrier_init(full + 8 * i, 1);
      mbarrier_init(empty + 8 * i, 8);  // one arrival a math warp
    }
    fence_mbarrier_init();
  }
  __syncthreads();
  release_next();

  if (warp == 8) {
    if (lane != 0) return;
    // Weights do not wait for the kernel before; the first ring of them comes while it still runs. Few stages are under
    // way at once: what is asked for beyond only queues, and what the kernel before still reads and stores would queue behind.
    const int all = shares * STEPS, ahead = min(STAGES, all);
    const u64 policy = l2_evict_first();
    for (int i = 0; i < ahead; i++) {
${staged ? "" : "      if (i >= EARLY) mbarrier_wait(full + 8 * (i - EARLY), 0);\n"}      mbarrier_arrive_expect_tx(full + 8 * i, BYTES);
      tma_load_3d_hint(ring + i * STAGE, &w_map, full + 8 * i, 0, row_of(share0 + i / STEPS), i % STEPS * PIECES, policy);
    }
${
  staged
    ? `    await_previous();
    for (int i = 0; i < ahead; i++) tma_load_3d(ring + i * STAGE + X_AT, &x_map, full + 8 * i, 0, 0, i % STEPS * PIECES);
`
    : ""
}    int stage = ahead % STAGES; u32 phase = ahead / STAGES;
    for (int i = ahead; i < all; i++) {
      mbarrier_wait(empty + 8 * stage, phase ^ 1);
      mbarrier_wait(full + 8 * ((i - FLYING) % STAGES), (i - FLYING) / STAGES & 1);
      mbarrier_arrive_expect_tx(full + 8 * stage, BYTES);
      tma_load_3d_hint(ring + stage * STAGE, &w_map, full + 8 * stage, 0, row_of(share0 + i / STEPS), i % STEPS * PIECES, policy);
${staged ? "      tma_load_3d(ring + stage * STAGE + X_AT, &x_map, full + 8 * stage, 0, 0, i % STEPS * PIECES);\n" : ""}      if (++stage == STAGES) { stage = 0; phase ^= 1; }
    }
    return;
  }

${
  rows
    ? `${rows}  // Of a lane: where its row of x begins, of those ldmatrix reads; rows past the last repeat it.
  const u32 x_lane = shared_address(x_rows + min(${wide ? "lane / 16 * 8 + " : ""}lane % 8, m - 1) * PITCH + lane / 8 % 2 * 8);
`
    : "  await_previous();  // y may still be in use\n"
}
  int stage = 0; u32 phase = 0;
  for (int share = share0; share < share0 + shares; share++) {
    const int row0 = row_of(share), rows = row_of(share + 1) - row0;
${
  added
    ? `    // What is added to this share, fetched while its weights are multiplied.
    u16 addend[WRITES];
#pragma unroll
    for (int i = 0; i < WRITES; i++) {
      const int e = threadIdx.x + i * 256, row = e % rows, token = e / rows;
      if (token < m) addend[i] = residual[(long long)token * ${p.residualStride} + row0 + row];
    }
`
    : ""
}    float sum[TILES][HELD / 8][4] = {};
    for (int step = 0; step < STEPS; step++) {
      mbarrier_wait(full + 8 * stage, phase);
      const u32 w_tile = ring + stage * STAGE${staged ? ", x_tile = w_tile + X_AT" : ""};
      // Steps of 16 columns go round the warps: four in each piece of 64.
#pragma unroll
      for (int q = warp; q < 4 * PIECES; q += 8) {
        const int piece = q / 4, chunk = q % 4 * 2;  // of 16 bytes
        u32 x[HELD / 8][2];
        ${staged ? fromStage : fromRows}
#pragma unroll
        for (int t = 0; t < TILES; t++) {
          u32 w[4];
          ldmatrix_x4(swizzle_128b(w_tile, piece * ROWS + t * 16 + lane % 16, chunk + lane / 16), w[0], w[1], w[2], w[3]);
#pragma unroll
          for (int c = 0; c < HELD / 8; c++) mma_m16n8k16_bf16(sum[t][c], w[0], w[1], w[2], w[3], x[c][0], x[c][1]);
        }
      }
      __syncwarp();
      if (lane == 0) mbarrier_arrive(empty + 8 * stage);
      if (++stage == STAGES) { stage = 0; phase ^= 1; }
    }

    // Every warp has sums over its columns: rows lane / 4 and + 8 of a tile, tokens 2 (lane % 4) and + 1. They add up in the order of warps.
#pragma unroll
    for (int t = 0; t < TILES; t++)
#pragma unroll
      for (int c = 0; c < HELD / 8; c++)
#pragma unroll
        for (int h = 0; h < 2; h++)
          *(float2*)(parts + ((warp * TILES + t) * 16 + lane / 4 + h * 8) * HELD + c * 8 + lane % 4 * 2) = make_float2(sum[t][c][2 * h], sum[t][c][2 * h + 1]);
    bar_sync(1, 256);
#pragma unroll
    for (int i = 0; i < WRITES; i++) {
      const int e = threadIdx.x + i * 256, row = e % rows, token = e / rows;
      if (token >= m) continue;
      float total = 0.f;
#pragma unroll
      for (int v = 0; v < 8; v++) total += parts[(v * TILES * 16 + row) * HELD + token];
${
  added
    ? `      // The product is rounded, then the sum, as if each were stored.
      total = __uint_as_float(pack_bf16(0.f, total)) + __uint_as_float((u32)addend[i] << 16);
`
    : ""
}      y[(long long)token * ${p.yStride} + row0 + row] = ${p.y === "f32" ? "total" : "(u16)pack_bf16(total, 0.f)"};
    }
    ${s.tiles > 1 ? "bar_sync(1, 256);  // before the next share's sums" : ""}
  }`;
  return cudaKernel({
    name,
    header: [
      `${op}: ${meaning(p, s.tokens)}`,
      `schedule ${JSON.stringify(s)}`,
      floorText(machine, { reads: `${2 * n * k} bytes of weights`, bytes: 2 * n * k }),
    ],
    params,
    dims: ["m"],
    launch: {
      grid: [s.blocks, 1, 1],
      block: 288,
      sharedBytes: ringBytes(s),
      pdl: true,
      early: p.rows === "rms_norm" ? ["w", "gain"] : ["w"],
      blocksPerSM: 1,
    },
    definitions,
    body,
  });
}
