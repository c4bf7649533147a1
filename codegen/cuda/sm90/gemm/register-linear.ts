// A bf16 linear of few rows: time is the time to read w, so every warp streams rows of w from memory straight into registers,
// many 16-byte loads ahead, and multiplies them by up to 16 tokens with mma. The first loads are under way before the kernel
// before has ended, for weights never wait. Any n and k whose product is a multiple of 8: rows of odd length start at any
// element, so a warp takes rows whose starts lie alike and reads x at the same offset. Same bits every run.
import { floorText, type Gpu } from "../../../../ir/machine.ts";
import type { KernelText } from "../../../../ir/kernel/catalogue.ts";
import { DiagnosticError } from "../../../../ir/diagnostic.ts";
import {
  blockRows,
  isAligned,
  periodOf,
  WARPS,
  registerName,
  illegalRegisters,
  type Bf16Problem,
  type RegisterSchedule,
} from "./register-schedule.ts";
import { illegalSchedule } from "../diagnostics.ts";
import { cudaKernel, input, output } from "../../text/kernel.ts";

export function registerLinear(p: Bf16Problem, s: RegisterSchedule, machine: Gpu): KernelText {
  const reason = illegalRegisters(p);
  if (reason !== null) throw new DiagnosticError(illegalSchedule("linear", { ...p }, { ...s }, reason));
  const { n, k } = p;
  const name = `linear_${n}x${k}_${p.x}_${p.y}_${registerName(s)}`;
  const aligned = isAligned(p);
  const period = periodOf(k);
  const words = period > 1 ? Math.ceil((k + 7) / 8) : k / 8;
  const batches = Math.ceil(words / (4 * s.kWarps * s.depth));
  const whole = aligned && batches * 4 * s.kWarps * s.depth === words;
  const tiles = s.tokens / 8;
  const shared = s.kWarps > 1;
  const stored = (v: string): string => (p.y === "f32" ? v : `(u16)pack_bf16(${v}, 0.f)`);
  const definitions = `constexpr int N = ${n}, K = ${k}, X_STRIDE = ${p.xStride}, Y_STRIDE = ${p.yStride};
constexpr int ROW_WARPS = ${s.rowWarps}, K_WARPS = ${s.kWarps};  // warps with rows of their own; warps that share a row
${whole || period > 1 ? "" : `constexpr int WORDS = ${words};                    // of 16 bytes that a row touches\n`}constexpr int DEPTH = ${s.depth}, BATCHES = ${batches};         // steps of 32 columns in flight; batches of so many steps a row
${period > 1 ? `constexpr int PERIOD = ${period}, ALIKE = N / PERIOD;  // rows r, r + PERIOD, ... start alike within 16 bytes\n` : ""}`;
  const body = `  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, group = lane / 4, quarter = lane % 4;
  const int row_warp = warp / K_WARPS, k_warp = warp % K_WARPS;
  release_next();

  // Every warp has the same number of rows, give or take one${period > 1 ? "; rows are counted by where they start, so that neighbours lie alike" : ""}.
  const int share = blockIdx.x * ROW_WARPS + row_warp;
  const int begin = share * N / (${s.blocks} * ROW_WARPS), end = (share + 1) * N / (${s.blocks} * ROW_WARPS);
${
  shared
    ? `  const int block_begin = blockIdx.x * ROW_WARPS * N / (${s.blocks} * ROW_WARPS);
  __shared__ float parts[K_WARPS][${blockRows(p, s)}][${s.tokens}];\n`
    : ""
}
  // A tile is up to 16 rows; lanes past its end repeat the last row, which costs no traffic.
  int first = begin, batch = 0;
  uint4 upper[DEPTH], lower[DEPTH];
  auto rows_of = [&](int from) { return min(16, ${period > 1 ? "min(end, (from / ALIKE + 1) * ALIKE)" : "end"} - from); };
${period > 1 ? "  auto shift_of = [&](int from) { return from / ALIKE * K % 8; };  // elements between a row's start and the 16 bytes it lies in\n" : ""}  auto word_of = [&](int batch, int u) { return ((batch * (DEPTH / 2) + u / 2) * K_WARPS + k_warp) * 8 + u % 2 * 4 + quarter; };  // 128 bytes a warp
  auto fetch = [&](int u, int first, int batch) {
    const int last = rows_of(first) - 1, word = word_of(batch, u);
    const int a = first + min(group, last), b = first + min(group + 8, last);
${
  period > 1
    ? `    const int shift = shift_of(first), class_at = first / ALIKE;
    if (word < (K + shift + 7) / 8) {
      upper[u] = ld_global_stream_v4_u32(w + (i64)((a - class_at * ALIKE) * PERIOD + class_at) * K - shift + word * 8);
      lower[u] = ld_global_stream_v4_u32(w + (i64)((b - class_at * ALIKE) * PERIOD + class_at) * K - shift + word * 8);
    } else upper[u] = lower[u] = make_uint4(0, 0, 0, 0);`
    : whole
      ? `    upper[u] = ld_global_stream_v4_u32(w + (i64)a * K + word * 8);
    lower[u] = ld_global_stream_v4_u32(w + (i64)b * K + word * 8);`
      : `    if (word < WORDS) {
      upper[u] = ld_global_stream_v4_u32(w + (i64)a * K + word * 8);
      lower[u] = ld_global_stream_v4_u32(w + (i64)b * K + word * 8);
    } else upper[u] = lower[u] = make_uint4(0, 0, 0, 0);`
}
  };
  if (begin < end) {
#pragma unroll
    for (int u = 0; u < DEPTH; u++) fetch(u, first, 0);
  }
  await_previous();

  float sum[${tiles}][4] = {};
  while (first < end) {
    // The next batch: of the same rows, or the first of the next tile.
    const int rows = rows_of(first), next_batch = batch + 1 == BATCHES ? 0 : batch + 1, next = next_batch ? first : first + rows;
${xLoads(p, s, period, aligned, whole)}
#pragma unroll
    for (int u = 0; u < DEPTH; u++) {
#pragma unroll
      for (int t = 0; t < ${tiles}; t++) ${
        p.x === "f32"
          ? `{
#pragma unroll
        for (int part = 0; part < 3; part++) mma_m16n8k32_bf16(sum[t], upper[u], lower[u], split_bf16(tokens[u][t]));
      }`
          : "mma_m16n8k32_bf16(sum[t], upper[u], lower[u], tokens[u][t]);"
      }
      if (next < end) fetch(u, next, next_batch);
    }
    if (next_batch == 0) {
      // The rows are done: sums of a lane are rows group and group + 8, tokens 2 quarter and + 1 of every eight.
#pragma unroll
      for (int t = 0; t < ${tiles}; t++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
          const int row = group + i / 2 * 8, token = t * 8 + quarter * 2 + i % 2;
${
  shared
    ? "          if (row < rows) parts[k_warp][first - block_begin + row][token] = sum[t][i];"
    : `          if (row < rows && token < m) y[(i64)token * Y_STRIDE + ${period > 1 ? "(first + row) % ALIKE * PERIOD + first / ALIKE" : "first + row"}] = ${stored("sum[t][i]")};`
}
          sum[t][i] = 0.f;
        }
    }
    first = next; batch = next_batch;
  }
${
  shared
    ? `
  // The parts of a row, one from each warp that shares it, added in their order.
  __syncthreads();
  const int block_rows = (blockIdx.x + 1) * ROW_WARPS * N / (${s.blocks} * ROW_WARPS) - block_begin;
  for (int e = threadIdx.x; e < block_rows * m; e += ${32 * WARPS}) {
    const int row = e % block_rows, token = e / block_rows;
    float total = parts[0][row][token];
#pragma unroll
    for (int part = 1; part < K_WARPS; part++) total += parts[part][row][token];
    y[(i64)token * Y_STRIDE + ${period > 1 ? "(block_begin + row) % ALIKE * PERIOD + (block_begin + row) / ALIKE" : "block_begin + row"}] = ${stored("total")};
  }
`
    : ""
}`;
  return cudaKernel({
    name,
    header: [
      `linear: y [m, ${n}] ${p.y} = x [m, ${k}] ${p.x} times w [${n}, ${k}]^T bf16, f32 sums; m up to ${s.tokens}`,
      `schedule ${JSON.stringify(s)}`,
      floorText(machine, { reads: `${2 * n * k} bytes of weights`, bytes: 2 * n * k }),
      ...(aligned
        ? ["x, w and every row of x start at multiples of 16 bytes"]
        : [
            `rows of w start at multiples of ${16 / period} bytes: a tile holds every ${period}th row, whose starts lie alike; weights are finite`,
          ]),
    ],
    params: [input("x", p.x), input("w", "bf16"), output("y", p.y)],
    dims: ["m"],
    launch: { grid: [s.blocks, 1, 1], block: 32 * WARPS, sharedBytes: 0, pdl: true, early: ["w"] },
    definitions,
    body,
  });
}

/** Loads of the tokens of a batch, from L1 or L2: all in flight together. Rows past m are zeros. */
function xLoads(p: Bf16Problem, s: RegisterSchedule, period: number, aligned: boolean, whole: boolean): string {
  const tiles = s.tokens / 8;
  const f32 = p.x === "f32";
  const declare = f32 ? `    float tokens[DEPTH][${tiles}][8];` : `    uint4 tokens[DEPTH][${tiles}];`;
  const loop = (body: string): string => `${declare}
#pragma unroll
    for (int u = 0; u < DEPTH; u++)
#pragma unroll
      for (int t = 0; t < ${tiles}; t++) {
        const int token = group + t * 8, word = word_of(batch, u);
${body}
      }`;
  const inside = `token < m${whole ? "" : " && word < WORDS"}`;
  if (aligned)
    return loop(
      f32
        ? `        const float4* from = (const float4*)(x + (i64)token * X_STRIDE + word * 8);
        const float4 zero = make_float4(0.f, 0.f, 0.f, 0.f), a = ${inside} ? from[0] : zero, b = ${inside} ? from[1] : zero;
        float* v = tokens[u][t];
        v[0] = a.x; v[1] = a.y; v[2] = a.z; v[3] = a.w; v[4] = b.x; v[5] = b.y; v[6] = b.z; v[7] = b.w;`
        : `        tokens[u][t] = ${inside} ? *(const uint4*)(x + (i64)token * X_STRIDE + word * 8) : make_uint4(0, 0, 0, 0);`,
    );
  // One element at a time: x starts anywhere, and what lies outside the row of w meets zeros.
  const at = period > 1 ? "word * 8 - shift_of(first)" : "word * 8";
  return loop(`        const ${f32 ? "float" : "u16"}* from = x + (i64)token * X_STRIDE + ${at};
        ${f32 ? "float" : "u32"} v[8];
#pragma unroll
        for (int e = 0; e < 8; e++) {
          const int column = ${at} + e;
          v[e] = token < m && column >= 0 && column < K ? from[e] : ${f32 ? "0.f" : "0"};
        }
${
  f32
    ? `#pragma unroll
        for (int e = 0; e < 8; e++) tokens[u][t][e] = v[e];`
    : "        tokens[u][t] = make_uint4(v[0] | v[1] << 16, v[2] | v[3] << 16, v[4] | v[5] << 16, v[6] | v[7] << 16);"
}`);
}
