// What each pass did: a timeline of them, and the function before and after one, side by side.
import { head, type App } from "./app.ts";
import { functionNames, type Report } from "./data.ts";
import { h, type Child } from "./dom.ts";
import { bytes, plural } from "./format.ts";
import { opCount } from "../html/graph-text.ts";
import { href } from "./route.ts";
import { diffRows, wordsOf, type Row } from "./text-diff.ts";
import { highlighted, tight } from "./code.ts";

/** Equal lines around a change that stay in sight. */
const AROUND = 3;

export function passes(app: App): HTMLElement {
  const { report: r, route } = app;
  const at = route.name.indexOf("/");
  const passName = at < 0 ? route.name : route.name.slice(0, at);
  const first = r.passes.findIndex((p) => p.changed.length > 0);
  const found = r.passes.findIndex((p) => p.name === passName);
  const index = found >= 0 ? found : Math.max(0, first);
  const pass = r.passes[index];
  const order = functionNames(r);
  const changed = pass.changed.toSorted((a, b) => order.indexOf(a) - order.indexOf(b));
  const names = changed.length ? changed : order.filter((f) => f in pass.functions);
  const asked = at < 0 ? "" : route.name.slice(at + 1);
  const func = names.includes(asked) ? asked : mostCalled(r, names);
  return h(
    "div",
    { class: "panel-passes" },
    head("Passes", "In the order they ran. Values that a pass only renumbers are not shown as changes."),
    h(
      "div",
      { class: "split left" },
      h("nav", { class: "timeline", "aria-label": "Passes" }, timeline(app, index, func)),
      h(
        "div",
        {},
        h("h2", {}, pass.name),
        h("p", { class: "lead" }, pass.summary),
        index > 0 && fired(app, pass.name, func),
        h(
          "div",
          { class: "tabs", role: "group", "aria-label": "Function" },
          names.map((n) =>
            h("a", { href: href("passes", `${pass.name}/${n}`), "aria-current": n === func ? "true" : undefined }, n),
          ),
        ),
        comparison(app, index, func),
      ),
    ),
  );
}

/** Of these functions the one that the first step calls most. */
function mostCalled(r: Report, names: readonly string[]): string {
  const calls = (name: string): number => r.steps[0]?.functions.find((f) => f.name === name)?.calls ?? 0;
  return names.toSorted((a, b) => calls(b) - calls(a))[0];
}

function timeline(app: App, chosen: number, func: string): Child {
  const { report: r } = app;
  const counts = r.passes.map((p) => (p.functions[func] === undefined ? 0 : opCount(r.texts[p.functions[func]])));
  const most = Math.max(1, ...counts);
  return h(
    "ol",
    {},
    r.passes.map((p, i) => {
      const here = r.ledger.filter((e) => e.pass === p.name);
      const sum = (outcome: string): number => here.reduce((n, e) => (e.outcome === outcome ? n + Math.max(1, e.count) : n), 0);
      const [done, left] = [sum("fired"), sum("refused") + sum("declined")];
      const words =
        i === 0
          ? "before any pass"
          : [done ? `${done} fired` : "", left ? `${left} refused` : ""].filter(Boolean).join(", ") || "nothing to do";
      return h(
        "li",
        { class: p.changed.length || i === 0 ? "" : "idle" },
        h(
          "a",
          {
            href: href("passes", p.name + (p.changed.includes(func) ? `/${func}` : "")),
            "aria-current": i === chosen ? "true" : undefined,
          },
          h("span", { class: "name" }, p.name),
          h("span", { class: "muted" }, words),
          h(
            "span",
            { class: "ops", title: `${func}: ${plural(counts[i], "op")}` },
            h("span", { class: "bar", "aria-hidden": "true" }, h("span", { style: `width:${(100 * counts[i]) / most}%` })),
            h("span", { class: "num" }, counts[i], h("span", { class: "unseen" }, ` ops in ${func}`)),
          ),
        ),
      );
    }),
  );
}

/** What its rules did in a function, in a line each. */
function fired({ report: r }: App, pass: string, func: string): Child {
  const here = r.ledger.filter((e) => e.pass === pass && e.site === func && e.outcome !== "unmatched" && e.outcome !== "none");
  if (!here.length) return null;
  return h(
    "ul",
    { class: "firings" },
    here.map((e) =>
      h(
        "li",
        {},
        h("span", { class: `verdict ${e.outcome}` }, e.outcome),
        " ",
        h("a", { href: href("ledger", "", { pass, site: func }) }, e.rule),
        e.at ? h("span", { class: "muted" }, ` at ${e.at}`) : null,
        e.reason ? h("span", { class: "muted" }, `: ${e.reason}`) : null,
        e.delta ? h("span", { class: "muted" }, ` ${deltaInWords(e.delta)}`) : null,
      ),
    ),
  );
}

export function deltaInWords({ launches, bytes: moved }: { launches: number; bytes: number; flops: number }): string {
  const sign = (n: number): string => (n < 0 ? "−" : "+");
  return [
    launches ? `${sign(launches)}${plural(Math.abs(launches), "launch", "launches")}` : "",
    Math.abs(moved) >= 1 ? `${sign(moved)}${bytes(Math.abs(moved))} moved` : "",
  ]
    .filter(Boolean)
    .join(", ");
}

function comparison({ report: r }: App, index: number, func: string): HTMLElement {
  const after = r.texts[r.passes[index].functions[func]] ?? "";
  const was = index === 0 ? undefined : r.passes[index - 1].functions[func];
  const before = was === undefined ? "" : r.texts[was];
  if (index === 0 || before === after)
    return h(
      "div",
      { class: "diff one", role: "region", tabindex: 0, "aria-label": `${func} after ${r.passes[index].name}` },
      single(after),
    );
  const rows = diffRows(before, after);
  const changed = rows.filter((x) => x.kind === "changed").length;
  return h(
    "div",
    {},
    h("p", { class: "muted", role: "status" }, changed ? `${plural(changed, "line")} changed` : "only numbers of values changed"),
    h(
      "div",
      { class: "scroll diff", role: "region", tabindex: 0, "aria-label": `${func} before and after ${r.passes[index].name}` },
      h(
        "table",
        {},
        h("caption", { class: "unseen" }, `${func} before and after ${r.passes[index].name}`),
        h("colgroup", {}, h("col", { class: "at" }), h("col", {}), h("col", { class: "at" }), h("col", {})),
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            h("th", { scope: "col", colspan: 2 }, `after ${r.passes[index - 1].name}`),
            h("th", { scope: "col", colspan: 2 }, `after ${r.passes[index].name}`),
          ),
        ),
        bodies(rows),
      ),
    ),
  );
}

const single = (text: string): Child =>
  highlighted(text, "dsc").map((html, i) => {
    const code = h("code", {});
    code.innerHTML = html || " ";
    return h("div", { class: "line" }, h("span", { class: "at", "aria-hidden": "true" }, i + 1), code);
  });

/** Runs of equal lines far from a change become a button. */
function bodies(rows: readonly Row[]): HTMLElement[] {
  const near = rows.map((_, i) => rows.slice(Math.max(0, i - AROUND), i + AROUND + 1).some((x) => x.kind === "changed"));
  const out: HTMLElement[] = [];
  for (let i = 0; i < rows.length;) {
    let j = i;
    while (j < rows.length && near[j] === near[i]) j++;
    const part = rows.slice(i, j);
    if (near[i] || part.length < 4) out.push(h("tbody", {}, part.map(rowOf)));
    else {
      const body = h("tbody", { hidden: true }, part.map(rowOf));
      const open = h(
        "tbody",
        {},
        h(
          "tr",
          { class: "fold" },
          h(
            "td",
            { colspan: 4 },
            h("button", { type: "button", onclick: () => ((body.hidden = false), open.remove()) }, `${part.length} equal lines`),
          ),
        ),
      );
      out.push(open, body);
    }
    i = j;
  }
  return out;
}

function rowOf(row: Row): HTMLElement {
  const { left, right, kind } = row;
  const words = kind === "changed" && left && right ? wordsOf(tight(left.text), tight(right.text)) : undefined;
  const side = (cell: Row["left"], parts: [string, boolean][] | undefined, mark: "del" | "ins"): HTMLElement[] => {
    if (!cell) return [h("td", { class: "at" }), h("td", { class: "none" })];
    const text = parts
      ? parts.map(([t, own]) => (own ? h(mark, {}, t) : t))
      : kind === "changed"
        ? h(mark, {}, tight(cell.text))
        : tight(cell.text);
    return [
      h("td", { class: "at", "aria-hidden": "true" }, cell.line + 1),
      h("td", { class: kind === "changed" ? mark : "" }, h("code", {}, text)),
    ];
  };
  return h("tr", {}, side(left, words?.left, "del"), side(right, words?.right, "ins"));
}
