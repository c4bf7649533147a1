// Memory: what has to fit, and within a function which buffers live between which launches.
import { facts, head, stepChoice, stepIndex, type App } from "./app.ts";
import { functionNames, isCall, stepFor, stepName } from "./data.ts";
import { choice, h, table } from "./dom.ts";
import { bytes, percent, plural } from "./format.ts";
import { lifePlot, memoryPlot, plotWidth } from "./plots.ts";
import { href, type Route } from "./route.ts";

export function memory(app: App): HTMLElement {
  const { report: r, route } = app;
  const names = functionNames(r).filter((n) => stepFor(r, -1, n));
  const decode = names.filter((n) => n.startsWith(`${r.entries.decode}/`)).at(-1);
  const name = names.includes(route.name) ? route.name : (decode ?? names[0]);
  const step = stepFor(r, stepIndex(app), name)!;
  const f = step.functions.find((x) => x.name === name)!;
  const width = plotWidth();
  return h(
    "div",
    {},
    head(
      "Memory",
      fitInWords(app),
      choice(
        "function",
        names.map((n) => ({ value: n, text: n })),
        name,
        (v) => goThere(route, v),
      ),
      stepChoice(
        app,
        r.steps.filter((s) => s.functions.some((x) => x.name === name)),
      ),
    ),
    fit(app),
    h("h2", {}, `${name} in a ${stepName(step)}`),
    h(
      "p",
      { class: "lead" },
      `${plural(f.buffers.length, "buffer")} between ${plural(f.launches.length, "launch", "launches")}, ` +
        `${bytes(f.buffers.reduce((n, b) => n + b.bytes, 0))} in all; those whose lives do not meet share a slot. ` +
        `The slots serve every size of the batch and are ${bytes(f.arena)} here.`,
    ),
    f.launches.length
      ? h(
          "figure",
          {},
          memoryPlot(f, width),
          lifePlot(f, width),
          h(
            "figcaption",
            {},
            "Above: bytes that live while each launch runs. Below: each buffer, from the launch that writes it to the last that reads it.",
          ),
        )
      : null,
    table(
      `Buffers of ${name}`,
      ["buffer", "shape", "bytes", "written by", "last read by"],
      f.buffers.map((b) => {
        const at = (i: number): string => {
          const l = f.launches[i];
          return isCall(l) ? l.call : l.kernel;
        };
        return [
          h("span", { class: "mono" }, b.name),
          h("span", { class: "mono" }, b.shape),
          bytes(b.bytes),
          h("span", { class: "mono" }, at(b.from)),
          h("span", { class: "mono" }, at(b.to)),
        ];
      }),
      { right: [2] },
    ),
  );
}

const goThere = (route: Route, name: string): void => {
  location.hash = href("memory", name, { step: route.query.get("step") ?? undefined });
};

function fitInWords({ report: { memory: m, device } }: App): string {
  if (m.too_large)
    return (
      `The weight ${m.too_large.weight} takes ${bytes(m.too_large.bytes)} for one layer, ` +
      `and no memory of this target holds more than ${bytes(m.too_large.most)}.`
    );
  const fits = m.fits ? "all of it fits" : `${m.layers_that_fit} of ${m.layers} layers fit`;
  return `Weights, cache and rows take ${bytes(m.total)}; ${device.name} has ${bytes(m.available)}, so ${fits}.`;
}

function fit({ report: { memory: m, device } }: App): HTMLElement {
  const all = Math.max(m.total, m.available);
  const part = (n: number, name: string): HTMLElement => h("span", { class: `part ${name}`, style: `width:${(100 * n) / all}%` });
  return h(
    "div",
    { class: "fit" },
    h(
      "div",
      { class: "fit-bar", "aria-hidden": "true" },
      part(m.weights, "weights"),
      part(m.cache, "cache"),
      part(m.arena, "arena"),
      h("span", { class: "limit", style: `left:${(100 * m.available) / all}%` }),
    ),
    facts([
      ["weights", bytes(m.weights)],
      ["cache", bytes(m.cache)],
      ["rows between launches", bytes(m.arena)],
      [device.name, `${bytes(m.available)}, ${percent(m.available / m.total)} of what is needed`],
    ]),
  );
}
