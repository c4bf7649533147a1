// Every built-in rule, made false by one small change at a time, is disproved: an attribute dropped, changed or held at its sample, a
// constant ten times or a tenth larger, two operands or holes of one type swapped, an op left out, another result taken.
import { expect, test } from "vitest";
import { counterexample, standard } from "../../passes/index.ts";
import { mutantsOf } from "./mutations.ts";

/** Changes that change nothing, with the reason. */
const equivalent: readonly [rule: RegExp, what: RegExp, why: string][] = [
  [
    /^combine onto the residual and the shared expert$/,
    /^(operands 3 and 4 of combine_add|x and shared) swapped$/,
    "both are added",
  ],
  [/^add(,| and) normalise/, /^(operands 0 and 1 of add_norm\w*|a and b) swapped$/, "a + b = b + a"],
  [
    /^experts of few tokens(, without scales,)? in one op$/,
    /^shared of (plain_)?experts_add [+-] 1$/,
    "says which weights may be read early, and is no part of what is computed",
  ],
  [
    /^pad the inner width$/,
    /^dtype of linear (dropped|held at the sample)$/,
    "the other product's dtype gives the result its own",
  ],
];

const rules = standard.flatMap((p) => [...(p.rules ?? []), ...(p.equations ?? [])]);

test.each(rules.map((r) => [r.name, r] as const))("%s", (_, r) => {
  const mutants = mutantsOf(r);
  expect(mutants.length).toBeGreaterThan(0);
  for (const m of mutants) {
    const known = equivalent.find(([rule, what]) => rule.test(r.name) && what.test(m.what));
    const found = counterexample(m.rule);
    if (known) expect(found?.problem, `${m.what}: equivalent, for ${known[2]}`).toBeUndefined();
    else expect(found?.problem, `${m.what} is proved`).toBeTruthy();
  }
});

test("every change named as equivalent is made", () => {
  for (const [rule, what] of equivalent)
    expect(
      rules.some((r) => rule.test(r.name) && mutantsOf(r).some((m) => what.test(m.what))),
      String(what),
    ).toBe(true);
});
