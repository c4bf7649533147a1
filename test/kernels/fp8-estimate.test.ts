// Estimates of FP8 products beside every time in the repository: how far they are off, and what choosing by them, as every matrix that
// nobody measured is, loses. Where a row of fp8-measured.ts matches, that decides.
import { expect, test } from "vitest";
import { h200 } from "../../codegen/cuda/arch/h200.ts";
import { scheduleFor } from "../../codegen/cuda/select.ts";
import { estimate } from "../../codegen/cuda/sm90/gemm/fp8-estimate.ts";
import { gemmSchedules } from "../../codegen/cuda/sm90/gemm/fp8-linear.ts";
import { gemmMeasured } from "../../codegen/cuda/sm90/gemm/fp8-measured.ts";
import { geometricMean, grouped, matrixOf, measurements, quantile, regrets } from "../bench/gemm-measurements.ts";

const all = measurements();
const estimated = (m: (typeof all)[number]): number => estimate(m.schedule, m.problem, m.rows, h200);

test("estimates are within 6 % of what was measured in half of the cases, within 17 % in nine of ten", () => {
  expect(all.length).toBeGreaterThan(1200);
  const errors = all.filter((m) => m.candidate).map((m) => Math.abs(estimated(m) / m.us - 1));
  expect(quantile(errors, 0.5)).toBeLessThan(0.06);
  expect(quantile(errors, 0.9)).toBeLessThan(0.17);
});

test("what an estimate chooses is within 2.5 % of the fastest on average, within 17 % on every matrix at every number of rows", () => {
  const lost = regrets(all, estimated);
  expect(lost.length).toBe(140);
  expect(geometricMean(lost.map((r) => r.regret))).toBeLessThan(1.025);
  expect(lost.filter((r) => r.regret > 1.17)).toEqual([]);
});

test("what is chosen for a matrix of the table is the fastest measured, up to what two runs differ by", () => {
  const sites = grouped(
    all.filter((m) => m.candidate && gemmMeasured.some(({ of }) => of.n === m.problem.n && of.k === m.problem.k)),
    (m) => `${matrixOf(m)} at ${m.rows}`,
  );
  const lost = [...sites].flatMap(([where, list]) => {
    const chosen = JSON.stringify(scheduleFor(gemmSchedules, list[0].problem, list[0].rows, h200));
    const found = list.find((m) => JSON.stringify(m.schedule) === chosen);
    return found ? [{ where, regret: found.us / Math.min(...list.map((m) => m.us)) }] : [];
  });
  expect(lost.length).toBeGreaterThan(75);
  expect(geometricMean(lost.map((r) => r.regret))).toBeLessThan(1.015);
  expect(lost.filter((r) => r.regret > 1.15)).toEqual([]);
});

test("more rows never take less time by an estimate of the same schedule", () => {
  for (const { problem, schedule } of all.filter((m) => m.candidate && m.rows === 64)) {
    const times = [1, 8, 16, 64, 65, 200, 1000, 5000].map((rows) => estimate(schedule, problem, rows, h200));
    expect(times.every((us, i) => i === 0 || us >= times[i - 1])).toBe(true);
  }
});
