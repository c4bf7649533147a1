// The FP8 block GEMM of one to four rows, with what stands around it in a decode step: the norm that makes its rows, the residual sum
// its result goes into. Time is the time to read w and to get going. So every multiprocessor has the same number of rows of w, x is
// held in shared memory whole, and a ring of weights as long as fits is under way while the kernels before still run.
import { floorText, type Gpu } from "../../../../ir/machine.ts";
import type { KernelText } from "../../../../ir/kernel/catalogue.ts";
import { DiagnosticError } from "../../../../ir/diagnostic.ts";
import { STEP } from "./fp8-schedule.ts";
import { underWay } from "./ring-schedule.ts";
import { gemvBands, gemvBytes, gemvIllegal, gemvName, type GemvRowsProblem, type GemvShape } from "./fp8-gemv-schedule.ts";
import { illegalSchedule } from "../diagnostics.ts";
import { cudaKernel, input, output, tensorMap } from "../../text/kernel.ts";
import { literal } from "../../printed/element.ts";

export function gemv(p: GemvRowsProblem, s: GemvShape, machine: Gpu): KernelText {
  const reason = gemvIllegal(p, s, machine);
  if (reason !== null) throw new DiagnosticError(illegalSchedule("block_gemm", { ...p }, { ...s }, reason));
  const { n, k, maxRows, norm } = p;
  const { warpgroups, rowsPerWarpgroup, kGroups, split, stages } = s;
  const { early, flying } = underWay(kGroups * warpgroups * rowsPerWarpgroup * STEP, stages);
  const name = `block_gemm_${n}x${k}${norm ? "_norm" : ""}${p.residual ? "_add" : ""}_m${maxRows}_${gemvName(s)}`;
  const [rows, math, bands] = [warpgroups * rowsPerWarpgroup, warpgroups * kGroups * 128, gemvBands(s)];
  const one = STEP % rowsPerWarpgroup === 0; // a warpgroup's rows then have one scale
  const params = [
    tensorMap("w_map", { of: "w", dtype: "e4m3", dims: [k, n], strides: [k], box: [128, rowsPerWarpgroup] }),
    ...(norm ? [input("x", "bf16"), input("gain", norm.gain)] : [input("x", "e4m3"), input("x_scale", "f32")]),
    input("w_scale", "f32"),
    ...(p.residual ? [input("residual", "bf16")] : []),
    output("y", "bf16"),
  ];
  const definitions = `constexpr int N = ${n}, K = ${k}, STEPS = K / 128;  // columns of y; steps of 128 columns of k
constexpr int HELD = ${maxRows};                       // rows of x there may be: their codes stay here from the first step to the last
constexpr int TEAMS = ${warpgroups}, PER = ${rowsPerWarpgroup}, ROWS = TEAMS * PER;  // four warps multiply PER rows of w; wgmma takes 64, those past PER go nowhere
constexpr int DEEP = ${kGroups}, UNITS = STEPS / DEEP;     // a ring stage holds DEEP steps, each for its own teams
constexpr int SPLIT = ${split};                      // blocks that share the k of their rows
constexpr int MOST = (UNITS + SPLIT - 1) / SPLIT * DEEP;  // steps a block may have
constexpr int MATH = ${math};   // threads that multiply; a warp more copies w
constexpr int STAGES = ${stages}, TILE = PER * 128, STAGE = DEEP * TEAMS * TILE;
constexpr int EARLY = ${early}, FLYING = ${flying};           // stages under way at once: while the ring fills, and after
constexpr int BANDS = ${bands};                      // blocks of 128 rows, with scales of their own, that a block's rows may meet
constexpr int PITCH = ROWS + 4;                 // floats a token of sums, padded against bank conflicts
${norm ? `constexpr int TURNS = (STEPS + MATH / 32 - 1) / (MATH / 32);  // blocks of 128 columns of x a warp normalises\n` : ""}`;
  const body = `  extern __shared__ u8 raw[];
  const u32 ring = (shared_address(raw) + 1023) & ~1023u;  // the swizzle repeats every 1024 bytes
  const u32 x_codes = ring + STAGES * STAGE, x_scales = x_codes + MOST * 128 * HELD + 128, w_scales = x_scales + MOST * 32;
  const u32 full = (w_scales + BANDS * MOST * 4 + 7) & ~7u, empty = full + 8 * STAGES;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int rank = blockIdx.x, column0 = blockIdx.y * ROWS;
  const int begin = rank * UNITS / SPLIT, units = (rank + 1) * UNITS / SPLIT - begin, first = begin * DEEP, count = units * DEEP;
  auto copy_stage = [&](int u) {
    const int stage = u % STAGES;
    mbarrier_arrive_expect_tx(full + 8 * stage, STAGE);
    for (int i = 0; i < DEEP * TEAMS; i++)
      tma_load_2d_hint(ring + stage * STAGE + i * TILE, &w_map, full + 8 * stage, (first + u * DEEP + i / TEAMS) * 128, column0 + i % TEAMS * PER, l2_evict_first());
  };

  if (threadIdx.x == MATH) {
    for (int i = 0; i < STAGES; i++) {
      mbarrier_init(full + 8 * i, 1);
      mbarrier_init(empty + 8 * i, MATH / 32);  // one arrival a math warp
    }
    fence_mbarrier_init();
    // Weights do not wait for the kernel before: a ring of them comes while it still runs.
    for (int u = 0; u < min(EARLY, units); u++) copy_stage(u);
  }
  __syncthreads();
  release_next();
  // Of the result a thread has 8 columns of a token.
  const int token = threadIdx.x / (ROWS / 8), column = threadIdx.x % (ROWS / 8) * 8;
  const bool mine = ${split > 1 ? "rank == 0 && " : ""}token < m && column0 + column < N;
  const long long at = (long long)token * N + column0 + column;
${p.residual ? "  uint4 before;\n" : ""}
  if (warp == MATH / 32) {
    // One thread keeps the weights coming: bytes in flight are what bandwidth needs.
    if (lane == 0)
      for (int u = EARLY; u < units; u++) {
        if (u >= STAGES) mbarrier_wait(empty + 8 * (u % STAGES), (u / STAGES - 1) & 1);
        // What is asked for beyond these only queues, and what the kernel before still reads and stores would queue behind.
        const int landed = u - (u < STAGES ? EARLY : FLYING);
        mbarrier_wait(full + 8 * (landed % STAGES), landed / STAGES & 1);
        copy_stage(u);
      }
    __syncwarp();
  } else {
    const int team = warp / 4 % TEAMS, deep = warp / 4 / TEAMS, row = team * PER + warp % 4 * 16 + lane / 4;
    for (int e = threadIdx.x; e < BANDS * count; e += MATH)
      cp_async_4(w_scales + (e / count * MOST + e % count) * 4, w_scale + min(column0 / 128 + e / count, (N - 1) / 128) * STEPS + first + e % count);
${norm ? normText(norm, k) : copyText}
${p.residual ? "    if (mine) before = *(const uint4*)(residual + at);  // fetched while weights are multiplied\n" : ""}    cp_async_wait_all();
    fence_proxy_async();  // the tensor cores read the codes of all these threads
    bar_sync(1, MATH);

    // Scales of the two rows of w a lane has sums of.
    const u32 w_upper = w_scales + ${one ? "((column0 + team * PER) / 128 - column0 / 128)" : "((column0 + row) / 128 - column0 / 128)"} * MOST * 4${one ? "" : ", w_lower = w_scales + min((column0 + row + 8) / 128 - column0 / 128, BANDS - 1) * MOST * 4"};
    float sum[4] = {};
    for (int u = 0; u < units; u++) {
      const int stage = u % STAGES, p = u * DEEP + deep;
      const float2 x_now = ld_shared_v2_f32(x_scales + p * 32 + lane % 4 * 8);
      const float upper = ld_shared_f32(w_upper + p * 4)${one ? "" : ", lower = ld_shared_f32(w_lower + p * 4)"};
      mbarrier_wait(full + 8 * stage, u / STAGES & 1);
      float part[4];
      const u64 w_tile = descriptor_k_major(ring + stage * STAGE + (deep * TEAMS + team) * TILE), x_tile = descriptor_no_swizzle<16 * HELD, 128>(x_codes + p * 128 * HELD);
      wgmma_m64n8k128_e4m3_no_swizzle<16 * HELD>(part, w_tile, x_tile);
      wgmma_wait_group<0>(part);
      if (lane == 0) mbarrier_arrive(empty + 8 * stage);
#pragma unroll
      for (int i = 0; i < 4; i++) sum[i] = fmaf(part[i], (i % 2 ? x_now.y : x_now.x) * ${one ? "upper" : "(i / 2 ? lower : upper)"}, sum[i]);
    }

    // The ring has been read and nothing more is coming: it now takes the sums, a token a row.
    bar_sync(1, MATH);
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const int of = lane % 4 * 2 + i % 2, to = row + i / 2 * 8;
      if (of < HELD && to < (team + 1) * PER) st_shared_f32(ring + ((deep * HELD + of) * PITCH + to) * 4, sum[i]);
    }
  }
  ${split > 1 ? "cluster_sync();" : "__syncthreads();"}

  // Output: added up over steps and blocks in their order, 16 bytes a store.
  if (mine) {
    float v[8] = {};
#pragma unroll
    for (int d = 0; d < SPLIT * DEEP; d++) {
      const u32 from = ring + ((d % DEEP * HELD + token) * PITCH + column) * 4;
      const float4 a = ${split > 1 ? "ld_shared_cluster_v4_f32(from, d / DEEP)" : "ld_shared_v4_f32(from)"}, b = ${split > 1 ? "ld_shared_cluster_v4_f32(from + 16, d / DEEP)" : "ld_shared_v4_f32(from + 16)"};
      v[0] += a.x; v[1] += a.y; v[2] += a.z; v[3] += a.w; v[4] += b.x; v[5] += b.y; v[6] += b.z; v[7] += b.w;
    }
${
  p.residual
    ? `    // The residual goes onto y as it would have been stored, rounded.
    const u32 pairs[4] = {before.x, before.y, before.z, before.w};
#pragma unroll
    for (int i = 0; i < 8; i++) v[i] = __uint_as_float(i % 2 ? pairs[i / 2] & 0xffff0000u : pairs[i / 2] << 16) + __uint_as_float(pack_bf16(v[i], 0.f) << 16);
`
    : ""
}    st_global_v4_u32(y + at, pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]), pack_bf16(v[4], v[5]), pack_bf16(v[6], v[7]));
  }
${split > 1 ? "  cluster_sync_relaxed();  // sums stay until the first block has read them\n" : ""}`;
  return cudaKernel({
    name,
    header: [
      `block_gemm: y [m, ${n}] bf16 = ${p.residual ? "residual + " : ""}${norm ? `quantize(rms_norm(x)) [m, ${k}]` : `x [m, ${k}] e4m3/1x128`} times w [${n}, ${k}]^T e4m3/128x128, f32 sums; m up to ${maxRows}`,
      `schedule ${JSON.stringify(s)}`,
      floorText(machine, { reads: `${n * k} bytes of weights`, bytes: n * k }),
    ],
    params,
    dims: ["m"],
    launch: {
      grid: [split, Math.ceil(n / rows), 1],
      block: math + 32,
      sharedBytes: gemvBytes(p, s),
      pdl: true,
      blocksPerSM: 1,
      early: norm ? ["w", "w_scale", "gain"] : ["w", "w_scale"],
      ...(split > 1 ? { cluster: [split, 1, 1] as [number, number, number] } : {}),
    },
    definitions,
    body,
  });
}

/** Codes and scales as they are in memory: 16 columns of a row are a piece. */
const copyText = `    await_previous();
    for (int e = threadIdx.x; e < count * 8 * m; e += MATH) {
      const int r = e / (count * 8), piece = e % (count * 8);
      cp_async_16(x_codes + (piece * HELD + r) * 16, x + (long long)r * K + first * 128 + piece * 16);
    }
    for (int e = threadIdx.x; e < count * m; e += MATH) cp_async_4(x_scales + (e % count * 8 + e / count) * 4, x_scale + e / count * STEPS + first + e % count);`;

/** Rows to codes, with the sums and the rounding of the kernel that norms alone (norm-rows.ts): the same bits. */
const normText = (norm: NonNullable<GemvRowsProblem["norm"]>, k: number): string => `    float gains[TURNS][4];
#pragma unroll
    for (int t = 0; t < TURNS; t++) load4_${norm.gain}(gains[t], gain + min(warp + MATH / 32 * t, STEPS - 1) * 128 + lane * 4);
    await_previous();
    __shared__ float parts[HELD][STEPS];
    for (int r = 0; r < m; r++) {
      // Every block needs the squares of all columns, and the codes of those it multiplies.
      float v[TURNS][4];
#pragma unroll
      for (int t = 0; t < TURNS; t++) load4_bf16(v[t], x + (i64)r * ${norm.xStride} + min(warp + MATH / 32 * t, STEPS - 1) * 128 + lane * 4);
#pragma unroll
      for (int t = 0; t < TURNS; t++) {
        float squares[4];
#pragma unroll
        for (int i = 0; i < 4; i++) squares[i] = __fmul_rn(v[t][i], v[t][i]);
        const float part = warp_tree_sum_wide<128>(squares);
        if (lane == 0 && warp + MATH / 32 * t < STEPS) parts[r][warp + MATH / 32 * t] = part;
      }
      bar_sync(1, MATH);
      float squares = 0.0f;
#pragma unroll
      for (int b = 0; b < STEPS; b++) squares = __fadd_rn(squares, parts[r][b]);
      const float by = __fdiv_rn(1.0f, __fsqrt_rn(__fadd_rn(__fdiv_rn(squares, ${literal(k, "f32")}), ${literal(norm.eps, "f32")})));
#pragma unroll
      for (int t = 0; t < TURNS; t++) {
        const int p = warp + MATH / 32 * t - first;
        if (p < 0 || p >= count) continue;
        float now[4], sizes[4];
#pragma unroll
        for (int i = 0; i < 4; i++) { now[i] = __fmul_rn(__fmul_rn(v[t][i], by), gains[t][i]); sizes[i] = fabsf(now[i]); }
        const float plain = __fdiv_rn(larger(warp_max<128>(sizes), ${literal(Math.fround(1e-4), "f32")}), 448.0f), scale = ${norm.ue8m0 ? "pow2_ceil(plain)" : "plain"};
#pragma unroll
        for (int i = 0; i < 4; i++) now[i] = __fdiv_rn(now[i], scale);
        store4_e4m3(raw + (x_codes - shared_address(raw)) + ((p * 8 + lane / 4) * HELD + r) * 16 + lane % 4 * 4, now);
        if (lane == 0) st_shared_f32(x_scales + (p * 8 + r) * 4, scale);
      }
    }`;
