// docs/where.md names files: those that are there are there, and those that are not are said to be new.
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { root } from "./pages.ts";

/** Paths of the page in backticks, with whether "(new)" follows. */
const named = [
  ...readFileSync(path.join(root, "docs/where.md"), "utf8").matchAll(
    /`((?:ir|passes|codegen|runtime|compiler|test|docs)\/[\w./-]*)`( \*\(new\)\*)?/g,
  ),
].map(([, file, isNew]) => ({ file, isNew: isNew !== undefined }));

test("paths without (new) exist, paths with it do not", () => {
  expect(named.length).toBeGreaterThan(60);
  // Capital letters stand for a name.
  const wrong = named.filter(({ file, isNew }) => existsSync(path.join(root, file)) === isNew && !/[A-Z]{4}/.test(file));
  expect(wrong).toEqual([]);
});
