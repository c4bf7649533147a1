// The einsums of absorbed attention: one bf16 matrix per head, few tokens or many. A warp holds a unit of one head's matrix,
// 16 KB, in registers as mma wants it and lets the tokens pass by, so weights are read once whatever m is. Form "nt": rows of w
// are contracted, as stored; form "nn": columns of w, turned over between registers. Same bits every run and for every m. Where a
// head is whole scale blocks, form "nt" can end in codes: the warps of a block then hold one scale block and agree on its largest value.
import { floorText, type Gpu } from "../../../../ir/machine.ts";
import type { KernelText } from "../../../../ir/kernel/catalogue.ts";
import { cudaKernel, input, output } from "../../text/kernel.ts";
import { literal } from "../../printed/element.ts";

/** y[z, i, j] = sum over p of a[z, i, p] b[z, j, p]; strides of [z, i, p], [z, j, p] and [z, i, j] in elements; m varies at run time. */
export interface BmmProblem {
  batch: number;
  n: number;
  k: number;
  a: readonly [number, number, number];
  b: readonly [number, number, number];
  y: readonly [number, number, number];
  x: "bf16" | "f32";
  yType: "bf16" | "f32";
  /** y, rounded to its type, is not written but quantised: codes and a scale for every 128 columns of a head. */
  scale?: "f32" | "ue8m0";
}

export interface BmmSchedule {
  form: "nt" | "nn";
  /** Steps of 32 contracted columns, and 16-row tiles, of a warp's unit; their product is at most 16. */
  steps: number;
  tiles: number;
  warps: number;
}

/** The largest unit that fits the registers, or why there is none. */
export function bmmSchedule(p: BmmProblem): BmmSchedule | string {
  if (p.k % 32 !== 0) return `${p.k} contracted columns are no multiple of 32`;
  if (p.a[2] !== 1 || p.y[2] !== 1) return "rows of x and y must be contiguous";
  const steps = p.k / 32;
  if (steps > 16) return `${p.k} contracted columns do not fit a warp's registers`;
  if ([p.a[0], p.a[1], p.b[0], p.y[0], p.y[1]].some((s) => s % 8 !== 0))
    return "a stride is no multiple of 8 elements, and words of 16 bytes are read";
  if (p.b[2] === 1 && p.b[1] % 8 === 0) {
    const tiles = [4, 2, 1].find((t) => t * steps <= 16 && p.n % (16 * t) === 0);
    if (!tiles) return `${p.n} rows are no multiple of 16`;
    if (p.scale && p.n % 128 !== 0) return `${p.n} columns of a head are no whole scale blocks`;
    return { form: "nt", steps, tiles, warps: p.scale ? 128 / (16 * tiles) : 4 };
  }
  if (p.scale) return "columns of w are contiguous, and that form has no end in codes";
  if (p.b[1] !== 1 || p.b[2] % 8 !== 0) return "w is contiguous along neither axis";
  if (steps > 4) return `${p.k} rows of 64 columns do not fit a warp's registers`;
  return p.n % 64 === 0 ? { form: "nn", steps, tiles: 4, warps: 4 } : `${p.n} columns are no multiple of 64`;
}

export function bmmKernel(p: BmmProblem, s: BmmSchedule, machine: Gpu): KernelText {
  const name = `bmm_${p.scale ? "quant_" : ""}${s.form}_${p.batch}x${p.n}x${p.k}_${p.x}_${p.yType}${p.scale === "ue8m0" ? "_ue8m0" : ""}`;
  const units = bmmUnits(p, s);
  const bytes = 2 * p.batch * p.n * p.k;
  const yBytes = p.scale ? 1 + 4 / 128 : p.yType === "f32" ? 4 : 2;
  return cudaKernel({
    name,
    header: [
      `bmm: y[z, i, :${p.n}] ${p.yType} = a[z, i, :${p.k}] ${p.x} times b[z] bf16, ${p.batch} matrices, f32 sums${p.scale ? "; y goes on as e4m3 codes with a scale per 128 columns" : ""}`,
      `schedule ${JSON.stringify(s)}`,
      `${floorText(machine, { reads: `(${bytes} + ${p.batch * (p.k * (p.x === "f32" ? 4 : 2) + p.n * yBytes)} m) bytes`, bytes })} and more`,
      "every stride is a multiple of 8 elements, and so are the starts",
    ],
    params: [
      input("a", p.x),
      input("b", "bf16"),
      ...(p.scale ? [output("codes", "e4m3"), output("scales", "f32")] : [output("y", p.yType)]),
    ],
    dims: ["m"],
    launch: {
      grid: [Math.ceil(units / s.warps), 1, 1],
      block: 32 * s.warps,
      sharedBytes: 0,
      pdl: true,
      early: ["b"],
      blocksPerSM: Math.max(1, 8 / s.warps),
    },
    definitions: `${bmmConstants(p, s)}${p.scale ? `\nconstexpr int WARPS = ${s.warps};  // together one block of 128 columns` : ""}`,
    body: `  const int lane = threadIdx.x % 32, group = lane / 4, quarter = lane % 4;
  const int unit = blockIdx.x * ${s.warps} + threadIdx.x / 32;
  release_next();
  if (unit >= UNITS) return;
${bmmBody(p, s)}`,
  });
}

/** Units of a product, and how a warp finds its own. */
export const bmmUnits = (p: BmmProblem, s: BmmSchedule): number => (p.batch * p.n) / (16 * s.tiles);
export const bmmConstants = (
  p: BmmProblem,
  s: BmmSchedule,
): string => `constexpr int STEPS = ${s.steps}, TILES = ${s.tiles};  // a unit: ${16 * s.tiles} columns of y, 32 STEPS contracted
constexpr int UNITS = ${bmmUnits(p, s)}, PER_MATRIX = ${p.n / 16 / s.tiles};`;

/** Whether all warps of every block have the same matrix, of rows too long to be loaded at once. */
const together = (p: BmmProblem, s: BmmSchedule): boolean =>
  p.x === "bf16" && s.steps > 4 && bmmUnits(p, s) % s.warps === 0 && (p.n / 16 / s.tiles) % s.warps === 0;

const storeOf = (p: BmmProblem, s: BmmSchedule): string =>
  p.scale ? storeCodes(p) : s.form === "nt" ? storeRows(p) : storeColumns(p);

/** What a warp does with its unit of b: fetch it, wait for the kernel before, let m tokens pass by. Names: unit, lane, group, quarter, a, b, y, m. */
export const bmmBody = (
  p: BmmProblem,
  s: BmmSchedule,
): string => `  const int z = unit / PER_MATRIX, column0 = unit % PER_MATRIX * ${16 * s.tiles};

  // Weights never wait for the kernel before.
${s.form === "nt" ? fetchRows(p) : fetchColumns(p)}
${
  together(p, s)
    ? `  __shared__ uint4 rows_now[8][${p.k / 8 + 4}];  // of a; in banks, 64 bytes from row to row
`
    : ""
}  for (int token0 = 0; token0 < m; token0 += 8) {
    float sum[TILES][4] = {};
    const int token = token0 + group;
${
  together(p, s)
    ? `    // The block's warps have one matrix and multiply the same rows, which come in one round trip: registers are full of weights and would
    // take a row in three.
    if (token0) __syncthreads();
#pragma unroll 1
    for (int e = threadIdx.x; e < min(8, m - token0) * ${p.k / 8}; e += ${32 * s.warps})
      rows_now[e / ${p.k / 8}][e % ${p.k / 8}] = *(const uint4*)(a + (i64)(token0 + e / ${p.k / 8}) * ${p.a[1]} + z * ${p.a[0]} + e % ${p.k / 8} * 8);
    __syncthreads();
    const uint4* from = rows_now[group] + quarter;
`
    : `    const ${p.x === "f32" ? "float" : "u16"}* from = a + (i64)token * ${p.a[1]} + z * ${p.a[0]} + quarter * 8;
`
}#pragma unroll
    for (int step = 0; step < STEPS; step++) {
${
  p.x === "f32"
    ? `      const float4 zero = make_float4(0.f, 0.f, 0.f, 0.f);
      const float4 left = token < m ? *(const float4*)(from + step * 32) : zero, right = token < m ? *(const float4*)(from + step * 32 + 4) : zero;
      float v[8] = {left.x, left.y, left.z, left.w, right.x, right.y, right.z, right.w};
#pragma unroll
      for (int part = 0; part < 3; part++) {
        const uint4 now = split_bf16(v);
#pragma unroll
        for (int t = 0; t < TILES; t++) mma_m16n8k32_bf16(sum[t], upper[step][t], lower[step][t], now);
      }`
    : `      const uint4 now = token < m ? ${together(p, s) ? "from[step * 4]" : "*(const uint4*)(from + step * 32)"} : make_uint4(0, 0, 0, 0);
#pragma unroll
      for (int t = 0; t < TILES; t++) mma_m16n8k32_bf16(sum[t], upper[step][t], lower[step][t], now);`
}
    }
${storeOf(p, s)}
  }
`;

const fetchRows = (p: BmmProblem): string => `  uint4 upper[STEPS][TILES], lower[STEPS][TILES];
#pragma unroll
  for (int step = 0; step < STEPS; step++)
#pragma unroll
    for (int t = 0; t < TILES; t++) {
      const u16* from = b + (i64)z * ${p.b[0]} + (i64)(column0 + t * 16 + group) * ${p.b[1]} + step * 32 + quarter * 8;
      upper[step][t] = ld_global_stream_v4_u32(from);
      lower[step][t] = ld_global_stream_v4_u32(from + 8 * ${p.b[1]});
    }
  await_previous();
`;

// A lane loads eight columns of eight rows and needs eight rows of each column: pairs of rows are joined by halves.
const fetchColumns = (p: BmmProblem): string => `  uint4 rows[STEPS][8];  // eight columns of y of each of eight contracted rows
#pragma unroll
  for (int step = 0; step < STEPS; step++)
#pragma unroll
    for (int r = 0; r < 8; r++) rows[step][r] = ld_global_stream_v4_u32(b + (i64)z * ${p.b[0]} + (i64)(step * 32 + quarter * 8 + r) * ${p.b[2]} + column0 + group * 8);
  await_previous();
  // Turned over: mma's row lane / 4 of tile t is column 8 (lane / 4) + 2 t of the unit, its row + 8 the column beside.
  uint4 upper[STEPS][TILES], lower[STEPS][TILES];
#pragma unroll
  for (int step = 0; step < STEPS; step++) {
    const uint4* v = rows[step];
    auto even = [](u32 p, u32 q) { return __byte_perm(p, q, 0x5410); };
    auto odd = [](u32 p, u32 q) { return __byte_perm(p, q, 0x7632); };
${["x", "y", "z", "w"]
  .map(
    (w, t) => `    upper[step][${t}] = make_uint4(${[0, 2, 4, 6].map((r) => `even(v[${r}].${w}, v[${r + 1}].${w})`).join(", ")});
    lower[step][${t}] = make_uint4(${[0, 2, 4, 6].map((r) => `odd(v[${r}].${w}, v[${r + 1}].${w})`).join(", ")});`,
  )
  .join("\n")}
  }
`;

const storeRows = (
  p: BmmProblem,
): string => `    // Sums of a lane: columns group and group + 8 of a tile, tokens 2 quarter and + 1.
#pragma unroll
    for (int t = 0; t < TILES; t++)
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int to = token0 + quarter * 2 + i % 2;
        if (to < m) y[(i64)to * ${p.y[1]} + z * ${p.y[0]} + column0 + t * 16 + group + i / 2 * 8] = ${p.yType === "f32" ? "sum[t][i]" : "(u16)pack_bf16(sum[t][i], 0.f)"};
      }`;

const storeColumns = (p: BmmProblem): string => `    // A lane has eight columns side by side of tokens 2 quarter and + 1.
#pragma unroll
    for (int i = 0; i < 2; i++) {
      const int to = token0 + quarter * 2 + i;
      if (to >= m) continue;
${
  p.yType === "f32"
    ? `      float4* at = (float4*)(y + (i64)to * ${p.y[1]} + z * ${p.y[0]} + column0 + group * 8);
      at[0] = make_float4(sum[0][i], sum[0][i + 2], sum[1][i], sum[1][i + 2]);
      at[1] = make_float4(sum[2][i], sum[2][i + 2], sum[3][i], sum[3][i + 2]);`
    : `      *(uint4*)(y + (i64)to * ${p.y[1]} + z * ${p.y[0]} + column0 + group * 8) =
          make_uint4(pack_bf16(sum[0][i], sum[0][i + 2]), pack_bf16(sum[1][i], sum[1][i + 2]), pack_bf16(sum[2][i], sum[2][i + 2]), pack_bf16(sum[3][i], sum[3][i + 2]));`
}
    }`;

// Rounded as y would be, then as quantize does it: s = max(largest, 1e-4) / 448. Every other turn of tokens has its own places, so one
// barrier a turn is enough.
const storeCodes = (
  p: BmmProblem,
): string => `    // One scale for a token's 128 columns: the largest of a lane's, of the eight lanes that share its tokens, of all warps.
    __shared__ float largest[2][WARPS][8];
    const int turn = token0 / 8 % 2;
    float most[2] = {};
#pragma unroll
    for (int t = 0; t < TILES; t++)
#pragma unroll
      for (int i = 0; i < 4; i++) {
${p.yType === "f32" ? "" : "        sum[t][i] = __uint_as_float(pack_bf16(sum[t][i], 0.f) << 16);\n"}        most[i % 2] = larger(most[i % 2], fabsf(sum[t][i]));
      }
#pragma unroll
    for (int apart = 4; apart < 32; apart *= 2)
#pragma unroll
      for (int i = 0; i < 2; i++) most[i] = larger(most[i], __shfl_xor_sync(0xffffffffu, most[i], apart));
    if (group < 2) largest[turn][threadIdx.x / 32][quarter * 2 + group] = group == 0 ? most[0] : most[1];
    __syncthreads();
#pragma unroll
    for (int i = 0; i < 2; i++) {
#pragma unroll
      for (int w = 0; w < WARPS; w++) most[i] = larger(most[i], largest[turn][w][quarter * 2 + i]);
      const int to = token0 + quarter * 2 + i;
      if (to >= m) continue;
      const float plain = __fdiv_rn(larger(most[i], ${literal(Math.fround(1e-4), "f32")}), 448.0f), s = ${p.scale === "ue8m0" ? "pow2_ceil(plain)" : "plain"};
      const int column = z * ${p.n} + column0;
#pragma unroll
      for (int t = 0; t < TILES; t++)
#pragma unroll
        for (int v = i; v < 4; v += 2) codes[(i64)to * ${p.batch * p.n} + column + t * 16 + group + v / 2 * 8] = to_e4m3(__fdiv_rn(sum[t][v], s));
      if (column % 128 == 0 && group == 0) scales[(i64)to * ${(p.batch * p.n) / 128} + column / 128] = s;
    }`;
