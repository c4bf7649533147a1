// --target triton: sources always, cubins where a Python has Triton, and no word but a diagnostic where none has.
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { afterEach, expect, test } from "vitest";
import type { Manifest } from "../../ir/artifact.ts";
import { findTriton } from "../kernels/triton-on-host.ts";
import { at, dsc, tiny } from "./dsc.ts";
import { lacks } from "../conditions.ts";

const asked = process.env.DSC_PYTHON;
afterEach(() => {
  if (asked === undefined) delete process.env.DSC_PYTHON;
  else process.env.DSC_PYTHON = asked;
});

async function compiled(python: string, out: string): Promise<{ stderr: string; manifest: Manifest; source: string }> {
  process.env.DSC_PYTHON = python;
  const run = await dsc("compile", tiny, "--target", "triton", "-o", out);
  expect(run.code, run.stderr).toBe(0);
  const manifest = JSON.parse(readFileSync(path.join(out, "manifest.json"), "utf8")) as Manifest;
  const [first] = Object.values(manifest.kernels);
  return { stderr: run.stderr, manifest, source: readFileSync(path.join(out, first.text), "utf8") };
}

test("without Triton the artifact holds sources, says so, and is not run", async () => {
  const { stderr, manifest, source } = await compiled(path.join(tiny, "no-python"), at("sources"));
  expect(stderr).toContain("DSC6020");
  expect(source).toContain("@triton.jit");
  expect(Object.values(manifest.kernels).some((k) => k.binary)).toBe(false);
  const run = await dsc("run", at("sources"), "--weights", tiny, "--ids", "1,2", "--max-new", "1");
  expect(run.code).not.toBe(0);
  expect(run.stderr).toContain("DSC5047");
});

const python = findTriton();
test.skipIf(lacks("triton"))("with Triton every kernel has a cubin, and some have shared memory", async () => {
  const { manifest } = await compiled(python!, at("cubins"));
  for (const [name, k] of Object.entries(manifest.kernels)) {
    expect(k.binary, name).toMatch(/\.cubin$/);
    expect(existsSync(path.join(at("cubins"), k.binary!)), name).toBe(true);
  }
  expect(Object.values(manifest.kernels).some((k) => k.launch!.sharedBytes > 0)).toBe(true);
});
