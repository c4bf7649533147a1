// Config beside graph beside kernel: pointing at a line of one lights up what belongs to it in the others.
import { facts, head, stepChoice, stepIndex, stepQuery, type App } from "./app.ts";
import { codeView, tight } from "./code.ts";
import { launchesOf, stepName, textAfter, type LaunchData, type Report } from "./data.ts";
import { choice, h, table, type Child } from "./dom.ts";
import { bytes, flops, percent, plural, time } from "./format.ts";
import { link } from "./linked.ts";
import { measuredLaunch, profilesOf } from "./runs.ts";
import { byKernel, shareBar } from "./shares.ts";
import { go, goWith, href } from "./route.ts";

interface Use {
  func: string;
  step: number;
  launch: LaunchData;
}

/** Every launch of a kernel in the steps of the report. */
function usesOf(r: Report, kernel: string): Use[] {
  return r.steps.flatMap((s, step) =>
    s.functions.flatMap((f) =>
      launchesOf(f)
        .filter((l) => l.kernel === kernel)
        .map((launch) => ({ func: f.name, step, launch })),
    ),
  );
}

export function kernels(app: App): HTMLElement {
  const { report: r, route } = app;
  if (!Object.hasOwn(r.kernels, route.name)) return kernelList(app);
  const kernel = r.kernels[route.name];
  const uses = usesOf(r, route.name);
  const best = uses.toSorted(
    (a, b) => Number(b.step === stepIndex(app)) - Number(a.step === stepIndex(app)) || b.launch.share - a.launch.share,
  )[0];
  const site = route.query.get("site") ?? best?.launch.site ?? kernel.sites[0] ?? "";
  const use = uses.find((u) => u.launch.site === site && u.step === stepIndex(app)) ?? uses.find((u) => u.launch.site === site);
  return h(
    "div",
    { class: "panel-kernel" },
    head(
      h("span", { class: "mono" }, route.name),
      [
        `${kernel.form === "native" ? "Written by hand" : "A tile program"}, family ${kernel.family}`,
        use
          ? [
              `; ${use.launch.op} at `,
              graphLink(use, site),
              `: at least ${time(use.launch.floor)}, ${percent(use.launch.share)} of a ${stepName(r.steps[use.step])}`,
            ]
          : "",
        ". Point at a line, or go to it by tab, and what belongs to it lights up.",
      ],
      siteChoice(route.name, kernel.sites, site),
      h("a", { href: href("kernels"), class: "button" }, "all kernels"),
    ),
    panes(app, kernel, site, use),
    h(
      "div",
      { class: "columns2" },
      use ? costOf(app, use) : h("p", { class: "muted" }, "No step of this report launches it."),
      whyThis(kernel, site),
    ),
  );
}

const graphLink = ({ func, launch, step }: Use, site: string): HTMLElement =>
  h(
    "a",
    { href: href("model", func, { node: launch.line === undefined ? undefined : `n${launch.line}`, step: step || undefined }) },
    site,
  );

function siteChoice(name: string, sites: readonly string[], site: string): Child {
  if (sites.length < 2) return null;
  const select = h(
    "select",
    { onchange: () => go("kernels", name, { site: select.value }) },
    sites.map((x) => h("option", { value: x, selected: x === site }, x)),
  );
  return h("label", { class: "choice" }, h("span", {}, "place"), select);
}

/** What runs say of a kernel, for one launch of it in a step of this kind. */
function measuredOf({ report: r }: App, { launch, step }: Use): [string, string][] {
  return profilesOf(r, r.steps[step]).flatMap((p): [string, string][] => {
    const took = measuredLaunch(p, launch.kernel);
    return took ? [[p.run.name, took.words]] : [];
  });
}

function costOf(app: App, use: Use): HTMLElement {
  const { launch: l } = use;
  return h(
    "section",
    {},
    h("h2", {}, "One launch"),
    facts([
      ["floor", `${time(l.floor)}, bound by ${l.bound}; ${percent(l.share)} of its step`],
      ...(l.expected ? ([["expected", `${time(l.expected.us)}, ${l.expected.source}`]] as const) : []),
      ...measuredOf(app, use),
      ["moves", bytes(l.bytes)],
      ["computes", flops(l.flops)],
      ...(l.when ? ([["chosen for", l.when]] as const) : []),
      [
        "passed",
        h(
          "ul",
          { class: "plain mono" },
          l.args.map((a) => h("li", {}, `${a.param} ${a.access === "in" ? "←" : a.access === "out" ? "→" : "↔"} ${a.of}`)),
        ),
      ],
      ...(l.tensors.length
        ? ([
            [
              "tensors",
              h(
                "ul",
                { class: "plain" },
                l.tensors.map((t) => h("li", { class: "mono" }, t)),
              ),
            ],
          ] as const)
        : []),
      ...(l.rules.length
        ? ([
            [
              "made by",
              h(
                "ul",
                { class: "plain" },
                l.rules.map((t) => h("li", {}, t)),
              ),
            ],
          ] as const)
        : []),
    ]),
  );
}

function whyThis(kernel: Report["kernels"][string], site: string): HTMLElement {
  const choice = kernel.choices.find((c) => c.site === site) ?? kernel.choices[0];
  return h(
    "section",
    {},
    h("h2", {}, "Why this one"),
    choice?.candidates.length
      ? table(
          `Schedules at ${site}`,
          ["schedule", "time"],
          choice.candidates.map((c) => [
            h("span", { class: "mono" }, c.chosen ? h("strong", {}, c.name) : c.name),
            `${c.chosen ? "chosen: " : ""}${c.time}`,
          ]),
        )
      : h(
          "p",
          { class: "muted" },
          kernel.form === "native" ? "Its family has one schedule for this." : "The family's one tile program for this problem.",
        ),
    choice?.instead.length
      ? h(
          "ul",
          { class: "plain" },
          choice.instead.map((i) => h("li", {}, h("span", { class: "mono" }, i.family), `: ${i.reason}`)),
        )
      : null,
    kernel.launch.length ? h("p", { class: "muted" }, kernel.launch.join("; "), ".") : null,
    kernel.problem ? h("details", {}, h("summary", {}, "problem"), h("pre", {}, JSON.stringify(kernel.problem, null, 1))) : null,
  );
}

function panes(app: App, kernel: Report["kernels"][string], site: string, use: Use | undefined): HTMLElement {
  const { report: r } = app;
  const func = use?.func ?? site.slice(0, site.lastIndexOf("/"));
  const text = textAfter(r, func) ?? "";
  const graph = codeView(tight(text), "dsc", `Graph of ${func}`);
  const source = codeView(kernel.source, kernel.language, "Kernel");
  const known = r.config.some((c) => c.value !== undefined);
  const config = r.config.map(({ key, value }) =>
    h("div", { class: "line", tabindex: 0, "data-key": key }, h("code", {}, key, known ? valueOf(value) : null)),
  );
  const status = h("p", { class: "status muted", role: "status" }, " ");
  link(app, { func, kernel: app.route.name, site }, { config, graph: graph.lines, source: source.lines, status });
  const pane = (title: string, body: Child, className: string): HTMLElement =>
    h("section", { class: `pane ${className}` }, h("h2", {}, title), body);
  const element = h(
    "div",
    { class: "panes" },
    pane("config.json", h("div", { class: "code keys" }, config), "config"),
    pane(func, graph.element, "ir"),
    pane(`${plural(source.lines.length, "line")}`, source.element, "source"),
    status,
  );
  requestAnimationFrame(() => {
    const line = use?.launch.line;
    if (line !== undefined && graph.lines[line]) scrollTo(graph.element, graph.lines[line]);
  });
  return element;
}

const valueOf = (value: string | undefined): HTMLElement =>
  value === undefined ? h("span", { class: "muted" }, " not given") : h("span", { class: "value" }, ` ${short(value)}`);

/** A value of the config that is long has its beginning. */
const short = (value: string): string => (value.length > 40 ? `${value.slice(0, 39)}…` : value);

/** The line in the middle of its pane, without moving the page. */
function scrollTo(pane: HTMLElement, line: HTMLElement): void {
  pane.scrollTop = line.offsetTop - pane.offsetTop - pane.clientHeight / 2;
}

/** Kernels by their share; of one config key or tensor where the address names it. */
function kernelList(app: App): HTMLElement {
  const { report: r, route } = app;
  const step = r.steps[stepIndex(app)];
  const costs = new Map(byKernel(step).map((k) => [k.kernel, k]));
  const key = route.query.get("key") ?? "";
  const from = key ? kernelsOfKey(r, key) : undefined;
  const names = Object.keys(r.kernels)
    .filter((n) => !from || from.has(n))
    .toSorted((a, b) => (costs.get(b)?.share ?? -1) - (costs.get(a)?.share ?? -1) || a.localeCompare(b));
  const top = Math.max(1e-9, ...[...costs.values()].map((k) => k.share));
  const keys = [{ value: "", text: "all" }, ...r.config.map((c) => ({ value: c.key, text: c.key }))];
  return h(
    "div",
    {},
    head(
      "Kernels",
      `${plural(names.length, "kernel")}${key ? ` that ${key} has a part in` : ""}, by their share of a ${stepName(step)}. ` +
        "Each opens beside the graph and the config it comes from.",
      choice("config key", keys, key, (v) => goWith(route, { key: v || undefined })),
      stepChoice(app),
    ),
    table(
      "Kernels",
      ["kernel", "family", "form", "share", "", "first place"],
      names.map((n) => {
        const k = r.kernels[n];
        const cost = costs.get(n);
        return [
          h("a", { href: href("kernels", n, stepQuery(app)), class: "mono" }, n),
          k.family,
          k.form === "native" ? "by hand" : "tile program",
          cost ? percent(cost.share) : "",
          cost ? shareBar(cost.share / top) : "",
          h("span", { class: "mono muted" }, k.sites[0] ?? ""),
        ];
      }),
      { right: [3], className: "list" },
    ),
  );
}

const kernelsOfKey = (r: Report, key: string): Set<string> =>
  new Set(
    r.steps.flatMap((s) =>
      s.functions.flatMap((f) =>
        launchesOf(f)
          .filter((l) => l.keys.includes(key))
          .map((l) => l.kernel),
      ),
    ),
  );
