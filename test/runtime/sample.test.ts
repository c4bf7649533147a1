// The generator against its published vectors, and the sampler against the definition written out plainly.
import { describe, expect, test } from "vitest";
import fc from "fast-check";
import { draw, philox } from "../../runtime/random.ts";
import { Sampler, argmax, kthLargest, pick, type Sampling } from "../../runtime/sample.ts";

const none = new Set<number>();

test("Philox4x32-10 gives the words of its authors' known-answer file", () => {
  const hex = (words: number[]): string => words.map((w) => w.toString(16).padStart(8, "0")).join(" ");
  const f = 0xffffffff;
  expect(hex(philox([0, 0, 0, 0], [0, 0]))).toBe("6627e8d5 e169c58d bc57ac4c 9b00dbd8");
  expect(hex(philox([f, f, f, f], [f, f]))).toBe("408f276d 41c83b0e a20bc7c6 6d5451fd");
  expect(hex(philox([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0]))).toBe(
    "d16cfe09 94fdcceb 5001e420 24126ea1",
  );
});

test("a draw depends on seed, position and sequence, lies between 0 and 1 and is even", () => {
  const draws = Array.from({ length: 4000 }, (_, i) => draw(7, i, 0));
  expect(Math.min(...draws)).toBeGreaterThan(0);
  expect(Math.max(...draws)).toBeLessThan(1);
  expect(Math.abs(draws.reduce((a, b) => a + b) / 4000 - 0.5)).toBeLessThan(0.02);
  expect(
    new Set([
      draw(7, 3, 0),
      draw(8, 3, 0),
      draw(7, 4, 0),
      draw(7, 3, 1),
      draw(7 + 2 ** 40, 3, 0),
      draw(7, 3, 0, 1),
      draw(7, 3, 0, 2),
    ]).size,
  ).toBe(7);
});

test("the k-th largest and its equals, for any values", () => {
  const value = fc.oneof(fc.float({ noNaN: true }), fc.constantFrom(0, -0, 1, -1));
  fc.assert(
    fc.property(fc.array(value, { minLength: 1, maxLength: 40 }), fc.nat(), (list, n) => {
      const values = Float32Array.from(list);
      const k = 1 + (n % values.length);
      const [edge, equal] = kthLargest(values, k);
      expect(edge + 0).toBe([...values].toSorted((a, b) => b - a)[k - 1] + 0);
      expect(values.filter((v) => v > edge).length + equal).toBe(k);
    }),
  );
});

/** The definition in sample.ts's head, with sorts. */
function plainly(logits: number[], o: Required<Sampling>, seen: Set<number>): number[] {
  const l = logits.map((x, i) => (seen.has(i) ? Math.fround(x > 0 ? x / o.repeatPenalty : x * o.repeatPenalty) : x));
  const byLogit = [...l.keys()].toSorted((a, b) => l[b] - l[a] || a - b);
  const kept = new Set(byLogit.slice(0, o.topK || l.length));
  const w = l.map((x, i) => (kept.has(i) ? Math.exp((x - l[byLogit[0]]) / o.temperature) : 0));
  const total = w.reduce((a, b) => a + b);
  let sum = 0;
  const nucleus = new Set<number>();
  for (const i of [...w.keys()].toSorted((a, b) => w[b] - w[a] || a - b)) {
    if (sum >= o.topP * total) break;
    nucleus.add(i);
    sum += w[i];
  }
  const out = w.map((x, i) => (nucleus.has(i) || o.topP === 1 ? x : 0));
  const all = out.reduce((a, b) => a + b);
  return out.map((x) => x / all);
}

test("probabilities are those of the definition", () => {
  const logits = fc.array(
    fc.integer({ min: -40, max: 40 }).map((n) => n / 8),
    { minLength: 2, maxLength: 30 },
  );
  const options = fc.record({
    temperature: fc.constantFrom(0.25, 0.7, 1, 3),
    topK: fc.nat(8),
    topP: fc.constantFrom(0.1, 0.5, 0.9, 0.999, 1),
    repeatPenalty: fc.constantFrom(1, 1.25, 0.5),
    seed: fc.constant(0),
  });
  fc.assert(
    fc.property(logits, options, fc.array(fc.nat(29), { maxLength: 5 }), (list, o, ids) => {
      const seen = new Set(ids.map((i) => i % list.length));
      const got = new Sampler(o).probabilities(Float32Array.from(list), seen);
      // Weights are whole 2^31sts of the largest.
      plainly(list, o, seen).forEach((p, i) => expect(Math.abs(got[i] - p)).toBeLessThan(list.length * 2 ** -31));
    }),
  );
});

test("of ids with equal logits at the edge of top-k the first stay", () => {
  const kept = (topK: number, ...logits: number[]): number[] =>
    [...new Sampler({ temperature: 1, topK, seed: 0 }).probabilities(Float32Array.from(logits), none)].map((p) => +(p > 0));
  expect(kept(2, 1, 1, 1, 0)).toEqual([1, 1, 0, 0]);
  expect(kept(3, 0, 2, 0, 0, 2)).toEqual([1, 1, 0, 0, 1]);
});

test("draws follow the probabilities, and a seed fixes them", () => {
  const logits = Float32Array.from({ length: 50 }, (_, i) => Math.sin(i) * 3);
  const s = new Sampler({ temperature: 0.8, topK: 12, topP: 0.9, seed: 5 });
  const want = s.probabilities(logits, none);
  const N = 20000;
  const ids = Array.from({ length: N }, (_, i) => s.choose(logits, none, i, 0));
  for (const [id, p] of want.entries()) {
    const seen = ids.filter((i) => i === id).length / N;
    // Five standard deviations of a count.
    expect(Math.abs(seen - p)).toBeLessThanOrEqual(5 * Math.sqrt((p * (1 - p)) / N));
  }
  const again = new Sampler({ temperature: 0.8, topK: 12, topP: 0.9, seed: 5 });
  expect(Array.from({ length: 50 }, (_, i) => again.choose(logits, none, i, 0))).toEqual(ids.slice(0, 50));
});

test("ids that were drafted, taken or not, follow the main model's probabilities, and as many are taken as can be", () => {
  const N = 20000;
  const logitsOf = (f: (i: number) => number): Float32Array => Float32Array.from({ length: 30 }, (_, i) => f(i));
  const main = logitsOf((i) => Math.sin(i) * 2);
  for (const other of [
    logitsOf((i) => Math.sin(i) * 2),
    logitsOf((i) => Math.sin(i + 0.4) * 2.5),
    logitsOf((i) => Math.cos(i) * 4),
  ]) {
    const s = new Sampler({ temperature: 0.9, topP: 0.95, seed: 11 });
    const [p, q] = [s.probabilities(main, none), s.probabilities(other, none)];
    const count = Array.from({ length: 30 }, () => 0);
    let taken = 0;
    for (let i = 0; i < N; i++) {
      const draft = s.draft(other, none, i, 3);
      const id = s.judge(main, none, i, 3, draft);
      count[id]++;
      if (id === draft.id) taken++;
    }
    for (const [id, want] of p.entries())
      expect(Math.abs(count[id] / N - want)).toBeLessThanOrEqual(5 * Math.sqrt((want * (1 - want)) / N));
    const most = p.reduce((a, x, i) => a + Math.min(x, q[i]), 0);
    expect(Math.abs(taken / N - most)).toBeLessThanOrEqual(5 * Math.sqrt((most * Math.max(0, 1 - most)) / N) + 1e-9);
  }
});

test("temperature 0 is the first maximum, with a penalty on what was said", () => {
  const logits = Float32Array.of(1, 3, 3, -1);
  expect(new Sampler().choose(logits, none, 0, 0)).toBe(1);
  expect(new Sampler({ repeatPenalty: 1.5 }).choose(logits, new Set([1]), 0, 0)).toBe(2);
  expect(new Sampler({ repeatPenalty: 4 }).choose(logits, new Set([1, 2]), 0, 0)).toBe(0);
  expect([...logits]).toEqual([1, 3, 3, -1]);
  expect(argmax([2, 5, 5])).toBe(1);
});

test("the ends of the draw fall on ids that have a weight", () => {
  expect(pick(Float64Array.of(0, 1, 2, 0), 0)).toBe(1);
  expect(pick(Float64Array.of(0, 1, 2, 0), 1 - 2 ** -33)).toBe(2);
});

test("top-p keeps the fewest ids that reach it, and of equal ones the first", () => {
  const kept = (topP: number, ...logits: number[]): number[] =>
    [...new Sampler({ temperature: 1, topP }).probabilities(Float32Array.from(logits), new Set())].flatMap((p, i) =>
      p > 0 ? [i] : [],
    );
  expect(kept(0.5, 0, 0)).toEqual([0]);
  expect(kept(0.5, 1, 1, 1, 1)).toEqual([0, 1]);
  expect(kept(0.51, 1, 1, 1, 1)).toEqual([0, 1, 2]);
  expect(kept(0.75, 1, 1, 1, 1)).toEqual([0, 1, 2]);
  // One id in two, one in four, two in eight.
  const l = [0, 2, 1, 0].map((n) => n * Math.LN2);
  expect(kept(0.49, ...l)).toEqual([1]);
  expect(kept(0.74, ...l)).toEqual([1, 2]);
  expect(kept(0.76, ...l)).toEqual([0, 1, 2]);
  expect(kept(1, ...l)).toEqual([0, 1, 2, 3]);
});

describe("what cannot be meant is refused", () => {
  test.each<[Sampling, RegExp]>([
    [{ temperature: -1 }, /DSC5034.*temperature is -1/],
    [{ temperature: NaN }, /DSC5034/],
    [{ topK: 1.5 }, /DSC5034.*topK/],
    [{ topP: 0 }, /DSC5034.*topP is 0/],
    [{ topP: 1.01 }, /DSC5034/],
    [{ repeatPenalty: 0 }, /DSC5034.*repeatPenalty/],
    [{ seed: -1 }, /DSC5034.*seed/],
  ])("%j", (options, message) => expect(() => new Sampler(options)).toThrow(message));
});

test("null is not set, numbers in texts are refused, and the smallest temperature takes the most likely id", () => {
  const logits = Float32Array.from([0.5, 3, -1, 2.5]);
  const nothing = { temperature: null, topK: null, topP: null, repeatPenalty: null, seed: null } as unknown as Sampling;
  expect(new Sampler(nothing).options).toEqual(new Sampler().options);
  for (const name of ["temperature", "topK", "topP", "repeatPenalty", "seed"])
    for (const bad of ["1", true, NaN, [], {}, Infinity]) expect(() => new Sampler({ [name]: bad })).toThrow(/DSC5034/);
  for (const temperature of [5e-324, 8e-309, 1e-300, 1e-9])
    expect(new Sampler({ temperature }).choose(logits, new Set(), 0, 0)).toBe(1);
  expect(new Sampler({ temperature: 1e308 }).choose(logits, new Set(), 0, 0)).toBeLessThan(4);
  // Where nothing has a weight, the largest is left.
  const odd = Float32Array.from([NaN, -Infinity, Infinity, 1]);
  const sampler = new Sampler({ temperature: 1 });
  expect(sampler.choose(odd, new Set(), 0, 0)).toBe(2);
  expect([...sampler.probabilities(odd, new Set())]).toEqual([0, 0, 1, 0]);
});
