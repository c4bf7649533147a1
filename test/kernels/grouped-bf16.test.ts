// The bf16 products of rows sorted by expert against float64, without a GPU: the kernels' own text under the machine of fibres
// (compiler/edit/host). Runs of no rows, one, less than a tile and more than two; ragged columns and steps; outputs start as NaN.
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { h200 } from "../../codegen/cuda/arch/h200.ts";
import { scheduleFor } from "../../codegen/cuda/select.ts";
import { groupedBf16 } from "../../codegen/cuda/sm90/gemm/grouped-bf16.ts";
import {
  candidates,
  estimate,
  groupedBf16Name,
  groupedBf16Schedules,
  illegal,
  type GroupedBf16Problem,
  type GroupedBf16Schedule,
} from "../../codegen/cuda/sm90/gemm/grouped-bf16-schedule.ts";
import { lacks } from "../conditions.ts";
import { nativeOnHost } from "./native-on-host.ts";
import { randomOf } from "./numbers.ts";

/** bf16 rounding of the result. */
const WITHIN = 4e-3;

const bytes = (a: ArrayBufferView): Uint8Array => new Uint8Array(a.buffer, a.byteOffset, a.byteLength);
const value = (h: number): number => new Float32Array(Uint32Array.of(h << 16).buffer)[0];
const silu = (v: number): number => v / (1 + Math.exp(-v));

/** Relative error of the kernel's rows, when every expert has as many as `runs` says; NaN where a word is missing. */
function errorOf(p: GroupedBf16Problem, s: GroupedBf16Schedule, runs: readonly number[], seed: number, SMs: number): number {
  const { n, k } = p;
  const parts = p.gated ? 2 : 1;
  const offsets = runs.reduce((at, r) => [...at, at[at.length - 1] + r], [0]);
  const r = offsets[runs.length];
  const random = randomOf(seed);
  const halves = (count: number, by: number): Uint16Array =>
    Uint16Array.from(new Uint32Array(Float32Array.from({ length: count }, () => (random() - 0.5) * by).buffer), (w) => w >>> 16);
  const [x, w] = [halves(r * k, 2), halves(runs.length * parts * n * k, 8 / Math.sqrt(k))];
  const native = nativeOnHost(groupedBf16(p, s, h200));
  try {
    const y = native.run(
      { x: bytes(x), w: bytes(w), y: new Uint8Array(2 * r * n).fill(0xff), offsets: bytes(Int32Array.from(offsets)) },
      { r },
      { SMs },
    );
    const got = Float32Array.from(new Uint16Array(y.buffer), value);
    const [xs, ws] = [Float64Array.from(x, value), Float64Array.from(w, value)];
    const dot = (row: number, matrix: number): number => {
      let sum = 0;
      for (let i = 0; i < k; i++) sum += xs[row * k + i] * ws[matrix * k + i];
      return sum;
    };
    let [wrong, norm] = [0, 0];
    for (const [e, count] of runs.entries())
      for (let row = offsets[e]; row < offsets[e] + count; row++)
        for (let c = 0; c < n; c++) {
          const first = dot(row, e * parts * n + c);
          const want = p.gated ? silu(first) * dot(row, (e * 2 + 1) * n + c) : first;
          [wrong, norm] = [wrong + (got[row * n + c] - want) ** 2, norm + want ** 2];
        }
    return Math.sqrt(wrong / norm);
  } finally {
    native.close();
  }
}

const schedule = (rows: 64 | 128, columns: GroupedBf16Schedule["columns"], stages: number): GroupedBf16Schedule => ({
  form: "persistent",
  rows,
  columns,
  stages,
  group: 2,
});

const runs = [0, 1, 20, 0, 3, 0, 270, 64, 128, 2];
const few = [130, 0, 65];

const cases: readonly [GroupedBf16Schedule, Omit<GroupedBf16Problem, "experts">, readonly number[]][] = [
  [schedule(128, 256, 2), { n: 264, k: 400 }, runs],
  [schedule(128, 192, 3), { n: 200, k: 72 }, few],
  [schedule(128, 128, 3), { n: 72, k: 136 }, few],
  [schedule(64, 256, 2), { n: 264, k: 200 }, runs],
  [schedule(64, 128, 2), { n: 136, k: 64 }, few],
  [schedule(128, 256, 2), { n: 136, k: 392, gated: true }, runs],
  [schedule(128, 128, 2), { n: 88, k: 64, gated: true }, few],
  [schedule(64, 256, 3), { n: 176, k: 264, gated: true }, runs],
];

describe.skipIf(lacks("g++ 12"))("grouped_bf16", () => {
  test.each(cases.map(([s, p, r]) => [groupedBf16Name(s), p, r, s] as const))("%s, %j, rows in runs %j", (_, p, r, s) => {
    expect(errorOf({ ...p, experts: r.length }, s, r, 11, 4)).toBeLessThan(WITHIN);
  });

  test("random sizes, offsets and multiprocessors", () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...candidates.map((s) => ({ ...s, stages: 2 }))),
        fc.record({ n: fc.integer({ min: 1, max: 40 }), k: fc.integer({ min: 1, max: 20 }), gated: fc.boolean() }),
        fc.array(fc.integer({ min: 0, max: 150 }), { minLength: 1, maxLength: 40 }),
        fc.integer({ min: 1, max: 7 }),
        fc.nat(),
        (s, { n, k, gated }, r, SMs, seed) => {
          const p: GroupedBf16Problem = { experts: r.length, n: 8 * n, k: 8 * k, ...(gated ? { gated } : {}) };
          fc.pre(illegal(s, p, h200) === null && r.some((count) => count > 0));
          expect(errorOf(p, s, r, seed, SMs)).toBeLessThan(WITHIN);
        },
      ),
      { numRuns: 3 },
    );
  });
});

const shapes = fc.record({
  experts: fc.integer({ min: 1, max: 400 }),
  n: fc.integer({ min: 1, max: 1000 }).map((n) => 8 * n),
  k: fc.integer({ min: 1, max: 1000 }).map((k) => 8 * k),
});

test("whatever the experts, the choice can run them, and more rows never cost less", () => {
  fc.assert(
    fc.property(shapes, fc.boolean(), fc.integer({ min: 1, max: 100_000 }), (shape, gated, r) => {
      const p: GroupedBf16Problem = { ...shape, ...(gated ? { gated } : {}) };
      const s = scheduleFor(groupedBf16Schedules, p, r, h200);
      if ("reason" in s) throw new Error(s.reason);
      expect(illegal(s, p, h200)).toBeNull();
      expect(estimate(s, p, 2 * r, h200)).toBeGreaterThanOrEqual(estimate(s, p, r, h200));
    }),
  );
});

test("what cannot run is refused with the reason", () => {
  const p = { experts: 8, n: 128, k: 64 };
  const [s] = candidates;
  expect(illegal(s, { ...p, k: 60 }, h200)).toContain("multiples of 16 bytes");
  expect(illegal(s, { ...p, n: 60 }, h200)).toContain("multiple of 8");
  expect(illegal(s, { ...p, experts: 1025 }, h200)).toContain("1024");
  expect(illegal(schedule(64, 128, 4), { ...p, gated: true }, h200)).toContain("64 at a time");
  expect(illegal(schedule(128, 256, 5), p, h200)).toContain("shared memory");
  expect(() => groupedBf16({ ...p, k: 60 }, s, h200)).toThrow("cannot run under this schedule");
});

test("the choice is within 5 % of the fastest schedule at every measured size", () => {
  const file = new URL("../bench/results/device-h200-2026-11-30-bf16-family.json", import.meta.url);
  const rows = (JSON.parse(readFileSync(file, "utf8")) as Record<string, { what: string; r: number; all: string }[]>)[
    "grouped-bf16.measure"
  ];
  expect(rows.length).toBe(36);
  for (const { what, r, all } of rows) {
    const glm = what.startsWith("GLM");
    const [experts, inner] = glm ? [65, 1536] : [64, 1408];
    const p: GroupedBf16Problem = what.endsWith("down")
      ? { experts, n: 2048, k: inner }
      : { experts, n: inner, k: 2048, gated: true };
    const measured = new Map(all.split(", ").map((one) => [one.split(" ")[0], Number(one.split(" ")[1])]));
    const s = scheduleFor(groupedBf16Schedules, p, r, h200) as GroupedBf16Schedule;
    const us = measured.get(groupedBf16Name(s))!;
    expect(us / Math.min(...measured.values()), `${what}, ${r} rows`).toBeLessThan(1.05);
    expect(Math.abs(estimate(s, p, r, h200) / us - 1), `${what}, ${r} rows`).toBeLessThan(0.17);
  }
});
