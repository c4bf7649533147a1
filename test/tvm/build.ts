// Libraries that tests call: made by g++ with the headers of tvm-ffi's wheel, or by TVM's own compiler in Python.
import { spawnSync } from "node:child_process";
import path from "node:path";
import { expect } from "vitest";
import { about } from "../../runtime/tvm/index.ts";

/** Compiles a source of this folder, or of the root's, to a shared library in `work`. */
export function compiled(work: string, compiler: string, source: string, ...flags: string[]): string {
  const file = path.resolve(import.meta.dirname, source);
  const out = path.join(work, `${path.basename(source)}.so`);
  const { status, stderr } = spawnSync(compiler, ["-shared", "-fPIC", ...flags, "-o", out, file], { encoding: "utf8" });
  expect(status, stderr).toBe(0);
  return out;
}

/** Flags for a source that uses tvm-ffi's headers. */
export const ffiFlags = (): string[] => ["-std=c++17", `-I${path.resolve(path.dirname(about().path), "../include")}`];

/** Runs Python on a script's text. */
export function python(script: string, ...words: string[]): string {
  const { status, stdout, stderr } = spawnSync(process.env.DSC_PYTHON ?? "python3", ["-", ...words], {
    input: script,
    encoding: "utf8",
  });
  expect(status, stderr.slice(-2000)).toBe(0);
  return stdout;
}
