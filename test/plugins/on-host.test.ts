// Hand-written kernels of plug-ins without a GPU: the examples' CUDA on a stand-in for the driver (test/kernels/host-driver.ts), held to
// their ops through whole models: the same ids and logits as without them. Their schedules, where dsc chooses by them.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { compile, defaults } from "../../compiler/compile.ts";
import { storedIn } from "../../compiler/checkpoint-dtypes.ts";
import { loadPlugins } from "../../compiler/driver/plugins.ts";
import { CudaDevice } from "../../runtime/devices/cuda/device.ts";
import { Model } from "../../runtime/model.ts";
import { lacks } from "../conditions.ts";
import { distances } from "../device/distances.ts";
import { readTensors } from "../interpreted.ts";
import { buildDriver, buildKernels } from "../kernels/host-driver.ts";

const root = path.resolve(import.meta.dirname, "../..");
const work = mkdtempSync(path.join(tmpdir(), "dsc-plugins-host-"));
afterAll(() => rmSync(work, { recursive: true }));

describe.skipIf(lacks("g++"))("on the stand-in", () => {
  test.each([
    ["clipped-swiglu", "a02-v3-noq-nogroup", "clipped_swiglu_rows", { "clip-gates.limit": "1000" }],
    ["bias-norm", "a05-v3-halfsplit-tied-bias", "bias_norm_rows", {}],
  ])("%s", async (name, fixture, family, passOptions) => {
    const src = path.join(root, "test/fixtures", fixture);
    const { pipeline, brings } = await loadPlugins(undefined, [path.join(root, "examples/plugins", `${name}.ts`)], {
      config: false,
    });
    const options = {
      ...defaults,
      target: "cuda",
      activations: "f32",
      taps: true,
      natives: family,
      brings,
      passOptions,
      stored: await storedIn(src),
    } as const;
    const { manifest, files: texts } = compile(src, options, pipeline);
    expect(Object.values(manifest.kernels).map((k) => k.family)).toContain(family);
    const [driver, { files, compile: image }] = await Promise.all([buildDriver(work), buildKernels(manifest, texts)]);
    const model = await Model.open(manifest, await CudaDevice.open(manifest, files, { compile: image, libraries: [driver] }), {
      weights: src,
    });
    const expected = readTensors(path.join(src, "expected.safetensors"));
    const { prefill, decode, ids } = await distances(model, expected);
    await model.close();
    expect(prefill).toBeLessThan(2e-4);
    expect(decode).toBeLessThan(2e-4);
    expect(ids).toEqual([...expected.get("greedy_ids")!.data]);
  });
});

test("a schedule is chosen for its rows, and is said to be a plug-in's", async () => {
  const { pipeline, brings } = await loadPlugins(undefined, [path.join(root, "examples/plugins/o-proj-384.ts")], {
    config: false,
  });
  const kernels = (given: Partial<typeof defaults> & { brings?: typeof brings }): string[] =>
    Object.keys(
      compile(
        path.join(root, "examples/deepseek-r1"),
        { ...defaults, target: "cuda", activations: "bf16", layers: 4, ...given },
        pipeline,
      ).manifest.kernels,
    );
  const of = (list: string[]): string[] => list.filter((n) => n.startsWith("block_gemm_7168x16384_t"));
  expect(of(kernels({ brings }))).toEqual([...of(kernels({})), "block_gemm_7168x16384_t6g16c"].toSorted());
});
