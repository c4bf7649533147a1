// A few tokens through their experts: both kernels' own text, run by g++ under a small machine of fibres, against the ops they stand
// for. Rings shorter than an expert, slices that cross blocks of scales, experts without tokens, all tokens at the same experts.
import { afterAll, describe, expect, test } from "vitest";
import { expertsDown } from "../../codegen/cuda/experts-down.ts";
import { expertsGateUp } from "../../codegen/cuda/experts-gate-up.ts";
import { gateUpSchedule, sliceOf, unsliceable, type ExpertsProblem, type SliceSchedule } from "../../codegen/schedules/sm90-experts.ts";
import { bf16, e4m3Values } from "../../ir/numeric.ts";
import { blocks128, refer, rows1x128, tensor } from "./families/cases.ts";
import { draw, drawScales, randomOf } from "./numbers.ts";
import { hasGpp, nativeOnHost, type Native } from "./native-on-host.ts";

/** bf16 rounding of the result; the card's own limit. */
const WITHIN = 4e-3;

if (!hasGpp) console.log("skipped: no g++ 12 or later for x64, so native kernels are not run without a GPU");

const codeOf = new Map(Array.from(e4m3Values, (v, c) => [v, c] as const));
const codes = (v: ArrayLike<number>): Uint8Array => Uint8Array.from(v, (x) => codeOf.get(x)!);
const floats = (v: ArrayLike<number>): Uint8Array => new Uint8Array(Float32Array.from(v).buffer);
const bits = (v: ArrayLike<number>): Uint8Array => new Uint8Array(Uint16Array.from(new Uint32Array(Float32Array.from(v).buffer), (w) => w >>> 16).buffer);
const ints = (v: readonly number[]): Uint8Array => new Uint8Array(Int32Array.from(v).buffer);
const unwritten = (elements: number): Uint8Array => new Uint8Array(2 * elements).fill(0xff);

/** Relative error of bf16 bits; NaN where anything is missing. */
function relative(got: Uint8Array<ArrayBuffer>, want: ArrayLike<number>): number {
  const value = new Float32Array(Uint32Array.from(new Uint16Array(got.buffer), (w) => w << 16).buffer);
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
const up: ExpertsProblem = { experts, n: 2 * inner, k: 1024, per: 3, shared: 1 };
const down: ExpertsProblem = { ...up, n: d, k: inner };
const ringOf = (tokens: SliceSchedule["tokens"], rows: number, stages: number, ahead: number): SliceSchedule => ({ form: "slice", tokens, rows, deep: 2, stages, ahead });

/** Tokens at most, experts that every token visits, and where each token goes. */
const routings: readonly [string, SliceSchedule["tokens"], number, Routing][] = [
  ["one token", 1, 1, [[1, 4, 5]]],
  ["one token, no shared expert", 1, 0, [[0, 2, 5]]],
  ["two tokens of up to four, apart", 4, 1, [[0, 2, 5], [1, 3, 5]]],
  ["three of four, all at the same experts", 4, 1, [[0, 1, 5], [0, 1, 5], [0, 1, 5]]],
  ["eight, mixed", 8, 1, [[0, 1, 5], [0, 2, 5], [1, 2, 5], [3, 4, 5], [0, 4, 5], [0, 1, 5], [2, 3, 5], [0, 3, 5]]],
  ["seven of eight, no shared expert", 8, 0, [[0, 1, 5], [0, 2, 3], [1, 2, 5], [0, 3, 4], [0, 4, 5], [0, 1, 2], [2, 3, 5]]],
];

describe.skipIf(!hasGpp).each(routings)("%s", (_, tokens, shared, routing) => {
  const T = routing.length;
  const { order, offsets, places } = sorted(routing, experts);

  test("gate and up of every pair", () => {
    const { n, k } = up;
    const random = randomOf(31);
    const [x, xScale] = [draw(random, T * k, "e4m3"), drawScales(random, (T * k) / 128)];
    const [w, wScale] = [draw(random, experts * n * k, "e4m3"), drawScales(random, (experts * n * k) / 128 / 128)];
    const native = kernel(expertsGateUp({ ...up, shared }, ringOf(tokens, 64, shared ? 3 : 9, 0)));
    const buffers = { w: codes(w), x: codes(x), x_scale: floats(xScale), w_scale: floats(wScale), order: ints(order), offsets: ints(offsets), y: unwritten(order.length * n) };
    const y = native.run(buffers, { T }, { SMs: 132, launches: 1 });
    const xs = refer("gather_rows", { x: rows1x128([T, k], x, xScale), order: tensor([order.length], order) }, { per: 3 }).out;
    const want = refer("grouped_linear", { x: xs, w: blocks128([experts, n, k], w, wScale), offsets: tensor([offsets.length], offsets) }).out.data;
    expect(relative(y, want)).toBeLessThan(WITHIN);
  }, 120_000);

  test.each([false, true])("gated, quantised, down, onto the residual; scales powers of two: %s", (ue8m0) => {
    const { n, k } = down;
    const random = randomOf(32);
    const gateUp = draw(random, order.length * 2 * k, "bf16", 3);
    const [w, wScale] = [draw(random, experts * n * k, "e4m3"), drawScales(random, (experts * n * k) / 128 / 128)];
    const [weights, x] = [draw(random, order.length).map(Math.abs), draw(random, T * n, "bf16", 40)];
    const native = kernel(expertsDown({ ...down, shared, ue8m0 }, ringOf(tokens, 56, 3, tokens === 1 ? 4 : 2)));
    const buffers = {
      w: codes(w), gate_up: bits(gateUp), w_scale: floats(wScale), offsets: ints(offsets), places: ints(places), weights: floats(weights), x: bits(x), y: unwritten(T * n),
    };
    const y = native.run(buffers, { T }, { SMs: 132, launches: 1 });
    const act = refer("silu_mul_quant", { x: tensor([order.length, 2, k], gateUp) }, { scale: ue8m0 ? "ue8m0" : "f32" }).out;
    const ys = refer("grouped_linear", { x: act, w: blocks128([experts, n, k], w, wScale), offsets: tensor([offsets.length], offsets) }).out;
    const want = refer("combine_add", { ys: { ...ys, data: ys.data.map(bf16) }, places: tensor([places.length], places), weights: tensor([T, 3], weights), x: tensor([T, n], x) }).out.data;
    expect(relative(y, want)).toBeLessThan(WITHIN);
  }, 120_000);
});

test("slices give multiprocessors equal work; what cannot be sliced is named", () => {
  expect([4096, 7168, 1024, 1408, 5120].map((n) => sliceOf(n))).toEqual([32, 56, 8, 16, 40]);
  const r1: ExpertsProblem = { experts: 257, n: 4096, k: 7168, per: 9, shared: 1 };
  for (const tokens of [1, 2, 4, 8] as const) expect(unsliceable(r1, gateUpSchedule(r1, tokens))).toBeNull();
  expect(unsliceable({ ...r1, k: 1408 }, gateUpSchedule({ ...r1, k: 1408 }, 1))).toMatch(/1408 columns/);
  expect(unsliceable({ ...r1, k: 32768 }, gateUpSchedule({ ...r1, k: 32768 }, 8))).toMatch(/shared memory/);
});
