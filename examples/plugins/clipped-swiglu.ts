// An op, its tile program for every target, its hand-written CUDA, and the pass that puts it in: SwiGLU whose gate is clipped
// from above and whose up projection is clipped on both sides, for a checkpoint that was trained so and whose config has no
// word for it.
import {
  cudaKernel,
  elements,
  f,
  family,
  input,
  isPacked,
  kernel,
  native,
  num,
  one,
  onlySchedule,
  output,
  refuse,
} from "dsc/codegen";
import type { Site } from "dsc/codegen";
import { attr, ceildiv, gated, op } from "dsc/ir";
import { pass, rebuild } from "dsc/passes";
import { plugin } from "dsc/plugin";

const silu = (x: number): number => x / (1 + Math.exp(-x));
const clip = (x: number, limit: number): number => Math.min(Math.max(x, -limit), limit);

export const clippedSwiglu = op("clipped_swiglu", {
  summary: "silu(min(gate, limit)) * clip(up, -limit, limit), element by element.",
  ins: { gate: "[..b] a", up: "[..b] a" },
  attrs: { limit: attr.f32() },
  out: "[..b] a",
  traits: { rowwise: true },
  flops: (z) => 9 * z.elements,
  reference: ({ gate, up }, { limit }) => ({
    ...gate,
    data: gate.data.map((g, i) => silu(Math.min(g, limit)) * clip(up.data[i], limit)),
  }),
});

/** Both kernels take packed operands of one dtype. */
function problemOf({ ins, outs, attrs }: Site) {
  if (![...ins, ...outs].every(isPacked)) return refuse("an operand is a strided view");
  if (ins[0].dtype !== "f32" && ins[0].dtype !== "bf16") return refuse(`${ins[0].dtype} is no dtype of activations`);
  return { limit: num(attrs.limit), type: ins[0].dtype };
}
type Problem = Exclude<ReturnType<typeof problemOf>, { reason: string }>;

const sizes = [
  { sizes: {}, rest: [3, 130], attrs: { limit: 0.5 } },
  { sizes: {}, rest: [1, 7], attrs: { limit: 7 } },
  { sizes: {}, rest: [5, 1024], attrs: { limit: 0.25 }, dtypes: { a: "bf16" as const } },
];

/** For every target: WebAssembly, CUDA and Triton are made of it. */
const tiles = family({
  name: "clipped_swiglu",
  serves: ["clipped_swiglu"],
  match(site) {
    const p = problemOf(site);
    return "reason" in p ? p : one(p, [{ in: 0 }, { in: 1 }, { out: 0 }], [elements(site.outs[0])]);
  },
  kernel: ({ limit, type }: Problem) =>
    kernel({
      name: `clipped_swiglu_${type}`,
      summary: "silu(min(gate, limit)) * clip(up, -limit, limit).",
      params: {
        gate: { dtype: type, shape: ["n"] },
        up: { dtype: type, shape: ["n"] },
        y: { dtype: type, shape: ["n"], access: "out" },
      },
      dims: ["n"],
      body(k, { gate, up, y }) {
        k.grid({ p: ["n", 512] });
        const at = { at: ["p"], cols: 0, colLimit: "n" };
        const g = k.map("g", f.min(k.load("gate", 1, 512, gate, at), limit));
        const u = k.map("u", f.max(f.min(k.load("up", 1, 512, up, at), limit), -limit));
        k.store(k.map("s", f.mul(f.div(g, f.add(1, f.exp(f.neg(g)))), u)), y, at);
      },
    }),
  cases: sizes,
});

/** By hand, for Hopper: eight elements a thread. */
const byHand = native<Problem, { form: "eight-a-thread" }>({
  family: "clipped_swiglu_rows",
  serves: ["clipped_swiglu"],
  schedules: { ...onlySchedule(() => ({ form: "eight-a-thread" })), estimate: (_, __, rows) => 2 + rows / 4e6 },
  match(site) {
    const p = problemOf(site);
    if ("reason" in p) return p;
    const n = elements(site.outs[0]);
    return { problem: p, args: () => [{ in: 0 }, { in: 1 }, { out: 0 }], dims: [n], rows: n };
  },
  emit({ limit, type }) {
    const [read, write] = type === "bf16" ? ["from_bf16", "to_bf16"] : ["", ""];
    return cudaKernel({
      name: `clipped_swiglu_rows_${type}`,
      header: [
        `y [n] ${type} = silu(min(gate, ${limit})) * clip(up, -${limit}, ${limit})`,
        "256 threads a block, eight elements a thread",
      ],
      params: [input("gate", type), input("up", type), output("y", type)],
      dims: ["n"],
      launch: { grid: [ceildiv("n", 2048), 1, 1], block: 256, sharedBytes: 0 },
      definitions: `constexpr float LIMIT = ${limit.toFixed(6)}f;`,
      body: `  for (int e = 0; e < 8; e++) {
    const long long i = blockIdx.x * 2048ll + e * 256 + threadIdx.x;
    if (i >= n) return;
    const float g = fminf(${read}(gate[i]), LIMIT);
    const float u = fmaxf(fminf(${read}(up[i]), LIMIT), -LIMIT);
    y[i] = ${write}(g / (1.f + expf(-g)) * u);
  }`,
    });
  },
  cases: sizes,
});

const clipGates = pass({
  name: "clip-gates",
  summary: "Clip the gates of feed-forward layers, as the checkpoint was trained.",
  before: "pack-gate-up",
  options: { limit: attr.f32(7) },
  steps: { "clip a gate": "gated layers" },
  // The patterns of these have a gated op in them, and there is none any more.
  hides: ["pack-gate-up", "shared-expert", "fuse-linear", "fuse-quant", "experts-add", "combine-add"],
  run: (func, cx) =>
    rebuild(func, cx.module.graph, ([value]) => {
      if (!gated.made(value.node)) return undefined;
      const [gate, up] = value.node.operands;
      const changes = `gates are clipped at ${String(cx.options.limit)}, as the checkpoint was trained`;
      // Random weights of a model made small drive gates far past any limit.
      cx.fired("clip a gate", { at: value, changes, within: 16 });
      return [clippedSwiglu({ gate, up, limit: Number(cx.options.limit) })];
    }),
});

export default plugin({
  name: "clipped-swiglu",
  version: "1.0.0",
  ops: [clippedSwiglu],
  kernels: [tiles],
  natives: { sm_90: [byHand] },
  passes: [clipGates],
});
