// What belongs together: keys of the config, lines of the graph, lines of the kernel. Pointing at one, or focusing it, lights the others.
import type { App } from "./app.ts";
import { launchesOf, type LaunchData } from "./data.ts";
import { h } from "./dom.ts";

/** The lines of three texts, and below the graph's lines of fused ops the ops that they stand for. */
export interface Panes {
  config: readonly HTMLElement[];
  graph: readonly HTMLElement[];
  source: readonly HTMLElement[];
  /** Says what the line is that is pointed at. */
  status: HTMLElement;
}

export interface Place {
  func: string;
  kernel: string;
  site: string;
}

/** What a line of a kernel's text is. */
interface LineRun {
  kind: string;
  name: string | null;
  ops: readonly string[];
}

/** An op of the graph of a fused op, as a line below the graph's. */
interface Part {
  op: string;
  element: HTMLElement;
}

/** Lines that serve no op but say what follows, or that kernels share. */
const BESIDE: ReadonlySet<string> = new Set(["header", "helper"]);

/** Makes the lines of a kernel at a place, of the graph around it and of the config light each other. */
export function link(app: App, { func, kernel, site }: Place, { config, graph, source, status }: Panes): void {
  const launches = app.report.steps.flatMap((s) => s.functions.filter((f) => f.name === func).flatMap(launchesOf));
  const keys = keysByLine(launches);
  const here = launches.filter((l) => l.kernel === kernel && l.site === site && l.line !== undefined);
  const served = new Set(here.map((l) => l.line!));
  const runs = runsOf(app, kernel, source.length);
  const own = here[0]?.op;
  const parts = [...served].flatMap((line) => partsBelow(graph[line], here[0]));
  // A launch that is one part of a fused op serves that part, whatever a line of it is.
  const part = parts.find((p) => p.op === own);
  for (const line of served) graph[line]?.classList.add("served");
  const all = [...config, ...graph, ...source, ...parts.map((p) => p.element)];
  const light = (on: readonly (HTMLElement | undefined)[]): void => {
    for (const e of all) e.classList.remove("lit");
    for (const e of on) e?.classList.add("lit");
  };
  const byKeys = (of: Iterable<string>): HTMLElement[] => {
    const set = new Set(of);
    return config.filter((c) => set.has(c.dataset.key!));
  };
  const code = source.filter((_, i) => !BESIDE.has(runs[i].kind));
  const computing = (op: string): HTMLElement[] => {
    const found = source.filter((_, i) => runs[i].ops.includes(op));
    return found.length || op !== own ? found : code;
  };
  const graphLine = (i: number): void => {
    light([graph[i], ...byKeys(keys.get(i) ?? []), ...(served.has(i) ? code : [])]);
    status.textContent = served.has(i) ? `served by ${kernel}, ${code.length} lines` : "";
  };
  const sourceLine = (i: number): void => {
    const { kind, ops } = runs[i];
    const of = parts.filter((p) => ops.includes(p.op));
    const lines = BESIDE.has(kind) ? [] : [...served];
    light([
      source[i],
      ...lines.flatMap((n) => [graph[n], ...byKeys(keys.get(n) ?? [])]),
      ...(of.length ? of : lines.length && part ? [part] : []).map((p) => p.element),
    ]);
    status.textContent = `line ${i + 1}: ${inWords(runs[i], own)}`;
  };
  const key = (name: string): void => {
    const lines = [...keys].filter(([, of]) => of.has(name)).map(([i]) => i);
    light([...byKeys([name]), ...lines.map((i) => graph[i]), ...(lines.some((i) => served.has(i)) ? code : [])]);
    status.textContent = "";
  };
  graph.forEach((e, i) => on(e, () => graphLine(i)));
  source.forEach((e, i) => on(e, () => sourceLine(i)));
  config.forEach((e) => on(e, () => key(e.dataset.key!)));
  for (const p of parts)
    on(p.element, () => {
      const lines = computing(p.op);
      light([p.element, ...lines]);
      status.textContent = lines.length
        ? `${p.op}: ${lines.length} lines`
        : `${p.op}: another kernel computes it, or no lines apart`;
    });
}

/** The keys behind each line of the graph. */
function keysByLine(launches: readonly LaunchData[]): Map<number, Set<string>> {
  const keys = new Map<number, Set<string>>();
  for (const l of launches) {
    if (l.line === undefined) continue;
    const of = keys.get(l.line) ?? new Set();
    l.keys.forEach((k) => of.add(k));
    keys.set(l.line, of);
  }
  return keys;
}

function runsOf(app: App, kernel: string, lines: number): LineRun[] {
  const given = app.report.kernels[kernel]?.lines ?? [];
  let at = -1;
  return Array.from({ length: lines }, (_, i) => {
    while (at + 1 < given.length && given[at + 1][0] <= i) at++;
    const [, kind, name, ops] = given[at] ?? [0, "body", null];
    return { kind, name, ops: ops ?? [] };
  });
}

/** Puts the ops that a fused op stands for below its line of the graph. */
function partsBelow(line: HTMLElement | undefined, launch: LaunchData | undefined): Part[] {
  const parts = (launch?.parts ?? []).map(([op, depth]) => ({
    op,
    element: h(
      "div",
      { class: "line part", tabindex: 0, "data-op": op },
      h("span", { class: "at", "aria-hidden": "true" }),
      h("code", {}, `${"  ".repeat(depth + 1)}${op}`),
    ),
  }));
  line?.after(...parts.map((p) => p.element));
  return parts;
}

const kinds: Readonly<Record<string, string>> = {
  header: "comment",
  helper: "the helper",
  definitions: "constants and functions of this kernel",
  entry: "the entry point",
  body: "the body",
  statement: "of the statement",
};

function inWords({ kind, name, ops }: LineRun, op: string | undefined): string {
  const what = `${kinds[kind] ?? kind}${name === null ? "" : `: ${name}`}`;
  if (BESIDE.has(kind)) return what;
  return `${what}${ops.length ? `; computes ${ops.join(", ")}` : op === undefined ? "" : `; ${op}`}`;
}

function on(e: HTMLElement, act: () => void): void {
  e.addEventListener("pointerenter", act);
  e.addEventListener("focus", act);
  e.addEventListener("click", act);
}
