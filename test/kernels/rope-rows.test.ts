// The vector form of the rotation, run on the host: exactly the rows of the tile program.
import { expect, test } from "vitest";
import { ropeRows, ropeRowsNative } from "../../codegen/cuda/sm90/rows/rope-rows.ts";
import type { RopeProblem } from "../../codegen/kernels/cache.ts";
import { interpretKernel } from "../../ir/kernel/interpret.ts";
import { runOnHost } from "./cuda-on-host.ts";
import { buffersOf, kernelOf, type Case } from "./problems.ts";
import { lacks } from "../conditions.ts";
import { h200 } from "../../codegen/cuda/arch/h200.ts";

const of = (heads: number, d: number, xStrides: [number, number], T: number): Case => ({
  family: "rope",
  problem: { heads, d, xStrides, interleaved: true, maxPositions: 50, act: "bf16" } as Case["problem"],
  dims: { T },
  ints: { positions: (i) => (7 * i) % 50 },
});
/** Rows that end inside a block, one head, lanes that lie behind others. */
const cases = [of(16, 64, [16 * 192, 192], 5), of(3, 64, [264, 80], 19), of(1, 32, [40, 32], 1), of(20, 64, [5120, 256], 70)];

test.skipIf(lacks("g++")).each([false, true])("rope_rows: the tile program's bits, fibres backwards: %s", (backwards) => {
  const runs = cases.map((c) => {
    const kernel = kernelOf(c);
    const [want, got] = [buffersOf(kernel, c.dims, c.ints), buffersOf(kernel, c.dims, c.ints)];
    interpretKernel(kernel, want, c.dims);
    return { want, got, kernel, text: ropeRows(c.problem as unknown as RopeProblem), dims: c.dims };
  });
  runOnHost(
    runs.map(({ text, got, dims }) => ({ kernel: text, buffers: got, dims })),
    backwards,
  );
  for (const { want, got, kernel, text } of runs)
    for (const p of kernel.params) expect(got[p.name], `${p.name} of ${text.name}`).toEqual(want[p.name]);
});

test("rope_rows leaves halves apart, f32 and odd strides to the tile program", () => {
  const refusal = (more: Partial<RopeProblem>, strides: [number, number] = [3072, 192]): unknown => {
    const [T, heads, d] = ["T", 16, 64];
    const [interleaved, dtype] = [more.interleaved ?? true, more.act ?? "bf16"];
    return ropeRowsNative.match(
      {
        op: "rope",
        attrs: { interleaved },
        ins: [
          { dtype: dtype as "bf16", shape: [T, heads, d], strides: [...strides, 1] },
          { dtype: "f32", shape: [50, d], strides: [d, 1] },
        ],
        outs: [{ dtype: dtype as "bf16", shape: [T, heads, d], strides: [1024, 64, 1] }],
      },
      h200,
    );
  };
  expect(refusal({ interleaved: false })).toEqual({ reason: "pairs are not side by side" });
  expect(refusal({}, [3072, 196])).toEqual({ reason: "heads do not lie at multiples of eight lanes" });
});
