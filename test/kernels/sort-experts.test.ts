// The native sort of pairs by expert, run on the host: the tile program's answer for few pairs, many, none of an expert, and ties.
import { expect, test } from "vitest";
import { sortExperts } from "../../codegen/cuda/sm90/moe/sort-experts.ts";
import { interpretKernel } from "../../ir/kernel/interpret.ts";
import { runOnHost } from "./cuda-on-host.ts";
import { buffersOf, kernelOf, type Case } from "./problems.ts";
import { lacks } from "../conditions.ts";

const of = (experts: number, r: number, rule: (i: number) => number): Case => ({
  family: "sort_experts",
  problem: { experts, k: 3 },
  dims: { r },
  ints: { indices: rule },
});
const cases = [
  of(5, 150, (i) => (7 * i + (i >> 3)) % 5),
  of(9, 3, (i) => 8 - i),
  of(4, 2500, (i) => (Math.imul(i + 1, 0x9e3779b1) >>> 8) % 3),
  of(3, 513, () => 1),
  // More than 64 pairs a thread.
  of(3, 33000, (i) => (i >> 2) % 3),
];

test.skipIf(lacks("g++")).each([false, true])("sort_experts: the tile program's order, fibres backwards: %s", (backwards) => {
  const runs = cases.map((c) => {
    const kernel = kernelOf(c);
    const [want, got] = [buffersOf(kernel, c.dims, c.ints), buffersOf(kernel, c.dims, c.ints)];
    interpretKernel(kernel, want, c.dims);
    return { want, got, kernel, text: sortExperts(c.problem as { experts: number; k: number }), dims: c.dims };
  });
  runOnHost(
    runs.map(({ text, got, dims }) => ({ kernel: text, buffers: got, dims })),
    backwards,
  );
  for (const { want, got, kernel } of runs) for (const p of kernel.params) expect(got[p.name], p.name).toEqual(want[p.name]);
});
