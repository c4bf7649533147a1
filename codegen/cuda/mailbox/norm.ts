// The sum over ranks, a residual, a norm and a quantisation in one launch: a cluster of blocks has a row, a warp 128 of its columns, and
// the row stays in registers from the peers' words to the codes. Sums over ranks are in rank order and norms in the tree of norm-rows.ts,
// so all bits are those of the sum, then the norm, as two kernels.
import type { KernelText } from "../../../ir/kernel/catalogue.ts";
import { when } from "../../text.ts";
import { cudaKernel, input, output, type Parameter } from "../text/kernel.ts";
import { indented, lines } from "../text/lines.ts";
import { blockScale, inverseRms, storedScale } from "../text/norm.ts";
import { exchangeDefinitions, mailboxParams } from "./exchange.ts";

export interface ReduceNormProblem {
  /** Columns of a row: whole blocks of 128. */
  d: number;
  /** What the ranks hold of x, in which it travels. */
  wire: "f32" | "bf16";
  /** Of the residual and the sum, and of the normalised row. */
  act: "f32" | "bf16";
  gain: "f32" | "bf16";
  eps: number;
  /** Codes with a scale for each block of 128 columns, the normalised row, or both. */
  gives: "row" | "codes" | "both";
  ue8m0: boolean;
}

/** Blocks of a cluster: as many of at most eight as have the same number of 128-column blocks. */
const clusterOf = (d: number): number => [8, 7, 6, 5, 4, 3, 2, 1].find((n) => (d / 128) % n === 0)!;

export function reduceNorm(p: ReduceNormProblem): KernelText {
  const { d, wire, act, gives } = p;
  const cluster = clusterOf(d);
  const warps = d / 128 / cluster;
  return cudaKernel({
    name: `push_reduce_norm_${d}_${wire}_${act}_${gives}`,
    header: [
      `push_reduce_norm: sum [m, ${d}] ${act} = h + the sum over ranks of x [m, ${d}] ${wire}; its norm: ${gives}`,
      `a cluster of ${cluster} blocks has a row, a warp 128 columns; words by mailboxes (codegen/cuda/mailbox/exchange.ts)`,
    ],
    params: operands(p),
    dims: ["m"],
    launch: {
      grid: [{ op: "mul", of: ["m", cluster] }, 1, 1],
      block: 32 * warps,
      sharedBytes: 0,
      cluster: [cluster, 1, 1],
      pdl: true,
      early: ["gain"],
    },
    definitions: lines(
      `constexpr int D = ${d}, BLOCKS = ${d / 128}, CLUSTER = ${cluster}, WARPS = ${warps};`,
      exchangeDefinitions,
      sumOf[wire],
    ),
    body: indented(
      lines(
        begin(p),
        exchangeRow(p),
        "",
        addResidual(p),
        "",
        squares(p),
        "",
        normalise,
        gives !== "codes" && `store4_${act}(y + at, n);`,
        gives !== "row" && quantise(p),
        "leave(e);",
      ),
    ),
  });
}

const loose = { restrict: false };

const operands = ({ wire, act, gain, gives }: ReduceNormProblem): Parameter[] => [
  input("x", wire, loose),
  input("h", act, loose),
  input("gain", gain, loose),
  output("sum", act, loose),
  ...(gives === "codes" ? [] : [output("y", act, loose)]),
  ...(gives === "row" ? [] : [output("codes", "e4m3", loose), output("scales", "f32", loose)]),
  ...mailboxParams(),
];

/** Four columns of a lane: two units of f32, or one of bf16. */
const unitsOf = { f32: 2, bf16: 1 } as const;

const sumOf = {
  f32: `
__device__ __forceinline__ void add_columns(float (&total)[4], bool first, int u, uint2 v) {
  total[2 * u] = first ? __uint_as_float(v.x) : __fadd_rn(total[2 * u], __uint_as_float(v.x));
  total[2 * u + 1] = first ? __uint_as_float(v.y) : __fadd_rn(total[2 * u + 1], __uint_as_float(v.y));
}`,
  bf16: `
__device__ __forceinline__ void add_columns(float (&total)[4], bool first, int, uint2 v) {
  const float four[4] = {low_bf16(v.x), high_bf16(v.x), low_bf16(v.y), high_bf16(v.y)};
#pragma unroll
  for (int i = 0; i < 4; i++) total[i] = first ? four[i] : __fadd_rn(total[i], four[i]);
}`,
} as const;

const begin = ({ gain, wire }: ReduceNormProblem): string => `const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
const int block = cluster_rank() * WARPS + warp, column = block * 128 + lane * 4;
const i64 row = blockIdx.x / CLUSTER, at = row * D + column;
constexpr int OF_LANE = ${unitsOf[wire]};
__shared__ float parts[BLOCKS];
float gains[4];
load4_${gain}(gains, gain + column);
cluster_sync();  // the other blocks are there before anything is put into their memory
await_previous();`;

const exchangeRow = ({
  wire,
  act,
}: ReduceNormProblem): string => `const Exchange e = enter(mailboxes, control, rank, ranks, what, limit_ms);
const int first = (int)(at / 4) * OF_LANE;
uint2 own[OF_LANE];
#pragma unroll
for (int u = 0; u < OF_LANE; u++) {
  own[u] = ((const uint2*)x)[first + u];
  push(e, first + u, own[u]);
}
float held[4], total[4];
load4_${act}(held, h + at);
for (int r = 0; r < ranks; r++)
#pragma unroll
  for (int u = 0; u < OF_LANE; u++) add_columns(total, r == 0, u, r == rank ? own[u] : received(e, r, first + u));
// All lanes have left the loops in which they waited before they exchange anything.
__syncwarp();${when(
  wire === "bf16",
  `
#pragma unroll
for (int i = 0; i < 4; i++) total[i] = from_bf16(to_bf16(total[i]));  // as the sum of ranks is stored`,
)}`;

/** A number as a buffer of the activations' dtype holds it. */
const asStored = { bf16: (v: string) => `from_bf16(to_bf16(${v}))`, f32: (v: string) => v } as const;

const addResidual = ({ act }: ReduceNormProblem): string => `float v[4];
#pragma unroll
for (int i = 0; i < 4; i++) v[i] = ${asStored[act]("__fadd_rn(held[i], total[i])")};
store4_${act}(sum + at, v);`;

const squares = ({ d, eps }: ReduceNormProblem): string => `float squared[4];
#pragma unroll
for (int i = 0; i < 4; i++) squared[i] = __fmul_rn(v[i], v[i]);
const float part = warp_tree_sum_wide<128>(squared);
if (lane < CLUSTER) *at_rank(parts + block, lane) = part;
cluster_sync();
float squares = 0.0f;
#pragma unroll
for (int b = 0; b < BLOCKS; b++) squares = __fadd_rn(squares, parts[b]);
const float by = ${inverseRms(d, eps)};`;

const normalise = `float n[4];
#pragma unroll
for (int i = 0; i < 4; i++) n[i] = __fmul_rn(__fmul_rn(v[i], by), gains[i]);`;

const quantise = ({ ue8m0 }: ReduceNormProblem): string => `// One scale for the block's 128 columns.
float sizes[4], scaled[4];
#pragma unroll
for (int i = 0; i < 4; i++) sizes[i] = fabsf(n[i]);
const float plain = ${blockScale("warp_max<128>(sizes)")}, s = ${storedScale("plain", ue8m0)};
#pragma unroll
for (int i = 0; i < 4; i++) scaled[i] = __fdiv_rn(n[i], s);
store4_e4m3(codes + at, scaled);
if (lane == 0) scales[row * BLOCKS + block] = s;`;
