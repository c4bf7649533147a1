// The first panel: what this is, what a step costs at least, where it goes, and where to look for what.
import { facts, head, type App } from "./app.ts";
import { isCall, stepName, type LaunchData, type StepData } from "./data.ts";
import { h, table } from "./dom.ts";
import { bytes, count, flops, percent, plural, time } from "./format.ts";
import { href } from "./route.ts";
import { runTable } from "./runs.ts";
import { byKernel, shareBar } from "./shares.ts";

export function overview(app: App): HTMLElement {
  const { report: r } = app;
  const { model: m } = r;
  const kernels = Object.values(r.kernels);
  const natives = kernels.filter((k) => k.form === "native").length;
  const expected = r.steps.some((s) => s.expected !== undefined);
  const changed = r.passes.filter((p) => p.changed.length).length;
  return h(
    "div",
    {},
    head(
      m.architecture,
      `${plural(m.layers, "layer")} of width ${count(m.hidden)}` +
        `${m.experts ? `, ${m.experts.count} experts of which a token takes ${m.experts.perToken}` : ""}, ` +
        `compiled for ${r.target}${r.arch ? ` ${r.arch}` : ""} by dsc ${r.compiler}.`,
    ),
    facts([
      ["weights", bytes(r.memory.weights)],
      ["passes", h("a", { href: href("passes") }, `${r.passes.length - 1}, ${changed} of which changed the graph`)],
      ["kernels", h("a", { href: href("kernels") }, `${kernels.length}, ${natives} written by hand`)],
      ["options", optionsInWords(r.options)],
      ["floors are for", `${r.device.name}: ${r.device.source}`],
    ]),
    h("h2", {}, "Steps"),
    table(
      "Steps: launches, bytes, operations and the time below which no kernels can be",
      ["step", "launches", "moved", "computed", "floor", ...(expected ? ["expected"] : []), ""],
      r.steps.map((s, i) => [
        h("a", { href: href("costs", "", { step: i || undefined }) }, stepName(s)),
        count(Math.round(s.launches)),
        bytes(s.bytes),
        flops(s.flops),
        time(s.floor),
        ...(expected ? [s.expected === undefined ? "" : time(s.expected)] : []),
        s.entry === r.entries.decode ? `${count(Math.round((s.rows * 1e6) / s.floor))} tokens/s at most` : "",
      ]),
      { right: [1, 2, 3, 4, ...(expected ? [5] : [])] },
    ),
    runTable(app),
    h("h2", {}, `Where a ${stepName(r.steps[0])} goes`),
    topKernels(app, r.steps[0]),
    h("h2", {}, "Questions"),
    questions(app),
  );
}

const optionsInWords = (o: Record<string, string | boolean>): string =>
  Object.entries(o)
    .filter(([, v]) => v !== false && v !== "none")
    .map(([k, v]) => (v === true ? k : `${k} ${v}`))
    .join(", ");

function topKernels(app: App, step: StepData): HTMLElement {
  const all = byKernel(step);
  const top = all.slice(0, 8);
  const rest = all.slice(8).reduce((n, k) => n + k.share, 0);
  return table(
    "Kernels by their share of the step's floor",
    ["kernel", "op", "launches", "floor", "share", ""],
    [
      ...top.map((k) => [
        h("a", { href: href("kernels", k.kernel), class: "mono" }, k.kernel),
        h("span", { class: "mono" }, k.op),
        count(Math.round(k.times)),
        time(k.floor),
        percent(k.share),
        shareBar(k.share / top[0].share),
      ]),
      ...(all.length > 8 ? [[`${all.length - 8} others`, "", "", "", percent(rest), shareBar(rest / top[0].share)]] : []),
    ],
    { right: [2, 3, 4], className: "bars" },
  );
}

function questions({ report: r }: App): HTMLElement {
  const decode = r.steps.findIndex((s) => s.entry === r.entries.decode);
  const layer = r.steps[decode]?.functions.toSorted((a, b) => b.calls - a.calls)[0]?.name ?? r.entries.decode;
  const first = r.steps[decode]?.functions.find((f) => f.name === layer)?.launches.find((l): l is LaunchData => !isCall(l));
  const changing = r.passes.find((p) => p.changed.includes(layer));
  const link = (text: string, to: string): HTMLElement => h("li", {}, h("a", { href: to }, text));
  return h(
    "ul",
    { class: "questions" },
    first && link("Which kernel serves a place, why that one, and what came second?", href("kernels", first.kernel)),
    link("Which key of the config decides a line of a kernel, and which op is it?", href("kernels", first?.kernel ?? "")),
    changing && link("What did a pass change?", href("passes", `${changing.name}/${layer}`)),
    link("Why did a rule not fire?", href("ledger", "", { show: "refused,declined" })),
    link("Which launch costs the most, and how far is it from its floor?", href("costs")),
    link("What does one layer launch, in order?", href("model", layer)),
    link("What lives in memory, and when?", href("memory", layer)),
  );
}
