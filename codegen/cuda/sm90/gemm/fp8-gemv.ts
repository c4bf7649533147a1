// The FP8 block GEMM of one to four rows, with what stands around it in a decode step: the norm that makes its rows, the residual sum
// its result goes into. Time is the time to read w and to get going. So every multiprocessor has the same number of rows of w, x is
// held in shared memory whole (fp8-gemv-rows.ts), and a ring of weights as long as fits is under way while the kernels before still run.
import { floorText, type Gpu } from "../../../../ir/machine.ts";
import type { KernelText } from "../../../../ir/kernel/catalogue.ts";
import { DiagnosticError } from "../../../../ir/diagnostic.ts";
import { STEP } from "./fp8-schedule.ts";
import { underWay } from "./ring-schedule.ts";
import { gemvBands, gemvBytes, gemvIllegal, gemvName, type GemvRowsProblem, type GemvShape } from "./fp8-gemv-schedule.ts";
import { rowsOf } from "./fp8-gemv-rows.ts";
import { illegalSchedule } from "../diagnostics.ts";
import { cudaKernel, input, output, tensorMap } from "../../text/kernel.ts";
import { lines } from "../../text/lines.ts";
import { initRing, ringBase } from "../../text/ring.ts";

/** The scales of the two rows of w that a lane has sums of, as text. */
interface RowScales {
  at: string;
  read: string;
  factor: string;
}

/** A warpgroup's rows lie in one block of 128. */
const oneScale: RowScales = {
  at: "const u32 w_upper = w_scales + ((column0 + warpgroup * WARPGROUP_ROWS) / 128 - column0 / 128) * MAX_STEPS * 4;",
  read: "const float upper = ld_shared_f32(w_upper + p * 4);",
  factor: "upper",
};

/** They may lie in two. */
const twoScales: RowScales = {
  at: `const u32 w_upper = w_scales + ((column0 + row) / 128 - column0 / 128) * MAX_STEPS * 4,
        w_lower = w_scales + min((column0 + row + 8) / 128 - column0 / 128, SCALE_BLOCKS - 1) * MAX_STEPS * 4;`,
  read: "const float upper = ld_shared_f32(w_upper + p * 4), lower = ld_shared_f32(w_lower + p * 4);",
  factor: "(i / 2 ? lower : upper)",
};

/** Who adds up the sums of a row: its block, or the first of a cluster. */
interface Cluster {
  mine: string;
  sync: string;
  load(from: string): string;
  end: string | null;
}

const alone: Cluster = {
  mine: "token < m && column0 + column < N",
  sync: "__syncthreads();",
  load: (from) => `ld_shared_v4_f32(${from})`,
  end: null,
};

const cluster: Cluster = {
  mine: "rank == 0 && token < m && column0 + column < N",
  sync: "cluster_sync();",
  load: (from) => `ld_shared_cluster_v4_f32(${from}, d / K_GROUPS)`,
  end: "  cluster_sync_relaxed();  // sums stay until the first block has read them",
};

/** Constants. */
function definitions({ n, k, maxRows, norm }: GemvRowsProblem, s: GemvShape, math: number): string {
  const { warpgroups, rowsPerWarpgroup, kGroups, stages } = s;
  const { early, flying } = underWay(kGroups * warpgroups * rowsPerWarpgroup * STEP, stages);
  return lines(
    `constexpr int N = ${n}, K = ${k}, STEPS = K / 128;  // columns of y; steps of 128 columns of k
constexpr int MAX_ROWS = ${maxRows};                       // rows of x there may be: their codes stay here from the first step to the last
// Four warps multiply WARPGROUP_ROWS rows of w; wgmma takes 64, those past WARPGROUP_ROWS go nowhere.
constexpr int WARPGROUPS = ${warpgroups}, WARPGROUP_ROWS = ${rowsPerWarpgroup}, ROWS = WARPGROUPS * WARPGROUP_ROWS;
constexpr int K_GROUPS = ${kGroups}, UNITS = STEPS / K_GROUPS;     // a ring stage holds K_GROUPS steps, each for its own warpgroups
constexpr int SPLIT = ${s.split};                      // blocks that share the k of their rows
constexpr int MAX_STEPS = (UNITS + SPLIT - 1) / SPLIT * K_GROUPS;  // steps a block may have
constexpr int MATH = ${math};   // threads that multiply; a warp more copies w
constexpr int STAGES = ${stages}, TILE = WARPGROUP_ROWS * 128, STAGE = K_GROUPS * WARPGROUPS * TILE;
constexpr int PREFETCH = ${early}, IN_FLIGHT = ${flying};           // stages under way at once: while the ring fills, and after
// Blocks of 128 rows, with scales of their own, that a block's rows may meet.
constexpr int SCALE_BLOCKS = ${gemvBands(s)};
constexpr int PITCH = ROWS + 4;                 // floats a token of sums, padded against bank conflicts`,
    norm && "constexpr int TURNS = (STEPS + MATH / 32 - 1) / (MATH / 32);  // blocks of 128 columns of x a warp normalises",
  );
}

/** Addresses, barriers, the first weights. */
const prologue = `  extern __shared__ u8 raw[];
  ${ringBase}
  const u32 x_codes = ring + STAGES * STAGE, x_scales = x_codes + MAX_STEPS * 128 * MAX_ROWS + 128, w_scales = x_scales + MAX_STEPS * 32;
  const u32 full = (w_scales + SCALE_BLOCKS * MAX_STEPS * 4 + 7) & ~7u, empty = full + 8 * STAGES;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int rank = blockIdx.x, column0 = blockIdx.y * ROWS;
  const int begin = rank * UNITS / SPLIT, units = (rank + 1) * UNITS / SPLIT - begin, first = begin * K_GROUPS, count = units * K_GROUPS;
  auto load_stage = [&](int u) {
    const int stage = u % STAGES;
    mbarrier_arrive_expect_tx(full + 8 * stage, STAGE);
    for (int i = 0; i < K_GROUPS * WARPGROUPS; i++)
      tma_load_2d_hint(ring + stage * STAGE + i * TILE, &w_map, full + 8 * stage, (first + u * K_GROUPS + i / WARPGROUPS) * 128,
          column0 + i % WARPGROUPS * WARPGROUP_ROWS, l2_evict_first());
  };

  if (threadIdx.x == MATH) {
    ${initRing("MATH / 32").replaceAll("\n", "\n    ")}
    fence_mbarrier_init();
    // Weights do not wait for the kernel before: a ring of them comes while it still runs.
    for (int u = 0; u < min(PREFETCH, units); u++) load_stage(u);
  }
  __syncthreads();
  release_next();`;

/** Which 8 columns of which token a thread writes, and what it keeps for them. */
const ownColumns = (of: Cluster, residual: boolean): string =>
  lines(
    `  // Of the result a thread has 8 columns of a token.
  const int token = threadIdx.x / (ROWS / 8), column = threadIdx.x % (ROWS / 8) * 8;
  const bool mine = ${of.mine};
  const long long at = (long long)token * N + column0 + column;`,
    residual && "  uint4 before;",
    "",
  );

/** A thread that keeps the ring full. */
const producer = `  if (warp == MATH / 32) {
    // One thread keeps the weights coming: bytes in flight are what bandwidth needs.
    if (lane == 0)
      for (int u = PREFETCH; u < units; u++) {
        if (u >= STAGES) mbarrier_wait(empty + 8 * (u % STAGES), (u / STAGES - 1) & 1);
        // What is asked for beyond these only queues, and what the kernel before still reads and stores would queue behind.
        const int landed = u - (u < STAGES ? PREFETCH : IN_FLIGHT);
        mbarrier_wait(full + 8 * (landed % STAGES), landed / STAGES & 1);
        load_stage(u);
      }
    __syncwarp();
  } else {`;

/** Warpgroups: the codes of all rows, then products, whose sums go where the ring was. */
const consumer = (loadRows: string, residual: boolean, w: RowScales): string =>
  lines(
    `    const int warpgroup = warp / 4 % WARPGROUPS, k_group = warp / 4 / WARPGROUPS,
        row = warpgroup * WARPGROUP_ROWS + warp % 4 * 16 + lane / 4;
    for (int e = threadIdx.x; e < SCALE_BLOCKS * count; e += MATH)
      cp_async_4(w_scales + (e / count * MAX_STEPS + e % count) * 4,
          w_scale + min(column0 / 128 + e / count, (N - 1) / 128) * STEPS + first + e % count);`,
    loadRows,
    residual && "    if (mine) before = *(const uint4*)(residual + at);  // fetched while weights are multiplied",
    `    cp_async_wait_all();
    fence_proxy_async();  // the tensor cores read the codes of all these threads
    bar_sync(1, MATH);

    // Scales of the two rows of w a lane has sums of.
    ${w.at}
    float sum[4] = {};
    for (int u = 0; u < units; u++) {
      const int stage = u % STAGES, p = u * K_GROUPS + k_group;
      const float2 x_now = ld_shared_v2_f32(x_scales + p * 32 + lane % 4 * 8);
      ${w.read}
      mbarrier_wait(full + 8 * stage, u / STAGES & 1);
      float part[4];
      const u64 w_tile = descriptor_k_major(ring + stage * STAGE + (k_group * WARPGROUPS + warpgroup) * TILE),
          x_tile = descriptor_no_swizzle<16 * MAX_ROWS, 128>(x_codes + p * 128 * MAX_ROWS);
      wgmma_m64n8k128_e4m3_no_swizzle<16 * MAX_ROWS>(part, w_tile, x_tile);
      wgmma_wait_group<0>(part);
      if (lane == 0) mbarrier_arrive(empty + 8 * stage);
#pragma unroll
      for (int i = 0; i < 4; i++) sum[i] = fmaf(part[i], (i % 2 ? x_now.y : x_now.x) * ${w.factor}, sum[i]);
    }

    // The ring has been read and nothing more is coming: it now takes the sums, a token a row.
    bar_sync(1, MATH);
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const int of = lane % 4 * 2 + i % 2, to = row + i / 2 * 8;
      if (of < MAX_ROWS && to < (warpgroup + 1) * WARPGROUP_ROWS)
        st_shared_f32(ring + ((k_group * MAX_ROWS + of) * PITCH + to) * 4, sum[i]);
    }
  }`,
  );

const ADD_RESIDUAL = `    // The residual goes onto y as it would have been stored, rounded.
    const u32 pairs[4] = {before.x, before.y, before.z, before.w};
#pragma unroll
    for (int i = 0; i < 8; i++)
      v[i] = __uint_as_float(i % 2 ? pairs[i / 2] & 0xffff0000u : pairs[i / 2] << 16) + __uint_as_float(pack_bf16(v[i], 0.f) << 16);`;

/** Sums of all steps and blocks, 16 bytes of y a thread. */
const epilogue = (of: Cluster, residual: boolean): string =>
  lines(
    `  ${of.sync}

  // Output: added up over steps and blocks in their order, 16 bytes a store.
  if (mine) {
    float v[8] = {};
#pragma unroll
    for (int d = 0; d < SPLIT * K_GROUPS; d++) {
      const u32 from = ring + ((d % K_GROUPS * MAX_ROWS + token) * PITCH + column) * 4;
      const float4 a = ${of.load("from")}, b = ${of.load("from + 16")};
      v[0] += a.x; v[1] += a.y; v[2] += a.z; v[3] += a.w; v[4] += b.x; v[5] += b.y; v[6] += b.z; v[7] += b.w;
    }`,
    residual && ADD_RESIDUAL,
    `    st_global_v4_u32(y + at, pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]), pack_bf16(v[4], v[5]), pack_bf16(v[6], v[7]));
  }`,
    of.end,
  );

export function gemv(p: GemvRowsProblem, s: GemvShape, machine: Gpu): KernelText {
  const reason = gemvIllegal(p, s, machine);
  if (reason !== null)
    throw new DiagnosticError(illegalSchedule({ op: "block_gemm", problem: { ...p }, schedule: { ...s }, reason }));
  const { n, k, maxRows } = p;
  const { warpgroups, rowsPerWarpgroup, kGroups, split } = s;
  const residual = p.residual === true;
  const math = warpgroups * kGroups * 128;
  const x = rowsOf(p);
  const [added, addend] = residual ? ["_add", "residual + "] : ["", ""];
  const of = split > 1 ? cluster : alone;
  return cudaKernel({
    name: `block_gemm_${n}x${k}${x.suffix}${added}_m${maxRows}_${gemvName(s)}`,
    header: [
      `block_gemm: y [m, ${n}] bf16 = ${addend}${x.text} times w [${n}, ${k}]^T e4m3/128x128, f32 sums; m up to ${maxRows}`,
      `schedule ${JSON.stringify(s)}`,
      floorText(machine, { reads: `${n * k} bytes of weights`, bytes: n * k }),
    ],
    params: [
      tensorMap("w_map", { of: "w", dtype: "e4m3", dims: [k, n], strides: [k], box: [128, rowsPerWarpgroup] }),
      ...x.params,
      input("w_scale", "f32"),
      ...(residual ? [input("residual", "bf16")] : []),
      output("y", "bf16"),
    ],
    dims: ["m"],
    launch: {
      grid: [split, Math.ceil(n / (warpgroups * rowsPerWarpgroup)), 1],
      block: math + 32,
      sharedBytes: gemvBytes(p, s),
      pdl: true,
      blocksPerSM: 1,
      early: x.early,
      ...(split > 1 ? { cluster: [split, 1, 1] as [number, number, number] } : {}),
    },
    definitions: definitions(p, s, math),
    body: lines(
      prologue,
      ownColumns(of, residual),
      producer,
      consumer(x.load, residual, STEP % rowsPerWarpgroup === 0 ? oneScale : twoScales),
      epilogue(of, residual),
    ),
  });
}
