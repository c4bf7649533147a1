// The CUDA target without a GPU: config to artifact, kernels, device, sessions and graphs as on one, over a stand-in for the driver
// (test/kernels/host-driver.ts), with printed tile programs in f32 and bf16, against what transformers computed.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { compile, defaults } from "../../compiler/compile.ts";
import { CudaDevice } from "../../runtime/devices/cuda/device.ts";
import { Model } from "../../runtime/model.ts";
import { fixtures, readTensors, type Raw } from "../interpreted.ts";
import { hasCompiler } from "../kernels/cuda-on-host.ts";
import { buildDriver, buildKernels } from "../kernels/host-driver.ts";

const work = mkdtempSync(path.join(tmpdir(), "dsc-cuda-host-"));
afterAll(() => rmSync(work, { recursive: true }));

const gpp = hasCompiler();
if (!gpp) console.log("skipped: no g++ on the path, so the CUDA target does not run on the host");

async function open(src: string, activations: "f32" | "bf16", weights: string, flags: { passes?: string; actQuant?: "none" } = {}): Promise<Model<CudaDevice>> {
  const c = compile(src, { ...defaults, ...flags, target: "cuda", natives: "none", activations, taps: true });
  const [driver, { files, fill }] = await Promise.all([buildDriver(work), buildKernels(work, c.manifest, c.files)]);
  return Model.open(c.manifest, CudaDevice.open(c.manifest, files, { compile: () => fill, libraries: [driver] }), { weights });
}

const farthest = (want: Float64Array, got: ArrayLike<number>): number => want.reduce((most, v, i) => Math.max(most, Number.isNaN(got[i]) ? Infinity : Math.abs(v - got[i])), 0);

/** Prefill of the fixture's ids, then its greedy continuation, fed with the expected ids: every logit's distance from the expected ones. */
async function distances(model: Model<CudaDevice>, expected: Raw): Promise<{ prefill: number; decode: number; ids: number[] }> {
  const prompt = [...expected.get("input_ids")!.data];
  const greedy = [...expected.get("greedy_ids")!.data];
  const want = expected.get("greedy_logits")!;
  const vocab = want.shape[1];
  const session = model.session({ maxTokens: prompt.length + greedy.length, sequences: 1 });
  let result = await session.prefill([prompt]);
  const prefill = farthest(expected.get("logits")!.data, result.taps.logits.data);
  const ids: number[] = [];
  let decode = 0;
  for (const [i, id] of greedy.entries()) {
    ids.push(result.next(0));
    decode = Math.max(decode, farthest(want.data.subarray(i * vocab, (i + 1) * vocab), result.logits(0)));
    if (i + 1 < greedy.length) result = await session.decode([id]);
  }
  session.close();
  return { prefill, decode, ids };
}

describe.skipIf(!gpp).each(fixtures.map((f) => [path.basename(f), f] as const))("%s", (_, fixture) => {
  const expected = readTensors(path.join(fixture, "expected.safetensors"));
  const config = JSON.parse(readFileSync(path.join(fixture, "config.json"), "utf8")) as { quantization_config?: object };
  // Exact weights answer what transformers answered on dequantised ones.
  const exact = config.quantization_config ? ({ actQuant: "none" } as const) : {};

  test("f32: logits within 2e-4, greedy ids exact", async () => {
    const model = await open(fixture, "f32", fixture, exact);
    const { prefill, decode, ids } = await distances(model, expected);
    await model.close();
    expect(prefill).toBeLessThan(2e-4);
    expect(decode).toBeLessThan(2e-4);
    expect(ids).toEqual([...expected.get("greedy_ids")!.data]);
  }, 120_000);

  test("bf16: logits within 0.1", async () => {
    const model = await open(fixture, "bf16", fixture, exact);
    const { prefill, decode } = await distances(model, expected);
    await model.close();
    expect(prefill).toBeLessThan(0.1);
    expect(decode).toBeLessThan(0.1);
  }, 120_000);
});
