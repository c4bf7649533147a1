// examples/node-api runs as it stands, and says what the commands say.
import { execFile } from "node:child_process";
import path from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { stream, loadTokenizer } from "../../runtime/index.ts";
import { at, dsc, json, root, tiny } from "../commands/dsc.ts";
import { openModel } from "./compiled.ts";

test("the script of examples/node-api", async () => {
  expect((await dsc("compile", tiny, "-o", at("tiny"))).code).toBe(0);
  const { stdout } = await promisify(execFile)(process.execPath, [
    path.join(root, "examples/node-api/story.mjs"),
    at("tiny"),
    tiny,
  ]);
  const prompt = "It was a fine morning";
  const { text } = await json<{ text: string }>(
    "run",
    tiny,
    "--prompt",
    prompt,
    "--max-new",
    "40",
    "--temperature",
    "0.7",
    "--top-p",
    "0.95",
    "--seed",
    "1",
    "--draft",
    "2",
  );
  expect(stdout.startsWith(`${prompt}${text}\n0: She was `)).toBe(true);
  expect(stdout).toMatch(/\n1: He took her hand, and \w/);
  expect(stdout).toMatch(/\n> And what did it say\?\n.*\w.*\n\(the last turn read 1?\d tokens and kept \d\d\)\n/);
  expect(stdout).toMatch(/after "She was", most likely: " \w+"\n$/);
});

test("a stream can be stopped between steps, and what it opened is closed", async () => {
  const [model, tokenizer] = [await openModel(tiny), await loadTokenizer(tiny)];
  const stop = new AbortController();
  let text = "";
  const run = async (): Promise<void> => {
    for await (const fresh of stream(model, tokenizer, "She was", { maxNew: 500, signal: stop.signal })) {
      text += fresh;
      if (text.length > 30) stop.abort();
    }
  };
  await expect(run()).rejects.toThrow(/abort/i);
  expect(text.length).toBeLessThan(60);
  await expect(stream(model, { ...tokenizer, encode: () => [] }, "", { maxNew: 0 }).next()).rejects.toThrow(/DSC5033.*maxNew/);
});
