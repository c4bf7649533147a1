// The list itself: every bug can still be put in, and the tests that must see it are there, by name.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
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
  expect(m.why).not.toBe("");
});

/** Full names of the tests in some files, "describe test", none of them run. */
function testsOf(files: readonly string[]): Map<string, string[]> {
  const folder = mkdtempSync(path.join(tmpdir(), "dsc-killers-"));
  try {
    const out = path.join(folder, "tests.json");
    execFileSync(
      process.execPath,
      ["node_modules/vitest/vitest.mjs", "list", "--no-isolate", "--maxWorkers=1", `--json=${out}`, ...files],
      {
        cwd: root,
        stdio: "pipe",
      },
    );
    const found = new Map<string, string[]>(files.map((f) => [f, []]));
    for (const { name, file } of JSON.parse(readFileSync(out, "utf8")) as { name: string; file: string }[])
      found.get(path.relative(root, file))?.push(name.replaceAll(" > ", " "));
    return found;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test("every killer is there: a file with a test of that name", () => {
  const killers = mutants.flatMap((m) => m.killers.map(([file, only]) => ({ name: m.name, file, only })));
  const tests = testsOf([...new Set(killers.map((k) => k.file))]);
  expect(killers.filter(({ file, only = "" }) => !tests.get(file)!.some((name) => new RegExp(only).test(name)))).toEqual([]);
});

test("names differ; a seed chooses a part", () => {
  expect(new Set(mutants.map((m) => m.name)).size).toBe(mutants.length);
  const tenth = Math.ceil(mutants.length / 10);
  expect(chosen("a", 0.1)).toHaveLength(tenth);
  expect(chosen("a", 0.1)).toEqual(chosen("a", 0.1));
  expect(chosen("b", 0.1)).not.toEqual(chosen("a", 0.1));
  expect(chosen("a", 1)).toHaveLength(mutants.length);
});
