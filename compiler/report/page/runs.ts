// What was measured, beside the floor and what was expected: whole prompts and steps, and kernel by kernel, runs side by side.
import type { App } from "./app.ts";
import type { RunData } from "../html/schema.ts";
import { phaseOf, stepName, type Report, type StepData } from "./data.ts";
import { h, table, type Child } from "./dom.ts";
import { count, percent, ratio, time } from "./format.ts";
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
          s.test,
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

/** Runs that have times of kernels in steps of this kind. */
export function profilesOf(
  r: Report,
  step: StepData,
): { run: RunData; kernels: Record<string, { launches: number; us: number }> }[] {
  const phase = phaseOf(r, step);
  return r.runs.flatMap((run) =>
    phase && run.kernels && Object.keys(run.kernels[phase]).length ? [{ run, kernels: run.kernels[phase] }] : [],
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
  const measured = (kernel: string, floor: number): Child[] =>
    runs.flatMap(({ kernels }, i): Child[] => {
      const k = kernels[kernel];
      return k ? [time(k.us), ratio(k.us, floor), percent(k.us / all[i])] : ["", "", ""];
    });
  const expected = step.expected !== undefined;
  return [
    h("h2", {}, runs.length ? "Measured, expected, and the floor" : "Expected, and the floor"),
    h(
      "p",
      { class: "lead" },
      `All launches of a kernel in a ${stepName(step)}.` +
        (expected
          ? ` The chosen kernels are expected to take ${time(step.expected!)}, ${ratio(step.expected!, step.floor)}.`
          : "") +
        (runs.length ? " Runs may have been of other rows and lengths than this step." : ""),
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
          ...measured(k.kernel, k.floor),
        ]),
        ...others.map((k) => [h("span", { class: "mono" }, k), "", ...(expected ? ["", ""] : []), ...measured(k, 0)]),
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
      `${count(list.length)} places, ${percent(share)} of the floor of a ${stepName(step)}; they run printed tile programs.`,
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
