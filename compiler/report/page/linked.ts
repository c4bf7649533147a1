// What belongs together: keys of the config, lines of the graph, lines of the kernel. Pointing at one, or focusing it, lights the others.
import type { App } from "./app.ts";
import { launchesOf } from "./data.ts";

export interface Linked {
  attach(lines: { config: readonly HTMLElement[]; graph: readonly HTMLElement[]; source: readonly HTMLElement[] }): void;
}

export interface Place {
  func: string;
  kernel: string;
  site: string;
}

/** Of a kernel at a place: which graph lines it serves, and the keys behind each line of the graph. */
export function linked(app: App, { func, kernel, site }: Place): Linked {
  const launches = app.report.steps.flatMap((s) => s.functions.filter((f) => f.name === func).flatMap(launchesOf));
  const keys = new Map<number, Set<string>>();
  const served = new Set<number>();
  for (const l of launches) {
    if (l.line === undefined) continue;
    const of = keys.get(l.line) ?? new Set();
    l.keys.forEach((k) => of.add(k));
    keys.set(l.line, of);
    if (l.kernel === kernel && l.site === site) served.add(l.line);
  }
  return {
    attach: ({ config, graph, source }) => {
      for (const line of served) graph[line]?.classList.add("served");
      const all = [...config, ...graph, ...source];
      const light = (on: readonly (HTMLElement | undefined)[]): void => {
        for (const e of all) e.classList.remove("lit");
        for (const e of on) e?.classList.add("lit");
      };
      const byKeys = (of: Iterable<string>): HTMLElement[] => {
        const set = new Set(of);
        return config.filter((c) => set.has(c.dataset.key!));
      };
      const graphLine = (i: number): void => light([graph[i], ...byKeys(keys.get(i) ?? []), ...(served.has(i) ? source : [])]);
      const sourceLine = (): void => light([...served].flatMap((i) => [graph[i], ...byKeys(keys.get(i) ?? [])]));
      const key = (name: string): void => {
        const lines = [...keys].filter(([, of]) => of.has(name)).map(([i]) => i);
        light([...byKeys([name]), ...lines.map((i) => graph[i]), ...(lines.some((i) => served.has(i)) ? source : [])]);
      };
      graph.forEach((e, i) => on(e, () => graphLine(i)));
      source.forEach((e) => on(e, sourceLine));
      config.forEach((e) => on(e, () => key(e.dataset.key!)));
    },
  };
}

function on(e: HTMLElement, act: () => void): void {
  e.addEventListener("pointerenter", act);
  e.addEventListener("focus", act);
  e.addEventListener("click", act);
}
