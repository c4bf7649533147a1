// The CUDA target without a GPU: config to artifact, kernels, device, sessions and graphs as on one, over a stand-in for the driver
// (test/kernels/host-driver.ts), with printed tile programs in f32 and bf16, against what transformers computed.
import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { distances } from "../device/distances.ts";
import { fixtures, readTensors } from "../interpreted.ts";
import { lacks } from "../conditions.ts";
import { open } from "./cuda-device.ts";

describe.skipIf(lacks("g++")).each(fixtures.map((f) => [path.basename(f), f] as const))("%s", (name, fixture) => {
  const expected = readTensors(path.join(fixture, "expected.safetensors"));
  const config = JSON.parse(readFileSync(path.join(fixture, "config.json"), "utf8")) as { quantization_config?: object };
  // Exact weights answer what transformers answered on dequantised ones.
  const exact = config.quantization_config ? ({ actQuant: "none" } as const) : {};

  // A compiler run a model: half of them in f32, the others in bf16, all of both with DSC_ALL.
  const number = Number(name[2]);
  test.skipIf(number % 2 === 0 && lacks("DSC_ALL"))("f32: logits within 2e-4, greedy ids exact", async () => {
    const model = await open(fixture, "f32", fixture, exact);
    const { prefill, decode, ids } = await distances(model, expected);
    await model.close();
    expect(prefill).toBeLessThan(2e-4);
    expect(decode).toBeLessThan(2e-4);
    expect(ids).toEqual([...expected.get("greedy_ids")!.data]);
  });

  test.skipIf(number % 2 === 1 && lacks("DSC_ALL"))("bf16: logits within 0.1", async () => {
    const model = await open(fixture, "bf16", fixture, exact);
    const { prefill, decode, flipped } = await distances(model, expected);
    await model.close();
    expect(prefill).toBeLessThan(0.1);
    expect(decode).toBeLessThan(0.1);
    expect(flipped).toBeLessThanOrEqual(1);
  });
});
