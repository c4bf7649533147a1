// Proofs of passes on the model made small: dsc's own with `run` or `whole` as well as those of plug-ins, kept between compiles.
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { compile, defaults } from "../../compiler/compile.ts";
import { transcript } from "../../compiler/report/transcript.ts";
import { DiagnosticError, scale } from "../../ir/index.ts";
import { pass, rebuild, standard } from "../../passes/index.ts";

const model = path.resolve(import.meta.dirname, "../fixtures/a01-v3-yarn");
const cache = mkdtempSync(path.join(tmpdir(), "dsc-proofs-"));
const before = process.env.DSC_CACHE;
beforeAll(() => void (process.env.DSC_CACHE = cache));
afterAll(() => {
  if (before === undefined) delete process.env.DSC_CACHE;
  else process.env.DSC_CACHE = before;
  rmSync(cache, { recursive: true });
});

test("every pass of dsc that rewrites by itself is proved, said in the transcript, and known the next time", () => {
  const first = compile(model, { ...defaults, prove: "all" });
  const own = standard.filter((p) => p.run || p.whole).map((p) => p.name);
  expect(first.proofs.length).toBeGreaterThan(3);
  for (const { pass: name, says } of first.proofs) {
    expect(own).toContain(name);
    expect(says).toMatch(/^proved on the model made small|^not proved, because/);
  }
  expect(transcript(first.outcome, first.proofs)).toContain("    proved on the model made small, before and after");
  const kept = readdirSync(path.join(cache, "proofs"));
  expect(compile(model, { ...defaults, prove: "all" }).proofs).toEqual(first.proofs);
  expect(readdirSync(path.join(cache, "proofs"))).toEqual(kept);
  expect(existsSync(path.join(cache, "proofs"))).toBe(true);
});

test("a pass of dsc that changes what is computed ends the compile", () => {
  const wrong = pass({
    name: "wrong",
    summary: "Doubles sums.",
    run: (f, cx) => rebuild(f, cx.module.graph, (v, n) => (n.op.name === "add" ? [scale({ x: v[0], by: 2 })] : undefined)),
  });
  const compiled = (): unknown => compile(model, { ...defaults, prove: "all" }, [...standard, wrong]);
  expect(compiled).toThrow(DiagnosticError);
  expect(compiled).toThrow(/DSC3020.*wrong changes what is computed/);
  // Nobody asked: only plug-ins are.
  expect(compile(model, defaults, [...standard, wrong]).proofs).toEqual([]);
});
