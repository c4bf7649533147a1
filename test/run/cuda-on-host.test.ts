// The CUDA target without a GPU: config to artifact, kernels, device, sessions and graphs as on one, over a stand-in for the driver
// (test/kernels/host-driver.ts), with printed tile programs in f32 and bf16, against what transformers computed.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { compile, defaults } from "../../compiler/compile.ts";
import { storesF32 } from "../../compiler/stored.ts";
import { CudaDevice } from "../../runtime/devices/cuda/device.ts";
import { generate, type GenerateOptions } from "../../runtime/generate.ts";
import { Model } from "../../runtime/model.ts";
import { distances } from "../device/distances.ts";
import { fixtures, readTensors } from "../interpreted.ts";
import { hasCompiler } from "../kernels/cuda-on-host.ts";
import { buildDriver, buildKernels } from "../kernels/host-driver.ts";

const work = mkdtempSync(path.join(tmpdir(), "dsc-cuda-host-"));
afterAll(() => rmSync(work, { recursive: true }));

const gpp = hasCompiler();
if (!gpp) console.log("skipped: no g++ on the path, so the CUDA target does not run on the host");

async function open(src: string, activations: "f32" | "bf16", weights: string, flags: { passes?: string; actQuant?: "none" } = {}): Promise<Model<CudaDevice>> {
  const c = compile(src, { ...defaults, ...flags, target: "cuda", natives: "none", activations, taps: true, storesF32: await storesF32(weights) });
  const [driver, { files, fill }] = await Promise.all([buildDriver(work), buildKernels(work, c.manifest, c.files)]);
  return Model.open(c.manifest, await CudaDevice.open(c.manifest, files, { compile: () => fill, libraries: [driver] }), { weights });
}

describe.skipIf(!gpp).each(fixtures.map((f) => [path.basename(f), f] as const))("%s", (name, fixture) => {
  const expected = readTensors(path.join(fixture, "expected.safetensors"));
  const config = JSON.parse(readFileSync(path.join(fixture, "config.json"), "utf8")) as { quantization_config?: object };
  // Exact weights answer what transformers answered on dequantised ones.
  const exact = config.quantization_config ? ({ actQuant: "none" } as const) : {};

  // A compiler run a model: half of them in f32, the others in bf16, all of both with DSC_ALL.
  const number = Number(name[2]);
  test.skipIf(!process.env.DSC_ALL && number % 2 === 0)("f32: logits within 2e-4, greedy ids exact", async () => {
    const model = await open(fixture, "f32", fixture, exact);
    const { prefill, decode, ids } = await distances(model, expected);
    await model.close();
    expect(prefill).toBeLessThan(2e-4);
    expect(decode).toBeLessThan(2e-4);
    expect(ids).toEqual([...expected.get("greedy_ids")!.data]);
  }, 120_000);

  test.skipIf(!process.env.DSC_ALL && number % 2 === 1)("bf16: logits within 0.1", async () => {
    const model = await open(fixture, "bf16", fixture, exact);
    const { prefill, decode, flipped } = await distances(model, expected);
    await model.close();
    expect(prefill).toBeLessThan(0.1);
    expect(decode).toBeLessThan(0.1);
    expect(flipped).toBeLessThanOrEqual(1);
  }, 120_000);
});

test.skipIf(!gpp)("steps begun ahead of their ids choose the same ids, while sequences end at different steps", async () => {
  const fixture = fixtures[1];
  const model = await open(fixture, "f32", fixture);
  const prompts = [[3, 1, 4, 1, 5], [9, 2, 6], [5, 3, 5, 8, 9, 7, 9]];
  const run = async (options: Omit<GenerateOptions, "maxNew">): Promise<number[][]> => {
    const out: number[][] = prompts.map(() => []);
    for await (const step of generate(model, prompts, { maxNew: 12, ...options })) step.ids.forEach((ids, b) => out[b].push(...ids));
    return out;
  };
  const plain = await run({});
  expect(plain.map((ids) => ids.length)).toEqual([12, 12, 12]);
  expect(await run({ ahead: true })).toEqual(plain);
  // An id from the middle of one answer ends it there, and whichever others hold it.
  const stop = [plain[1][4]];
  const short = await run({ stop });
  expect(short[1].length).toBeLessThanOrEqual(5);
  expect(await run({ stop, ahead: true })).toEqual(short);
  await model.close();
}, 120_000);
