// Estimates of bf16 products beside the times of the last whole run on an H200: of the schedules that were chosen, for others were not
// measured.
import fs from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { h200 } from "../../codegen/cuda/arch/h200.ts";
import type { Schedules } from "../../codegen/cuda/native.ts";
import { timeOf } from "../../codegen/cuda/select.ts";
import { bf16GemmNative, ringLinearNative } from "../../codegen/cuda/sm90/gemm/bf16-linear.ts";
import type { Bf16Problem } from "../../codegen/cuda/sm90/gemm/register-schedule.ts";
import { quantile } from "../bench/gemm-measurements.ts";

interface Timed {
  op: string;
  n: number;
  k: number;
  m: number;
  schedule: string;
  us: number;
}

const file = path.resolve(import.meta.dirname, "../bench/results/device-h200-2026-11-30.json");
const rows = (JSON.parse(fs.readFileSync(file, "utf8")) as { "bf16.measure": Timed[] })["bf16.measure"].filter(
  (r) => r.op === "linear",
);

/** Microseconds of the schedule of that name, where a table has it. */
function usBy<S>(t: Schedules<Bf16Problem, S>, { n, k, m, schedule }: Timed): number[] {
  const p: Bf16Problem = { n, k, xStride: k, yStride: n, x: "bf16", y: "bf16" };
  const all = t.candidates(p, h200);
  const found = "reason" in all ? undefined : all.find((s) => t.name(s) === schedule);
  return found === undefined ? [] : [timeOf(t, p, found, m, h200)!.us];
}

test("estimates are within 6 % of what was measured in half of the cases, within 25 % in nine of ten", () => {
  const errors = rows.flatMap((r) =>
    [...usBy(ringLinearNative.schedules, r), ...usBy(bf16GemmNative.schedules, r)].map((us) => Math.abs(us / r.us - 1)),
  );
  expect(errors.length).toBeGreaterThan(30);
  expect(quantile(errors, 0.5)).toBeLessThan(0.06);
  expect(quantile(errors, 0.9)).toBeLessThan(0.25);
});
