// One problem of every kernel family, small and odd-sized, with run-time dims: what the printers and the interpreter are tried on.
import { families, type FamilyName } from "../../codegen/kernels/index.ts";
import type { HostBuffer } from "../../ir/kernel/interpret.ts";
import type { Index, Kernel } from "../../ir/kernel/stmt.ts";
import type { Problem } from "../../ir/kernel/catalogue.ts";
import { bf16 } from "../../ir/numeric.ts";

/** A family with a problem and the dims to run it at; `ints` bounds the i32 inputs by name (values 0 .. bound - 1). */
export interface Case {
  family: FamilyName;
  problem: Problem;
  dims: Record<string, number>;
  /** Extra names that shapes mention but the kernel is not passed. */
  extents?: Record<string, number>;
  /** i32 inputs: element i of the named buffer. */
  ints?: Record<string, (i: number) => number>;
}

const route = {
  experts: 16,
  topk: 3,
  groups: 4,
  kept: 2,
  scoring: "sigmoid",
  method: "noaux_tc",
  normalise: true,
  factor: 2.5,
  bias: true,
  xStride: 16,
} as const;
const paged = { positions: (i: number) => i + 2, sequence: () => 0, pages: (i: number) => [2, 0, 1][i % 3] };
const cache = { pages_count: 3, B: 1 };

export const cases: readonly Case[] = [
  { family: "embed", problem: { vocab: 11, d: 70, table: "bf16" }, dims: { T: 3 }, ints: { ids: (i) => (5 * i) % 11 } },
  { family: "rms_norm", problem: { d: 130, xStride: 140, yStride: 133, eps: 1e-6, gain: "bf16" }, dims: { m: 3 } },
  { family: "rms_norm_plain", problem: { d: 130, xStride: 140, yStride: 133, eps: 1e-6 }, dims: { m: 3 } },
  { family: "constant", problem: { value: 0.5 }, dims: { n: 700 } },
  {
    family: "outer",
    problem: { shape: [2, 3, 70], a: [210, 70, 1], b: [0, 0, 1], y: [210, 70, 1], aType: "bf16", bType: "f32", dims: [] },
    dims: {},
  },
  { family: "norm_quant", problem: { d: 576, xStride: 576, yStride: 0, eps: 1e-6, gain: "f32", ue8m0: true }, dims: { m: 2 } },
  { family: "add_norm", problem: { d: 130, aStride: 140, bStride: 131, eps: 1e-6, gain: "bf16" }, dims: { m: 3 } },
  {
    family: "add_norm_quant",
    problem: { d: 576, aStride: 576, bStride: 576, eps: 1e-6, gain: "f32", ue8m0: true },
    dims: { m: 2 },
  },
  {
    family: "add_norm_both",
    problem: { d: 200, aStride: 200, bStride: 200, eps: 1e-6, gain: "bf16", ue8m0: false },
    dims: { m: 3 },
  },
  { family: "quantize", problem: { d: 130, xStride: 131, ue8m0: false }, dims: { m: 3 } },
  { family: "dequantize_rows", problem: { k: 200 }, dims: { m: 2 } },
  { family: "dequantize_blocks", problem: { batch: 2, n: 130, k: 140 }, dims: {} },
  { family: "linear", problem: { n: 37, k: 150, xStride: 151, yStride: 40, w: "bf16" }, dims: { m: 5 } },
  { family: "block_linear", problem: { parts: 2, n: 40, k: 200, x: "e4m3", xStride: 200 }, dims: { m: 3 } },
  { family: "block_linear", problem: { parts: 1, n: 33, k: 130, x: "f32", xStride: 130 }, dims: { m: 35 } },
  {
    family: "grouped_linear",
    problem: { experts: 3, parts: 1, n: 33, k: 130, x: "e4m3", w: "e4m3", xStride: 130 },
    dims: { r: 7 },
    ints: { offsets: (i) => [0, 5, 5, 7][i] },
  },
  {
    family: "bmm",
    problem: {
      batch: 2,
      m: "m",
      n: 33,
      k: 70,
      a: [70, 140, 1],
      b: [2310, 70, 1],
      y: [33, 66, 1],
      aType: "f32",
      bType: "bf16",
      dims: ["m"],
    },
    dims: { m: 5 },
  },
  {
    family: "bmm",
    problem: {
      batch: 2,
      m: "m",
      n: 33,
      k: 70,
      a: [70, 140, 1],
      b: [2310, 1, 33],
      y: [33, 66, 1],
      aType: "f32",
      bType: "f32",
      dims: ["m"],
    },
    dims: { m: 3 },
  },
  { family: "flat", problem: { op: "add" }, dims: { n: 700 } },
  { family: "gated", problem: {}, dims: { n: 513 } },
  { family: "gated", problem: { activation: "gelu_pytorch_tanh", limit: 2.5 }, dims: { n: 513 } },
  { family: "add_bias", problem: { d: 600, xStride: 600, yStride: 601, bias: "f32" }, dims: { m: 2 } },
  { family: "gated_pair", problem: { n: 530, xStride: 1060, yStride: 530 }, dims: { m: 2 } },
  { family: "gated_quant", problem: { n: 200, xStride: 400, ue8m0: true }, dims: { m: 2 } },
  { family: "softmax_causal", problem: { heads: 2 }, dims: { t: 3, s: 140 } },
  {
    family: "attend",
    problem: {
      heads: 2,
      n: 24,
      d: 8,
      v: 20,
      q: [48, 24],
      qp: [16, 8],
      k: [48, 24],
      kp: 8,
      vStrides: [40, 20],
      y: [40, 20],
      scale: 0.2,
    },
    dims: { t: 5, s: 40 },
  },
  // One head, one column: products of rows, which Triton's dot does not take.
  {
    family: "mla_attend",
    problem: { heads: 1, r: 40, d: 8, pageRows: 64, ql: [40, 40], qp: [8, 8], scale: 0.2, act: "bf16" },
    dims: { T: 3, P: 3 },
    extents: cache,
    ints: { ...paged, positions: (i) => 60 + 5 * i },
  },
  {
    family: "attend",
    problem: { heads: 2, n: 1, d: 8, v: 1, q: [2, 1], qp: [16, 8], k: [2, 1], kp: 8, vStrides: [2, 1], y: [2, 1], scale: 0.2 },
    dims: { t: 3, s: 20 },
  },
  {
    family: "mla_attend",
    problem: { heads: 4, r: 40, d: 8, pageRows: 64, ql: [160, 40], qp: [32, 8], scale: 0.2 },
    dims: { T: 3, P: 3 },
    extents: cache,
    ints: { ...paged, positions: (i) => 60 + 5 * i },
  },
  {
    family: "rope",
    problem: { heads: 3, d: 24, xStrides: [72, 24], interleaved: true, maxPositions: 9 },
    dims: { T: 4 },
    ints: paged,
  },
  {
    family: "cache_append",
    problem: { r: 40, d: 8, pageRows: 64, cStride: 41, kpStride: 8 },
    dims: { T: 4, P: 3 },
    extents: cache,
    ints: paged,
  },
  {
    family: "rope_append",
    problem: {
      r: 140,
      d: 8,
      pageRows: 64,
      cStride: 140,
      krStride: 8,
      gain: "bf16",
      eps: 1e-6,
      interleaved: false,
      maxPositions: 9,
    },
    dims: { T: 4, P: 3 },
    extents: cache,
    ints: paged,
  },
  { family: "cache_rows", problem: { width: 48, pageRows: 64 }, dims: { s: 70, b: 0, P: 3 }, extents: cache, ints: paged },
  { family: "route", problem: route, dims: { T: 5 } },
  {
    family: "route",
    problem: { ...route, scoring: "softmax", method: "greedy", experts: 9, groups: 1, bias: false, xStride: 9 },
    dims: { T: 3 },
  },
  { family: "route", problem: { ...route, shared: 1 }, dims: { T: 3 } },
  { family: "sort_experts", problem: { experts: 5, k: 3 }, dims: { r: 150 }, ints: { indices: (i) => (7 * i + (i >> 3)) % 5 } },
  {
    family: "gather_rows",
    problem: { d: 200, per: 3, x: "e4m3", xStride: 200 },
    dims: { T: 4, r: 12 },
    ints: { order: (i) => (5 * i) % 12 },
  },
  { family: "combine", problem: { d: 140, k: 3, xStride: 140 }, dims: { T: 4, r: 12 }, ints: { places: (i) => (5 * i) % 12 } },
  {
    family: "combine_add",
    problem: { d: 530, k: 3, xStride: 530, shared: true },
    dims: { T: 4, r: 12 },
    ints: { places: (i) => (5 * i) % 12 },
  },
  { family: "argmax", problem: { d: 1100, xStride: 1101 }, dims: { m: 3 } },
  { family: "last_rows", problem: { d: 520, xStride: 520 }, dims: { T: 6, B: 2 }, ints: { starts: (i) => 3 * i } },
  {
    family: "copy",
    problem: { shape: ["n0", 2, 30], from: [60, 30, 1], to: [80, 40, 1], dims: ["n0"], offset: 3 },
    dims: { n0: 3 },
  },
];

/** The same with bf16 activations, where a family has them: every problem that names no dtype of its own, and some that do. */
export const narrow: readonly Case[] = [
  ...cases
    .filter(
      (c) =>
        ![
          "embed",
          "dequantize_rows",
          "dequantize_blocks",
          "block_linear",
          "grouped_linear",
          "bmm",
          "gather_rows",
          "sort_experts",
          "argmax",
        ].includes(c.family),
    )
    .map((c): Case => ({ ...c, problem: { ...c.problem, act: "bf16", ...(c.family === "linear" ? { y: "bf16" } : {}) } })),
  ...cases
    .filter((c) => ["embed", "dequantize_rows", "dequantize_blocks", "block_linear", "grouped_linear"].includes(c.family))
    .map((c): Case => ({ ...c, problem: { ...c.problem, y: "bf16" } })),
  ...cases
    .filter((c) => c.family === "bmm")
    .map((c): Case => ({ ...c, problem: { ...c.problem, aType: "bf16", bType: "bf16", yType: "bf16" } })),
  {
    family: "gather_rows",
    problem: { d: 200, per: 3, x: "bf16", xStride: 200 },
    dims: { T: 4, r: 12 },
    ints: { order: (i) => (5 * i) % 12 },
  },
];

export const kernelOf = (c: Case): Kernel => families[c.family].kernel(c.problem);

/** xorshift in [-1, 1). */
export function randoms(seed: number): () => number {
  let s = seed | 1;
  return () => {
    s ^= s << 13;
    s ^= s >>> 17;
    s ^= s << 5;
    return s / 2 ** 31;
  };
}

const value = (i: Index, dims: Record<string, number>): number => {
  if (typeof i === "number") return i;
  if (typeof i === "string") return dims[i];
  const [a, b] = [value(i.a, dims), value(i.b, dims)];
  return { add: a + b, sub: a - b, mul: a * b, div: Math.floor(a / b), mod: a % b, min: Math.min(a, b), max: Math.max(a, b) }[
    i.op
  ];
};

/** Fresh buffers: random inputs, outputs poisoned; finite codes only. */
export function buffersOf(
  kernel: Kernel,
  dims: Record<string, number>,
  ints: Case["ints"] = {},
  seed = 1,
): Record<string, HostBuffer> {
  const random = randoms(seed);
  const out: Record<string, HostBuffer> = {};
  const word = new Uint32Array(1);
  const real = new Float32Array(word.buffer);
  for (const p of kernel.params) {
    const length = 8 + p.shape.reduce<number>((n, e, axis) => n + (value(e, dims) - 1) * value(p.strides[axis], dims), 1);
    if (p.dtype === "f32")
      out[p.name] = Float32Array.from({ length }, () => (p.access === "out" ? 1.2345 : Math.fround(random() * 3)));
    else if (p.dtype === "i32")
      out[p.name] = Int32Array.from({ length }, (_, i) => (p.access === "out" ? -7 : (ints[p.name]?.(i) ?? 0)));
    else if (p.dtype === "e4m3")
      out[p.name] = Uint8Array.from({ length }, () =>
        p.access === "out" ? 0x55 : Math.floor((random() + 1) * 63) | (random() < 0 ? 0x80 : 0),
      );
    else
      out[p.name] = Uint16Array.from({ length }, () => {
        real[0] = bf16(random() * 3);
        return word[0] >>> 16;
      });
  }
  return out;
}
