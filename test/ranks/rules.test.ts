// Rules over collectives are equations over ranks: proved at drawn values on 2, 3 and 4 of them, and what is nearly one of them is not.
import path from "node:path";
import { expect, test } from "vitest";
import { loadSpec } from "../../compiler/frontend/config.ts";
import { modelModule } from "../../compiler/frontend/model.ts";
import { parseModule, printModule } from "../../ir/index.ts";
import type { Table } from "../../passes/report.ts";
import { withRanks } from "../../passes/shard/pipeline.ts";
import { add, allGather, allReduce, gated, once, quantize, reduceScatter, rmsNorm } from "../../ir/index.ts";
import { counterexample, rule, runPipeline, type Rule } from "../../passes/index.ts";
import { codesOnTheWire, meet, normOfShare, oneSum, residualInside } from "../../passes/shard/meet.ts";

test.each([oneSum, residualInside, normOfShare, codesOnTheWire].map((r) => [r.name, r] as const))("%s holds", (_, r) => {
  expect(counterexample(r, 3)).toBeNull();
});

test("every rule and equation of the pass is among them", () => {
  expect([...meet.rules!, ...meet.equations!].map((r) => r.name).toSorted()).toEqual(
    [oneSum, residualInside, normOfShare, codesOnTheWire].map((r) => r.name).toSorted(),
  );
});

const two = { vars: { h: "[..b] t", y: "[..b] t" }, ownByRank: ["y"] } as const;
const rows = { vars: { x: "[T, k] t" }, attrs: { parts: 2 }, ownByRank: ["x"] } as const;
const wrong: Record<string, Rule> = {
  "a residual that every rank adds": rule("w1", {
    ...two,
    from: ({ h, y }) => add({ a: h, b: allReduce({ x: y }) }),
    to: ({ h, y }) => allReduce({ x: add({ a: h, b: y }) }),
  }),
  "a residual of a rank's own": rule("w2", {
    ...two,
    ownByRank: ["h", "y"],
    from: ({ h, y }) => add({ a: h, b: allReduce({ x: y }) }),
    to: ({ h, y }) => allReduce({ x: add({ a: once({ x: h }), b: y }) }),
  }),
  "a sum that is left out": rule("w3", {
    ...two,
    from: ({ h, y }) => add({ a: h, b: allReduce({ x: y }) }),
    to: ({ h, y }) => add({ a: h, b: y }),
  }),
  "a sum that is added up twice": rule("w4", {
    ...two,
    from: ({ y }) => allReduce({ x: y }),
    to: ({ y }) => allReduce({ x: allReduce({ x: y }) }),
  }),
  "an op that is not linear, before the sum": rule("w5", {
    ...two,
    from: ({ y }) => gated({ gate: allReduce({ x: y }), up: allReduce({ x: y }) }),
    to: ({ y }) => allReduce({ x: gated({ gate: y, up: y }) }),
  }),
  "codes of a sum": rule("w6", {
    ...rows,
    from: ({ x }) => quantize({ x: allReduce({ x }) }),
    to: ({ x, parts }) => allGather({ x: quantize({ x: reduceScatter({ x, parts, axis: -1 }) }), parts, axis: -2 }),
  }),
  "a norm over a part of the columns": rule("w7", {
    vars: { x: "[T, k] t", gain: "[k] w" },
    attrs: { parts: 2 },
    ownByRank: ["x"],
    ties: ({ parts }) => ({ k: 2 * Math.max(1, parts) }),
    looks: "x",
    from: ({ x, gain }) => rmsNorm({ x: allReduce({ x }), gain }),
    to: ({ x, gain, parts }) => {
      const mine = reduceScatter({ x, parts, axis: -1 });
      return rmsNorm({
        x: allGather({ x: rmsNorm({ x: mine, gain: reduceScatter({ x: once({ x: gain }), parts }) }), parts }),
        gain,
      });
    },
  }),
};
test.each(Object.entries(wrong))("%s is disproved", (_, r) => {
  expect(counterexample(r, 3)).not.toBeNull();
});

test("the ledger counts what ranks send: a step's collectives, and not what each computes alone", () => {
  const { spec } = loadSpec(path.resolve(import.meta.dirname, "../fixtures/a01-v3-yarn"), []);
  const written = modelModule(spec, { activations: "bf16", actQuant: "dynamic", taps: false });
  const { ledger, module } = runPipeline(written, withRanks([]), { "shard.mesh": "tp=2,ep=2" }, { contracts: false });
  // Heads and experts, of 64 bf16 a row; own_experts exchanges nothing. Three layers: 3 sums of heads, 2 of experts.
  const { T } = module.funcs.get("decode/moe_layer")!.assume;
  const of = (at: string) => ledger.entries.find((e) => e.rule === "ranks meet" && e.at === at)?.wire;
  expect(of("decode/moe_layer")).toEqual({ bytes: 2 * T * 64 * 2, collectives: 2 });
  expect(of("decode/dense_layer")).toEqual({ bytes: T * 64 * 2, collectives: 1 });
  const [said] = ledger.said.filter((s) => s.pass === "shard");
  expect((said.said as Table).rows.find(([step]) => step === "decode")).toEqual([
    "decode",
    `${T} rows of ${T}`,
    5,
    5 * T * 64 * 2,
  ]);
  // The residual rides outside, and says why.
  const left = ledger.entries.filter((e) => e.pass === "meet" && e.outcome === "declined");
  expect(new Set(left.map((e) => e.rule))).toEqual(new Set(["residual inside the sum"]));
});

test("sums that stand apart become one", () => {
  const text = (body: string): string =>
    `module t\nmesh {tp = 2}\n\nfunc @f(%a: [T, 4] f32, %b: [T, 4] f32) assume {T = 3} {\n${body}}\n`;
  const apart = parseModule(
    text(
      "  %x = all_reduce %a : [T, 4] f32\n  %y = all_reduce %b : [T, 4] f32\n  %z = add %x, %y : [T, 4] f32\n  return z = %z\n",
    ),
  );
  const { module } = runPipeline(apart, [meet], {}, { contracts: false });
  expect(printModule(module)).toMatch(/%0 = add %a, %b[^\n]*\n *%z = all_reduce %0/);
});
