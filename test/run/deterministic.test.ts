// --deterministic: a sequence's bits do not depend on what else is in its batch. On the CUDA target over the driver's stand-in: R1 in
// small, a sequence alone, among three and among 64. What the card's products need besides is in the manifest: steps without cases.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { compile, defaults, type CompileOptions } from "../../compiler/compile.ts";
import { inside, type Manifest, type Step } from "../../ir/artifact.ts";
import { CudaDevice } from "../../runtime/devices/cuda/device.ts";
import { generate, type GenerateOptions } from "../../runtime/generate.ts";
import { Model } from "../../runtime/model.ts";
import { buildDriver, buildKernels } from "../kernels/host-driver.ts";
import { lacks } from "../conditions.ts";
import { setOf, smallR1 } from "./small-r1.ts";

const work = mkdtempSync(path.join(tmpdir(), "dsc-deterministic-"));
afterAll(() => rmSync(work, { recursive: true }));

const r1 = path.resolve(import.meta.dirname, "../../examples/deepseek-r1/config.json");
const printed = path.resolve(import.meta.dirname, "../../examples/printed-model/config.json");
const build = (src: string, options: Partial<CompileOptions>): ReturnType<typeof compile> =>
  compile(src, { ...defaults, target: "cuda", activations: "bf16", deterministic: true, ...options });

/** Sizes that cases of a step's functions look at. */
function sizes(manifest: Manifest, entry: string): string[] {
  const within = (steps: readonly Step[]): string[] =>
    steps.flatMap((s) =>
      (s.kind === "cases" ? [JSON.stringify(s.on)] : []).concat(
        s.kind === "kernel" || s.kind === "call" ? [] : within(inside(s)),
      ),
    );
  return [
    ...new Set(
      Object.values(manifest.functions)
        .filter((f) => f.name === entry || f.name.startsWith(`${entry}/`))
        .flatMap((f) => within(f.steps)),
    ),
  ].toSorted();
}

test.each([r1, printed])("a step has one form of every product, whatever its rows: %s", (src) => {
  const free = build(src, { deterministic: false }).manifest;
  expect(sizes(free, "decode")).toContain('"T"');
  const { manifest } = build(src, {});
  expect(sizes(manifest, "decode")).toEqual([]);
  expect(sizes(manifest, "prefill")).toEqual(sizes(free, "prefill"));
  expect(manifest.options.deterministic).toBe("64");
  expect(free.options.deterministic).toBeUndefined();
  // Tiles that blocks share are cut by the number of all tiles: one tile has to hold every row.
  const names = Object.keys(manifest.kernels).filter((n) => !(n in free.kernels));
  expect(names.filter((n) => /_f(8|16|32)s/.test(n))).toEqual([]);
});

test("only the CUDA target can", () => {
  expect(() => build(r1, { target: "cpu", activations: "f32" })).toThrow(/--deterministic with --target cpu/);
  expect(() => build(r1, { target: "triton" })).toThrow(/--deterministic with --target triton/);
});

describe.skipIf(lacks("g++"))("R1 in small", () => {
  const small = { ...smallR1, num_hidden_layers: 2, num_nextn_predict_layers: 1 };
  const open = async (): Promise<Model<CudaDevice>> => {
    const { manifest, files: texts } = build(r1, {
      set: setOf(small),
      natives: "norm_rows,route_rows,sort_experts_blocks",
    });
    const [driver, { files, compile: image }] = await Promise.all([buildDriver(work), buildKernels(manifest, texts)]);
    return Model.open(manifest, await CudaDevice.open(manifest, files, { compile: image, libraries: [driver] }), {
      weights: "synthetic:3",
    });
  };
  const prompt = (b: number): number[] => Array.from({ length: 3 + ((b * 5) % 9) }, (_, i) => (b * 31 + i * 7 + 3) % 67);

  test("a sequence has the same logits alone, among three and among 64; more than 64 are refused", async () => {
    const model = await open();
    const answer = async (batch: number, at: number): Promise<number[][]> => {
      const session = model.session({ maxTokens: 32, sequences: batch });
      // The sequence looked at is prompt 7, in place `at` of the batch.
      const prompts = Array.from({ length: batch }, (_, b) => prompt(b === at ? 7 : b + 10));
      let result = await session.prefill(prompts);
      const out = [[...result.logits(at)]];
      for (let i = 0; i < 3; i++) {
        result = await session.decode(prompts.map((_, b) => (b * 3 + i) % 67).with(at, 5 + i));
        out.push([...result.logits(at)]);
      }
      result = await session.extend(prompts.map((_, b) => (b === at ? [1, 2, 3] : b % 2 ? [4] : [])));
      out.push([...result.logits(at)]);
      session.close();
      return out;
    };
    const alone = await answer(1, 0);
    expect(await answer(3, 1)).toEqual(alone);
    expect(await answer(64, 40)).toEqual(alone);
    const session = model.session({ maxTokens: 8, sequences: 65 });
    await session.prefill(Array.from({ length: 65 }, () => [1]));
    await expect(session.decode(Array.from({ length: 65 }, () => 2))).rejects.toThrow(/DSC5036.*65 rows.*64/);
    session.close();
    await model.close();
  });

  test("texts are the same, drawn, drafted and judged in a batch or alone", async () => {
    const model = await open();
    const run = async (prompts: number[][], options: Omit<GenerateOptions, "maxNew">): Promise<number[][]> => {
      const out: number[][] = prompts.map(() => []);
      for await (const step of generate(model, prompts, { maxNew: 6, ...options }))
        step.ids.forEach((ids, b) => out[b].push(...ids));
      return out;
    };
    const prompts = [0, 1, 2].map(prompt);
    for (const options of [{ ahead: true }, { draft: 2 }, { temperature: 0.9, topP: 0.9, draft: 1, seed: 3 }]) {
      const together = await run(prompts, options);
      // Draws depend on the number of the sequence, and the first has the same one.
      expect(await run(prompts.slice(0, 1), options)).toEqual(together.slice(0, 1));
      if (!options.temperature) for (const [b, p] of prompts.entries()) expect(await run([p], options)).toEqual([together[b]]);
    }
    await model.close();
  });
});
