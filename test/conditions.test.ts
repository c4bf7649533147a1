// Every skip says why: it is decided by a condition that prints its reason, and CI prints them all. No test has a time limit of its
// own, for a busy machine makes any limit wrong (test/standstill.ts).
import { readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";

test("no test skips without a reason, or fails for being slow", () => {
  const files = readdirSync(import.meta.dirname, { recursive: true, encoding: "utf8" }).filter(
    (f) => f.endsWith(".test.ts") && f !== "conditions.test.ts",
  );
  for (const file of files) {
    const text = readFileSync(path.join(import.meta.dirname, file), "utf8");
    for (const [skip] of text.matchAll(/\b(skipIf|runIf)\([^\n]*/g))
      expect(skip, file).toMatch(/^skipIf\((number % 2 === [01] && )?lacks\(/);
    expect(text, file).not.toMatch(/\btimeout: \d|^\s*\}, [1-9][\d_]*\);|AbortSignal\.timeout/m);
    expect(text, file).not.toMatch(/\b(test|it|describe)\.(skip|todo|only)\b|\bctx\.skip\b/);
  }
});
