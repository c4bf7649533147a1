// The arithmetic of perplexity, in numbers worked out by hand; whole texts are test/run/tiny-r1.test.ts.
import { expect, test } from "vitest";
import { cut, surprise } from "../../runtime/score.ts";

test("every id is in one window, once, with <bos> before it; a window with nothing to score is left out", () => {
  expect(cut([1, 2, 3, 4, 5], 2, 9)).toEqual([
    [9, 1, 2],
    [9, 3, 4],
    [9, 5],
  ]);
  expect(cut([1, 2, 3, 4, 5], 2, null)).toEqual([
    [1, 2],
    [3, 4],
  ]);
  expect(cut([], 2, 9)).toEqual([]);
});

test("the surprise of an id is -log of its softmax, whatever lies around the row", () => {
  const logits = Float32Array.of(1000, Math.log(1), Math.log(2), Math.log(5), 1000);
  for (const [id, share] of [
    [0, 1 / 8],
    [1, 2 / 8],
    [2, 5 / 8],
  ] as const)
    expect(surprise(logits, 1, 3, id)).toBeCloseTo(-Math.log(share), 6);
  expect(surprise(Float32Array.of(-1e30, 1e30), 0, 2, 1)).toBe(0);
});
