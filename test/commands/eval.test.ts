// dsc eval: its windows, what it prints, what it refuses. The perplexities of tiny-r1 are in test/run.
import { writeFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { cut, surprise } from "../../runtime/score.ts";
import { at, dsc, refusal, tiny } from "./dsc.ts";

test("windows: runs of one row less than the window, each after <bos>; without <bos> the first id is context", () => {
  expect(cut([5, 6, 7, 8, 9], 2, 0)).toEqual([
    [0, 5, 6],
    [0, 7, 8],
    [0, 9],
  ]);
  expect(cut([5, 6, 7, 8, 9], 2, null)).toEqual([
    [5, 6],
    [7, 8],
  ]);
  expect(surprise(Float32Array.of(9, 1, 2, 3, 9), 1, 3, 2)).toBeCloseTo(
    -Math.log(Math.exp(3) / (Math.exp(1) + Math.exp(2) + Math.exp(3))),
    12,
  );
  expect(surprise(Float32Array.of(1000, 0), 0, 2, 0)).toBe(0);
});

describe.concurrent("for people, and refusals", () => {
  const short = at("short.txt");
  writeFileSync(short, "She was not inclined to speak to her.");

  test("two lines, and no progress where there is no terminal", async () => {
    const { code, stdout, stderr } = await dsc("eval", tiny, "--text", short, "--window", "4");
    expect(code).toBe(0);
    expect(stdout).toMatch(/^perplexity \d+\.\d{4}: \d\.\d{5} nats a token, \d\.\d{4} bits a byte\n$/);
    expect(stderr).toMatch(/^\d+ tokens in \d windows, \d+ tokens a second\n$/);
  });

  test("a file that is not there, not text, or empty", async () => {
    expect(await refusal("eval", tiny, "--text", at("none.txt"))).toMatch(/DSC6013.*none\.txt[^]*ENOENT/);
    writeFileSync(at("bytes.txt"), Buffer.of(0xff, 0xfe, 0x00));
    expect(await refusal("eval", tiny, "--text", at("bytes.txt"))).toMatch(/DSC6013[^]*not UTF-8/);
    writeFileSync(at("empty.txt"), "");
    expect(await refusal("eval", tiny, "--text", at("empty.txt"))).toMatch(/DSC6001.*no token/);
  });

  test("windows the model has no positions for, and artifacts without taps", async () => {
    expect(await refusal("eval", tiny, "--text", short, "--window", "2000")).toMatch(/DSC5033.*2000 rows[^]*1024/);
    expect((await dsc("compile", tiny, "-o", at("untapped"))).code).toBe(0);
    expect(await refusal("eval", at("untapped"), "--text", short, "--weights", tiny)).toMatch(/DSC6006.*eval needs[^]*--taps/);
  });
});
