// What was measured, beside the floor and what was expected: whole prompts and steps, and kernel by kernel, runs side by side.
import type { App } from "./app.ts";
import type { MeasuredKernel, RunData } from "../html/schema.ts";
import { isCall, phaseOf, stepName, type LaunchData, type Report, type StepData } from "./data.ts";
import { h, table, type Child } from "./dom.ts";
import { count, percent, plural, ratio, time } from "./format.ts";
import { byKernel, shareBar } from "./shares.ts";
import { href } from "./route.ts";

/** Prompts and steps of all runs; nothing where there are none. */
export function runTable({ report: r }: App): Child {
  if (!r.runs.length) return null;
  return [
    h("h2", {}, "Runs"),
    table(
      "Runs: what was measured",
      ["run", "on", "of", "took", "floor", "", "tokens/s"],
      r.runs.flatMap((run) =>
        run.steps.map((s) => [
          h("span", { class: "mono" }, run.name),
          run.device,
          run.kernels ? ofProfile(run, s.test) : s.test,
          time(1000 * s.ms),
          s.floor_ms === null ? "" : time(1000 * s.floor_ms),
          s.floor_ms === null ? "" : ratio(s.ms, s.floor_ms),
          s.tokens_per_s === undefined ? "" : count(Math.round(s.tokens_per_s)),
        ]),
      ),
      { right: [3, 4, 5, 6] },
    ),
  ];
}

/** "prefill of 64 rows", "decode of 8 sequences". */
function ofProfile({ batch, prompt }: RunData, phase: string): string {
  const many = batch !== undefined && batch > 1 ? plural(batch, "sequence") : "";
  const rows = phase === "prefill" && prompt !== undefined ? plural(prompt, "row") : "";
  const words = many && rows ? `${many} with ${rows} each` : many || rows;
  return words ? `${phase} of ${words}` : phase;
}

/** A run with times of kernels in steps of one kind. */
export interface Profile {
  run: RunData;
  kernels: Record<string, MeasuredKernel>;
}

/** Runs that have times of kernels in such a step: as many sequences, and as long, where the run says how many and how long. */
export function profilesOf(r: Report, step: StepData): Profile[] {
  const phase = phaseOf(r, step);
  if (!phase) return [];
  const alike = ({ batch = 1, prompt }: RunData): boolean =>
    prompt === undefined || (batch === step.sequences && prompt === step.cached);
  return r.runs.flatMap((run) =>
    run.kernels && Object.keys(run.kernels[phase]).length && alike(run) ? [{ run, kernels: run.kernels[phase] }] : [],
  );
}

/** What one launch of a kernel took, the mean of all in the run, and its floor there. */
export function measuredLaunch({ kernels }: Profile, kernel: string): { us: number; words: string } | undefined {
  if (!(kernel in kernels)) return undefined;
  const { launches, us, floor } = kernels[kernel];
  const times = floor === null ? "" : ratio(us, floor);
  return { us: us / launches, words: `${time(us / launches)}${times && `, ${times}`}` };
}

/** Microseconds that a run took for launches, of those that it has. */
export const tookLaunches = (p: Profile, launches: readonly LaunchData[]): number =>
  launches.reduce((n, l) => n + l.times * (measuredLaunch(p, l.kernel)?.us ?? 0), 0);

/** The same for a call of a function, calls inside it included. */
export function tookFunction(p: Profile, step: StepData, name: string): number {
  const f = step.functions.find((x) => x.name === name);
  return (f?.launches ?? []).reduce(
    (n, l) => n + (isCall(l) ? l.layers.length * tookFunction(p, step, l.call) : tookLaunches(p, [l])),
    0,
  );
}

/** Kernels of a step: floor, expected time, and what every run measured of all launches in one step, with its share of the run's. */
export function kernelTimes(app: App, step: StepData): Child {
  const { report: r } = app;
  const runs = profilesOf(r, step);
  if (!runs.length && step.expected === undefined) return null;
  const known = byKernel(step);
  const others = [...new Set(runs.flatMap((x) => Object.keys(x.kernels)))].filter((k) => !known.some((x) => x.kernel === k));
  const all = runs.map(({ kernels }) => Object.values(kernels).reduce((n, k) => n + k.us, 0));
  const measured = (kernel: string): Child[] =>
    runs.flatMap(({ kernels }, i): Child[] => {
      if (!(kernel in kernels)) return ["", "", ""];
      const { us, floor } = kernels[kernel];
      return [time(us), floor === null ? "" : ratio(us, floor), percent(us / all[i])];
    });
  const expected = step.expected !== undefined;
  const heading = `${runs.length ? `Measured${expected ? ", expected" : ""}` : "Expected"}, and the floor`;
  const unknown = known.some((k) => k.expected === undefined);
  const elsewhere = runs.some(({ run }) => run.device !== r.device.name);
  return [
    h("h2", {}, heading),
    h(
      "p",
      { class: "lead" },
      `All launches of a kernel in a ${stepName(step)}.` +
        (expected
          ? ` The chosen kernels are expected to take ${time(step.expected!)}, ${ratio(step.expected!, step.floor)}` +
            `${unknown ? ", those without a time counted at their floor" : ""}.`
          : "") +
        (elsewhere ? " A run is beside the floor of its own machine." : ""),
    ),
    table(
      "Kernels: floor, expected and measured time",
      ["kernel", "floor", ...(expected ? ["expected", ""] : []), ...runs.flatMap(({ run }) => [run.name, "", "share"])],
      [
        ...known.map((k) => [
          h("a", { href: href("kernels", k.kernel), class: "mono" }, k.kernel),
          time(k.floor),
          ...(expected
            ? [k.expected === undefined ? "" : time(k.expected), k.expected === undefined ? "" : ratio(k.expected, k.floor)]
            : []),
          ...measured(k.kernel),
        ]),
        ...others.map((k) => [h("span", { class: "mono" }, k), "", ...(expected ? ["", ""] : []), ...measured(k)]),
      ],
      { right: Array.from({ length: 1 + (expected ? 2 : 0) + 3 * runs.length }, (_, i) => i + 1) },
    ),
  ];
}

/** Places that no hand-written kernel serves, with their share of the step; for a GPU whose other places have such. */
export function withoutNative({ report: r }: App, step: StepData): Child {
  if (!Object.values(r.kernels).some((k) => k.form === "native")) return null;
  const sites = new Map<string, { op: string; kernel: string; share: number; floor: number }>();
  for (const f of step.functions)
    for (const l of f.launches)
      if ("kernel" in l && r.kernels[l.kernel]?.form === "tile program") {
        const s = sites.get(l.site) ?? { op: l.op, kernel: l.kernel, share: 0, floor: 0 };
        sites.set(l.site, { ...s, share: s.share + l.share, floor: s.floor + f.calls * l.times * l.floor });
      }
  const list = [...sites].toSorted((a, b) => b[1].share - a[1].share);
  if (!list.length) return null;
  const share = list.reduce((n, [, s]) => n + s.share, 0);
  return [
    h("h2", {}, "Without a hand-written kernel"),
    h(
      "p",
      { class: "lead" },
      `${plural(list.length, "place")}, ${percent(share)} of the floor of a ${stepName(step)}, served by printed tile programs.`,
    ),
    table(
      "Places that no hand-written kernel serves",
      ["place", "op", "kernel", "floor", "share", ""],
      list.map(([site, s]) => [
        h("span", { class: "mono" }, site),
        h("span", { class: "mono" }, s.op),
        h("a", { href: href("kernels", s.kernel, { site }), class: "mono" }, s.kernel),
        time(s.floor),
        percent(s.share),
        shareBar(s.share / Math.max(1e-9, list[0][1].share)),
      ]),
      { right: [3, 4], className: "bars" },
    ),
  ];
}
