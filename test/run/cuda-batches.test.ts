// Batches over the stand-in for the driver: filled up with rows that nobody sees, drawn on the device, ended by a bad row.
import { expect, test, vi } from "vitest";
import { storedIn } from "../../compiler/checkpoint-dtypes.ts";
import { CudaDevice } from "../../runtime/devices/cuda/device.ts";
import { generate, proceed, type GenerateOptions } from "../../runtime/generate.ts";
import { Model } from "../../runtime/model.ts";
import type { Sampling } from "../../runtime/sample.ts";
import { PagePool } from "../../runtime/pages.ts";
import { fixtures } from "../interpreted.ts";
import { lacks } from "../conditions.ts";
import { open, openDevice } from "./cuda-device.ts";

test.skipIf(lacks("g++"))(
  "batches are filled up to few sizes with rows that nobody sees: same logits, same cache, the same graphs for nine and for ten",
  async () => {
    const fixture = fixtures[1];
    const [filled, bare] = [await open(fixture, "f32", fixture), await open(fixture, "f32", fixture)];
    Object.assign(bare.device, { rows: (_: string, n: number) => n });
    const play = async (model: Model<CudaDevice>): Promise<{ logits: number[][]; rows: number[][]; cache: Uint8Array[] }> => {
      const session = model.session({ maxTokens: 80, sequences: 10 });
      const { cache: pages } = session as unknown as { cache: { pool: PagePool; address(name: string, layer: number): number } };
      const all = Array.from({ length: 10 }, (_, b) => b);
      let result = await session.prefill(all.map((b) => [3, 1, 4, 1, 5, 9, 2, 6].slice(b % 6).map((id) => id + b)));
      const [logits, rows]: number[][][] = [[], []];
      // Ten, then nine, then ten again, and nine: both sizes meet a graph.
      for (let i = 0; i < 12; i++) {
        const ids = all.map((b) => (Math.floor(i / 3) % 2 && b === 1 ? null : (i * 7 + b) % 50));
        result = await session.decode(ids);
        logits.push(...result.sequences.map((b) => [...result.logits(b)]));
        rows.push(result.starts, result.sequences, result.taps.final?.shape ?? []);
      }
      const { cachedLayers, pageRows, caches } = model.manifest.model;
      const cacheWidth = caches.latent.width;
      const bytes = pageRows * cacheWidth * 4;
      // The first rows of each sequence's page, in every layer.
      const cache = Array.from({ length: cachedLayers * 10 }, (_, i) =>
        model.device.read(
          pages.address("latent", Math.floor(i / 10)) + pages.pool.page(i % 10, 0) * bytes,
          session.lengths[i % 10] * cacheWidth * 4,
        ),
      );
      session.close();
      return { logits, rows, cache };
    };
    const captured = vi.spyOn(filled.device.cuda, "capture");
    const [with_, without] = [await play(filled), await play(bare)];
    expect(with_).toEqual(without);
    // One for steps that follow the last, one for those that do not.
    expect(captured.mock.calls.length).toBeLessThanOrEqual(2);
    await Promise.all([filled.close(), bare.close()]);
  },
);

test.skipIf(lacks("g++"))(
  "ids drawn on the device are those drawn here, alone, in a batch, begun ahead, and where a cut conversation goes on",
  async () => {
    const fixture = fixtures[1];
    const model = await open(fixture, "f32", fixture, { taps: false });
    const host = await open(fixture, "f32", fixture, { taps: false });
    Object.assign(host.device, { draws: false });
    const prompts = [
      [3, 1, 4, 1, 5],
      [9, 2, 6],
      [5, 3, 5, 8, 9, 7, 9],
    ];
    const run = async (on: Model, options: Omit<GenerateOptions, "maxNew">): Promise<number[][]> => {
      const session = on.session({ maxTokens: 64 });
      const out: number[][] = prompts.map(() => []);
      let drawn = true;
      for (let turn = 0; turn < 2; turn++) {
        for await (const step of proceed(session, turn === 0 ? prompts : [[7], [], [8, 8]], { maxNew: 9, ...options })) {
          step.ids.forEach((ids, b) => out[b].push(...ids));
          drawn &&= step.result.drawn;
        }
        // What the device has marked beyond this is no longer held.
        session.truncate(0, 6);
      }
      session.close();
      expect(drawn).toBe(on === model);
      return out;
    };
    const ways: Sampling[] = [
      { temperature: 1.2, seed: 3 },
      { temperature: 0.9, topK: 9, topP: 0.8, seed: 4 },
      { temperature: 1.5, topP: 0.9, repeatPenalty: 1.4, seed: 5 },
      { repeatPenalty: 1.8 },
    ];
    for (const way of ways) {
      const want = await run(host, way);
      expect(new Set(want.flat()).size).toBeGreaterThan(8);
      expect(await run(model, way)).toEqual(want);
      expect(await run(model, { ...way, ahead: true })).toEqual(want);
      const stop = [want[1][4]];
      expect(await run(model, { ...way, stop, ahead: true })).toEqual(await run(host, { ...way, stop }));
    }
    await Promise.all([model.close(), host.close()]);
  },
);

test.skipIf(lacks("g++"))("one bad row of the head ends the step, greedy, drawn, drafted, begun ahead", async () => {
  const fixture = fixtures.find((f) => f.includes("a08"))!;
  const { manifest, device } = await openDevice(fixture, { activations: "bf16", stored: await storedIn(fixture) });
  const model = await Model.open(manifest, device, { weights: fixture });
  const prompts = [
    [3, 1, 4, 1, 5],
    [9, 2, 6],
    [5, 3, 5, 8, 9, 7, 9],
  ];
  const row = model.weights.address("head", "data", undefined) + 2 * 5 * manifest.model.hidden;
  const was = device.read(row, 2).slice();
  const all = async (options: Omit<GenerateOptions, "maxNew">, spoil: number, bits: number): Promise<number> => {
    let steps = 0;
    for await (const step of generate(model, prompts, { maxNew: 8, ...options })) {
      expect(step.ids.flat().every((id) => id >= 0)).toBe(true);
      if (steps++ === spoil) device.write(row, new Uint8Array(Uint16Array.of(bits).buffer));
    }
    return steps;
  };
  const ways = [
    {},
    { ahead: true },
    { temperature: 0.8, topP: 0.9, topK: 20 },
    { temperature: 0.8, ahead: true },
    { repeatPenalty: 1.3, ahead: true },
    { draft: 2 },
  ];
  for (const [i, way] of ways.entries()) {
    await expect(all(way, 3 - (i % 3), [0x7fc0, 0x7f80, 0xff80][i % 3])).rejects.toThrow(
      /DSC5037[^]*the logit of token 5 is NaN or infinite[^]*weight head is NaN or infinite: lm_head.weight/,
    );
    device.write(row, was);
    // The model goes on as if nothing had been.
    expect(await all(way, -1, 0)).toBeGreaterThan(2);
  }
  await model.close();
});
