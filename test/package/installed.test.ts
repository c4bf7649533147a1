// The package as it is packed, in a project of its own: what tests an edit of a CUDA kernel on the host is in it.
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, expect, test } from "vitest";
import { lacks } from "../conditions.ts";

const root = path.resolve(import.meta.dirname, "../..");
const app = mkdtempSync(path.join(tmpdir(), "dsc-installed-"));
afterAll(() => rmSync(app, { recursive: true }));

test.skipIf(lacks("g++ 12", "no GPU"))("an installed dsc tests a CUDA kernel on the host", () => {
  const npm = ["pack", "--ignore-scripts", "--silent", "--pack-destination", app];
  const packed = execFileSync("npm", npm, { cwd: root, encoding: "utf8" }).trim();
  execFileSync("tar", ["-xzf", packed], { cwd: app });
  mkdirSync(path.join(app, "node_modules"));
  renameSync(path.join(app, "package"), path.join(app, "node_modules/dsc"));
  symlinkSync(path.join(root, "node_modules"), path.join(app, "node_modules/dsc/node_modules"));
  const dsc = (...words: string[]): string =>
    execFileSync(process.execPath, ["node_modules/dsc/dist/compiler/cli.js", ...words], {
      cwd: app,
      encoding: "utf8",
      env: { ...process.env, DSC_CACHE: path.join(app, "cache") },
      stdio: ["ignore", "pipe", "ignore"],
    });
  dsc("compile", path.join(root, "test/fixtures/a01-v3-yarn"), "--target", "cuda", "-o", "out");
  const report = JSON.parse(dsc("kernel", "out", "argmax_131", "--test", "--json")) as { on: string; proved: boolean };
  expect([report.on, report.proved]).toEqual(["host", true]);
});
