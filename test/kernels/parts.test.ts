// Fused ops by their parts: run on the CPU target's own choice of kernels against the op's reference, and chosen beside natives by rows.
import { describe, expect, test } from "vitest";
import { cpuTarget } from "../../codegen/cpu/target.ts";
import { cudaTarget } from "../../codegen/cuda/target.ts";
import { families } from "../../codegen/kernels/index.ts";
import type { Arg, Cases, Chosen, Site, View } from "../../ir/kernel/catalogue.ts";
import { boundBuffers } from "../../ir/kernel/catalogue.ts";
import type { HostBuffer } from "../../ir/kernel/interpret.ts";
import { evaluate, mul, type Size } from "../../ir/size.ts";
import { refer, tensor } from "./families/cases.ts";
import { draw, randomOf } from "./numbers.ts";
import { runOnCpu } from "./on-cpu.ts";
import { h200 } from "../../codegen/cuda/arch/h200.ts";
import { fusedLinearNative } from "../../codegen/cuda/sm90/gemm/fused-linear.ts";
import { groupedBf16Native } from "../../codegen/cuda/sm90/gemm/grouped-bf16-linear.ts";
import { expertsGateUpNative } from "../../codegen/cuda/sm90/moe/experts.ts";
import { sm90 } from "../../codegen/cuda/sm90/natives.ts";

const packed = (shape: Size[], dtype: View["dtype"] = "f32"): View => ({
  dtype,
  shape,
  strides: shape.map((_, i) => mul(...shape.slice(i + 1))),
});

/** By op: names and shapes of operands and of the result, for rows T, n columns of the result and k of x. */
const ops = {
  norm_linear: {
    names: ["x", "w", "gain"],
    shapes: (n: number, k: number): Size[][] => [["T", k], [n, k], [k]],
    attrs: { eps: 1e-6, dtype: "same" },
  },
  linear_add: {
    names: ["x", "w", "residual"],
    shapes: (n: number, k: number): Size[][] => [
      ["T", k],
      [n, k],
      ["T", n],
    ],
    attrs: {},
  },
  gated_linear_add: {
    names: ["x", "w", "residual"],
    shapes: (n: number, k: number): Size[][] => [
      ["T", 2, k],
      [n, k],
      ["T", n],
    ],
    attrs: { act: "silu", limit: 0 },
  },
} as const;
type Op = keyof typeof ops;

const siteOf = (op: Op, n: number, k: number, dtype: View["dtype"]): Site => ({
  op,
  attrs: ops[op].attrs,
  ins: ops[op].shapes(n, k).map((s) => packed(s, dtype)),
  outs: [packed(["T", n], dtype)],
});

/** Runs launches one after another; scratch is made when a launch first names it. */
function run(launches: readonly Chosen[], ins: readonly HostBuffer[], out: HostBuffer, T: number): void {
  const scratch = new Map<string, HostBuffer>();
  const bufferOf = (a: Arg): HostBuffer => {
    if ("in" in a) return ins[a.in];
    if ("out" in a) return out;
    if (!("scratch" in a)) throw new RangeError("no such operand here");
    if (!scratch.has(a.scratch))
      scratch.set(a.scratch, new Float32Array(a.shape.reduce<number>((p, s) => p * evaluate(s, { T }), 1)).fill(NaN));
    return scratch.get(a.scratch)!;
  };
  for (const c of launches) {
    const kernel = families[c.family].kernel(c.problem);
    const names = boundBuffers(kernel.params.map((p) => ({ kind: "buffer", ...p })));
    expect(c.args.length).toBe(names.length);
    runOnCpu(
      kernel,
      Object.fromEntries(names.map((name, i) => [name, bufferOf(c.args[i])])),
      Object.fromEntries(kernel.dims.map((d, i) => [d, evaluate(c.dims[i], { T })])),
    );
  }
}

describe.each(Object.keys(ops) as Op[])("%s by its parts", (op) => {
  test.each([
    [1, 5, 7],
    [3, 33, 130],
    [9, 128, 64],
  ])("%i rows, %i x %i", (T, n, k) => {
    const random = randomOf(n * k);
    const shapes = ops[op].shapes(n, k).map((s) => s.map((d) => evaluate(d, { T })));
    const values = shapes.map((s) =>
      draw(
        random,
        s.reduce((a, b) => a * b, 1),
      ),
    );
    const choice = cpuTarget({ activations: "f32" }).catalogue.choose(siteOf(op, n, k, "f32"));
    expect(Array.isArray(choice)).toBe(true);
    const y = new Float32Array(T * n).fill(NaN);
    run(
      choice as Chosen[],
      values.map((v) => Float32Array.from(v)),
      y,
      T,
    );
    const want = refer(
      op,
      Object.fromEntries(ops[op].names.map((name, i) => [name, tensor(shapes[i], values[i])])),
      ops[op].attrs,
    ).out.data;
    for (const [i, w] of want.entries()) expect(Math.abs(y[i] - w), `[${i}]`).toBeLessThan(1e-4);
  });
});

/** Block-scaled weights and what they meet; rows of bf16, as the kernels of few rows want them. */
const scaledSite = (op: "norm_block_linear" | "block_linear_add", n: number, k: number): Site => ({
  op,
  attrs: op === "norm_block_linear" ? { eps: 1e-6, scale: "f32", dtype: "bf16" } : {},
  ins: [
    op === "norm_block_linear" ? packed(["T", k], "bf16") : { ...packed(["T", k], "e4m3"), scaled: "1x128" as const },
    { ...packed([n, k], "e4m3"), scaled: "128x128" as const },
    op === "norm_block_linear" ? packed([k], "bf16") : packed(["T", n], "bf16"),
  ],
  outs: [packed(["T", n], "bf16")],
});

test("codes that one part hands to the next have their scales beside them in scratch", () => {
  const chosen = cudaTarget("none", sm90).catalogue.choose(scaledSite("norm_block_linear", 256, 384)) as Chosen[];
  const codes = { scratch: "norm_quant 3.0", dtype: "e4m3", shape: ["T", 384] };
  const scales = { scratch: "norm_quant 3.0 scales", dtype: "f32", shape: ["T", 3] };
  expect(chosen.map((c) => [c.family, c.args])).toEqual([
    ["norm_quant", [{ in: 0 }, { in: 2 }, codes, scales]],
    ["block_linear", [codes, scales, { in: 1 }, { in: 1, part: "scales" }, { out: 0 }]],
  ]);
});

test("the heads' outputs by parts: a product into scratch, then codes of the same rows", () => {
  const site: Site = {
    op: "einsum_quant",
    attrs: { spec: "abc,bdc->abd", scale: "ue8m0" },
    ins: [packed(["T", 2, 40]), packed([2, 128, 40])],
    outs: [{ ...packed(["T", 256], "e4m3"), scaled: "1x128" }],
  };
  const chosen = cpuTarget({ activations: "f32" }).catalogue.choose(site) as Chosen[];
  const heads = { scratch: "einsum 2.0", dtype: "f32", shape: ["T", 2, 128] };
  expect(chosen.map((c) => c.family)).toEqual(["bmm", "quantize"]);
  expect(chosen[0].args).toEqual([{ in: 0 }, { in: 1 }, heads]);
  expect(chosen[1].args.slice(1)).toEqual([{ out: 0 }, { out: 0, part: "scales" }]);
  expect(chosen[1]).toMatchObject({ problem: { d: 256, xStride: 256, ue8m0: true }, dims: ["T"] });
});

describe("on the CUDA target", () => {
  const { catalogue } = cudaTarget("all", sm90);

  test("one row of codes is held whole, with norm and residual inside; more take the parts' own cases", () => {
    const cases = (op: "norm_block_linear" | "block_linear_add"): [number | null, string[]][] =>
      (catalogue.choose(scaledSite(op, 7168, 7168)) as Cases).cases.map((c) => [c.most, c.launches.map((l) => l.family)]);
    expect(cases("norm_block_linear").slice(0, 3)).toEqual([
      [1, ["block_gemv"]],
      [expect.any(Number), ["norm_rows", "block_gemm"]],
      [expect.any(Number), ["norm_rows", "block_gemm"]],
    ]);
    expect(cases("block_linear_add").slice(0, 3)).toEqual([
      [1, ["block_gemv"]],
      [expect.any(Number), ["block_gemm", "flat"]],
      [expect.any(Number), ["block_gemm", "flat"]],
    ]);
    expect(cases("block_linear_add").at(-1)![0]).toBeNull();
  });

  const served = (op: Op, n: number, k: number): [number | null, string[]][] =>
    (catalogue.choose(siteOf(op, n, k, "bf16")) as Cases).cases.map((c) => [c.most, c.launches.map((l) => l.family)]);

  test("few rows are fused, more take the parts' own cases", () => {
    const cases = served("norm_linear", 2112, 7168);
    expect(cases.slice(0, 4)).toEqual([
      [1, ["fused_linear"]],
      [2, ["fused_linear"]],
      [4, ["norm_rows", "ring_linear"]],
      [8, ["norm_rows", "ring_linear"]],
    ]);
    expect(cases.at(-1)).toEqual([null, ["norm_rows", "bf16_gemm"]]);
    expect(served("linear_add", 7168, 16384).slice(0, 5)).toEqual([
      ...[1, 4, 8, 16].map((most) => [most, ["fused_linear"]]),
      [64, ["bf16_gemm_add"]],
    ]);
    expect(served("gated_linear_add", 7168, 1856).slice(0, 4)).toEqual([
      ...[1, 2].map((most) => [most, ["fused_linear"]]),
      [4, ["gated_pair", "fused_linear"]],
      [8, ["gated_pair", "fused_linear"]],
    ]);
    expect(served("gated_linear_add", 7168, 1856).at(-1)).toEqual([null, ["gated_pair", "bf16_gemm", "flat"]]);
  });

  test.each([
    [{ act: "gelu_pytorch_tanh", limit: 0 }, "its text gates by silu(gate) * up, and this is gelu_pytorch_tanh(gate) * up"],
    [{ act: "silu", limit: 10 }, "its text gates by silu(gate) * up, and this is silu(min(gate, 10)) * clamp(up, -10, 10)"],
  ])("kernels that know silu refuse %j with a reason, and the parts serve", (attrs, reason) => {
    const site = { ...siteOf("gated_linear_add", 7168, 1856, "bf16"), attrs };
    for (const native of [fusedLinearNative, expertsGateUpNative, groupedBf16Native])
      expect(native.match({ ...site, op: native.serves.at(-1)! }, h200)).toEqual({ reason });
    expect((catalogue.choose(site) as Cases).cases[0].launches.map((l) => l.family)).toEqual(["gated_pair", "fused_linear"]);
  });

  test("the parts of experts say why no kernel of the whole takes their widths", () => {
    const choice = catalogue.choose({
      op: "plain_experts_add",
      attrs: { shared: 2, act: "silu", limit: 0 },
      ins: [
        packed(["T", 2048], "bf16"),
        packed([66, 2, 1400, 2048], "bf16"),
        packed([66, 2048, 1400], "bf16"),
        packed(["T", 8], "i32"),
        packed(["T", 8]),
        packed(["T", 2048], "bf16"),
      ],
      outs: [packed(["T", 2048], "bf16")],
    }) as Cases;
    for (const { launches } of choice.cases)
      expect(launches[0].instead).toContainEqual({
        family: "unit_experts_gate_up",
        reason: "1400 columns are no multiple of 64",
      });
  });

  test("widths no ring can take are their parts from the first row on", () => {
    expect(served("norm_linear", 40, 72)[0]).toEqual([8, ["rms_norm", "register_linear"]]);
    expect(cudaTarget("none", sm90).catalogue.choose(siteOf("gated_linear_add", 40, 72, "bf16"))).toMatchObject([
      { family: "gated_pair" },
      { family: "linear" },
      { family: "flat" },
    ]);
  });
});
