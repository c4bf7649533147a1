// A fusion with a hand-written CUDA kernel: models with biases on their latents (attention_bias) add one and normalise the sum,
// in two launches of a few KB each. A block keeps its row in registers between both.
import { cudaKernel, asRows, float, input, native, num, onlySchedule, output, refuse, strided } from "dsc/codegen";
import { addBias, attr, fused, rmsNorm } from "dsc/ir";
import { fusion, pass } from "dsc/passes";
import { plugin } from "dsc/plugin";

/** The op is the graph that it stands for: types, reference, cost and its rule follow; where no kernel serves, its parts do. */
export const biasNorm = fused("bias_norm", {
  summary: "add_bias, then rms_norm, without writing the row in between.",
  ins: { x: "[..b, d] a", bias: "[d] w", gain: "[d] v" },
  attrs: { eps: attr.f32(1e-6) },
  traits: { rowwise: true },
  of: ({ x, bias, gain }, { eps }) => rmsNorm({ x: addBias({ x, bias }), gain, eps }),
});

interface Problem {
  d: number;
  xStride: number;
  yStride: number;
  eps: number;
  act: "f32" | "bf16";
  bias: "f32" | "bf16";
  gain: "f32" | "bf16";
}

/** Threads of a block, and columns that each may hold. */
const [THREADS, MOST] = [128, 8192];

const read = (type: "f32" | "bf16", at: string): string => (type === "bf16" ? `from_bf16(${at})` : at);
/** A sum between kernels is rounded as it would have been written. */
const rounded = (type: "f32" | "bf16", value: string): string => (type === "bf16" ? `from_bf16(to_bf16(${value}))` : value);

const byHand = native<Problem, { form: "block-per-row" }>({
  family: "bias_norm_rows",
  serves: ["bias_norm"],
  schedules: {
    ...onlySchedule((p: Problem) => (p.d <= MOST ? { form: "block-per-row" } : `${p.d} columns are more than ${MOST}`)),
    estimate: () => 2.5,
  },
  match({ ins, outs, attrs }) {
    const [x, y] = [asRows(ins[0]), asRows(outs[0])];
    if (!x || !y) return strided;
    if (ins[0].dtype === "e4m3") return refuse("its rows have codes");
    const problem: Problem = {
      d: num(ins[0].shape.at(-1)),
      xStride: x.stride,
      yStride: y.stride,
      eps: num(attrs.eps),
      act: float(ins[0]),
      bias: float(ins[1]),
      gain: float(ins[2]),
    };
    return { problem, args: () => [{ in: 0 }, { in: 1 }, { in: 2 }, { out: 0 }], dims: [x.rows], rows: x.rows };
  },
  emit({ d, xStride, yStride, eps, act, bias, gain }) {
    return cudaKernel({
      name: `bias_norm_rows_${d}`,
      header: [
        `y [m, ${d}] ${act} = rms_norm(x + bias) gain, eps ${eps}`,
        `${THREADS} threads a row, ${Math.ceil(d / THREADS)} columns each in registers`,
      ],
      params: [input("x", act), input("bias", bias), input("gain", gain), output("y", act)],
      dims: ["m"],
      launch: { grid: ["m", 1, 1], block: THREADS, sharedBytes: 0 },
      definitions: `constexpr int D = ${d}, HELD = ${Math.ceil(d / THREADS)};`,
      body: `  __shared__ float sums[${THREADS / 32}];
  const long long row = blockIdx.x;
  float v[HELD], squares = 0.f;
  #pragma unroll
  for (int e = 0; e < HELD; e++) {
    const int j = e * ${THREADS} + threadIdx.x;
    v[e] = j < D ? ${rounded(act, `${read(act, `x[row * ${xStride} + j]`)} + ${read(bias, "bias[j]")}`)} : 0.f;
    squares += v[e] * v[e];
  }
  for (int by = 16; by > 0; by /= 2) squares += __shfl_xor_sync(0xffffffff, squares, by);
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = squares;
  __syncthreads();
  squares = 0.f;
  for (int w = 0; w < ${THREADS / 32}; w++) squares += sums[w];
  const float scale = 1.f / sqrtf(squares / D + ${eps.toExponential(8)}f);
  #pragma unroll
  for (int e = 0; e < HELD; e++) {
    const int j = e * ${THREADS} + threadIdx.x;
    if (j < D) y[row * ${yStride} + j] = ${act === "bf16" ? "to_bf16" : ""}(v[e] * scale * ${read(gain, "gain[j]")});
  }`,
    });
  },
  cases: [
    { sizes: { d: 130 }, rest: [3] },
    { sizes: { d: 48 }, rest: [5], attrs: { eps: 0.01 }, dtypes: { a: "bf16", w: "bf16", v: "bf16" }, within: 1e-2 },
    { sizes: { d: 1536 }, rest: [2], dtypes: { a: "bf16", w: "bf16", v: "f32" }, within: 1e-2 },
  ],
});

const fuseBiasNorm = pass({
  name: "fuse-bias-norm",
  summary: "Add a bias and normalise in one visit.",
  before: "load",
  rules: [fusion("add a bias and normalise", biasNorm, { attrs: { eps: 1e-6 } })],
});

export default plugin({
  name: "bias-norm",
  version: "1.0.0",
  ops: [biasNorm],
  natives: { sm_90: [byHand] },
  passes: [fuseBiasNorm],
});
