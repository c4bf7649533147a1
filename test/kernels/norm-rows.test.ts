// The vector form of the norms, run on the host: codes, scales and rows exactly those of the tile programs that say the same.
import { h200 } from "../../codegen/cuda/arch/h200.ts";
import { expect, test } from "vitest";
import {
  normRows,
  normRowsNative,
  normRowsProblem,
  type NormFamily,
  type NormRowsProblem,
} from "../../codegen/cuda/sm90/rows/norm-rows.ts";
import { interpretKernel } from "../../ir/kernel/interpret.ts";
import { runOnHost } from "./cuda-on-host.ts";
import { buffersOf, kernelOf, type Case } from "./problems.ts";
import { lacks } from "../conditions.ts";

const problemOf = (c: Case): NormRowsProblem =>
  normRowsProblem(c.family as NormFamily, c.problem as Parameters<typeof normRowsProblem>[1]);

const norm = (family: Case["family"], d: number, more: object): Case => ({
  family,
  problem: { d, eps: 1e-6, gain: "bf16", ...more } as Case["problem"],
  dims: { m: 3 },
});

const cases: readonly Case[] = [
  norm("rms_norm", 384, { xStride: 392, yStride: 388 }),
  norm("rms_norm", 1536, { xStride: 2112, yStride: 1536, act: "bf16" }),
  norm("rms_norm", 128, { xStride: 128, yStride: 128, gain: "f32" }),
  norm("norm_quant", 640, { xStride: 640, yStride: 0, ue8m0: true }),
  norm("norm_quant", 7168, { xStride: 7168, yStride: 0, act: "bf16", ue8m0: false }),
  norm("add_norm", 1536, { aStride: 1540, bStride: 1536 }),
  norm("add_norm", 7168, { aStride: 7168, bStride: 7168, act: "bf16" }),
  norm("add_norm_quant", 512, { aStride: 512, bStride: 516, act: "bf16", ue8m0: false }),
  norm("add_norm_both", 1152, { aStride: 1152, bStride: 1152, ue8m0: true }),
  norm("add_norm_both", 256, { aStride: 256, bStride: 256, act: "bf16", ue8m0: false }),
];

test.skipIf(lacks("g++")).each([false, true])("norm_rows: the tile programs' bits, fibres backwards: %s", (backwards) => {
  const runs = cases.flatMap((c) => {
    const kernel = kernelOf(c);
    const p = problemOf(c);
    const schedules = normRowsNative.schedules.candidates(p, h200);
    if ("reason" in schedules) throw new Error(schedules.reason);
    return schedules.map((s) => {
      const { warps } = s as { warps: number };
      const [want, got] = [buffersOf(kernel, c.dims), buffersOf(kernel, c.dims)];
      interpretKernel(kernel, want, c.dims);
      return { want, got, kernel, text: normRows(p, warps), dims: c.dims };
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
});

test("norm_rows leaves ragged rows to the tile programs", () => {
  const candidates = (d: number, more: object): unknown =>
    normRowsNative.schedules.candidates(problemOf(norm("rms_norm", d, more)), h200);
  expect(candidates(130, { xStride: 132, yStride: 132 })).toEqual({ reason: "130 columns are not whole blocks of 128" });
  expect(candidates(128, { xStride: 130, yStride: 128 })).toEqual({ reason: "rows do not start at multiples of four elements" });
});
