// The device and the session on the hand-made model: threads, ragged batches, pages, layers, load functions, loops over experts.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { generate } from "../../runtime/generate.ts";
import { saveTensors } from "../../runtime/safetensors-write.ts";
import type { ToyWeights } from "./toy.ts";
import { H, LAYERS, V, manifest, openToy, reference } from "./toy.ts";

const folder = mkdtempSync(join(tmpdir(), "dsc-session-"));
afterAll(() => rmSync(folder, { recursive: true }));

const grid = (n: number, salt: number): number[] =>
  Array.from({ length: n }, (_, i) => (((i + 1) * 7919 * salt) % 17) / 16 - 0.5);
const w: ToyWeights = {
  embed: grid(V * H, 1),
  head: grid(V * H, 3),
  gain: [grid(H, 5), grid(H, 7)],
  by: [
    [0.5, 9, 0.75],
    [1.5, 9, 0.25],
  ],
};

const tensors = (): Parameters<typeof saveTensors>[1] => {
  const t = (name: string, shape: number[], data: number[]) => ({ name, shape, dtype: "F32", data: Float32Array.from(data) });
  return [
    t("model.embed_tokens.weight", [V, H], w.embed),
    t("lm_head.weight", [V, H], w.head),
    ...w.gain.map((g, i) => t(`model.layers.${i}.input_layernorm.weight`, [H], g)),
    ...w.by.flatMap((by, i) => by.map((b, e) => t(`model.layers.${i}.experts.${e}.by.bias`, [1], [b]))),
  ];
};

beforeAll(() => saveTensors(join(folder, "model.safetensors"), tensors()));

function close(got: ArrayLike<number>, want: number[]): void {
  expect(got.length).toBe(want.length);
  want.forEach((v, i) => expect(Math.abs(got[i] - v)).toBeLessThan(1e-4 * Math.max(1, Math.abs(v))));
}

test.each([1, 2, 3])("prefill, extend and decode of a ragged batch on %i threads", async (threads) => {
  const model = await openToy(manifest, folder, { threads });
  const session = model.session({ maxTokens: 20, sequences: 3 });
  const past: number[][][][] = [];
  const turns: number[][][] = [
    [[1, 2, 3], [4], [5, 6, 7, 8, 9]],
    [[1], [2], [3]],
    [[4, 5], [], [10, 0, 1, 2]],
    [[], [7], []],
  ];
  for (const [i, tokens] of turns.entries()) {
    const want = reference(w, past, tokens);
    const got = await (i === 0 ? session.prefill(tokens) : session.extend(tokens));
    expect(got.sequences).toEqual(tokens.flatMap((t, b) => (t.length ? [b] : [])));
    got.sequences.forEach((b, j) => close(got.logits(b), want.logits[j]));
    expect(got.taps.final.shape).toEqual([tokens.flat().length, H]);
    close(got.taps.final.data, want.final.flat());
  }
  expect(session.lengths).toEqual([6, 3, 10]);
  session.truncate(2, 6);
  past.forEach((layer) => layer[2].splice(6));
  const again = reference(w, past, [[], [], [9]]);
  close((await session.decode([null, null, 9])).logits(2), again.logits[0]);
  await model.close();
});

test("the extra layer has rows of its own in the last cache", async () => {
  const model = await openToy(manifest, folder, { threads: 2 });
  const session = model.session();
  const r = await session.prefill([[1, 2, 3]]);
  const final = r.taps.final.data.slice() as Float32Array;
  const d = await session.draft([[2, 3, 4]], r.taps.final.data as Float32Array);
  close(
    d.logits(0),
    Array.from({ length: V }, (_, v) => [...final.subarray(2 * H)].reduce((a, x, j) => a + x * w.head[v * H + j], 0)),
  );
  expect(session.lengths).toEqual([3]);
  await expect(session.draft([[2]], final)).rejects.toThrow(/DSC5033/);
  await model.close();
});

test("rope tables are computed, and grow with the session", async () => {
  const model = await openToy(manifest, folder, { threads: 1 });
  for (const rows of [3, 9]) {
    await model.ensureRope(rows);
    const table = model.device.f32(model.weights.address("rope", "data", undefined), rows * 4);
    const p = rows - 1;
    close(table.subarray(p * 4), [2 * Math.cos(p), 2 * Math.cos(p * 0.01), 2 * Math.sin(p), 2 * Math.sin(p * 0.01)]);
  }
  await model.close();
});

test("greedy generation: same ids alone and in a batch, stops, and keeps the event loop alive", async () => {
  const model = await openToy(manifest, folder, { threads: 2 });
  const alone: number[] = [];
  for await (const s of generate(model, [[1, 2, 3]], { maxNew: 6 })) alone.push(...s.ids[0]);
  expect(alone.length).toBe(6);
  const past: number[][][][] = [];
  let next = [1, 2, 3];
  for (const id of alone) {
    const { logits } = reference(w, past, [next]);
    expect(id).toBe(logits[0].indexOf(Math.max(...logits[0])));
    next = [id];
  }
  const stopped: number[][][] = [];
  for await (const s of generate(model, [[1, 2, 3]], { maxNew: 6, stop: [alone[0]] })) stopped.push(s.ids);
  expect(stopped).toEqual([[[alone[0]]]]);
  let ticks = 0;
  const timer = setInterval(() => ticks++, 1);
  for (let i = 0; i < 20; i++) for await (const s of generate(model, [[1], [2]], { maxNew: 2 })) expect(s.ids.length).toBe(2);
  clearInterval(timer);
  expect(ticks).toBeGreaterThan(0);
  await model.close();
});

test("two sessions take turns and do not mix", async () => {
  const model = await openToy(manifest, folder, { threads: 2 });
  const [a, b] = [model.session({ maxTokens: 8 }), model.session({ maxTokens: 16 })];
  const [x, y] = await Promise.all([a.prefill([[1, 2]]), b.prefill([[3, 4, 5], [6]])]);
  close(x.logits(0), reference(w, [], [[1, 2]]).logits[0]);
  close(y.logits(1), reference(w, [], [[3, 4, 5], [6]]).logits[1]);
  await expect(Promise.all([a.decode([1]), a.decode([1])])).rejects.toThrow(/DSC5033.*at work/);
  a.close();
  await expect(a.decode([1])).rejects.toThrow(/DSC5033/);
  await model.close();
});

test("what a user can do wrong has a diagnostic", async () => {
  const model = await openToy(manifest, folder, { threads: 1 });
  const session = model.session({ maxTokens: 4 });
  await expect(session.prefill([[1, V]])).rejects.toThrow(/DSC5032.*token 1 of sequence 0/);
  await expect(session.prefill([[1.5]])).rejects.toThrow(/DSC5032/);
  await expect(session.prefill([[]])).rejects.toThrow(/DSC5033/);
  await expect(session.prefill([[1, 2, 3, 4, 5]])).rejects.toThrow(/DSC5031.*5 tokens/);
  await session.prefill([[1, 2, 3, 4]]);
  await expect(session.decode([1])).rejects.toThrow(/DSC5031/);
  expect(() => model.session({ maxTokens: 65 })).toThrow(/DSC5033/);
  await model.close();
  await expect(session.prefill([[1]])).rejects.toThrow(/DSC5033.*closed/);
});

test("addresses past 2 GiB are unsigned, and a profiled device counts launches", async () => {
  const model = await openToy(manifest, folder, { threads: 2, profile: true });
  model.device.allocate(2 ** 31 + 2 ** 20, "a hole"); // never touched, so it takes no memory
  const r = await model.session({ maxTokens: 8 }).prefill([
    [1, 2, 3],
    [4, 5],
  ]);
  const want = reference(
    w,
    [],
    [
      [1, 2, 3],
      [4, 5],
    ],
  );
  expect(r.taps.final.data.byteOffset).toBeGreaterThan(2 ** 31);
  close(r.logits(1), want.logits[1]);
  close(r.taps.final.data, want.final.flat());
  expect(model.device.timings().find((t) => t.kernel === "sum")?.launches).toBe(2 * LAYERS);
  expect(() => model.device.allocate(2 ** 31, "another")).toThrow(/DSC5030.*another needs 2.00 GiB/);
  await model.close();
});

test("a trap names its kernel and site, and the device goes on", async () => {
  const steps = [{ kind: "kernel" as const, kernel: "trap", args: [{ slot: 0 }], dims: ["T"], site: "toy/trap" }];
  const bad = structuredClone(manifest);
  const trap = bad.functions.extend;
  trap.steps = [
    ...structuredClone(trap.steps),
    { kind: "kernel", kernel: "sum", args: [{ slot: 0 }, { slot: 0 }, { slot: 0 }], dims: ["T", 2 ** 30], site: "toy/bad" },
    ...steps,
  ];
  const model = await openToy(bad, folder, { threads: 2 });
  const session = model.session();
  await session.prefill([[1, 2, 3]]);
  await expect(session.extend([[1, 2]])).rejects.toThrow(/DSC5040.*sum failed at toy\/bad/s);
  close(
    (await session.decode([4])).logits(0),
    (() => {
      const past: number[][][][] = [];
      reference(w, past, [[1, 2, 3]]);
      return reference(w, past, [[4]]).logits[0];
    })(),
  );
  await model.close();
});

test("the layer count of the toy is what the tests assume", () => expect(LAYERS).toBe(w.gain.length));
