// The native router, run on the host: the tile program's experts exactly, its weights within rounding; biases, groups, ties.
import { expect, test } from "vitest";
import { routeRows, illegalRouting } from "../../codegen/cuda/sm90/moe/route-rows.ts";
import type { RouteProblem } from "../../codegen/kernels/expert.ts";
import { interpretKernel } from "../../ir/kernel/interpret.ts";
import { runOnHost } from "./cuda-on-host.ts";
import { buffersOf, kernelOf, type Case } from "./problems.ts";
import { lacks } from "../conditions.ts";
import { r1Routing } from "./r1-routing.ts";

const base = r1Routing;
const problems: readonly RouteProblem[] = [
  base,
  { ...base, shared: 1 },
  { ...base, experts: 64, topk: 6, groups: 1, kept: 1, xStride: 64, shared: 2 },
  { ...base, act: "bf16", xStride: 264 },
  { ...base, experts: 64, topk: 6, groups: 1, kept: 1, xStride: 64 },
  {
    ...base,
    experts: 160,
    topk: 6,
    groups: 8,
    kept: 3,
    scoring: "softmax",
    method: "group_limited_greedy",
    normalise: false,
    factor: 16,
    bias: false,
    xStride: 160,
  },
  {
    ...base,
    experts: 64,
    topk: 6,
    groups: 1,
    kept: 1,
    scoring: "softmax",
    method: "greedy",
    bias: false,
    normalise: false,
    factor: 1,
    xStride: 64,
  },
  { ...base, experts: 32, topk: 3, groups: 32, kept: 5, xStride: 32 },
];

test.skipIf(lacks("g++")).each([false, true])("route_rows against the tile program, fibres backwards: %s", (backwards) => {
  const runs = problems.map((problem, i) => {
    const c: Case = { family: "route", problem: problem as unknown as Case["problem"], dims: { T: 9 } };
    const kernel = kernelOf(c);
    const [want, got] = [buffersOf(kernel, c.dims, {}, 5 + i), buffersOf(kernel, c.dims, {}, 5 + i)];
    // Two rows of ties: all logits alike, and only a few kinds of them.
    for (const b of [want, got])
      for (let e = 0; e < problem.experts; e++) {
        b.logits[e] = problem.act ? 0x3f80 : 1;
        b.logits[problem.xStride + e] = problem.act ? [0x3f80, 0x4000, 0xbf80][e % 3] : [1, 2, -1][e % 3];
      }
    interpretKernel(kernel, want, c.dims);
    return { want, got, text: routeRows(problem), dims: c.dims, slots: problem.topk + (problem.shared ?? 0) };
  });
  runOnHost(
    runs.map(({ text, got, dims }) => ({ kernel: text, buffers: got, dims })),
    backwards,
  );
  for (const { want, got, text, slots } of runs) {
    expect(got.indices, text.name).toEqual(want.indices);
    for (let i = 0; i < 9 * slots; i++)
      expect(Math.abs(got.weights[i] - want.weights[i]), text.name).toBeLessThanOrEqual(2e-6 * Math.abs(want.weights[i]));
  }
});

test("experts or groups that are no whole lanes stay with the tile program", () => {
  expect(illegalRouting({ ...base, experts: 72 })).toMatch(/72/);
  expect(illegalRouting({ ...base, groups: 3 })).toMatch(/3 groups/);
});
