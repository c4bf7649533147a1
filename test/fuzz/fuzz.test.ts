// Damaged input ends in success or in a diagnostic with code, place and help. Seeds are fixed: a few here, many with `npm run fuzz`,
// which prints for each kind its cases, seeds, what was accepted and refused, and findings. FUZZ_CASES=N shares N cases
// among the kinds as `many` does, FUZZ_SEED=N begins at that seed.
import { expect, test } from "vitest";
import { judge, printTally } from "./judge.ts";
import { kinds } from "./kinds.ts";

const full = process.env.FUZZ ? "many" : "few";
const total = Number(process.env.FUZZ_CASES) || undefined;
const whole = kinds.reduce((n, k) => n + k.cases.many, 0);
const first = Number(process.env.FUZZ_SEED) || 0;

test.each(kinds.map((k) => [k.name, k] as const))("%s", async (_, kind) => {
  const tally = await judge(kind, first, total ? Math.ceil((total * kind.cases.many) / whole) : kind.cases[full]);
  if (full === "many" || total) process.stderr.write(printTally(tally));
  expect(tally.findings.length, tally.findings[0]).toBe(0);
  if (total) return;
  expect(tally.accepted).toBeGreaterThanOrEqual(tally.cases * kind.least.accepted);
  expect(tally.refused.size).toBeGreaterThanOrEqual(kind.least.codes);
});

test("npm run fuzz is of 100,000 cases", () => expect(whole).toBe(100_000));
