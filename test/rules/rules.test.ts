// A rule is its own unit test: letters get small sizes, holes random values, both sides are interpreted and compared.
import { describe, expect, test } from "vitest";
import { add, mul, rmsNorm, scale } from "../../ir/index.ts";
import { counterexample, disagreement, rule, standard } from "../../passes/index.ts";

const rules = standard.flatMap((p) => [...(p.rules ?? []), ...(p.equations ?? [])]);

describe.each(rules.map((r) => [r.name, r] as const))("%s", (_, r) => {
  test.each([1, 2, 3])("both sides agree, seed %i", (seed) => expect(disagreement(r, seed)).toBeNull());
});

describe("a rule that is no equation has a counterexample", () => {
  const vars = { x: "[..b, d] a", y: "[..b, d] a", gain: "[d] w" } as const;
  test("other numbers", () => {
    const wrong = rule("add is mul", { vars, from: ({ x, y }) => add({ a: x, b: y }), to: ({ x, y }) => mul({ a: x, b: y }) });
    expect(counterexample(wrong)).toMatchObject({
      seed: 1,
      holes: ["x [3, 4] f32", "y [3, 4] f32", "gain [4] f32"],
      problem: expect.stringMatching(/^element 0 is .* on the left and .* on the right$/),
    });
  });
  test("a small difference is one, too", () => {
    const wrong = rule("eps is nothing", {
      vars,
      from: ({ x, gain }) => rmsNorm({ x, gain, eps: 1e-6 }),
      to: ({ x, gain }) => rmsNorm({ x, gain, eps: 1e-5 }),
    });
    expect(counterexample(wrong)?.problem).toMatch(/element/);
  });
  test("another type", () => {
    const wrong = rule("a row is a gain", {
      vars,
      from: ({ x }) => scale({ x, by: 1 }),
      to: ({ gain }) => scale({ x: gain, by: 1 }),
    });
    expect(counterexample(wrong)?.problem).toBe("the left side is [3, 4] f32, the right side [4] f32");
  });
  test("a side that cannot be built", () => {
    const wrong = rule("rows onto a gain", {
      vars,
      from: ({ x }) => scale({ x, by: 1 }),
      to: ({ x, gain }) => add({ a: x, b: gain }),
    });
    expect(counterexample(wrong)?.problem).toContain("add");
  });
});
