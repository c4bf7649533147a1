// What the pages show is what the commands print.
import { mkdirSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { at } from "../commands/dsc.ts";
import { pagesWithText, pattern, transcriptsOf, typed } from "./transcripts.ts";

// These are followed in folders of their own (followed.test.ts).
const all = pagesWithText()
  .filter((page) => !["docs/kernel.md", "docs/plugins.md"].includes(page))
  .flatMap(transcriptsOf);
const folder = at("typed");
mkdirSync(folder);
// Most of them look at an artifact that one of these makes.
const compiles = [
  "dsc compile examples/deepseek-r1/config.json -o .dsc/deepseek-r1",
  "dsc compile examples/deepseek-r1/config.json --target cuda -o .dsc/deepseek-r1-cuda",
];
const made = compiles.map((command) => typed(command, folder));

test("there are transcripts to hold", () => {
  expect(new Set(all.map((t) => t.page))).toEqual(
    new Set(["README.md", "docs/architecture.md", "docs/inspect.md", "docs/interop.md", "docs/parallel.md"]),
  );
  expect(all.length).toBeGreaterThan(5);
});

describe.concurrent("typed into a shell", () => {
  test.each(all.map((t) => [`${t.page}:${t.line}`, t.command, t.said] as const))("%s: %s", async (_, command, said) => {
    await Promise.all(made);
    // Shown without its -o in README.
    const first = command === "dsc compile examples/deepseek-r1/config.json" ? 0 : compiles.indexOf(command);
    const answer = await (first < 0 ? typed(command, folder) : made[first]);
    const wanted = pattern(said);
    if (!wanted.test(answer)) expect(answer.slice(0, 4000)).toBe(said.join("\n"));
  });
});

test("an elision stands for anything, and nothing else does", () => {
  expect(pattern(["a", "...", "c  d"]).test("a b b c d")).toBe(true);
  expect(pattern(["a", "...", "c"]).test("a b b c d")).toBe(false);
  expect(pattern(["a b ..."]).test("a b")).toBe(true);
  expect(pattern(["a b"]).test("a b c")).toBe(false);
  expect(pattern(["f(x[0...3])"]).test("f(x[0123])")).toBe(false);
});
