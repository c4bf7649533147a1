// What the prover must not be fooled by: rules that hold at one size, one value of an attribute or one kind of number only, and
// rules that hide behind a tolerance.
import { describe, expect, test } from "vitest";
import {
  add,
  argmax,
  asTensor,
  concat,
  dequantize,
  einsum,
  lastRows,
  linear,
  mul,
  normQuant,
  quantize,
  reshape,
  rmsNorm,
  scale,
  gated,
  gatedPair,
  split,
  stack,
  type Value,
} from "../../ir/index.ts";
import { counterexample, rule, type Rule } from "../../passes/index.ts";

const vars = { x: "[..b, d] a", gain: "[d] w" } as const;
const dim = (v: Value): number => asTensor(v.type).dims.at(-1) as number;
const rowsOf = (v: Value): number => asTensor(v.type).dims[0] as number;

const wrong: Record<string, Rule> = {
  "an attribute is dropped": rule("forgot eps", {
    vars: { ...vars, x: "[T, d] a", batch: "batch" },
    attrs: { eps: 1e-6 },
    from: ({ x, gain, batch, eps }) => lastRows({ x: rmsNorm({ x, gain, eps }), batch }),
    to: ({ x, gain, batch }) => rmsNorm({ x: lastRows({ x, batch }), gain }),
  }),
  "an attribute is right for one value": rule("eps to 1e-6", {
    vars,
    attrs: { eps: 1e-6 },
    from: ({ x, gain, eps }) => rmsNorm({ x, gain, eps }),
    to: ({ x, gain, eps }) => rmsNorm({ x, gain, eps: (eps as number) < 0.1 ? eps : 1e-6 }),
  }),
  "an attribute is right where it is positive": rule("positive", {
    vars: { x: "[B, V] f32" },
    attrs: { by: 2 },
    from: ({ x, by }) => argmax({ x: scale({ x, by }) }),
    to: ({ x }) => argmax({ x }),
  }),
  "two attributes are taken for each other": rule("swapped", {
    vars: { x: "[..b, d] a" },
    attrs: { by: 0.5, of: 0.5 },
    from: ({ x, by, of }) => add({ a: scale({ x, by }), b: scale({ x: gated({ gate: x, up: x }), by: of }) }),
    to: ({ x, by, of }) => add({ a: scale({ x, by: of }), b: scale({ x: gated({ gate: x, up: x }), by }) }),
  }),
  "a word is dropped": rule("forgot ue8m0", {
    vars,
    attrs: { scale: "f32" },
    from: ({ x, gain, scale: s }) => quantize({ x: rmsNorm({ x, gain }), scale: s }),
    to: ({ x, gain }) => normQuant({ x, gain }),
  }),
  "a dtype is dropped": rule("forgot dtype", {
    vars: { x: "[..b, k] a", w: "[n, k] w" },
    attrs: { dtype: "same" },
    from: ({ x, w, dtype }) => linear({ x, w, dtype }),
    to: ({ x, w }) => linear({ x, w }),
  }),
  "an attribute is nowhere in the pattern": rule("nowhere", {
    vars: { x: "[..b, d] a" },
    attrs: { by: 3 },
    from: ({ x }) => gated({ gate: x, up: x }),
    to: ({ x, by }) => (by === 3 ? gated({ gate: x, up: x }) : scale({ x, by })),
  }),
  "a factor hides behind e4m3": rule("a tenth more", {
    vars,
    within: "e4m3",
    from: ({ x, gain }) => rmsNorm({ x, gain }),
    to: ({ x, gain }) => scale({ x: rmsNorm({ x, gain }), by: 1.1 }),
  }),
  "a factor hides in codes": rule("a tenth more, quantised", {
    vars,
    within: "e4m3",
    from: ({ x, gain }) => quantize({ x: rmsNorm({ x, gain }) }),
    to: ({ x, gain }) => quantize({ x: scale({ x: rmsNorm({ x, gain }), by: 1.1 }) }),
  }),
  "a factor hides in a product of codes": rule("products", {
    vars: { x: "[t, k] a", w: "[n, k] a" },
    within: "e4m3",
    from: ({ x, w }) => linear({ x: dequantize({ x: quantize({ x }) }), w }),
    to: ({ x, w }) => linear({ x: dequantize({ x: quantize({ x: scale({ x, by: 1.01 }) }) }), w }),
  }),
  "a sign is lost": rule("rectified", {
    vars: { x: "[..b, d] a" },
    within: "e4m3",
    from: ({ x }) => quantize({ x: mul({ a: x, b: x }) }),
    to: ({ x }) => quantize({ x: mul({ a: x, b: scale({ x, by: -1 }) }) }),
  }),
  "one element of many is wrong": rule("first of many", {
    vars: { x: "[t, k] a" },
    within: "e4m3",
    sizes: { k: 256 },
    from: ({ x }) => quantize({ x }),
    to: ({ x }) => quantize({ x: concat({ a: scale({ x: split({ x, at: 1 }).left, by: 0.99 }), b: split({ x, at: 1 }).right }) }),
  }),
  "the second block is wrong": rule("second block", {
    vars: { x: "[t, k] a" },
    from: ({ x }) => quantize({ x }),
    to: ({ x }) =>
      dim(x) < 140
        ? quantize({ x })
        : quantize({ x: concat({ a: split({ x, at: 128 }).left, b: scale({ x: split({ x, at: 128 }).right, by: 2 }) }) }),
  }),
  "the ragged end is wrong": rule("ragged", {
    vars: { x: "[t, k] a" },
    sizes: { k: 256 },
    from: ({ x }) => quantize({ x }),
    to: ({ x }) => (dim(x) % 128 === 0 ? quantize({ x }) : quantize({ x: scale({ x, by: 2 }) })),
  }),
  "one row is wrong": rule("one row", {
    vars: { x: "[t, d] a" },
    from: ({ x }) => gated({ gate: x, up: x }),
    to: ({ x }) => (rowsOf(x) === 1 ? x : gated({ gate: x, up: x })),
  }),
  "no rows are wrong": rule("no rows", {
    vars: { x: "[t, d] a" },
    from: ({ x }) => gated({ gate: x, up: x }),
    to: ({ x }) => (rowsOf(x) === 0 ? concat({ a: x, b: x }) : gated({ gate: x, up: x })),
  }),
  "odd widths are wrong": rule("odd", {
    vars: { x: "[t, d] a" },
    from: ({ x }) => gated({ gate: x, up: x }),
    to: ({ x }) => (dim(x) % 2 ? x : gated({ gate: x, up: x })),
  }),
  "its own size is the only right one": rule("pinned", {
    vars: { x: "[t, d] a" },
    sizes: { d: 6 },
    from: ({ x }) => gated({ gate: x, up: x }),
    to: ({ x }) => (dim(x) === 6 ? gated({ gate: x, up: x }) : x),
  }),
  "more axes are wrong": rule("axes", {
    vars: { x: "[..b, d] a" },
    from: ({ x }) => gated({ gate: x, up: x }),
    to: ({ x }) => (asTensor(x.type).dims.length > 2 ? x : gated({ gate: x, up: x })),
  }),
  "rows and columns are the same only where square": rule("square", {
    vars: { x: "[t, d] a" },
    sizes: { t: 4, d: 4 },
    from: ({ x }) => einsum("ab,ab->ab", x, x),
    to: ({ x }) => reshape({ x: einsum("ab,ab->ba", x, x), dims: asTensor(x.type).dims }),
  }),
  "ties go the other way": rule("ties", {
    vars: { x: "[B, V] f32" },
    from: ({ x }) => argmax({ x }),
    to: ({ x }) => argmax({ x: scale({ x: scale({ x, by: 1e-200 }), by: 1e-200 }) }),
  }),
  "gate and up are swapped": rule("gate", {
    vars: { x: "[..b, k] a", g: "[n, k] w", u: "[n, k] w" },
    from: ({ x, g, u }) => gated({ gate: linear({ x, w: g }), up: linear({ x, w: u }) }),
    to: ({ x, g, u }) => gatedPair({ x: linear({ x, w: stack({ a: u, b: g }) }) }),
  }),
  "both sides are NaN": rule("infinite", {
    vars: { x: "[..b, d] a" },
    from: ({ x }) => scale({ x: scale({ x, by: 0 }), by: Infinity }),
    to: ({ x }) => scale({ x, by: NaN }),
  }),
  "one side is NaN for rows of zeros": rule("zeros", {
    vars,
    attrs: { eps: 1e-6 },
    from: ({ x, gain, eps }) => rmsNorm({ x, gain, eps }),
    to: ({ x, gain, eps }) => rmsNorm({ x: rmsNorm({ x, gain: x.node.operands[0] ?? gain, eps: 0 }), gain, eps }),
  }),
  "a change has no bound": rule("unbounded", {
    vars,
    changes: "it is another function" as never,
    from: ({ x }) => gated({ gate: x, up: x }),
    to: ({ x }) => x,
  }),
  "a change is over its bound": rule("over", {
    vars: { x: "[..b, d] a" },
    changes: { why: "the gate is left out", within: 0.01 },
    from: ({ x }) => gated({ gate: x, up: x }),
    to: ({ x }) => x,
  }),
  "a change allows everything": rule("all", {
    vars: { x: "[..b, d] a" },
    changes: { why: "anything", within: 1e9 },
    from: ({ x }) => gated({ gate: x, up: x }),
    to: ({ x }) => x,
  }),
  "a change of rounding is more than that": rule("more", {
    vars: { x: "[..b, d] a" },
    changes: { why: "no codes", within: 0 },
    from: ({ x }) => dequantize({ x: quantize({ x }) }),
    to: ({ x }) => scale({ x, by: 1.05 }),
  }),
};

describe("disproved", () => {
  test.each(Object.entries(wrong))("%s", (_, r) => {
    expect(counterexample(r)?.problem).toBeTruthy();
  });
});

const right: Record<string, Rule> = {
  "rounding is left out": rule("no codes", {
    vars: { x: "[..b, d] a" },
    changes: { why: "no codes", within: 0 },
    from: ({ x }) => dequantize({ x: quantize({ x }) }),
    to: ({ x }) => scale({ x, by: 1 }),
  }),
  "a small factor within its bound": rule("nearly", {
    vars: { x: "[..b, d] a" },
    changes: { why: "one in a thousand", within: 0.002 },
    from: ({ x }) => gated({ gate: x, up: x }),
    to: ({ x }) => scale({ x: gated({ gate: x, up: x }), by: 1.001 }),
  }),
  "sums in another order before codes": rule("order", {
    vars: { x: "[t, r] a", u: "[n, r] a", w: "[m, n] a" },
    within: "e4m3",
    from: ({ x, u, w }) => quantize({ x: linear({ x: linear({ x, w: u }), w }) }),
    to: ({ x, u, w }) => quantize({ x: einsum("tr,mr->tm", x, einsum("mn,nr->mr", w, u)) }),
  }),
  "sizes that the guard refuses are no sites": rule("guarded", {
    vars: { x: "[t, d] a" },
    when: ({ x }) => (dim(x) % 2 ? "odd widths" : null),
    from: ({ x }) => gated({ gate: x, up: x }),
    to: ({ x }) => (dim(x) % 2 ? x : gated({ gate: x, up: x })),
  }),
  "a letter that others decide": rule("tied", {
    vars: { x: "[t, d] a", y: "[t, n] a" },
    ties: ({ d }) => ({ n: d }),
    from: ({ x, y }) => add({ a: x, b: y }),
    to: ({ x, y }) => add({ a: y, b: x }),
  }),
};

describe("proved", () => {
  test.each(Object.entries(right))("%s", (_, r) => expect(counterexample(r)).toBeNull());
});
