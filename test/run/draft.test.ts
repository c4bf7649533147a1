// Drafts of the extra prediction layer on whole models: a greedy answer is the same id for id, a sampled one has the same
// distribution, in fewer steps.
// Kernels may round otherwise for another number of rows. Without quantised activations that is 1e-6 of a logit; with them an e4m3
// code can turn, so there an answer may part where the two best ids lie closer than such a code moves them.
import { readFileSync } from "node:fs";
import path from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { generate, proceed, type GenerateOptions, type Model } from "../../runtime/index.ts";
import { readTensors } from "../interpreted.ts";
import { fixture, openModel, tiny } from "./compiled.ts";

interface Answer {
  ids: number[][];
  /** How far the second best id was behind, for every id of a step without drafts. */
  margins: number[][];
  steps: number;
  drafted: number;
  accepted: number;
}

async function answer(model: Model, prompts: number[][], options: GenerateOptions): Promise<Answer> {
  const out: Answer = { ids: prompts.map(() => []), margins: prompts.map(() => []), steps: 0, drafted: 0, accepted: 0 };
  for await (const s of generate(model, prompts, options)) {
    s.ids.forEach((ids, b) => out.ids[b].push(...ids));
    if (!options.draft)
      s.ids.forEach((ids, b) => {
        if (ids.length === 0) return;
        const [first, second] = s.result.logits(b).toSorted((x, y) => y - x);
        out.margins[b].push(first - second);
      });
    out.steps += s.index > 0 ? 1 : 0;
    out.drafted += s.drafted;
    out.accepted += s.accepted;
  }
  return out;
}

const expected = JSON.parse(readFileSync(path.join(tiny, "expected.json"), "utf8")) as {
  prompts: { prompt_ids: number[]; modes: Record<string, { ids: number[]; draft_ids: number[]; margins: number[] }> }[];
  checks: Record<string, number>;
};
const prompts = expected.prompts.map((p) => p.prompt_ids);

/** Steps and drafts of `--draft 1`, from the drafts that the reference made at every position. */
function foreseen({ ids, draft_ids }: { ids: number[]; draft_ids: number[] }): { drafted: number; accepted: number } {
  const count = { drafted: 0, accepted: 0 };
  for (let i = 0; i + 2 < ids.length; i++) {
    count.drafted++;
    if (draft_ids[i] !== ids[i + 1]) continue;
    count.accepted++;
    i++;
  }
  return count;
}

test.each(["expanded", "absorbed"] as const)(
  "FP8, %s: accepts the drafts the reference accepts, in fewer steps",
  async (attention) => {
    const model = await openModel(tiny, { attention });
    const sum = { drafted: 0, accepted: 0, wantDrafted: 0, wantAccepted: 0 };
    for (const p of expected.prompts) {
      const plain = await answer(model, [p.prompt_ids], { maxNew: 48 });
      const got = await answer(model, [p.prompt_ids], { maxNew: 48, draft: 1 });
      const at = plain.ids[0].findIndex((id, i) => id !== got.ids[0][i]);
      if (at >= 0) console.log(`${attention}: parts at id ${at}, where the margin is ${plain.margins[0][at]}`);
      if (at >= 0) expect(plain.margins[0][at]).toBeLessThan(expected.checks.refmodel_fp8_f64_vs_f32_mean);
      expect(plain.steps).toBe(47);
      expect(got.steps).toBe(47 - got.accepted);
      const want = foreseen(p.modes[`fp8_${attention}`]);
      sum.drafted += got.drafted;
      sum.accepted += got.accepted;
      sum.wantDrafted += want.drafted;
      sum.wantAccepted += want.accepted;
    }
    console.log(
      `${attention}: ${sum.accepted} of ${sum.drafted} drafts accepted; the float64 reference: ${sum.wantAccepted} of ${sum.wantDrafted}`,
    );
    // A draft or two may turn with an e4m3 code.
    expect(Math.abs(sum.accepted / sum.drafted - sum.wantAccepted / sum.wantDrafted)).toBeLessThan(0.03);
  },
);

describe.each(["expanded", "absorbed"] as const)("tiny-r1, exact activations, %s", (attention) => {
  let model: Model;
  beforeAll(async () => void (model = await openModel(tiny, { attention, actQuant: "none" })));

  test.each([1, 2, 3, 4])("a ragged batch, %i drafts a step", async (draft) => {
    const plain = await answer(model, prompts, { maxNew: 30 });
    const got = await answer(model, prompts, { maxNew: 30, draft });
    expect(got.ids).toEqual(plain.ids);
    expect(got.steps).toBeLessThan(plain.steps);
    expect(got.accepted).toBeGreaterThan(0);
  });

  test("sampled: a seed gives the same ids again, and drafts are taken", async () => {
    const sampling = { temperature: 0.8, topK: 50, topP: 0.95, repeatPenalty: 1.1, seed: 3, maxNew: 40 };
    for (const draft of [0, 1, 3]) {
      const first = await answer(model, prompts, { ...sampling, draft });
      expect(new Set(first.ids.map(String)).size).toBe(prompts.length);
      expect((await answer(model, prompts, { ...sampling, draft })).ids).toEqual(first.ids);
      expect((await answer(model, prompts, { ...sampling, draft, seed: 4 })).ids).not.toEqual(first.ids);
      if (draft) expect(first.accepted / first.drafted).toBeGreaterThan(draft === 1 ? 0.5 : 0.3);
    }
  });

  test("a penalty without temperature: the same ids", async () => {
    const options = { repeatPenalty: 1.3, maxNew: 24 };
    const plain = await answer(model, prompts, options);
    for (const draft of [1, 3]) expect((await answer(model, prompts, { ...options, draft })).ids).toEqual(plain.ids);
  });

  test("stops at the same place", async () => {
    const plain = await answer(model, [prompts[0]], { maxNew: 30 });
    for (const at of [3, 4, 9]) {
      const stop = [plain.ids[0][at]];
      const [want, got] = [
        await answer(model, [prompts[0]], { maxNew: 30, stop }),
        await answer(model, [prompts[0]], { maxNew: 30, stop, draft: 3 }),
      ];
      expect(got.ids).toEqual(want.ids);
      expect(got.ids[0].indexOf(stop[0])).toBe(got.ids[0].length - 1);
    }
  });

  test("in a second turn on what is cached, drafts before or not", async () => {
    const next = [[14, 272]];
    for (const [first, second] of [
      [0, 0],
      [2, 2],
      [0, 2],
      [2, 0],
      [1, 4],
    ]) {
      const session = model.session({ maxTokens: 200 });
      const ids: number[] = [];
      for await (const s of proceed(session, [prompts[0]], { maxNew: 9, draft: first })) ids.push(...s.ids[0]);
      session.truncate(0, prompts[0].length + 5);
      for await (const s of proceed(session, next, { maxNew: 12, draft: second })) ids.push(...s.ids[0]);
      expect(ids.slice(0, 9)).toEqual((await answer(model, [prompts[0]], { maxNew: 9 })).ids[0]);
      const fresh = model.session({ maxTokens: 200 });
      const again: number[] = [];
      const steps = proceed(fresh, [prompts[0]], { maxNew: 1 });
      for await (const s of steps) void s;
      for await (const s of proceed(fresh, [[...ids.slice(0, 5), ...next[0]]], { maxNew: 12 })) again.push(...s.ids[0]);
      expect(ids.slice(9)).toEqual(again);
      session.close();
      fresh.close();
    }
  });
});

test("sampled answers have the same distribution with drafts and without", async () => {
  const model = await openModel(fixture("a08-v3-mtp"), {}, 1);
  const prompt = [...readTensors(path.join(fixture("a08-v3-mtp"), "expected.safetensors")).get("input_ids")!.data].slice(0, 4);
  const N = 1500;
  // How often each third id comes: the first is the prefill's, the second judged, the third drawn where the second was taken, or drafted anew.
  const counts = async (draft: number): Promise<Map<number, number>> => {
    const out = new Map<number, number>();
    for (let seed = 0; seed < N; seed++) {
      const { ids } = await answer(model, [prompt], { maxNew: 3, temperature: 0.5, topK: 6, seed, draft });
      out.set(ids[0][2], (out.get(ids[0][2]) ?? 0) + 1);
    }
    return out;
  };
  const [plain, drafted] = [await counts(0), await counts(2)];
  for (const id of new Set([...plain.keys(), ...drafted.keys()])) {
    const [a, b] = [plain.get(id) ?? 0, drafted.get(id) ?? 0];
    // Five standard deviations of a difference of two counts.
    expect(Math.abs(a - b), `id ${id}: ${a} and ${b}`).toBeLessThanOrEqual(5 * Math.sqrt(a + b));
  }
});

describe("fixtures", () => {
  const cases = ["a08-v3-mtp", "a09-v3-odd"].flatMap((name) => ["all", "none"].map((passes) => ({ name, passes })));
  test.each(cases)("$name, passes $passes: greedy ids", async ({ name, passes }) => {
    const model = await openModel(fixture(name), { passes }, 1);
    const raw = readTensors(path.join(fixture(name), "expected.safetensors"));
    const prompt = [...raw.get("input_ids")!.data];
    if (model.manifest.entries.draft === undefined) {
      await expect(answer(model, [prompt], { maxNew: 4, draft: 1 })).rejects.toThrow(/DSC5035/);
      return;
    }
    for (const draft of [1, 2, 3, 4])
      expect((await answer(model, [prompt], { maxNew: 16, draft })).ids[0]).toEqual([...raw.get("greedy_ids")!.data]);
  });
});
