// Hand-written kernels of plug-ins without a GPU: the examples' CUDA on a stand-in for the driver (test/kernels/host-driver.ts), held to
// their ops through whole models: the same ids and logits as without them. Their schedules, where dsc chooses by them.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { compile, defaults } from "../../compiler/compile.ts";
import { storedIn } from "../../compiler/checkpoint-dtypes.ts";
import { loadPlugins } from "../../compiler/driver/plugins.ts";
import { inside, type Step } from "../../ir/artifact.ts";
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

test("a schedule is chosen for its rows, where dsc's own choice is another", async () => {
  const { pipeline, brings } = await loadPlugins(undefined, [path.join(root, "examples/plugins/long-prompts.ts")], {
    config: false,
  });
  const set = ["hidden_size=8192", "num_attention_heads=32", "num_key_value_heads=32"];
  const chosen = (given: { brings?: typeof brings }): string[] => {
    const options = { ...defaults, target: "cuda", activations: "bf16", layers: 4, set, ...given } as const;
    const { manifest } = compile(path.join(root, "examples/deepseek-r1"), options, pipeline);
    const found: string[] = [];
    const walk = (steps: readonly Step[], most = Infinity): void => {
      for (const s of steps) {
        if (s.kind === "cases") for (const c of s.cases) walk(c.steps, c.most ?? Infinity);
        else if (s.kind === "kernel" && s.kernel.startsWith("block_gemm_8192x4096_t")) found.push(`${s.kernel} up to ${most}`);
        else walk(inside(s), most);
      }
    };
    walk(manifest.functions["prefill/moe_layer"].steps);
    return found;
  };
  expect(chosen({}).join()).not.toMatch(/t6g16 up to 8192/);
  expect(chosen({ brings }).join()).toMatch(/block_gemm_8192x4096_t6g16 up to 8192/);
});
