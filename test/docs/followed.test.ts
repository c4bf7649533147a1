// docs/plugins.md and docs/kernel.md, word for word: their files are written, their lines are typed, and what they print stands there.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, expect, test } from "vitest";
import { follow } from "./followed.ts";

const work = mkdtempSync(path.join(tmpdir(), "dsc-docs-"));
afterAll(() => rmSync(work, { recursive: true }));
const folder = (name: string): string => mkdtempSync(path.join(work, `${name}-`));

test("plugins.md", () => {
  const { files, commands } = follow("docs/plugins.md", folder("plugins"));
  expect(files.length).toBe(2);
  expect(commands.length).toBeGreaterThan(6);
});

test("kernel.md", () => {
  expect(follow("docs/kernel.md", folder("kernel")).commands.length).toBeGreaterThan(6);
});
