// The list itself: every bug can still be put in, and the tests that must see it are there.
import { readFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { chosen, mutants } from "./catalogue.ts";
import { edited, placeOf } from "./mutant.ts";

const root = path.resolve(import.meta.dirname, "../..");
const text = (file: string): string => readFileSync(path.join(root, file), "utf8");

test.each(mutants.map((m) => [m.name, m] as const))("%s", (_, m) => {
  for (const e of m.edits) {
    const before = text(e.file);
    const [from] = placeOf(e, before);
    expect(from).toBeGreaterThanOrEqual(0);
    expect(edited(e, before)).not.toBe(before);
  }
  for (const [file] of m.killers) expect(text(file)).toContain("test");
  expect(m.why).not.toBe("");
});

test("names differ; a seed chooses a part", () => {
  expect(new Set(mutants.map((m) => m.name)).size).toBe(mutants.length);
  const tenth = Math.ceil(mutants.length / 10);
  expect(chosen("a", 0.1)).toHaveLength(tenth);
  expect(chosen("a", 0.1)).toEqual(chosen("a", 0.1));
  expect(chosen("b", 0.1)).not.toEqual(chosen("a", 0.1));
  expect(chosen("a", 1)).toHaveLength(mutants.length);
});
