// tiny-r1 through the commands, against the float64 reference of its expected.json.
import { readFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { json, tiny } from "../commands/dsc.ts";

const reference = (JSON.parse(readFileSync(path.join(tiny, "expected.json"), "utf8")) as {
  eval: { bytes: number; tokens: number; scored_windows: number; modes: Record<string, { nll: number; perplexity: number; bits_per_byte: number }> };
}).eval;

interface Answer {
  tokens: number;
  nll: number;
  perplexity: number;
  windows: number;
  bytes: number;
  bits_per_byte: number;
}

test.each(["expanded", "absorbed"])("perplexity of eval.txt, %s", async (attention) => {
  const got = await json<Answer>("eval", tiny, "--text", path.join(tiny, "eval.txt"), "--attention", attention);
  expect([got.tokens, got.windows, got.bytes]).toEqual([reference.tokens, reference.scored_windows, reference.bytes]);
  const want = reference.modes[`fp8_${attention}`];
  expect(Math.abs(got.perplexity - want.perplexity)).toBeLessThan(0.02);
  expect(Math.abs(got.nll - want.nll)).toBeLessThan(0.0008);
  expect(Math.abs(got.bits_per_byte - want.bits_per_byte)).toBeLessThan(0.0004);
}, 180_000);
