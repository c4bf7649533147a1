// The choice of schedules for FP8 products: always legal, never missing, what was measured where it was measured, and texts short
// enough to read.
import fc from "fast-check";
import { expect, test } from "vitest";
import { blockGemm } from "../../codegen/cuda/sm90/gemm/fp8-gemm.ts";
import { groupedGemm } from "../../codegen/cuda/sm90/gemm/grouped-gemm.ts";
import { gemmSchedules } from "../../codegen/cuda/sm90/gemm/fp8-linear.ts";
import { gemmMeasured } from "../../codegen/cuda/sm90/gemm/fp8-measured.ts";
import { scheduleFor } from "../../codegen/cuda/select.ts";
import { candidates, illegal, scheduleName, type GemmSchedule } from "../../codegen/cuda/sm90/gemm/fp8-schedule.ts";
import * as grouped from "../../codegen/cuda/sm90/gemm/grouped-schedule.ts";
import { h200 } from "../../codegen/cuda/arch/h200.ts";
import { fixedSchedule, fixedScheduleName } from "../../codegen/cuda/sm90/attention/schedule.ts";
import { gemvName } from "../../codegen/cuda/sm90/gemm/fp8-gemv-schedule.ts";
import { sliceName } from "../../codegen/cuda/sm90/moe/experts-schedule.ts";
import { nameInFields } from "../../codegen/cuda/native.ts";

const rows = fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: 100_000 }));

test("names tell schedules apart", () => {
  expect(new Set(candidates.map(scheduleName)).size).toBe(candidates.length);
});

const chosen = (s: GemmSchedule | { reason: string }): GemmSchedule => {
  if ("reason" in s) throw new Error(s.reason);
  return s;
};

test("every measured schedule is a candidate that can run its problem, sizes ascending, and is chosen up to its size", () => {
  for (const { of, fastest } of gemmMeasured) {
    const sizes = fastest.map((e) => e.rows ?? Infinity);
    expect(sizes, `${of.n}x${of.k}`).toEqual(sizes.toSorted((a, b) => a - b));
    for (const { rows, schedule } of fastest) {
      expect(candidates).toContainEqual(schedule);
      expect(illegal(schedule, h200, of)).toBeNull();
      expect(scheduleFor(gemmSchedules, of, rows ?? 100_000, h200), `${of.n}x${of.k} at ${rows}`).toEqual(schedule);
    }
  }
});

test("whatever the shape, the choice can run it", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 5000 }), fc.integer({ min: 1, max: 1200 }), rows, (n, k, m) => {
      const problem = { n: n * 8, k: k * 16 };
      expect(illegal(chosen(scheduleFor(gemmSchedules, problem, m, h200)), h200, problem)).toBeNull();
    }),
  );
});

test("whatever the experts, the choice can run them", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 400 }),
      fc.integer({ min: 1, max: 64 }),
      fc.integer({ min: 1, max: 1200 }),
      rows,
      (experts, n, k, r) => {
        const problem = { experts, n: n * 128, k: k * 16 };
        expect(grouped.illegal(chosen(scheduleFor(grouped.groupedSchedules, problem, r, h200)), h200, problem)).toBeNull();
      },
    ),
  );
});

test("shapes that no schedule takes are refused with the reason", () => {
  const first = candidates[0];
  expect(illegal(first, h200, { n: 1292, k: 7168 })).toMatch(/multiple of 8/);
  expect(illegal(first, h200, { n: 7168, k: 1843 })).toMatch(/multiple of 16/);
  expect(grouped.illegal(grouped.candidates[0], h200, { experts: 8, n: 576, k: 7168 })).toMatch(/blocks of 128/);
  expect(() => blockGemm({ n: 7168, k: 1843 }, first, h200)).toThrow(/DSC4101|cannot run/);
});

test("a kernel is under 320 lines, with what it is on top", () => {
  const texts = [
    ...candidates
      .filter((s) => illegal(s, h200, { n: 4096, k: 2048 }) === null)
      .map((s) => blockGemm({ n: 4096, k: 2048 }, s, h200)),
    ...grouped.candidates.map((s) => groupedGemm({ experts: 256, n: 4096, k: 7168 }, s, h200)),
  ];
  for (const t of texts) {
    expect(t.source.split("\n").length, t.name).toBeLessThan(320);
    expect(t.source.split("\n").slice(0, 3).join(" "), t.name).toMatch(/_gemm: y .*schedule \{.*floor on H200/);
  }
});

const named = <S extends object>(name: (s: S) => string, schedules: readonly S[]): [string, string][] =>
  schedules.map((s) => {
    const back = nameInFields({ name }, s).replace(/\{(\w+)\}/g, (_, k: string) => String(s[k as keyof S]));
    return [back, name(s)];
  });

test("the fields that a name is made of give it back", () => {
  expect(nameInFields({ name: scheduleName }, candidates[0])).toMatch(/^\w\{\w+\}\w\{/);
  const all = [
    ...named(scheduleName, candidates),
    ...named(gemvName, [{ warpgroups: 1, rowsPerWarpgroup: 56, kGroups: 2, split: 1, stages: 14 }]),
    ...named(
      sliceName,
      [0, 4].map((ahead) => ({ form: "slice", tokens: 1, rows: 56, kGroups: 2, stages: 14, ahead }) as const),
    ),
    ...named(fixedScheduleName, [fixedSchedule(16, 2, "apart")]),
  ];
  expect(all.filter(([back, name]) => back !== name)).toEqual([]);
});
