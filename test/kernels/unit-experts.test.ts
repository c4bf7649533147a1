// Experts of bf16 weights: the kernels' own text, run by g++ under a machine of fibres, against the op they stand for. Experts without
// tokens, all tokens at the same ones, tiles that do not come out even over the blocks, rings shorter than a tile, several tiles of a block's own, routers with and without bias and groups.
import { afterAll, describe, expect, test } from "vitest";
import { h200 } from "../../codegen/cuda/arch/h200.ts";
import { unitDown } from "../../codegen/cuda/sm90/moe/unit-down.ts";
import { unitGateUp } from "../../codegen/cuda/sm90/moe/unit-gate-up.ts";
import { illegalUnits, unitSchedule, type UnitProblem, type UnitSchedule } from "../../codegen/cuda/sm90/moe/unit-schedule.ts";
import type { RouteProblem } from "../../codegen/kernels/expert.ts";
import { lacks } from "../conditions.ts";
import { refer, tensor } from "./families/cases.ts";
import { nativeOnHost, type Native } from "./native-on-host.ts";
import { draw, randomOf } from "./numbers.ts";

/** bf16 rounding of rows between and of the result. */
const WITHIN = 4e-3;

const floats = (v: ArrayLike<number>): Uint8Array => new Uint8Array(Float32Array.from(v).buffer);
const bits = (v: ArrayLike<number>): Uint8Array =>
  new Uint8Array(Uint16Array.from(new Uint32Array(Float32Array.from(v).buffer), (w) => w >>> 16).buffer);
const ints = (v: ArrayLike<number>): Uint8Array => new Uint8Array(Int32Array.from(v).buffer);
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
  if (!built.has(text.source)) built.set(text.source, nativeOnHost(text));
  return built.get(text.source)!;
}

interface Case {
  experts: number;
  shared: number;
  topk: number;
  tokens: UnitSchedule["tokens"];
  T: number;
  inner: number;
  k: number;
  d: number;
  /** No block asks for tiles. */
  dealt?: true;
  /** Every token goes to the first experts. */
  alike?: true;
  router?: Pick<RouteProblem, "scoring" | "method" | "normalise" | "groups" | "kept"> & { bias: boolean };
  multiprocessors: number;
  stages?: number;
}

const softmax = { scoring: "softmax", method: "greedy", normalise: false, groups: 1, kept: 1, bias: false } as const;
const sigmoid = { scoring: "sigmoid", method: "noaux_tc", normalise: true, groups: 4, kept: 2, bias: true } as const;

const cases: Readonly<Record<string, Case>> = {
  "one token": {
    experts: 32,
    shared: 2,
    topk: 3,
    tokens: 1,
    T: 1,
    inner: 64,
    k: 128,
    d: 48,
    router: softmax,
    multiprocessors: 5,
  },
  "one token, told": { experts: 6, shared: 0, topk: 2, tokens: 1, T: 1, inner: 64, k: 192, d: 80, multiprocessors: 3 },
  "eight of eight": {
    experts: 32,
    shared: 1,
    topk: 4,
    tokens: 8,
    T: 8,
    inner: 64,
    k: 128,
    d: 32,
    router: sigmoid,
    multiprocessors: 4,
    stages: 2,
  },
  "five of eight, all at the same experts": {
    experts: 8,
    shared: 1,
    topk: 2,
    tokens: 8,
    T: 5,
    inner: 64,
    k: 64,
    d: 112,
    alike: true,
    multiprocessors: 3,
    stages: 3,
  },
  "eleven of sixteen": {
    experts: 32,
    shared: 2,
    topk: 2,
    tokens: 16,
    T: 11,
    inner: 64,
    k: 64,
    d: 32,
    router: softmax,
    multiprocessors: 3,
  },
  "more blocks than tiles": { experts: 3, shared: 0, topk: 1, tokens: 8, T: 1, inner: 64, k: 64, d: 16, multiprocessors: 9 },
};

/** The choice of every token: the router's, or experts drawn at random. */
function choiceOf(
  c: Case,
  random: () => number,
): { indices: number[]; weights: number[]; given: Record<string, Uint8Array>; routing?: RouteProblem } {
  const per = c.topk + c.shared;
  if (c.router) {
    const { bias, ...rest } = c.router;
    const attrs = { ...rest, topk: c.topk, factor: 1.5, shared: c.shared };
    const [logits, biases] = [draw(random, c.T * c.experts, "f32", 4), draw(random, c.experts)];
    const { indices, weights } = refer(
      "route",
      { logits: tensor([c.T, c.experts], logits), ...(bias ? { bias: tensor([c.experts], biases) } : {}) },
      attrs,
    );
    return {
      indices: [...indices.data],
      weights: [...weights.data],
      given: { logits: floats(logits), ...(bias ? { bias: floats(biases) } : {}) },
      routing: { ...attrs, experts: c.experts, bias, xStride: c.experts },
    };
  }
  const indices = Array.from({ length: c.T }, () => {
    const all = Array.from({ length: c.experts }, (_, e) => e);
    const chosen = Array.from({ length: c.topk }, () =>
      c.alike ? all.shift()! : all.splice(Math.floor(random() * all.length), 1)[0],
    );
    return [...chosen.toSorted((a, b) => a - b), ...Array.from({ length: c.shared }, (_, s) => c.experts + s)];
  }).flat();
  const weights = draw(random, c.T * per).map(Math.abs);
  return { indices, weights: [...weights], given: { indices: ints(indices), weights: floats(weights) } };
}

describe.skipIf(lacks("g++ 12")).each(Object.entries(cases))("%s", (_, c) => {
  test("gate and up, gated; down, weighted, onto the residual", () => {
    const random = randomOf(51);
    const per = c.topk + c.shared;
    const experts = c.experts + c.shared;
    const machine = { ...h200, multiprocessors: c.multiprocessors };
    const { indices, weights, given, routing } = choiceOf(c, random);
    const common = { experts, per, shared: c.shared, ...(routing ? { routing } : {}) };
    const up: UnitProblem = { ...common, n: c.inner, k: c.k, parts: 2 };
    const down: UnitProblem = { ...common, n: c.d, k: c.inner, parts: 1 };
    const cut = (s: UnitSchedule): UnitSchedule =>
      c.stages ? { ...s, stages: c.stages } : { ...s, stages: Math.min(s.stages, 7) };
    const [x, residual] = [draw(random, c.T * c.k, "bf16"), draw(random, c.T * c.d, "bf16", 4)];
    const [w, v] = [draw(random, experts * 2 * c.inner * c.k, "bf16"), draw(random, experts * c.d * c.inner, "bf16")];
    const want = refer(
      "plain_experts_add",
      {
        x: tensor([c.T, c.k], x),
        gateUp: tensor([experts, 2, c.inner, c.k], w),
        down: tensor([experts, c.d, c.inner], v),
        indices: tensor([c.T, per], indices),
        weights: tensor([c.T, per], weights),
        residual: tensor([c.T, c.d], residual),
      },
      { shared: c.shared },
    ).out.data;
    const upSchedule = cut(unitSchedule(up, c.tokens, c.tokens <= 8 && !c.dealt ? "asked" : "dealt", machine));
    expect(illegalUnits(up, upSchedule, machine)).toBeNull();
    const at = { SMs: c.multiprocessors, launches: 1 };
    const acts = kernel(unitGateUp(up, upSchedule, machine)).run(
      { w: bits(w), x: bits(x), ...given, y: unwritten(c.T * per * c.inner), ...(upSchedule.next ? { down: bits(v) } : {}) },
      { T: c.T },
      { ...at, launches: 2 },
    );
    const downSchedule = cut(unitSchedule(down, c.tokens, "own", machine));
    expect(illegalUnits(down, downSchedule, machine)).toBeNull();
    const y = kernel(unitDown(down, downSchedule, machine)).run(
      { w: bits(v), x: acts, ...given, residual: bits(residual), y: unwritten(c.T * c.d) },
      { T: c.T },
      at,
    );
    expect(relative(y, want)).toBeLessThan(WITHIN);
  });
});
