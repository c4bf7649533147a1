// Gathered rows and codes of rows as vector forms, run on the host: exactly what the tile programs of the same ops write.
import { expect, test } from "vitest";
import { gatherRows, gatherRowsNative } from "../../codegen/cuda/sm90/rows/gather-rows.ts";
import { quantRows, quantRowsNative, type QuantRowsProblem } from "../../codegen/cuda/sm90/rows/quant-rows.ts";
import type { GatherProblem } from "../../codegen/kernels/move.ts";
import type { KernelText } from "../../ir/kernel/catalogue.ts";
import { interpretKernel } from "../../ir/kernel/interpret.ts";
import { runOnHost } from "./cuda-on-host.ts";
import { buffersOf, kernelOf, type Case } from "./problems.ts";
import { lacks } from "../conditions.ts";
import { h200 } from "../../codegen/cuda/arch/h200.ts";

const gathered = (x: GatherProblem["x"], d: number, xStride: number): { c: Case; texts: KernelText[] } => {
  const p: GatherProblem = { d, per: 3, x, xStride };
  const c = {
    family: "gather_rows",
    problem: p,
    dims: { T: 5, r: 15 },
    ints: { order: (i: number) => (7 * i) % 15 },
  } as unknown as Case;
  return { c, texts: [gatherRows(p)] };
};

const quantised = (family: "quantize" | "gated_quant", d: number, p: object): { c: Case; texts: KernelText[] } => {
  const c = { family, problem: { [family === "quantize" ? "d" : "n"]: d, ...p }, dims: { m: 3 } } as unknown as Case;
  const of = { of: family, d, act: "f32", ...p } as QuantRowsProblem;
  const schedules = quantRowsNative.schedules.candidates(of, h200);
  if ("reason" in schedules) throw new Error(schedules.reason);
  return { c, texts: schedules.map((s) => quantRows(of, s as { form: "blocks-per-warp"; blocks: number })) };
};

const cases = [
  gathered("bf16", 2048, 2048),
  gathered("f32", 40, 48),
  gathered("e4m3", 7168, 7168),
  gathered("e4m3", 144, 144),
  quantised("quantize", 512, { xStride: 520, ue8m0: false, act: "bf16" }),
  quantised("quantize", 384, { xStride: 384, ue8m0: true }),
  quantised("gated_quant", 256, { xStride: 512, ue8m0: false, act: "bf16" }),
  quantised("gated_quant", 1024, { xStride: 2052, ue8m0: true }),
];

test.skipIf(lacks("g++")).each([false, true])(
  "rows moved and quantised: the tile programs' bits, fibres backwards: %s",
  (backwards) => {
    const runs = cases.flatMap(({ c, texts }) => {
      const kernel = kernelOf(c);
      return texts.map((text) => {
        const [want, got] = [buffersOf(kernel, c.dims, c.ints), buffersOf(kernel, c.dims, c.ints)];
        interpretKernel(kernel, want, c.dims);
        return { want, got, kernel, text, dims: c.dims };
      });
    });
    runOnHost(
      runs.map(({ text, got, dims }) => ({ kernel: text, buffers: got, dims })),
      backwards,
    );
    for (const { want, got, kernel, text } of runs) {
      expect(text.params.map((p) => p.name)).toEqual(kernel.params.map((p) => p.name));
      for (const p of kernel.params) expect(got[p.name], `${p.name} of ${text.name}`).toEqual(want[p.name]);
    }
  },
);

test("rows of no whole words and blocks are left to the tile programs", () => {
  const row = (dtype: "bf16" | "e4m3", d: number): { dtype: typeof dtype; shape: (string | number)[]; strides: number[] } => ({
    dtype,
    shape: ["T", d],
    strides: [d, 1],
  });
  const order = { dtype: "i32" as const, shape: ["r"], strides: [1] };
  expect(
    gatherRowsNative.match(
      { op: "gather_rows", attrs: { per: 2 }, ins: [row("bf16", 36), order], outs: [row("bf16", 36)] },
      h200,
    ),
  ).toEqual({
    reason: "rows of 36 bf16 are no whole words of 16 bytes",
  });
  expect(
    quantRowsNative.match({ op: "quantize", attrs: { scale: "f32" }, ins: [row("bf16", 130)], outs: [row("e4m3", 130)] }, h200),
  ).toEqual({
    reason: "rows of 130 columns, 130 apart, are no whole blocks of 128 at words of four",
  });
});
