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
import { loadTokens } from "./register-tokens.ts";
import { illegalSchedule } from "../diagnostics.ts";
import { cudaKernel, input, output } from "../../text/kernel.ts";
import { lines } from "../../text/lines.ts";

/** How rows of w lie in words of 16 bytes, as text. */
interface WeightRows {
  constants: string | null;
  /** How rows are counted, in the comment on shares. */
  summary: string;
  /** Rows from one on that lie alike end at. */
  end: string;
  shift: string | null;
  /** Loads words of rows a and b of w. */
  fetch: string;
  /** Row of w of a tile's row; and of a block's. */
  row: string;
  blockRow: string;
  /** Column of the first element of a word. */
  column: string;
}

const loadWords = (
  indent: string,
  a: string,
  b: string,
): string => `${indent}upper[u] = ld_global_stream_v4_u32(w + ${a} + word * 8);
${indent}lower[u] = ld_global_stream_v4_u32(w + ${b} + word * 8);`;

const orZeros = (inside: string, load: string): string => `    if (${inside}) {
${load}
    } else upper[u] = lower[u] = make_uint4(0, 0, 0, 0);`;

/** Rows start at multiples of 16 bytes. `whole`: so many words that every lane of every batch has one. */
const alignedRows = (words: number, whole: boolean): WeightRows => ({
  constants: whole ? null : `constexpr int WORDS = ${words};                    // of 16 bytes that a row touches`,
  summary: "",
  end: "end",
  shift: null,
  fetch: whole
    ? loadWords("    ", "(i64)a * K", "(i64)b * K")
    : orZeros("word < WORDS", loadWords("      ", "(i64)a * K", "(i64)b * K")),
  row: "first + row",
  blockRow: "block_begin + row",
  column: "word * 8",
});

/** Rows start anywhere: a warp takes those whose starts lie alike, every PERIOD-th. */
const rowsAlike: WeightRows = {
  constants: null,
  summary: "; rows are counted by where they start, so that neighbours lie alike",
  end: "min(end, (from / ALIKE + 1) * ALIKE)",
  shift:
    "  auto shift_of = [&](int from) { return from / ALIKE * K % 8; };  // elements between a row's start and the 16 bytes it lies in",
  fetch: lines(
    "    const int shift = shift_of(first), class_at = first / ALIKE;",
    orZeros(
      "word < (K + shift + 7) / 8",
      loadWords(
        "      ",
        "(i64)((a - class_at * ALIKE) * PERIOD + class_at) * K - shift",
        "(i64)((b - class_at * ALIKE) * PERIOD + class_at) * K - shift",
      ),
    ),
  ),
  row: "(first + row) % ALIKE * PERIOD + first / ALIKE",
  blockRow: "(block_begin + row) % ALIKE * PERIOD + (block_begin + row) / ALIKE",
  column: "word * 8 - shift_of(first)",
};

/** A kernel's parts. */
interface Variant {
  p: Bf16Problem;
  s: RegisterSchedule;
  period: number;
  batches: number;
  /** x is read in words of 16 bytes too. */
  aligned: boolean;
  whole: boolean;
  rows: WeightRows;
  /** Tiles of eight tokens. */
  tiles: number;
  /** A value of y, rounded. */
  stored: (v: string) => string;
}

function variantOf(p: Bf16Problem, s: RegisterSchedule): Variant {
  const [aligned, period] = [isAligned(p), periodOf(p.k)];
  const words = period > 1 ? Math.ceil((p.k + 7) / 8) : p.k / 8;
  const batches = Math.ceil(words / (4 * s.kWarps * s.depth));
  const whole = aligned && batches * 4 * s.kWarps * s.depth === words;
  return {
    p,
    s,
    period,
    batches,
    aligned,
    whole,
    rows: period > 1 ? rowsAlike : alignedRows(words, whole),
    tiles: s.tokens / 8,
    stored: (v) => (p.y === "f32" ? v : `(u16)pack_bf16(${v}, 0.f)`),
  };
}

/** Constants. */
const definitions = ({ p, s, period, batches, rows }: Variant): string =>
  lines(
    `constexpr int N = ${p.n}, K = ${p.k}, X_STRIDE = ${p.xStride}, Y_STRIDE = ${p.yStride};
constexpr int ROW_WARPS = ${s.rowWarps}, K_WARPS = ${s.kWarps};  // warps with rows of their own; warps that share a row`,
    rows.constants,
    `constexpr int DEPTH = ${s.depth}, BATCHES = ${batches};         // steps of 32 columns in flight; batches of so many steps a row`,
    period > 1 && `constexpr int PERIOD = ${period}, ALIKE = N / PERIOD;  // rows r, r + PERIOD, ... start alike within 16 bytes`,
  );

/** A warp's rows, and its first loads, before the kernel before has ended. */
const prologue = ({ p, s, rows }: Variant): string =>
  lines(
    `  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, group = lane / 4, quarter = lane % 4;
  const int row_warp = warp / K_WARPS, k_warp = warp % K_WARPS;
  release_next();

  // Every warp has the same number of rows, give or take one${rows.summary}.
  const int share = blockIdx.x * ROW_WARPS + row_warp;
  const int begin = share * N / (${s.blocks} * ROW_WARPS), end = (share + 1) * N / (${s.blocks} * ROW_WARPS);`,
    s.kWarps > 1 &&
      `  const int block_begin = blockIdx.x * ROW_WARPS * N / (${s.blocks} * ROW_WARPS);
  __shared__ float parts[K_WARPS][${blockRows(p, s)}][${s.tokens}];`,
    `
  // A tile is up to 16 rows; lanes past its end repeat the last row, which costs no traffic.
  int first = begin, batch = 0;
  uint4 upper[DEPTH], lower[DEPTH];
  auto rows_of = [&](int from) { return min(16, ${rows.end} - from); };`,
    rows.shift,
    `  // 128 bytes a warp.
  auto word_of = [&](int batch, int u) { return ((batch * (DEPTH / 2) + u / 2) * K_WARPS + k_warp) * 8 + u % 2 * 4 + quarter; };
  auto fetch = [&](int u, int first, int batch) {
    const int last = rows_of(first) - 1, word = word_of(batch, u);
    const int a = first + min(group, last), b = first + min(group + 8, last);
${rows.fetch}
  };
  if (begin < end) {
#pragma unroll
    for (int u = 0; u < DEPTH; u++) fetch(u, first, 0);
  }
  await_previous();
`,
  );

/** One product of words in registers by a tile of tokens; f32 rows in three parts of bf16, which keep all of their bits. */
const multiply = (x: Bf16Problem["x"]): string =>
  x === "f32"
    ? `{
#pragma unroll
        for (int part = 0; part < 3; part++) mma_m16n8k32_bf16(sum[t], upper[u], lower[u], split_bf16(tokens[u][t]));
      }`
    : "mma_m16n8k32_bf16(sum[t], upper[u], lower[u], tokens[u][t]);";

/** Which words there are of a token. */
const insideOf = (whole: boolean): string => (whole ? "token < m" : "token < m && word < WORDS");

/** Batch after batch: products of what is there, while the next comes. */
function consumer(v: Variant): string {
  const { p, s, tiles, rows } = v;
  const done =
    s.kWarps > 1
      ? "if (row < rows) parts[k_warp][first - block_begin + row][token] = sum[t][i];"
      : `if (row < rows && token < m) y[(i64)token * Y_STRIDE + ${rows.row}] = ${v.stored("sum[t][i]")};`;
  return `  float sum[${tiles}][4] = {};
  while (first < end) {
    // The next batch: of the same rows, or the first of the next tile.
    const int rows = rows_of(first), next_batch = batch + 1 == BATCHES ? 0 : batch + 1, next = next_batch ? first : first + rows;
${loadTokens(p.x, tiles, v.aligned ? { inside: insideOf(v.whole) } : { column: rows.column })}
#pragma unroll
    for (int u = 0; u < DEPTH; u++) {
#pragma unroll
      for (int t = 0; t < ${tiles}; t++) ${multiply(p.x)}
      if (next < end) fetch(u, next, next_batch);
    }
    if (next_batch == 0) {
      // The rows are done: sums of a lane are rows group and group + 8, tokens 2 quarter and + 1 of every eight.
#pragma unroll
      for (int t = 0; t < ${tiles}; t++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
          const int row = group + i / 2 * 8, token = t * 8 + quarter * 2 + i % 2;
          ${done}
          sum[t][i] = 0.f;
        }
    }
    first = next; batch = next_batch;
  }`;
}

/** Where warps share rows: their sums, added up. */
const addParts = ({ s, rows, stored }: Variant): string => `
  // The parts of a row, one from each warp that shares it, added in their order.
  __syncthreads();
  const int block_rows = (blockIdx.x + 1) * ROW_WARPS * N / (${s.blocks} * ROW_WARPS) - block_begin;
  for (int e = threadIdx.x; e < block_rows * m; e += ${32 * WARPS}) {
    const int row = e % block_rows, token = e / block_rows;
    float total = parts[0][row][token];
#pragma unroll
    for (int part = 1; part < K_WARPS; part++) total += parts[part][row][token];
    y[(i64)token * Y_STRIDE + ${rows.blockRow}] = ${stored("total")};
  }
`;

/** What the header says of where rows start. */
const startsOf = ({ aligned, period }: Variant): string =>
  aligned
    ? "x, w and every row of x start at multiples of 16 bytes"
    : `rows of w start at multiples of ${16 / period} bytes: a tile holds every ${period}th row, whose starts lie alike; ` +
      "weights are finite";

export function registerLinear(p: Bf16Problem, s: RegisterSchedule, machine: Gpu): KernelText {
  const reason = illegalRegisters(p);
  if (reason !== null)
    throw new DiagnosticError(illegalSchedule({ op: "linear", problem: { ...p }, schedule: { ...s }, reason }));
  const { n, k } = p;
  const v = variantOf(p, s);
  return cudaKernel({
    name: `linear_${n}x${k}_${p.x}_${p.y}_${registerName(s)}`,
    header: [
      `linear: y [m, ${n}] ${p.y} = x [m, ${k}] ${p.x} times w [${n}, ${k}]^T bf16, f32 sums; m up to ${s.tokens}`,
      `schedule ${JSON.stringify(s)}`,
      floorText(machine, { reads: `${2 * n * k} bytes of weights`, bytes: 2 * n * k }),
      startsOf(v),
    ],
    params: [input("x", p.x), input("w", "bf16"), output("y", p.y)],
    dims: ["m"],
    launch: { grid: [s.blocks, 1, 1], block: 32 * WARPS, sharedBytes: 0, pdl: true, early: ["w"] },
    definitions: definitions(v),
    body: lines(prologue(v), consumer(v), s.kWarps > 1 && addParts(v)),
  });
}
