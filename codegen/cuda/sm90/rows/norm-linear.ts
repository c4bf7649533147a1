// The norm of a row and its product with a small matrix, a router's: a warp has one row of the matrix and normalises the row of x for
// itself, in registers, with the sums of norm-rows.ts, so bits agree; the first warp writes it. Matrix and gain are weights and are read
// before the kernel before has ended. No shared memory: the ring of the kernel after fills beside it.
import type { KernelText } from "../../../../ir/kernel/catalogue.ts";
import { refuse, strided } from "../../../family.ts";
import { asRows, isPacked, num } from "../../../layouts.ts";
import { native } from "../../native.ts";
import { literal } from "../../printed/element.ts";
import { cudaKernel, input, output } from "../../text/kernel.ts";

interface NormLinearProblem {
  n: number;
  k: number;
  /** Elements from row to row of x. */
  xStride: number;
  eps: number;
}

const WARPS = 4;

export function normLinear(p: NormLinearProblem): KernelText {
  const { n, k } = p;
  const loose = { restrict: false };
  return cudaKernel({
    name: `norm_linear_both_${n}x${k}`,
    header: [`norm_linear_both: z [m, ${k}] bf16 = rms_norm(x [m, ${k}] bf16), y [m, ${n}] f32 = z times w [${n}, ${k}]^T bf16`],
    params: [
      input("x", "bf16", loose),
      input("w", "bf16", loose),
      input("gain", "bf16", loose),
      output("z", "bf16", loose),
      output("y", "f32", loose),
    ],
    dims: ["m"],
    launch: {
      grid: [Math.ceil(n / WARPS), "m", 1],
      block: 32 * WARPS,
      sharedBytes: 0,
      pdl: true,
      early: ["w", "gain"],
      blocksPerSM: 1,
    },
    definitions: `constexpr int N = ${n}, K = ${k}, TURNS = K / 256;  // a lane has eight columns of every 256`,
    body: `  const int lane = threadIdx.x % 32, row = blockIdx.x * ${WARPS} + threadIdx.x / 32, token = blockIdx.y;
  release_next();
  uint4 weights[TURNS], gains[TURNS], held[TURNS];
#pragma unroll
  for (int t = 0; t < TURNS; t++) {
    weights[t] = *(const uint4*)(w + (i64)min(row, N - 1) * K + t * 256 + lane * 8);
    gains[t] = *(const uint4*)(gain + t * 256 + lane * 8);
  }
  await_previous();
#pragma unroll
  for (int t = 0; t < TURNS; t++) held[t] = *(const uint4*)(x + (i64)token * ${p.xStride} + t * 256 + lane * 8);
  // Half a warp has a block of 128 columns; blocks join in order.
  float squares = 0.0f;
#pragma unroll
  for (int t = 0; t < TURNS; t++) {
    float v[8];
    widen_bf16(held[t], v);
    const float part = half_warp_sum_of_squares(v);
    squares = __fadd_rn(__fadd_rn(squares, __shfl_sync(0xffffffffu, part, 0)), __shfl_sync(0xffffffffu, part, 16));
  }
  const float by = __fdiv_rn(1.0f, __fsqrt_rn(__fadd_rn(__fdiv_rn(squares, ${literal(k, "f32")}), ${literal(p.eps, "f32")})));
  float sum = 0.0f;
#pragma unroll
  for (int t = 0; t < TURNS; t++) {
    float v[8], g[8], m[8];
    widen_bf16(held[t], v);
    widen_bf16(gains[t], g);
    widen_bf16(weights[t], m);
#pragma unroll
    for (int i = 0; i < 8; i++) v[i] = __fmul_rn(__fmul_rn(v[i], by), g[i]);
    const uint4 normal = narrow_bf16(v);
    if (row == 0) *(uint4*)(z + (i64)token * K + t * 256 + lane * 8) = normal;
    widen_bf16(normal, v);
#pragma unroll
    for (int i = 0; i < 8; i++) sum = fmaf(v[i], m[i], sum);
  }
  sum = warp_reduce_sum(sum);
  if (lane == 0 && row < N) y[(i64)token * N + row] = sum;`,
  });
}

interface NormLinearSchedule {
  form: "warp-per-row";
  warps: number;
}

export const normLinearNative = native<NormLinearProblem, NormLinearSchedule>({
  family: "norm_linear_rows",
  serves: ["norm_linear_both"],
  schedules: {
    candidates: () => [{ form: "warp-per-row", warps: WARPS }],
    illegal({ n, k, xStride }) {
      if (k % 256 !== 0 || k > 4096) return `${k} columns are not whole words of a warp, or more than its registers hold`;
      if (n > 1024) return `${n} rows: so many warps would normalise the same row`;
      return xStride % 8 === 0 ? null : `rows of x ${xStride} bf16 apart: 16 bytes are read at once`;
    },
    // Every token reads the matrix again, from L2.
    maxRows: () => 64,
    name: (s) => s.form,
  },
  match({ ins: [xs, w, gain], outs: [z, y], attrs }) {
    const x = asRows(xs);
    if (!x || ![w, gain, z, y].every(isPacked)) return strided;
    if (![xs, w, gain, z].every((v) => v.dtype === "bf16") || y.dtype !== "f32")
      return refuse("rows are not bf16, or logits not f32");
    const problem = { n: num(w.shape[0]), k: num(w.shape[1]), xStride: x.stride, eps: num(attrs.eps) };
    return {
      problem,
      rows: x.rows,
      dims: [x.rows],
      args: () => [{ in: 0 }, { in: 1 }, { in: 2 }, { out: 0 }, { out: 1 }],
    };
  },
  emit: (p) => normLinear(p),
});
