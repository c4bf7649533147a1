// The device and the session on the hand-made model: threads, ragged batches, pages, layers, load functions, loops over experts.
import { expect, test, vi } from "vitest";
import { generate } from "../../runtime/generate.ts";
import { H, LAYERS, PAGE, V, manifest, openToy, reference } from "./toy.ts";
import { close, folder, w } from "./toy-checkpoint.ts";

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
  // A cut takes the extra layer's rows with it, and one more: the last had seen the id after it.
  await session.extend([[4, 5]]);
  await session.draft([[5, 6]], final.subarray(0, 2 * H));
  expect(session.draftLengths).toEqual([5]);
  session.truncate(0, 4);
  expect(session.draftLengths).toEqual([3]);
  session.truncate(0, 3, 1);
  expect(session.draftLengths).toEqual([1]);
  await expect(session.draft([[2]], final)).rejects.toThrow(/DSC5039/);
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
  expect(model.device.allocate(2 ** 31, "another")).toBeGreaterThan(2 ** 32); // in a segment of its own
  expect(() => model.device.allocate(2 ** 32, "too much")).toThrow(/DSC5030.*too much needs 4.00 GiB/);
  await model.close();
});

test("sequences come and go while others run; pages are taken as rows come, given back and used again", async () => {
  // The toy's experts share rows out by their place in the batch, so every call here has rows of one sequence.
  const model = await openToy(manifest, folder, { threads: 2 });
  const session = model.session({ maxTokens: 64, sequences: 3 });
  const calls: number[][][] = [];
  const answer = (sequence: number): number[] => {
    const past: number[][][][] = [];
    return calls[sequence].map((tokens) => reference(w, past, [tokens]).logits[0]).at(-1)!;
  };
  const add = async (tokens: number[]): Promise<number> => {
    const { sequence, result } = await session.add(tokens);
    calls[sequence] = [tokens];
    close(result.logits(sequence), answer(sequence));
    return sequence;
  };
  const step = async (sequence: number, token: number): Promise<void> => {
    calls[sequence].push([token]);
    const result = await session.decode([0, 1, 2].map((b) => (b === sequence ? token : null)));
    close(result.logits(sequence), answer(sequence));
  };
  const pagesOf = (sequences: number[]): number => sequences.reduce((n, b) => n + Math.ceil(calls[b].flat().length / PAGE), 0);

  expect([await add([1, 2, 3]), await add([4, 5, 6, 7, 8])]).toEqual([0, 1]);
  expect(session.pages).toMatchObject({ inUse: pagesOf([0, 1]), capacity: 8 });
  await step(0, 9);
  await step(1, 10);
  expect(await add([7])).toBe(2);
  for (let i = 0; i < 17; i++) await step(i % 3, (i * 5) % V);
  expect(session.lengths).toEqual(calls.map((c) => c.flat().length));
  expect(session.pages.inUse).toBe(pagesOf([0, 1, 2]));

  const { capacity } = session.pages;
  session.truncate(1, 0);
  expect(session.pages.inUse).toBe(pagesOf([0, 2]));
  expect(await add([10, 9, 8, 7, 6, 5])).toBe(1);
  for (let i = 0; i < 3; i++) await step(i % 3, (i * 7) % V);
  expect(session.pages).toMatchObject({ inUse: pagesOf([0, 1, 2]), capacity });
  expect(session.cached(1)).toEqual(calls[1].flat());
  session.close();
  await model.close();
});

test("the cache grows past what was expected, and what it held stays", async () => {
  const model = await openToy(manifest, folder, { threads: 1 });
  const session = model.session({ maxTokens: 64, sequences: 1 });
  const past: number[][][][] = [];
  const long = Array.from({ length: 30 }, (_, i) => (i * 3) % V);
  reference(w, past, [long]);
  await session.prefill([long]);
  const sizes = [session.pages.capacity];
  for (let i = 0; i < 20; i++) {
    const want = reference(w, past, [[i % V]]).logits[0];
    close((await session.decode([i % V])).logits(0), want);
    if (sizes.at(-1) !== session.pages.capacity) sizes.push(session.pages.capacity);
  }
  expect(sizes).toEqual([8, 12, 16]);
  await model.close();
});

test("a cache that does not fit is refused with needed and available, and the session goes on", async () => {
  const wide = structuredClone(manifest);
  wide.model.maxPositions = 2 ** 30;
  const model = await openToy(wide, folder, { threads: 1 });
  const session = model.session({ maxTokens: 2 ** 30 });
  const past: number[][][][] = [];
  reference(w, past, [[1, 2]]);
  await session.prefill([[1, 2]]);
  const available = vi.spyOn(model.device, "available").mockReturnValue(1000);
  await expect(session.add(Array.from({ length: 200 }, () => 1))).rejects.toThrow(
    /DSC5030.*to hold 200 rows of 1 sequence, needs .* KiB, and .* are available/,
  );
  available.mockRestore();
  expect(session.lengths[0]).toBe(2);
  expect(session.pages.inUse).toBe(1);
  close((await session.decode([3])).logits(0), reference(w, past, [[3]]).logits[0]);
  await model.close();
});

test("drafted rows are all answered by one call, each on those before it", async () => {
  const model = await openToy(manifest, folder, { threads: 2 });
  const session = model.session();
  await session.prefill([[1, 2, 3, 4, 5]]);
  const r = await session.verify([[6, 7, 8]]);
  expect([r.sequences, r.starts]).toEqual([[0], [0, 3]]);
  const past: number[][][][] = [];
  reference(w, past, [[1, 2, 3, 4, 5]]);
  const { final } = reference(w, past, [[6, 7, 8]]);
  final.forEach((row, j) => {
    const logits = Array.from({ length: V }, (_, v) => row.reduce((a, n, k) => a + n * w.head[v * H + k], 0));
    close(r.logits(0, j), logits);
    expect(r.next(0, j)).toBe(logits.indexOf(Math.max(...logits)));
  });
  close(r.hidden(0, 2), final.slice(0, 2).flat());
  expect(() => r.logits(0, 3)).toThrow(/DSC5033.*no row 3/);
  expect(() => r.logits(1)).toThrow(/DSC5033.*no rows/);
  expect(session.lengths).toEqual([8]);
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
