// The model as a graph: an entry with one block for layers of a kind, each block a graph of its own; with launches and floors on it.
import { facts, head, stepChoice, stepIndex, stepQuery, type App } from "./app.ts";
import {
  floorOfFunction,
  functionNames,
  isCall,
  launchCount,
  launchesOf,
  stepFor,
  stepName,
  textAfter,
  type LaunchData,
  type StepData,
} from "./data.ts";
import { choice, h, type Child } from "./dom.ts";
import { bytes, count, flops, percent, plural, ranges, time } from "./format.ts";
import { draw, type Annotate, type Box } from "./graph-layout.ts";
import { everyNode, parseFunction, type FunctionGraph, type GraphNode } from "../html/graph-text.ts";
import { graphView } from "./graph-view.ts";
import { goWith, href } from "./route.ts";
import { measuredLaunch, profilesOf, tookFunction, tookLaunches, type Profile } from "./runs.ts";

export function model(app: App): HTMLElement {
  const { report: r, route } = app;
  const last = r.passes.length - 1;
  const after = passIndex(app);
  const names = functionNames(r).filter((f) => textAfter(r, f, after) !== undefined);
  const name = names.includes(route.name) ? route.name : r.entries.decode;
  const graph = parseFunction(textAfter(r, name, after)!);
  const step = stepFor(r, stepIndex(app), name);
  const runs = step && after === last ? profilesOf(r, step) : [];
  const opened = new Set((route.query.get("open") ?? "").split(",").filter(Boolean));
  const annotate: Annotate = {
    isView: (op) => r.views.includes(op),
    notes: (func, node) => (after === last && step ? [...notes(step, func, node), ...tookNotes(runs, step, func, node)] : []),
    opened: (node, id) => (opened.has(id) && node.call ? callee(app, node.call.name, after) : undefined),
  };
  const chosen = route.query.get("node") ?? undefined;
  const drawing = draw(graph, name, annotate);
  const query = (change: Record<string, string | undefined>): Record<string, string | undefined> => ({
    ...Object.fromEntries(route.query),
    ...change,
  });
  const floor = step ? floorOfFunction(step, name) : 0;
  const took = step && runs.length ? tookFunction(runs[0], step, name) : 0;
  const canOpen = (b: Box): boolean => !!b.node?.call && callee(app, b.node.call.name, after) !== undefined;
  const view = graphView(drawing, `Graph of ${name}`, {
    link: (b) =>
      b.node?.call
        ? {
            href: href("model", b.node.call.name, query({ node: undefined, open: undefined })),
            label: [b.title, ...b.lines].join(" "),
          }
        : b.node
          ? { href: href("model", name, query({ node: b.id })), label: [b.title, ...b.lines, b.node.type].join(" ") }
          : undefined,
    share: (b) => (b.node && step && floor > 0 && after === last ? floorOfNode(step, b.func!, b.node) / floor : 0),
    measured: (b) => (b.node && step && took > 0 ? tookNode(runs[0], step, b.func!, b.node) / took : 0),
    selected: (b) => b.id === chosen,
    toggle: (b) => {
      if (!b.node?.call || !canOpen(b)) return undefined;
      const next = new Set(opened);
      if (!next.delete(b.id)) next.add(b.id);
      return { href: href("model", name, query({ open: [...next].join(",") || undefined })), open: opened.has(b.id) };
    },
  });
  const box = drawing.boxes.find((b) => b.id === chosen);
  const aside = box?.node ? details(app, box, step) : functionDetails(app, name, graph, step);
  return h(
    "div",
    { class: "panel-model" },
    head(
      crumbs(app, name),
      sentence(app, name, graph, step),
      choice(
        "function",
        names.map((n) => ({ value: n, text: n })),
        name,
        (v) => (location.hash = href("model", v, query({ node: undefined, open: undefined }))),
      ),
      step &&
        stepChoice(
          app,
          r.steps.filter((s) => s.functions.some((f) => f.name === name)),
        ),
      choice(
        "after",
        r.passes.map((p, i) => ({ value: String(i), text: p.name })),
        String(after),
        (v) => goWith(route, { after: Number(v) === last ? undefined : v, node: undefined }),
      ),
    ),
    h("div", { class: "split" }, view, h("aside", { "aria-label": "What is chosen" }, aside)),
  );
}

const passIndex = ({ report, route }: App): number => {
  const given = route.query.get("after");
  const i = given === null ? report.passes.length - 1 : Number(given);
  return Number.isInteger(i) && i >= 0 && i < report.passes.length ? i : report.passes.length - 1;
};

function callee(app: App, name: string, after: number): FunctionGraph | undefined {
  const text = textAfter(app.report, name, after);
  return text === undefined ? undefined : parseFunction(text);
}

function crumbs(app: App, name: string): Child {
  const at = name.indexOf("/");
  if (at < 0) return name;
  const entry = name.slice(0, at);
  if (textAfter(app.report, entry) === undefined) return name;
  return [
    h("a", { href: href("model", entry, stepQuery(app)) }, entry),
    h("span", { class: "muted" }, " / "),
    name.slice(at + 1),
  ];
}

function sentence({ report: r }: App, name: string, graph: FunctionGraph, step: StepData | undefined): string {
  const ops = everyNode(graph).filter((n) => !n.call && !r.views.includes(n.op)).length;
  if (!step) return `${plural(ops, "op")}; no step above reaches it.`;
  return (
    `${plural(ops, "op")}, ${plural(Math.round(launchCount(step, name)), "launch", "launches")}, ` +
    `at least ${time(floorOfFunction(step, name))} of ${time(step.floor)} in a ${stepName(step)}.`
  );
}

/** Launches that serve a node; those of a region's body stand at lines of their own. */
const launchesAt = (step: StepData, func: string, line: number): LaunchData[] => {
  const f = step.functions.find((x) => x.name === func);
  return f ? launchesOf(f).filter((l) => l.line === line) : [];
};

function floorOfNode(step: StepData, func: string, node: GraphNode): number {
  if (node.call) return node.call.layers.length * floorOfFunction(step, node.call.name);
  return launchesAt(step, func, node.line).reduce((n, l) => n + l.times * l.floor, 0);
}

const layersOf = (layers: readonly number[]): string => `layer${layers.length > 1 ? "s" : ""} ${ranges(layers)}`;

function notes(step: StepData, func: string, node: GraphNode): string[] {
  if (node.call) {
    const { name, layers } = node.call;
    const one = floorOfFunction(step, name);
    const all = `${plural(Math.round(layers.length * launchCount(step, name)), "launch", "launches")}, ${time(layers.length * one)}`;
    return [layersOf(layers), layers.length > 1 ? `${all}, ${time(one)} each` : all];
  }
  const here = launchesAt(step, func, node.line);
  if (!here.length) return [];
  const times = here.reduce((n, l) => n + l.times, 0);
  return [`${plural(Math.round(times), "launch", "launches")}, ${time(here.reduce((n, l) => n + l.times * l.floor, 0))}`];
}

/** What a run took for a node in one call of its function. */
const tookNode = (p: Profile, step: StepData, func: string, { call, line }: GraphNode): number =>
  call ? call.layers.length * tookFunction(p, step, call.name) : tookLaunches(p, launchesAt(step, func, line));

/** A line for each run that has times of a node. */
const tookNotes = (runs: readonly Profile[], step: StepData, func: string, node: GraphNode): string[] =>
  runs.flatMap((p) => {
    const us = tookNode(p, step, func, node);
    return us > 0 ? [`${runs.length > 1 ? p.run.name : "measured"} ${time(us)}`] : [];
  });

function functionDetails(app: App, name: string, graph: FunctionGraph, step: StepData | undefined): Child {
  const f = step?.functions.find((x) => x.name === name);
  return [
    h("h2", {}, step ? "Launches in order" : name),
    f
      ? h(
          "ol",
          { class: "launches" },
          f.launches.map((l) =>
            isCall(l)
              ? h(
                  "li",
                  {},
                  h("a", { href: href("model", l.call, stepQuery(app)) }, l.call),
                  h("span", { class: "muted" }, ` ${layersOf(l.layers)}`),
                )
              : h(
                  "li",
                  {},
                  h("a", { href: href("kernels", l.kernel, { site: l.site, ...stepQuery(app) }), class: "mono" }, l.kernel),
                  h(
                    "div",
                    { class: "muted" },
                    `${l.op}${l.times === 1 ? "" : `, ${count(Math.round(l.times))} times`}, ${bytes(l.bytes)}, ${time(l.floor)}`,
                  ),
                ),
          ),
        )
      : h("p", { class: "muted" }, `${plural(everyNode(graph).length, "op")}.`),
  ];
}

function details(app: App, box: Box, step: StepData | undefined): Child {
  const { node, func } = box;
  if (!node) return null;
  const launches = step && passIndex(app) === app.report.passes.length - 1 ? launchesAt(step, func!, node.line) : [];
  const first = launches[0];
  const runs = step ? profilesOf(app.report, step) : [];
  return [
    h("h2", { class: "mono" }, node.op),
    facts([
      ["gives", h("span", { class: "mono" }, `${node.results.join(", ")} : ${node.type}`)],
      ["takes", h("span", { class: "mono" }, node.operands.join(", "))],
      ...(node.attrs ? ([["attributes", h("span", { class: "mono" }, node.attrs)]] as const) : []),
      ...(first?.tensors.length ? ([["tensors", list(first.tensors)]] as const) : []),
      ...(first?.keys.length ? ([["config", list(first.keys)]] as const) : []),
      ...(first?.rules.length ? ([["rules", list(first.rules.map(ruleLink))]] as const) : []),
    ]),
    launches.map((l) =>
      h(
        "section",
        { class: "card" },
        h("a", { href: href("kernels", l.kernel, { site: l.site, ...stepQuery(app) }), class: "mono" }, l.kernel),
        facts([
          ["floor", `${time(l.floor)}, bound by ${l.bound}; ${percent(l.share)} of the step`],
          ...(l.expected ? ([["expected", `${time(l.expected.us)}, ${l.expected.source}`]] as const) : []),
          ...runs.flatMap((p): [string, string][] => {
            const took = measuredLaunch(p, l.kernel);
            return took ? [[p.run.name, took.words]] : [];
          }),
          ["moves", bytes(l.bytes)],
          ["computes", flops(l.flops)],
          ...(l.times === 1 ? [] : ([["times", count(Math.round(l.times))]] as const)),
          ...(l.when ? ([["chosen for", l.when]] as const) : []),
        ]),
      ),
    ),
  ];
}

const ruleLink = (rule: string): Child => {
  const at = rule.indexOf(": ");
  return at < 0 ? rule : h("a", { href: href("ledger", "", { pass: rule.slice(0, at) }) }, rule);
};

const list = (items: readonly Child[]): HTMLElement =>
  h(
    "ul",
    { class: "plain" },
    items.map((i) => h("li", {}, i)),
  );
