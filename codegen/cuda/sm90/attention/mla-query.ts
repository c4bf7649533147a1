// What absorbed attention waits for, in one launch: W_uk into the query, the rotation of the query's other lanes, and the row that enters
// the cache. The product is that of bmm.ts, its weights under way before the kernel before has ended; a few blocks beside it do the
// rest, which would cost two launches of two microseconds each. Rotation and norm have the bits of the tile programs rope and rope_append.
import { floorText, type Gpu } from "../../../../ir/machine.ts";
import type { KernelText, Site } from "../../../../ir/kernel/catalogue.ts";
import { add, mul } from "../../../../ir/size.ts";
import { refuse, type Refusal } from "../../../family.ts";
import { ropeAppendFamily, ropeFamily, type RopeAppendProblem, type RopeProblem } from "../../../kernels/cache.ts";
import { partSites } from "../../../parts.ts";
import { matchBmmRows } from "../gemm/bmm-native.ts";
import { native, onlySchedule, type NativeMatch } from "../../native.ts";
import { literal } from "../../printed/element.ts";
import { bmmBody, bmmConstants, bmmUnits, bmmSchedule, type BmmProblem, type BmmSchedule } from "../gemm/bmm.ts";
import { cudaKernel, inout, input, output } from "../../text/kernel.ts";

/** The product's problem, then the rotation's: d lanes of a head, strides of token and head; then the append's. */
export interface MlaQueryProblem extends BmmProblem {
  d: number;
  xStrides: readonly [number, number];
  maxPositions: number;
  r: number;
  cStride: number;
  krStride: number;
  gain: "f32" | "bf16";
  eps: number;
  pageRows: number;
}

/** Blocks a token that rotate its query; with those of R1's product, all fit on the multiprocessors at once. */
const TURNS = 4;

/** Why the parts of a site must be launches of their own, or null. */
function apart(product: BmmProblem, rope: RopeProblem, append: RopeAppendProblem): string | null {
  const schedule = bmmSchedule(product);
  if (typeof schedule === "string") return schedule;
  if (product.x !== "bf16" || product.yType !== "bf16" || rope.act !== "bf16" || append.act !== "bf16")
    return "activations are f32";
  if (bmmUnits(product, schedule) % schedule.warps !== 0) return "the last block of the product has warps without a unit";
  if (!rope.interleaved) return "pairs are not side by side";
  if (rope.d % 8 !== 0 || append.d > 256) return `${rope.d} rotated lanes are no multiple of 8, or more than 256`;
  if (rope.xStrides.some((x) => x % 8 !== 0)) return "a stride is no multiple of 8 elements";
  return append.r % 512 === 0 && append.cStride % 4 === 0 ? null : "a latent row is no multiple of 512 lanes";
}

function match(site: Site): NativeMatch<MlaQueryProblem, BmmSchedule> | Refusal {
  const [product, rotation, append] = partSites(site);
  const [bmm, ropes, rows] = [matchBmmRows(product), ropeFamily.match(rotation), ropeAppendFamily.match(append)];
  if ("reason" in bmm) return bmm;
  if ("reason" in ropes) return ropes;
  if ("reason" in rows) return rows;
  const [[{ problem: rope }], [{ problem: row }]] = [ropes, rows];
  const reason = apart(bmm.problem, rope, row);
  if (reason !== null) return refuse(reason);
  const { d, xStrides, maxPositions } = rope;
  const { r, cStride, krStride, gain, eps, pageRows } = row;
  const [qc, wUk, qr, c, kr, gains, table] = [0, 1, 2, 3, 4, 5, 6].map((i) => ({ in: i }));
  return {
    problem: { ...bmm.problem, d, xStrides, maxPositions, r, cStride, krStride, gain, eps, pageRows },
    rows: site.ins[0].shape[0],
    dims: [site.ins[0].shape[0], "P"],
    args: () => [
      qc,
      wUk,
      { out: 0 },
      qr,
      { out: 1 },
      { cache: true },
      c,
      kr,
      gains,
      table,
      { batch: "positions" },
      { batch: "sequence" },
      { batch: "pages" },
    ],
  };
}

export function mlaQuery(p: MlaQueryProblem, machine: Gpu): KernelText {
  const s = bmmSchedule(p);
  if (typeof s === "string") throw new RangeError(s);
  const products = bmmUnits(p, s) / s.warps;
  const name = `mla_query_${p.batch}x${p.n}x${p.k}_${p.d}`;
  const bytes = 2 * p.batch * p.n * p.k;
  const [w, half] = [p.r + p.d, p.d / 2];
  const rest = `// The query's rotated lanes of one token: four pairs a turn, the result in half-split order.
__device__ __forceinline__ void rotate_query(const u16* qr, const float* table, const int* positions, u16* qp, int token, int part) {
  constexpr int GROUPS = HALF / 4;
  const float* turn = table + (i64)positions[token] * ${p.d};
#pragma unroll 2
  for (int i = part * 128 + threadIdx.x; i < HEADS * GROUPS; i += TURNS * 128) {
    const int head = i / GROUPS, pair = i % GROUPS * 4;
    const u16* from = qr + (i64)token * ${p.xStrides[0]} + head * ${p.xStrides[1]} + 2 * pair;
    float first[4], second[4], cos[4], sin[4], left[4], right[4];
    load4_bf16(first, from);
    load4_bf16(second, from + 4);
    load4_f32(cos, turn + pair);
    load4_f32(sin, turn + HALF + pair);
    const float even[4] = {first[0], first[2], second[0], second[2]}, odd[4] = {first[1], first[3], second[1], second[3]};
#pragma unroll
    for (int e = 0; e < 4; e++) {
      left[e] = __fsub_rn(__fmul_rn(even[e], cos[e]), __fmul_rn(odd[e], sin[e]));
      right[e] = __fadd_rn(__fmul_rn(odd[e], cos[e]), __fmul_rn(even[e], sin[e]));
    }
    u16* to = qp + ((i64)token * HEADS + head) * ${p.d} + pair;
    store4_bf16(to, left);
    store4_bf16(to + HALF, right);
  }
}

// One new row of the cache: the latent normalised, the shared key rotated. Four warps, 128 lanes of the latent each and turn.
__device__ __forceinline__ void append_row(u16* cache, const u16* c, const u16* kr, const float (*gains)[4], const float* table, const int* positions, const int* sequence, const int* pages, int token, int P) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int position = positions[token], row = sequence[token];
  float v[BLOCKS / 4][4];
#pragma unroll
  for (int t = 0; t < BLOCKS / 4; t++) load4_bf16(v[t], c + (i64)token * ${p.cStride} + (warp + 4 * t) * 128 + lane * 4);
  const int page = pages[(i64)row * P + position / ${p.pageRows}];
  u16* to = cache + (i64)page * ${p.pageRows * w} + (i64)(position % ${p.pageRows}) * ${w};
  if (threadIdx.x < HALF) {
    const u16* pair = kr + (i64)token * ${p.krStride} + 2 * threadIdx.x;
    const float* turn = table + (i64)position * ${p.d} + threadIdx.x;
    const float even = from_bf16(pair[0]), odd = from_bf16(pair[1]), cos = turn[0], sin = turn[HALF];
    to[${p.r} + threadIdx.x] = to_bf16(__fsub_rn(__fmul_rn(even, cos), __fmul_rn(odd, sin)));
    to[${p.r} + HALF + threadIdx.x] = to_bf16(__fadd_rn(__fmul_rn(odd, cos), __fmul_rn(even, sin)));
  }
  __shared__ float parts[BLOCKS];
#pragma unroll
  for (int t = 0; t < BLOCKS / 4; t++) {
    float squares[4];
#pragma unroll
    for (int e = 0; e < 4; e++) squares[e] = __fmul_rn(v[t][e], v[t][e]);
    const float part = warp_tree_sum_wide<128>(squares);
    if (lane == 0) parts[warp + 4 * t] = part;
  }
  __syncthreads();
  float squares = 0.0f;
#pragma unroll
  for (int b = 0; b < BLOCKS; b++) squares = __fadd_rn(squares, parts[b]);
  const float by = __fdiv_rn(1.0f, __fsqrt_rn(__fadd_rn(__fdiv_rn(squares, ${literal(p.r, "f32")}), ${literal(p.eps, "f32")})));
#pragma unroll
  for (int t = 0; t < BLOCKS / 4; t++) {
    float n[4];
#pragma unroll
    for (int e = 0; e < 4; e++) n[e] = __fmul_rn(__fmul_rn(v[t][e], by), gains[t][e]);
    store4_bf16(to + (warp + 4 * t) * 128 + lane * 4, n);
  }
}
`;
  const load = `load4_${p.gain}`;
  const definitions = `${bmmConstants(p, s)}
constexpr int PRODUCTS = UNITS / ${s.warps}, TURNS = ${TURNS};  // blocks of the product; a token has TURNS that rotate its query and one that appends its row
constexpr int HEADS = ${p.batch}, HALF = ${half}, BLOCKS = ${p.r / 128};     // pairs of lanes that are rotated; blocks of 128 lanes of a latent

${rest}`;
  const body = `  release_next();
  const int lane = threadIdx.x % 32, group = lane / 4, quarter = lane % 4;
  if (blockIdx.x >= PRODUCTS) {
    const int token = (blockIdx.x - PRODUCTS) / (TURNS + 1), part = (blockIdx.x - PRODUCTS) % (TURNS + 1);
    float gains[BLOCKS / 4][4];  // weights, too
#pragma unroll
    for (int t = 0; t < BLOCKS / 4; t++) ${load}(gains[t], gain + (threadIdx.x / 32 + 4 * t) * 128 + lane * 4);
    await_previous();
    if (part < TURNS) rotate_query(qr, table, positions, qp, token, part);
    else append_row(cache, c, kr, gains, table, positions, sequence, pages, token, P);
    return;
  }
  const int unit = blockIdx.x * ${s.warps} + threadIdx.x / 32, m = T;
  const u16 *const a = qc, *const b = w_uk;
  u16* const y = ql;
${bmmBody(p, s)}`;
  const loose = { restrict: false };
  return cudaKernel({
    name,
    header: [
      `mla_query: ql [T, ${p.batch}, ${p.n}] = qc [T, ${p.batch}, ${p.k}] times w_uk by head; qp = rope of the query's other ${p.d} lanes; the cache gains its new rows; bf16, f32 sums`,
      `schedule ${JSON.stringify({ ...s, products, rotations: TURNS, appends: 1 })}: blocks of the product, then blocks a token`,
      floorText(machine, { reads: `${bytes} bytes of weights`, bytes }),
    ],
    params: [
      input("qc", "bf16", loose),
      input("w_uk", "bf16", loose),
      output("ql", "bf16", loose),
      input("qr", "bf16", loose),
      output("qp", "bf16", loose),
      inout("cache", "bf16", loose),
      input("c", "bf16", loose),
      input("kr", "bf16", loose),
      input("gain", p.gain, loose),
      input("table", "f32", loose),
      input("positions", "i32", loose),
      input("sequence", "i32", loose),
      input("pages", "i32", loose),
    ],
    dims: ["T", "P"],
    launch: {
      grid: [add(products, mul(TURNS + 1, "T")), 1, 1],
      block: 128,
      sharedBytes: 0,
      pdl: true,
      early: ["w_uk", "gain"],
      blocksPerSM: 2,
    },
    definitions,
    body,
  });
}

export const mlaQueryNative = native<MlaQueryProblem, BmmSchedule>({
  family: "mla_query",
  serves: ["mla_query"],
  schedules: onlySchedule<MlaQueryProblem, BmmSchedule>(bmmSchedule),
  match,
  emit: (p, _, machine) => mlaQuery(p, machine),
});
