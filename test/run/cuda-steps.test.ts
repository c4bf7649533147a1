// Steps over the stand-in for the driver: begun ahead of their ids, with tables that the device keeps, as graphs that follow what moves.
import { expect, test, vi } from "vitest";
import { Tables } from "../../runtime/devices/cuda/advance.ts";
import { generate, type GenerateOptions } from "../../runtime/generate.ts";
import { Model } from "../../runtime/model.ts";
import { PagePool } from "../../runtime/pages.ts";
import { fixtures } from "../interpreted.ts";
import { lacks } from "../conditions.ts";
import { open } from "./cuda-device.ts";

test.skipIf(lacks("g++"))(
  "steps begun ahead of their ids choose the same ids, while sequences end at different steps",
  async () => {
    const fixture = fixtures[1];
    const model = await open(fixture, "f32", fixture);
    const prompts = [
      [3, 1, 4, 1, 5],
      [9, 2, 6],
      [5, 3, 5, 8, 9, 7, 9],
    ];
    const run = async (options: Omit<GenerateOptions, "maxNew">, on: Model = model): Promise<number[][]> => {
      const out: number[][] = prompts.map(() => []);
      for await (const step of generate(on, prompts, { maxNew: 12, ...options }))
        step.ids.forEach((ids, b) => out[b].push(...ids));
      return out;
    };
    expect(model.device.usesMailbox).toBe(true);
    const plain = await run({});
    expect(plain.map((ids) => ids.length)).toEqual([12, 12, 12]);
    expect(await run({ ahead: true })).toEqual(plain);
    // An id from the middle of one answer ends it there, and whichever others hold it.
    const stop = [plain[1][4]];
    const short = await run({ stop });
    expect(short[1].length).toBeLessThanOrEqual(5);
    expect(await run({ stop, ahead: true })).toEqual(short);
    await model.close();
  },
);

test.skipIf(lacks("g++"))(
  "the host sends a step's tables only where the device does not know them: a new page, another id, another batch",
  async () => {
    const fixture = fixtures[0];
    const model = await open(fixture, "f32", fixture);
    const { device } = model;
    const prompt = Array.from({ length: 58 }, (_, i) => (i * 5) % 50);
    const sent = async (
      batch: number,
      steps: number,
      next: (chosen: number, i: number) => number,
    ): Promise<{ sent: number; ids: number[]; logits: number[] }> => {
      const session = model.session({ maxTokens: 400, sequences: batch });
      let result = await session.prefill(Array.from({ length: batch }, (_, b) => prompt.slice(b)));
      const from = device.sent;
      const ids: number[] = [];
      for (let i = 0; i < steps; i++) {
        const fed = Array.from({ length: batch }, (_, b) => next(result.next(b), i));
        ids.push(...fed);
        result = await session.decode(fed);
      }
      const logits = Array.from({ length: batch }, (_, b) => [...result.logits(b)]).flat();
      session.close();
      return { sent: device.sent - from, ids, logits };
    };
    // The first step is no graph yet; row 64 begins a page.
    const own = await sent(1, 20, (id) => id);
    expect(own.sent).toBe(1);
    // The same ids, sent every time: what the device makes of its tables is what the host would have sent.
    const forget = vi.spyOn(Tables.prototype, "becomes").mockReturnValue(false);
    const all = await sent(1, 20, (id) => id);
    expect(all.sent).toBe(19);
    expect({ ...all, sent: 1 }).toEqual(own);
    forget.mockRestore();
    // Another id at steps 3 and 4, a page at step 6; three rows, whose sequences meet their pages at different steps.
    expect((await sent(1, 9, (id, i) => (i === 3 || i === 4 ? (id + 1) % 50 : id))).sent).toBe(3);
    expect((await sent(3, 9, (id) => id)).sent).toBe(3);
    // Times are of one step, however often it is replayed, and the next one finds its tables.
    const session = model.session({ maxTokens: 400 });
    let result = await session.prefill([prompt]);
    for (let i = 0; i < 4; i++) result = await session.decode([result.next(0)]);
    expect(device.replayTimes(70)).toHaveLength(70);
    for (let i = 4; i < 20; i++) result = await session.decode([own.ids[i]]);
    expect([...result.logits(0)]).toEqual(own.logits);
    session.close();
    await model.close();
  },
);

test.skipIf(lacks("g++"))("graphs of steps follow the rope tables and the cache when these move", async () => {
  const fixture = fixtures[0];
  const model = await open(fixture, "f32", fixture);
  const rope = Object.keys(model.manifest.weights).find((w) => model.manifest.weights[w].source.kind === "rope")!;
  const steps = async (between: (step: number) => void): Promise<number[][]> => {
    const session = model.session({ maxTokens: 80 });
    let result = await session.prefill([Array.from({ length: 58 }, (_, i) => (i * 5) % 50)]);
    const out: number[][] = [];
    for (let i = 0; i < 12; i++) {
      between(i);
      result = await session.decode([(i * 7) % 50]);
      out.push([...result.logits(0)]);
    }
    session.close();
    return out;
  };
  const plain = await steps(() => {});
  const moved = await steps((i) => {
    if (i !== 4) return;
    // As if the table had been outgrown: a new one is made, and whoever still reads the old one meets NaN.
    const old = model.weights.address(rope, "data", undefined);
    Object.assign(model, { ropePositions: 0 });
    model.ensureRope(80);
    expect(model.weights.address(rope, "data", undefined)).not.toBe(old);
    const width = 2 * (model.manifest.weights[rope].source as { invFreq: number[] }).invFreq.length;
    model.device.write(old, new Uint8Array(new Float32Array(80 * width).fill(NaN).buffer));
  });
  expect(moved).toEqual(plain);
  // Another cache, of which every page is used up before it grows.
  vi.spyOn(PagePool.prototype, "next").mockImplementation(function (this: PagePool, missing: number) {
    return this.capacity + missing;
  });
  expect(await steps(() => {})).toEqual(plain);
  vi.restoreAllMocks();
  await model.close();
});
