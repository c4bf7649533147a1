// A few tokens through their experts: both kernels' own text, run by g++ under a small machine of fibres, against the ops they stand
// for. Rings shorter than an expert, slices that cross blocks of scales, experts without tokens, all tokens at the same experts.
import { afterAll, describe, expect, test } from "vitest";
import { expertsDown } from "../../codegen/cuda/sm90/moe/experts-down.ts";
import { expertsGateUp } from "../../codegen/cuda/sm90/moe/experts-gate-up.ts";
import {
  gateUpSchedule,
  sliceOf,
  illegalSlice,
  type ExpertsProblem,
  type SliceSchedule,
} from "../../codegen/cuda/sm90/moe/experts-schedule.ts";
import type { RouteProblem } from "../../codegen/kernels/expert.ts";
import { bf16 } from "../../ir/numeric.ts";
import { blocks128, refer, rows1x128, tensor } from "./families/cases.ts";
import { draw, drawScales, e4m3Codes, randomOf } from "./numbers.ts";
import { nativeOnHost, type Native } from "./native-on-host.ts";
import { lacks } from "../conditions.ts";
import { h200 } from "../../codegen/cuda/arch/h200.ts";

/** bf16 rounding of the result; the card's own limit. */
const WITHIN = 4e-3;

const floats = (v: ArrayLike<number>): Uint8Array => new Uint8Array(Float32Array.from(v).buffer);
const bits = (v: ArrayLike<number>): Uint8Array =>
  new Uint8Array(Uint16Array.from(new Uint32Array(Float32Array.from(v).buffer), (w) => w >>> 16).buffer);
const ints = (v: readonly number[]): Uint8Array => new Uint8Array(Int32Array.from(v).buffer);
const unwritten = (elements: number): Uint8Array => new Uint8Array(2 * elements).fill(0xff);

/** Relative error of bf16 bits; NaN where anything is missing. */
function relative(got: Uint8Array<ArrayBuffer> | Float32Array, want: ArrayLike<number>): number {
  const value =
    got instanceof Float32Array ? got : new Float32Array(Uint32Array.from(new Uint16Array(got.buffer), (w) => w << 16).buffer);
  expect(value.length).toBe(want.length);
  let [error, norm] = [0, 0];
  for (let i = 0; i < value.length; i++) [error, norm] = [error + (value[i] - want[i]) ** 2, norm + want[i] ** 2];
  return Math.sqrt(error / norm);
}

const built = new Map<string, Native>();
afterAll(() => {
  for (const n of built.values()) n.close();
});
function kernel(text: Parameters<typeof nativeOnHost>[0]): Native {
  if (!built.has(text.name)) built.set(text.name, nativeOnHost(text));
  return built.get(text.name)!;
}

/** Experts of each token, ascending. */
type Routing = readonly (readonly number[])[];

function sorted(routing: Routing, experts: number): { order: number[]; offsets: number[]; places: number[] } {
  const indices = routing.flat();
  const order = [...indices.keys()].toSorted((a, b) => indices[a] - indices[b] || a - b);
  const places = Array.from({ length: order.length }, () => 0);
  for (const [i, p] of order.entries()) places[p] = i;
  return { order, offsets: Array.from({ length: experts + 1 }, (_, e) => indices.filter((x) => x < e).length), places };
}

const [experts, inner, d] = [6, 512, 896];
const up: ExpertsProblem = { experts, n: 2 * inner, k: 1024, parts: 2, per: 3, shared: 1 };
const down: ExpertsProblem = { ...up, n: d, k: inner, parts: 1 };
const ringOf = (tokens: SliceSchedule["tokens"], rows: number, stages: number, ahead: number): SliceSchedule => ({
  form: "slice",
  tokens,
  rows,
  kGroups: 2,
  stages,
  ahead,
});

/** Tokens at most, experts that every token visits, and where each token goes. */
const routings: readonly [string, SliceSchedule["tokens"], number, Routing][] = [
  ["one token", 1, 1, [[1, 4, 5]]],
  ["one token, no shared expert", 1, 0, [[0, 2, 5]]],
  [
    "two tokens of up to four, apart",
    4,
    1,
    [
      [0, 2, 5],
      [1, 3, 5],
    ],
  ],
  [
    "three of four, all at the same experts",
    4,
    1,
    [
      [0, 1, 5],
      [0, 1, 5],
      [0, 1, 5],
    ],
  ],
  [
    "eight, mixed",
    8,
    1,
    [
      [0, 1, 5],
      [0, 2, 5],
      [1, 2, 5],
      [3, 4, 5],
      [0, 4, 5],
      [0, 1, 5],
      [2, 3, 5],
      [0, 3, 5],
    ],
  ],
  [
    "seven of eight, no shared expert",
    8,
    0,
    [
      [0, 1, 5],
      [0, 2, 3],
      [1, 2, 5],
      [0, 3, 4],
      [0, 4, 5],
      [0, 1, 2],
      [2, 3, 5],
    ],
  ],
];

describe.skipIf(lacks("g++ 12")).each(routings)("%s", (_, tokens, shared, routing) => {
  const T = routing.length;
  const { order, offsets, places } = sorted(routing, experts);

  test("gate and up of every pair, gated", () => {
    const { n, k } = up;
    const random = randomOf(31);
    const [x, xScale] = [draw(random, T * k, "e4m3"), drawScales(random, (T * k) / 128)];
    const [w, wScale] = [draw(random, experts * n * k, "e4m3"), drawScales(random, (experts * n * k) / 128 / 128)];
    const native = kernel(expertsGateUp({ ...up, shared }, ringOf(tokens, 64, shared ? 3 : 9, 0), h200));
    const buffers = {
      w: e4m3Codes(w),
      x: e4m3Codes(x),
      x_scale: floats(xScale),
      w_scale: floats(wScale),
      indices: ints(routing.flat()),
      y: unwritten(order.length * n),
    };
    const y = Float32Array.from(new Float32Array(native.run(buffers, { T }, { SMs: 132, launches: 1 }).buffer));
    const xs = refer("gather_rows", { x: rows1x128([T, k], x, xScale), order: tensor([order.length], order) }, { per: 3 }).out;
    const gateUp = refer("grouped_linear", {
      x: xs,
      w: blocks128([experts, 2, inner, k], w, wScale),
      offsets: tensor([offsets.length], offsets),
    }).out;
    const want = refer("gated_pair", { x: { ...gateUp, data: gateUp.data.map(bf16) } }, { act: "silu", limit: 0 }).out.data;
    expect(relative(y, want)).toBeLessThan(WITHIN);
  });

  test.each([false, true])("quantised, down, onto the residual; scales powers of two: %s", (ue8m0) => {
    const { n, k } = down;
    const random = randomOf(32);
    const gated = draw(random, order.length * k, "f32", 3);
    const [w, wScale] = [draw(random, experts * n * k, "e4m3"), drawScales(random, (experts * n * k) / 128 / 128)];
    const [weights, x] = [draw(random, order.length).map(Math.abs), draw(random, T * n, "bf16", 40)];
    const native = kernel(expertsDown({ ...down, shared, ue8m0 }, ringOf(tokens, 56, 3, tokens === 1 ? 4 : 2), h200));
    const buffers = {
      w: e4m3Codes(w),
      acts: floats(gated),
      w_scale: floats(wScale),
      indices: ints(routing.flat()),
      weights: floats(weights),
      x: bits(x),
      y: unwritten(T * n),
    };
    const y = native.run(buffers, { T }, { SMs: 132, launches: 1 });
    const act = refer("quantize", { x: tensor([order.length, k], gated) }, { scale: ue8m0 ? "ue8m0" : "f32" }).out;
    const ys = refer("grouped_linear", {
      x: act,
      w: blocks128([experts, n, k], w, wScale),
      offsets: tensor([offsets.length], offsets),
    }).out;
    const want = refer("combine_add", {
      ys: { ...ys, data: ys.data.map(bf16) },
      places: tensor([places.length], places),
      weights: tensor([T, 3], weights),
      x: tensor([T, n], x),
    }).out.data;
    expect(relative(y, want)).toBeLessThan(WITHIN);
  });
});

describe.skipIf(lacks("g++ 12"))("kernels that route themselves", () => {
  const routing: RouteProblem = {
    experts: 32,
    topk: 2,
    groups: 8,
    kept: 4,
    scoring: "sigmoid",
    method: "noaux_tc",
    normalise: true,
    factor: 2.5,
    bias: true,
    xStride: 32,
    shared: 1,
  };
  const T = 3;
  const random = randomOf(41);
  const wide = { experts: 33, per: 3, shared: 1 };
  const bytesOf = (n: number): Uint8Array => Uint8Array.from({ length: n }, () => (random() * 256) & 0xf7);
  const [logits, bias] = [draw(random, T * 32, "f32", 4), draw(random, 32)];
  const { indices, weights } = refer(
    "route",
    { logits: tensor([T, 32], logits), bias: tensor([32], bias) },
    { ...routing, shared: 1 },
  );
  const asked = { logits: floats(logits), bias: floats(bias) };
  const told = { indices: ints([...indices.data]), weights: floats(weights.data) };

  test("gate and up: the bits of those that are told", () => {
    const p = { ...wide, parts: 2, n: 1024, k: 512 } as const;
    const given = {
      w: bytesOf(33 * p.n * p.k),
      x: bytesOf(T * p.k),
      x_scale: floats(drawScales(random, T * 4)),
      w_scale: floats(drawScales(random, 33 * 8 * 4)),
      y: unwritten(2 * 9 * 512),
    };
    const ring = ringOf(4, 64, 3, 0);
    const want = kernel(expertsGateUp(p, ring, h200)).run({ ...given, ...told }, { T }, { SMs: 132, launches: 1 });
    expect(
      kernel(expertsGateUp({ ...p, routing }, ring, h200)).run({ ...given, ...asked }, { T }, { SMs: 132, launches: 1 }),
    ).toEqual(want);
  });

  test("down: weights within rounding", () => {
    const p = { ...wide, parts: 1, n: 256, k: 512, ue8m0: false } as const;
    const given = {
      w: bytesOf(33 * p.n * p.k),
      acts: floats(draw(random, 9 * 512, "f32", 3)),
      w_scale: floats(drawScales(random, 33 * 2 * 4)),
      x: bits(draw(random, T * p.n, "bf16", 40)),
      y: unwritten(T * p.n),
    };
    const ring = ringOf(4, 64, 3, 2);
    const want = kernel(expertsDown(p, ring, h200)).run({ ...given, ...told }, { T }, { SMs: 132, launches: 1 });
    const got = kernel(expertsDown({ ...p, routing }, ring, h200)).run({ ...given, ...asked }, { T }, { SMs: 132, launches: 1 });
    expect(relative(got, new Float32Array(Uint32Array.from(new Uint16Array(want.buffer), (w) => w << 16).buffer))).toBeLessThan(
      1e-3,
    );
  });
});

test("slices give multiprocessors equal work; what cannot be sliced is named", () => {
  expect([7168, 1024, 1408, 5120].map((n) => sliceOf({ n, parts: 1 }, h200))).toEqual([56, 8, 16, 40]);
  expect([4096, 2816].map((n) => sliceOf({ n, parts: 2 }, h200))).toEqual([32, 32]);
  const r1: ExpertsProblem = { experts: 257, n: 4096, k: 7168, parts: 2, per: 9, shared: 1 };
  for (const tokens of [1, 2, 4, 8] as const) expect(illegalSlice(r1, gateUpSchedule(r1, tokens, h200), h200)).toBeNull();
  expect(illegalSlice({ ...r1, k: 1408 }, gateUpSchedule({ ...r1, k: 1408 }, 1, h200), h200)).toMatch(/1408 columns/);
  expect(illegalSlice({ ...r1, k: 32768 }, gateUpSchedule({ ...r1, k: 32768 }, 8, h200), h200)).toMatch(/shared memory/);
});
