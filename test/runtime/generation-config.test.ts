// generation_config.json: what of it counts, what is refused and with which line, what is named as not followed.
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, expect, test } from "vitest";
import { loadGeneration, type Generation } from "../../runtime/index.ts";

const folder = mkdtempSync(path.join(tmpdir(), "dsc-generation-"));
afterAll(() => rmSync(folder, { recursive: true }));

async function of(value: unknown): Promise<Generation> {
  writeFileSync(path.join(folder, "generation_config.json"), typeof value === "string" ? value : JSON.stringify(value, null, 2));
  return (await loadGeneration(folder))!;
}

test("a folder without one says nothing", async () => {
  expect(await loadGeneration(path.join(folder, "none"))).toBeUndefined();
});

test("one that is no regular file is refused, not waited for", async () => {
  const other = path.join(folder, "other");
  mkdirSync(other);
  execFileSync("mkfifo", [path.join(other, "generation_config.json")]);
  await expect(loadGeneration(other)).rejects.toThrow(/DSC5062.*it is a FIFO/s);
});

test("an id or a list of ids ends an answer; none leaves it to config.json", async () => {
  expect((await of({ eos_token_id: 2 })).eos).toEqual([2]);
  expect((await of({ eos_token_id: [7, 3, 7, -1] })).eos).toEqual([7, 3]);
  for (const none of [{}, { eos_token_id: null }, { eos_token_id: [] }]) expect((await of(none)).eos).toBeUndefined();
});

test("answers are drawn only where do_sample says so, and as transformers draws them", async () => {
  expect((await of({ temperature: 0.6, top_p: 0.9 })).sampling).toEqual({ temperature: 0 });
  expect((await of({ do_sample: false, temperature: 0.6, repetition_penalty: 1.1 })).sampling).toEqual({
    temperature: 0,
    repeatPenalty: 1.1,
  });
  expect((await of({ do_sample: true, temperature: 0.6, top_p: 0.95 })).sampling).toEqual({
    temperature: 0.6,
    topK: 50,
    topP: 0.95,
  });
  expect((await of({ do_sample: true, temperature: null, top_p: null, top_k: null })).sampling).toEqual({
    temperature: 1,
    topK: 50,
  });
  for (const all of [-1, 0]) expect((await of({ do_sample: true, top_k: all })).sampling).toEqual({ temperature: 1, topK: 0 });
  expect((await of({ do_sample: true, top_p: 0 })).sampling).toEqual({ temperature: 1, topK: 1 });
  expect((await of({ top_k: 5, top_p: 0.5 })).drawing).toEqual({ temperature: 1, topK: 5, topP: 0.5 });
});

test("lengths are read", async () => {
  expect(await of({ max_new_tokens: 9, max_length: 100 })).toMatchObject({ maxNew: 9, maxLength: 100 });
});

test.each([
  [
    { top_p: 1.5 },
    /DSC5062.*generation_config\.json cannot be followed.*json:2:12.*top_p is 1\.5; it must be a number from 0 to 1/s,
  ],
  [{ do_sample: true, top_k: -2 }, /json:3:12.*top_k is -2/s],
  [{ watermarking_config: { top_k: 1 }, top_k: -2 }, /json:5:12.*top_k is -2/s],
  [{ top_k: 1.5 }, /top_k/],
  [{ temperature: "1" }, /temperature is "1"/],
  [{ temperature: -1 }, /temperature/],
  [{ repetition_penalty: 0 }, /repetition_penalty/],
  [{ do_sample: "yes" }, /do_sample/],
  [{ eos_token_id: "</s>" }, /eos_token_id/],
  [{ eos_token_id: [1, [2]] }, /eos_token_id/],
  [{ eos_token_id: 1.5 }, /eos_token_id/],
  [{ max_new_tokens: 0 }, /max_new_tokens/],
  ["{", /DSC5062.*json:1:2.*not JSON: the text ends in the middle/s],
  ["[]", /DSC5062.*json:1:1.*it must be an object/s],
  ["", /DSC5062/],
])("%j is refused and named", async (value, words) => {
  await expect(of(value)).rejects.toThrow(words);
});

test("settings that would change the answer and are not followed are named once, neutral ones are not", async () => {
  const { warnings } = await of({
    num_beams: 4,
    no_repeat_ngram_size: 3,
    min_p: 0.1,
    suppress_tokens: [1],
    stop_strings: ["x"],
    transformers_version: "5",
  });
  expect(warnings.map((w) => w.title.split(" ")[2])).toEqual([
    "num_beams",
    "no_repeat_ngram_size",
    "suppress_tokens",
    "stop_strings",
  ]);
  expect((await of({ do_sample: true, min_p: 0.1 })).warnings[0]).toMatchObject({
    code: "DSC5063",
    spans: [{ line: 3, column: 12 }],
  });
  expect(
    (
      await of({
        num_beams: 1,
        no_repeat_ngram_size: 0,
        min_length: 0,
        suppress_tokens: [],
        stop_strings: null,
        typical_p: 1.0,
        do_sample: true,
        bos_token_id: 1,
        use_cache: true,
      })
    ).warnings,
  ).toEqual([]);
});
