// Damaged input ends in success or in a diagnostic with code, place and help. Seeds are fixed: a few here, many with `npm run fuzz`,
// which prints for each kind its cases, seeds, what was accepted and refused, and findings. FUZZ_CASES and FUZZ_SEED choose others.
import { expect, test } from "vitest";
import { judge, printTally } from "./judge.ts";
import { kinds } from "./kinds.ts";

const full = process.env.FUZZ ? "many" : "few";
const cases = Number(process.env.FUZZ_CASES) || undefined;
const first = Number(process.env.FUZZ_SEED) || 0;

test.each(kinds.map((k) => [k.name, k] as const))("%s", async (_, kind) => {
  await kind.open?.();
  try {
    const tally = await judge(kind, first, cases ?? kind.cases[full]);
    if (full === "many" || cases) process.stderr.write(printTally(tally));
    expect(tally.findings.length, tally.findings[0]).toBe(0);
    if (cases) return;
    expect(tally.accepted).toBeGreaterThanOrEqual(tally.cases * kind.least.accepted);
    expect(tally.refused.size).toBeGreaterThanOrEqual(kind.least.codes);
  } finally {
    await kind.close?.();
  }
});
