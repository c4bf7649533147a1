// What a step costs at least, launch by launch: shares, the roofline, and the list in order; measured times beside them where there are.
import { head, stepChoice, stepIndex, stepQuery, type App } from "./app.ts";
import { isCall, stepName, type FunctionData, type LaunchData, type StepData } from "./data.ts";
import { h, table, type Child } from "./dom.ts";
import { bytes, count, flops, percent, plural, ratio, time } from "./format.ts";
import { byKernel, shareBar } from "./shares.ts";
import { plotWidth, rooflinePlot, sharePlot } from "./plots.ts";
import { href } from "./route.ts";
import { kernelTimes, measuredLaunch, profilesOf, withoutNative } from "./runs.ts";

export function costs(app: App): HTMLElement {
  const { report: r } = app;
  const step = r.steps[stepIndex(app)];
  const most = byKernel(step)[0];
  return h(
    "div",
    {},
    head(
      "Costs",
      `A ${stepName(step)}: ${plural(Math.round(step.launches), "launch", "launches")} move ${bytes(step.bytes)} and compute ` +
        `${flops(step.flops)}, so it takes at least ${time(step.floor)} on ${r.device.name}.` +
        (most ? ` ${percent(most.share)} of that is ${most.kernel}.` : ""),
      stepChoice(app),
    ),
    kernelTimes(app, step),
    withoutNative(app, step),
    h("h2", {}, "Share of the floor"),
    figure(sharePlot(step, plotWidth()), "The table of launches below has the same figures."),
    h("h2", {}, "Roofline"),
    figure(
      rooflinePlot(r, step, plotWidth()),
      `A dot is a launch at its floor, so on the roof: where it would be if it were perfect` +
        `${profilesOf(r, step).length ? "; launches that were measured lie below it" : ""}. Its area is its share of the step.`,
    ),
    h("h2", {}, "Launches in order"),
    step.functions
      .toReversed()
      .map((f) => [
        h(
          "h3",
          {},
          h("a", { href: href("model", f.name, stepQuery(app)) }, f.name),
          h("span", { class: "muted" }, f.calls > 1 ? ` × ${f.calls}` : ""),
        ),
        launches(app, f, step),
      ]),
  );
}

const figure = (plot: Element, words: string): HTMLElement => h("figure", {}, plot, h("figcaption", {}, words));

function launches(app: App, f: FunctionData, step: StepData): HTMLElement {
  const runs = profilesOf(app.report, step);
  const expected = step.expected !== undefined;
  const top = Math.max(1e-9, ...f.launches.map((l) => (isCall(l) ? 0 : l.share)));
  const taken = (us: number | undefined, l: LaunchData): Child => (us === undefined ? "" : `${time(us)}, ${ratio(us, l.floor)}`);
  const more = [...(expected ? ["expected"] : []), ...runs.map(({ run }) => run.name)];
  return table(
    `Launches of ${f.name}`,
    ["op", "kernel", "times", "moves", "computes", "floor", ...more, "bound by", "share", ""],
    f.launches.map((l) =>
      isCall(l)
        ? [
            h("a", { href: href("model", l.call, stepQuery(app)) }, l.call),
            plural(l.layers.length, "layer"),
            ...Array<Child>(7 + more.length).fill(""),
          ]
        : [
            h("span", { class: "mono" }, l.op),
            h("a", { href: href("kernels", l.kernel, { site: l.site, ...stepQuery(app) }), class: "mono" }, l.kernel),
            count(Math.round(f.calls * l.times)),
            bytes(l.bytes),
            flops(l.flops),
            time(l.floor),
            ...(expected ? [taken(l.expected?.us, l)] : []),
            ...runs.map((p) => measuredLaunch(p, l.kernel)?.words ?? ""),
            l.bound,
            percent(l.share),
            shareBar(l.share / top),
          ],
    ),
    { right: [2, 3, 4, 5, ...more.map((_, i) => 6 + i), 7 + more.length], className: "bars" },
  );
}
