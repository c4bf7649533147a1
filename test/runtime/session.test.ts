// The device and the session on the hand-made model: threads, ragged batches, pages, layers, load functions, loops over experts.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { generate, proceed, type GenerateOptions } from "../../runtime/generate.ts";
import { saveTensors } from "../../runtime/safetensors-write.ts";
import type { ToyWeights } from "./toy.ts";
import { H, LAYERS, PAGE, V, manifest, openToy, reference } from "./toy.ts";

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

/** Logits of a sequence alone, after all these ids at once. */
const alone = (ids: number[]): number[] => reference(w, [], [ids]).logits[0];

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

describe("calls that meet", () => {
  test("a result is refused once the next call has overtaken it, and after close", async () => {
    const model = await openToy(manifest, folder, { threads: 1 });
    const session = model.session();
    const first = await session.prefill([[1, 2]]);
    const second = await session.decode([3]);
    expect(() => first.logits(0)).toThrow(/DSC5033.*overtaken/);
    expect(() => first.taps.final.data).toThrow(/DSC5033.*overtaken/);
    expect(second.taps.final.data.length).toBe(H);
    session.close();
    expect(() => second.logits(0)).toThrow(/DSC5033.*closed/);
    await model.close();
  });

  test("closing during a call ends it cleanly, and gives its memory back after it", async () => {
    const model = await openToy(manifest, folder, { threads: 2 });
    const release = vi.spyOn(model.device, "release");
    const session = model.session();
    const call = session.prefill([[1, 2, 3]]);
    session.close();
    expect(release).not.toHaveBeenCalled();
    await expect(call).rejects.toThrow(/DSC5033.*closed during the call/);
    expect(release).toHaveBeenCalled();
    const other = model.session();
    close((await other.prefill([[1, 2]])).logits(0), alone([1, 2]));
    await model.close();
  });

  test("a model closed during a call refuses it", async () => {
    const model = await openToy(manifest, folder, { threads: 2 });
    const call = model.session().prefill([[1, 2, 3]]);
    const [ended] = await Promise.allSettled([call, model.close()]);
    if (ended.status === "rejected") expect(String(ended.reason)).toMatch(/DSC50\d\d/);
    await expect(model.session().prefill([[1]])).rejects.toThrow(/DSC5033.*closed/);
  });

  test("cutting during a call is refused; a failed call leaves rows and pages as they were", async () => {
    const model = await openToy(manifest, folder, { threads: 1 });
    const session = model.session({ maxTokens: 16 });
    const call = session.prefill([[1, 2, 3]]);
    expect(() => session.truncate(0, 1)).toThrow(/DSC5033.*at work/);
    await call;
    await expect(session.extend([[1, V]])).rejects.toThrow(/DSC5032/);
    await expect(session.extend([Array.from({ length: 14 }, () => 1)])).rejects.toThrow(/DSC5031/);
    await expect(session.prefill([[]])).rejects.toThrow(/DSC5033.*empty/);
    await expect(session.add([])).rejects.toThrow(/DSC5033.*empty/);
    await expect(session.run([[], []])).rejects.toThrow(/DSC5033.*no sequence/);
    expect(() => session.truncate(0, -1)).toThrow(/DSC5039/);
    expect([session.lengths, session.pages.inUse]).toEqual([[3], 1]);
    await model.close();
  });
});

describe("generate", () => {
  test("sequences of a ragged batch stop at different times", async () => {
    const model = await openToy(manifest, folder, { threads: 2 });
    const prompts = [[1, 2, 3], [4], [5, 6, 7, 8, 9]];
    const run = async (stop: number[]): Promise<{ ids: number[][]; finish: (string | null)[] }> => {
      const out = { ids: prompts.map((): number[] => []), finish: [] as (string | null)[] };
      for await (const s of generate(model, prompts, { maxNew: 8, stop })) {
        s.ids.forEach((ids, b) => out.ids[b].push(...ids));
        out.finish = s.finish;
      }
      return out;
    };
    const whole = await run([]);
    expect(whole.ids.map((ids) => ids.length)).toEqual([8, 8, 8]);
    expect(whole.finish).toEqual(["length", "length", "length"]);
    const stop = whole.ids[1][2];
    const cut = await run([stop]);
    for (const [b, ids] of cut.ids.entries()) {
      expect(cut.finish[b]).toBe(ids.includes(stop) ? "stop" : "length");
      if (ids.includes(stop)) expect(ids.indexOf(stop)).toBe(ids.length - 1);
      else expect(ids.length).toBe(8);
    }
    expect(cut.finish).toContain("stop");
    await model.close();
  });

  test("abort: before, between steps and during the prefill; the running call is awaited and the cache given back", async () => {
    const model = await openToy(manifest, folder, { threads: 2 });
    const release = vi.spyOn(model.device, "release");
    const run = async (signal: AbortSignal, at: (index: number) => void): Promise<number> => {
      let steps = 0;
      for await (const s of generate(model, [[1, 2]], { maxNew: 20, signal })) {
        steps++;
        at(s.index);
      }
      return steps;
    };
    await expect(run(AbortSignal.abort(), () => {})).rejects.toThrow(/abort/i);
    const between = new AbortController();
    await expect(run(between.signal, (i) => i === 2 && between.abort(new Error("enough")))).rejects.toThrow("enough");
    expect(release).toHaveBeenCalled();
    const during = new AbortController();
    let seen = 0;
    const ended = run(during.signal, () => seen++);
    during.abort();
    await expect(ended).rejects.toThrow(/abort/i);
    expect(seen).toBeLessThanOrEqual(1);
    // Nothing is left at work.
    await model.device.idle();
    await model.close();
  });

  test("no prompt, or an empty one among others, is refused", async () => {
    const model = await openToy(manifest, folder, { threads: 1 });
    await expect(generate(model, [], { maxNew: 2 }).next()).rejects.toThrow(/DSC5033.*no prompt/);
    await expect(generate(model, [[1], []], { maxNew: 2 }).next()).rejects.toThrow(/DSC5033.*prompt 1 is empty/);
    await expect(generate(model, [[1, V]], { maxNew: 2 }).next()).rejects.toThrow(/DSC5032/);
    await expect(proceed(model.session(), [[], []], { maxNew: 2 }).next()).rejects.toThrow(/DSC5033.*no sequence/);
    await model.close();
  });

  test.each<[GenerateOptions, RegExp]>([
    [{ maxNew: 0 }, /DSC5033.*maxNew is 0/],
    [{ maxNew: 2.5 }, /DSC5033/],
    [{ maxNew: 2, draft: 5 }, /DSC5033.*draft is 5/],
    [{ maxNew: 2, temperature: -1 }, /DSC5034/],
    [{ maxNew: 90 }, /DSC5033.*64 positions/],
  ])("%j is refused", async (options, message) => {
    const model = await openToy(manifest, folder, { threads: 1 });
    await expect(generate(model, [[1]], options).next()).rejects.toThrow(message);
    await model.close();
  });
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
