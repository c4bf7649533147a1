// What is worth measuring for an artifact: the problems of its hand-written kernels that can be launched by themselves, and at every
// number of rows the schedules that should be near the fastest.
import type { Arch, Native } from "../../codegen/cuda/native.ts";
import type { Refusal } from "../../codegen/family.ts";
import { scheduleFor, timeOf, type Time } from "../../codegen/cuda/select.ts";
import type { Manifest } from "../../ir/artifact.ts";
import type { KernelText, Problem } from "../../ir/kernel/catalogue.ts";

/** A problem of a native, without a schedule. */
export interface Tunable {
  native: Native;
  problem: object;
}

/** A schedule to measure at so many rows; `expected` is what chose it until now. */
export interface Trial {
  schedule: object;
  rows: number;
  expected: Time;
  text: KernelText;
}

/** The problems of an artifact that can be measured, each once. */
export function tunablesOf(manifest: Manifest, problems: Readonly<Record<string, Problem>>, { natives }: Arch): Tunable[] {
  const found = new Map<string, Tunable>();
  for (const [kernel, { schedule: _, ...problem }] of Object.entries(problems) as [string, Problem & { schedule?: unknown }][]) {
    const by = natives.find((n) => n.family === manifest.kernels[kernel].family);
    if (by?.trial) found.set(`${by.family} ${JSON.stringify(problem)}`, { native: by, problem });
  }
  return [...found.values()];
}

/** What would be chosen now, and the schedules within so much of the least expected time, the most likely first, no more than so many. */
export function trialsOf(tunable: Tunable, rows: number, { machine }: Arch, within = 1.25, most = 8): Trial[] {
  const { native: n, problem } = tunable;
  const { schedules: t } = n;
  const own = scheduleFor(t, problem, rows, machine);
  const candidates = t.candidates(problem, machine);
  if (isRefusal(own) || "reason" in candidates) return [];
  const key = JSON.stringify(own);
  const others = candidates.filter(
    (s) => JSON.stringify(s) !== key && t.illegal(problem, s, machine) === null && rows <= (t.maxRows?.(s) ?? Infinity),
  );
  const timed = [own, ...others].flatMap((schedule) => {
    const expected = timeOf(t, problem, schedule, rows, machine);
    return expected ? [{ schedule: schedule as object, expected }] : [];
  });
  const near = timed.slice(1).toSorted((a, b) => a.expected.us - b.expected.us);
  const least = Math.min(...timed.map((s) => s.expected.us));
  return [...timed.slice(0, 1), ...near.filter((s) => s.expected.us <= least * within)]
    .slice(0, most)
    .map((s) => ({ ...s, rows, text: n.emit(problem, s.schedule, machine) }));
}

const isRefusal = (s: unknown): s is Refusal => typeof s === "object" && s !== null && "reason" in s;
