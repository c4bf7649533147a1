// What judges random models on a card (test/device/family-judge.ts), on models that run here: over the stand-in for the driver, printed
// tile programs only. An answer lies as far from float64 as rounding every value to bf16 does, at the routes it took; an answer that is
// wrong, or took a route that rounding does not explain, is called so.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, expect, test } from "vitest";
import { compileSpec, type CompileOptions } from "../../compiler/compile.ts";
import { loadSpec } from "../../compiler/frontend/config.ts";
import type { ModelSpec } from "../../compiler/frontend/spec.ts";
import { CudaDevice } from "../../runtime/devices/cuda/device.ts";
import { Model } from "../../runtime/model.ts";
import { modelOf } from "../device/family.ts";
import { ask, judge, optionsOf, type Way } from "../device/family-judge.ts";
import { needed, syntheticRaw } from "../device/family-reference.ts";
import { specFrom } from "../fuzz/family.ts";
import { fixtures, readTensors, type Raw } from "../interpreted.ts";
import { lacks } from "../conditions.ts";
import { buildDriver, buildKernels } from "../kernels/host-driver.ts";

const work = mkdtempSync(path.join(tmpdir(), "dsc-family-host-"));
afterAll(() => rmSync(work, { recursive: true }));

async function answered(
  spec: ModelSpec,
  way: Omit<Way, "target">,
  weights: string,
  seed: number,
): Promise<{ options: CompileOptions; asked: Awaited<ReturnType<typeof ask>> }> {
  const options = { ...optionsOf({ ...way, target: "cuda" }, seed), natives: "none" };
  const { manifest, files: texts } = compileSpec(spec, options);
  const [driver, { files, compile }] = await Promise.all([buildDriver(work), buildKernels(manifest, texts)]);
  const model = await Model.open(manifest, await CudaDevice.open(manifest, files, { compile, libraries: [driver] }), { weights });
  const asked = await ask(model, spec, seed);
  await model.close();
  return { options, asked };
}

test.skipIf(lacks("g++")).each([
  // The extra layer beside layers of which every second is a mixture; one head and power-of-two scales.
  [178, "all", "bf16"],
  [0, "all", "f32"],
] as const)("random model %i, %s passes, %s", async (seed, passes, activations) => {
  const spec = specFrom(modelOf(seed));
  const { options, asked } = await answered(spec, { passes, activations }, `synthetic:${seed}`, seed);
  const raw: Raw = syntheticRaw(spec, seed);
  const right = judge(spec, options, raw, asked);
  expect(right).toMatchObject({ ok: true });
  if (activations === "bf16") expect(right.ratio).toBeLessThan(1.5);
  // A tenth of a logit's spread on one row is an error of any dtype.
  const logits = Float32Array.from(asked.answers.at(-1)!.logits, (v) => v + 0.3);
  expect(
    judge(spec, options, raw, { ...asked, answers: asked.answers.with(-1, { ...asked.answers.at(-1)!, logits }) }),
  ).toMatchObject({ ok: false, verdict: "too far" });
});

test.skipIf(lacks("g++"))(
  "FP8 with power-of-two scales in bf16, no passes: far from float64 by turned codes and routes, and no farther than rounding takes it",
  async () => {
    const fixture = fixtures.find((f) => f.endsWith("a07-v3-fp8"))!;
    const { spec } = loadSpec(fixture, ["quantization_config.scale_fmt=ue8m0"]);
    const { options, asked } = await answered(spec, { passes: "none", activations: "bf16" }, fixture, 1);
    const row = judge(spec, options, readTensors(path.join(fixture, "model.safetensors")), asked);
    expect(row).toMatchObject({ ok: true, verdict: "rounding" });
    expect(row.apart).toBeGreaterThan(0.1);
    expect(row.ratio).toBeLessThan(1.5);
  },
);

test("a route needs scores to move by half of what parts it from the choice, in groups by half of what parts those", () => {
  const one = { groups: 1, kept: 1, method: "greedy" };
  expect(needed([0.9, 0.5, 0.4], [0], one)).toBe(0);
  expect(needed([0.9, 0.5, 0.4], [1], one)).toBeCloseTo(0.2);
  expect(needed([0.9, 0.5, 0.4], [0, 2], one)).toBeCloseTo(0.05);
  expect(needed([0.9, 0.5, 0.4], [0, 0], one)).toBe(Infinity);
  // Groups of two: 1.4 and 1.2. The second is kept where each of four scores moves by 0.05.
  const two = { groups: 2, kept: 1, method: "noaux_tc" };
  expect(needed([0.9, 0.5, 0.7, 0.5], [0], two)).toBe(0);
  expect(needed([0.9, 0.5, 0.7, 0.5], [2], two)).toBeCloseTo(0.05);
  expect(needed([0.9, 0.5, 0.7, 0.5], [0, 2], two)).toBe(Infinity);
});
