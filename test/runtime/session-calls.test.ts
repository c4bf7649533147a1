// Calls of a session that meet, and generation on the hand-made model: results overtaken, closing, stops, abort.
import { describe, expect, test, vi } from "vitest";
import { generate, proceed, type GenerateOptions } from "../../runtime/generate.ts";
import { H, manifest, openToy, reference, V } from "./toy.ts";
import { close, folder, w } from "./toy-checkpoint.ts";

/** Logits of a sequence alone, after all these ids at once. */
const alone = (ids: number[]): number[] => reference(w, [], [ids]).logits[0];

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
