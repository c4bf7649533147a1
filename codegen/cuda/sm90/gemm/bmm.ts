// The einsums of absorbed attention: one bf16 matrix per head, few tokens or many. A warp holds a unit of one head's matrix,
// 16 KB, in registers as mma wants it and lets the tokens pass by, so weights are read once whatever m is, or, where heads are too few
// to fill the multiprocessors, once for each of some shares of the tokens. Form "nt": rows of w are contracted, as stored; form "nn":
// columns of w, turned over between registers. Same bits every run and for every m. Where a
// head is whole scale blocks, form "nt" can end in codes: the warps of a block then hold one scale block and agree on its largest value.
import { floorText, type Gpu } from "../../../../ir/machine.ts";
import { ceildiv, type Size } from "../../../../ir/size.ts";
import type { KernelText } from "../../../../ir/kernel/catalogue.ts";
import { cudaKernel, input, output, type Parameter } from "../../text/kernel.ts";
import { lines } from "../../text/lines.ts";
import { storeOf } from "./bmm-epilogue.ts";
import type { BmmProblem, BmmSchedule } from "./bmm-schedule.ts";

export { bmmSchedule, type BmmProblem, type BmmSchedule } from "./bmm-schedule.ts";

/** What a product ends in: rows of y, or codes with scales. */
const resultOf = (
  p: BmmProblem,
): { op: string; suffix: string; bytes: number; summary: string; params: Parameter[]; constants: string | null } =>
  p.scale
    ? {
        op: "bmm_quant_",
        suffix: { f32: "", ue8m0: "_ue8m0" }[p.scale],
        bytes: 1 + 4 / 128,
        summary: "; y goes on as e4m3 codes with a scale per 128 columns",
        params: [output("codes", "e4m3"), output("scales", "f32")],
        constants: "  // together one block of 128 columns",
      }
    : {
        op: "bmm_",
        suffix: "",
        bytes: bytesOf[p.yType],
        summary: "",
        params: [output("y", p.yType)],
        constants: null,
      };

const bytesOf = { bf16: 2, f32: 4 } as const;

export function bmmKernel(p: BmmProblem, s: BmmSchedule, machine: Gpu): KernelText {
  const y = resultOf(p);
  const bytes = 2 * p.batch * p.n * p.k;
  const reads = `(${bytes} + ${p.batch * (p.k * bytesOf[p.x] + p.n * y.bytes)} m) bytes`;
  return cudaKernel({
    name: `${y.op}${s.form}_${p.batch}x${p.n}x${p.k}_${p.x}_${p.yType}${y.suffix}`,
    header: [
      `bmm: y[z, i, :${p.n}] ${p.yType} = a[z, i, :${p.k}] ${p.x} times b[z] bf16, ${p.batch} matrices, f32 sums${y.summary}`,
      `schedule ${JSON.stringify(s)}`,
      `${floorText(machine, { reads, bytes })} and more`,
      "every stride is a multiple of 8 elements, and so are the starts",
    ],
    params: [input("a", p.x), input("b", "bf16"), ...y.params],
    dims: ["m"],
    launch: {
      grid: [productBlocks(p, s), bmmShares(p, s, machine, "m").size, 1],
      block: 32 * s.warps,
      sharedBytes: 0,
      pdl: true,
      early: ["b"],
      blocksPerSM: Math.max(1, RESIDENT_WARPS / s.warps),
    },
    definitions: lines(bmmConstants(p, s), y.constants !== null && `constexpr int WARPS = ${s.warps};${y.constants}`),
    body: `  const int lane = threadIdx.x % 32, group = lane / 4, quarter = lane % 4;
  const int unit = blockIdx.x * ${s.warps} + threadIdx.x / 32;
  release_next();
  if (unit >= UNITS) return;
${bmmBody(p, s, machine, { share: "blockIdx.y", shares: "gridDim.y" })}`,
  });
}

/** Units of a product, and how a warp finds its own. */
export const bmmUnits = (p: BmmProblem, s: BmmSchedule): number => (p.batch * p.n) / (16 * s.tiles);
const productBlocks = (p: BmmProblem, s: BmmSchedule): number => Math.ceil(bmmUnits(p, s) / s.warps);

/** Warps that a multiprocessor holds, by their registers. */
const RESIDENT_WARPS = 8;
/** Tokens of a share at least: two turns of eight are worth the weights that are read again for them. */
const SHARE = 16;

/** Shares of the tokens at most: as many as find room at once. */
const mostShares = (p: BmmProblem, s: BmmSchedule, { multiprocessors }: Gpu): number =>
  Math.max(1, Math.floor((RESIDENT_WARPS * multiprocessors) / (s.warps * productBlocks(p, s))));

/** Shares of m tokens, as a launch counts them, and as text. */
export function bmmShares(p: BmmProblem, s: BmmSchedule, machine: Gpu, m: string): { size: Size; text: string } {
  const most = mostShares(p, s, machine);
  if (most === 1) return { size: 1, text: "1" };
  return { size: { op: "min", of: [ceildiv(m, SHARE), most] }, text: `min((${m} + ${SHARE - 1}) / ${SHARE}, ${most})` };
}

export const bmmConstants = (
  p: BmmProblem,
  s: BmmSchedule,
): string => `constexpr int STEPS = ${s.steps}, TILES = ${s.tiles};  // a unit: ${16 * s.tiles} columns of y, 32 STEPS contracted
constexpr int UNITS = ${bmmUnits(p, s)}, PER_MATRIX = ${p.n / 16 / s.tiles};`;

/** Whether all warps of every block have the same matrix, of rows too long to be loaded at once. */
const together = (p: BmmProblem, s: BmmSchedule): boolean =>
  p.x === "bf16" && s.steps > 4 && bmmUnits(p, s) % s.warps === 0 && (p.n / 16 / s.tiles) % s.warps === 0;

/** How a warp gets the eight rows of a that it multiplies next: declared before the tokens, fetched for eight, read for a step. */
interface TokenRows {
  declare: string | null;
  fetch: string;
  multiply: string;
}

/** Words of 16 bytes, zeros past the last token. */
const multiplyBf16 = (word: string): string => `      const uint4 now = token < last ? ${word} : make_uint4(0, 0, 0, 0);
#pragma unroll
      for (int t = 0; t < TILES; t++) mma_m16n8k32_bf16(sum[t], upper[step][t], lower[step][t], now);`;

const fromMemory = (p: BmmProblem, type: string): string =>
  `    const ${type}* from = a + (i64)token * ${p.a[1]} + z * ${p.a[0]} + quarter * 8;\n`;

/** f32 rows: in three parts of bf16, which keep all of their bits. */
const f32Rows = (p: BmmProblem): TokenRows => ({
  declare: null,
  fetch: fromMemory(p, "float"),
  multiply: `      const float4 zero = make_float4(0.f, 0.f, 0.f, 0.f);
      const float4 left = token < last ? *(const float4*)(from + step * 32) : zero,
          right = token < last ? *(const float4*)(from + step * 32 + 4) : zero;
      float v[8] = {left.x, left.y, left.z, left.w, right.x, right.y, right.z, right.w};
#pragma unroll
      for (int part = 0; part < 3; part++) {
        const uint4 now = split_bf16(v);
#pragma unroll
        for (int t = 0; t < TILES; t++) mma_m16n8k32_bf16(sum[t], upper[step][t], lower[step][t], now);
      }`,
});

/** Every warp reads for itself. */
const ownRows = (p: BmmProblem): TokenRows => ({
  declare: null,
  fetch: fromMemory(p, "u16"),
  multiply: multiplyBf16("*(const uint4*)(from + step * 32)"),
});

/** The warps of a block read together, eight tokens ahead of what they multiply. */
const sharedRows = (p: BmmProblem, s: BmmSchedule): TokenRows => ({
  declare: `  // The block's warps have one matrix and multiply the same rows of a: eight, while the next eight are on their way,
  // for registers are full of weights. In banks, 64 bytes from row to row.
  __shared__ uint4 rows_now[2][8][${p.k / 8 + 4}];
  const auto copy_rows = [&](int token) {
#pragma unroll 1
    for (int e = threadIdx.x; e < min(8, last - token) * ${p.k / 8}; e += ${32 * s.warps})
      cp_async_16(shared_address(&rows_now[token / 8 % 2][e / ${p.k / 8}][e % ${p.k / 8}]),
          a + (i64)(token + e / ${p.k / 8}) * ${p.a[1]} + z * ${p.a[0]} + e % ${p.k / 8} * 8);
  };
  copy_rows(first);`,
  fetch: `    cp_async_wait_all();
    __syncthreads();  // of all threads; and the turn before has been multiplied
    if (token0 + 8 < last) copy_rows(token0 + 8);
    const uint4* from = rows_now[token0 / 8 % 2][group] + quarter;
`,
  multiply: multiplyBf16("from[step * 4]"),
});

const rowsOf = (p: BmmProblem, s: BmmSchedule): TokenRows =>
  p.x === "f32" ? f32Rows(p) : together(p, s) ? sharedRows(p, s) : ownRows(p);

/**
 * What a warp does with its unit of b: fetch it, wait for the kernel before, let its share of m tokens pass by. Names: unit, lane, group,
 * quarter, a, b, y, m; which share of how many is the block's.
 */
export function bmmBody(p: BmmProblem, s: BmmSchedule, machine: Gpu, of: { share: string; shares: string }): string {
  const rows = rowsOf(p, s);
  return lines(
    `  const int z = unit / PER_MATRIX, column0 = unit % PER_MATRIX * ${16 * s.tiles};

  // Weights never wait for the kernel before.`,
    s.form === "nt" ? fetchRows(p) : fetchColumns(p),
    "",
    mostShares(p, s, machine) === 1
      ? "  const int first = 0, last = m;"
      : `  // A share of the tokens, in whole turns of eight.
  const int turns = ((m + 7) / 8 + ${of.shares} - 1) / ${of.shares}, first = ${of.share} * turns * 8, last = min(m, first + turns * 8);`,
    rows.declare,
    `  for (int token0 = first; token0 < last; token0 += 8) {
    float sum[TILES][4] = {};
    const int token = token0 + group;
${rows.fetch}#pragma unroll
    for (int step = 0; step < STEPS; step++) {
${rows.multiply}
    }
${storeOf(p, s)}
  }
`,
  );
}

const fetchRows = (p: BmmProblem): string => `  uint4 upper[STEPS][TILES], lower[STEPS][TILES];
#pragma unroll
  for (int step = 0; step < STEPS; step++)
#pragma unroll
    for (int t = 0; t < TILES; t++) {
      const u16* from = b + (i64)z * ${p.b[0]} + (i64)(column0 + t * 16 + group) * ${p.b[1]} + step * 32 + quarter * 8;
      upper[step][t] = ld_global_stream_v4_u32(from);
      lower[step][t] = ld_global_stream_v4_u32(from + 8 * ${p.b[1]});
    }
  await_previous();`;

// A lane loads eight columns of eight rows and needs eight rows of each column: pairs of rows are joined by halves.
const fetchColumns = (p: BmmProblem): string => `  uint4 rows[STEPS][8];  // eight columns of y of each of eight contracted rows
#pragma unroll
  for (int step = 0; step < STEPS; step++)
#pragma unroll
    for (int r = 0; r < 8; r++)
      rows[step][r] = ld_global_stream_v4_u32(
          b + (i64)z * ${p.b[0]} + (i64)(step * 32 + quarter * 8 + r) * ${p.b[2]} + column0 + group * 8);
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
  }`;
