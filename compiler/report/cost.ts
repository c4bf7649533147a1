// What launches cost, for a person: the step's launches by their share of its floor, then kernels that other steps launch.
import type { Costs, LaunchCost, StepCost } from "../analysis/step-cost.ts";
import type { Machine } from "../../ir/machine.ts";
import { flops, size } from "./summary.ts";
import { digits, table, times } from "./table.ts";

/** `kernel`: only its launches. */
export function printCosts({ steps, launches }: Costs, machine: Machine, kernel?: string): string {
  const lines = [`floors on ${machine.name}: ${machine.source}`];
  for (const step of ["decode", "prefill"] as const) {
    const here = launches.filter((l) => l.step === step && (kernel === undefined || l.kernel === kernel));
    if (here.length)
      lines.push("", stepLine(step, steps[step]), ...rowsOf(here), ...(kernel === undefined ? [total(steps[step])] : []));
  }
  const rest = launches.filter((l) => l.step === null && (kernel === undefined || l.kernel === kernel));
  if (rest.length) lines.push("", "launches of other steps and sizes, each at the largest it is for", ...otherRows(rest));
  return `${lines.join("\n")}\n`;
}

const stepLine = (name: string, s: StepCost): string =>
  `${name}: ${s.rows} row${s.rows > 1 ? "s" : ""} of ${s.sequences} sequence${s.sequences > 1 ? "s" : ""}, ${s.cached} cached`;

const total = (s: StepCost): string =>
  `in all: ${digits(s.floor_us)} us, ${size(s.bytes)}, ${flops(s.flops)}, ${s.launches.toFixed(0)} launches`;

const work = (l: LaunchCost): string[] => [digits(l.bytes / 1e6), digits(l.flops / 1e9), digits(l.floor_us)];

const rowsOf = (launches: readonly LaunchCost[]): string[] =>
  table(
    ["%", "site", "kernel", "op", "times", "MB", "GFLOP", "floor us", "in all us"],
    launches.map((l) => [
      (100 * l.share).toFixed(1),
      l.site,
      l.kernel,
      l.op,
      times(l.times),
      ...work(l),
      digits(l.times * l.floor_us),
    ]),
    [0, 4, 5, 6, 7, 8],
  );

const otherRows = (launches: readonly LaunchCost[]): string[] =>
  table(
    ["site", "kernel", "op", "for", "judged at", "MB", "GFLOP", "floor us"],
    launches.map((l) => [l.site, l.kernel, l.op, l.when ?? "", `T = ${l.at.T}, B = ${l.at.B}, s = ${l.at.s}`, ...work(l)]),
    [5, 6, 7],
  );
