// The ledger: what every rule did at every place it was tried, with its reason; to be filtered.
import { head, type App } from "./app.ts";
import type { Report } from "./data.ts";
import { choice, h, table } from "./dom.ts";
import { plural } from "./format.ts";
import { deltaInWords } from "./passes.ts";
import { goWith, href } from "./route.ts";

type Entry = Report["ledger"][number];

const VERDICTS: Record<Entry["outcome"], string> = {
  fired: "the rule was applied",
  declined: "found whole, and left as it is",
  refused: "found, and a guard says no",
  unmatched: "the root is there, the rest is not",
  none: "nothing begins the pattern",
};
const kinds = Object.keys(VERDICTS) as Entry["outcome"][];
const USUAL = "fired,declined,refused";

/** Rows put into the page at once. */
const PAGE = 200;

export function ledger(app: App): HTMLElement {
  const { report: r, route } = app;
  const shown = new Set((route.query.get("show") ?? USUAL).split(","));
  const pass = route.query.get("pass") ?? "";
  const site = route.query.get("site") ?? "";
  const words = route.query.get("q") ?? "";
  const others = r.ledger.filter((e) => (!pass || e.pass === pass) && (!site || e.site === site));
  const body = h("div", {});
  const status = h("p", { class: "muted", role: "status" });
  const fill = (text: string): void => {
    const wanted = text.toLowerCase().split(/\s+/).filter(Boolean);
    const all = others.filter((e) => shown.has(e.outcome) && wanted.every((w) => searchable(e).includes(w)));
    status.textContent = `${plural(all.length, "entry", "entries")} of ${r.ledger.length}`;
    body.replaceChildren(rows(all, PAGE));
  };
  const input = h("input", {
    type: "search",
    value: words,
    placeholder: "rule, place or reason",
    "aria-label": "Filter by words",
    oninput: () => fill(input.value),
    onchange: () => goWith(route, { q: input.value || undefined }),
  });
  fill(words);
  const all = [{ value: "", text: "all" }];
  return h(
    "div",
    {},
    head(
      "Ledger",
      "Every rule at every place it was tried: what it did, and where it did nothing, why.",
      input,
      choice("pass", [...all, ...[...new Set(r.ledger.map((e) => e.pass))].map((p) => ({ value: p, text: p }))], pass, (v) =>
        goWith(route, { pass: v || undefined }),
      ),
      choice("function", [...all, ...[...new Set(r.ledger.map((e) => e.site))].map((p) => ({ value: p, text: p }))], site, (v) =>
        goWith(route, { site: v || undefined }),
      ),
    ),
    h(
      "fieldset",
      { class: "verdicts" },
      h("legend", { class: "unseen" }, "Verdicts shown"),
      kinds.map((k) => {
        const n = others.filter((e) => e.outcome === k).length;
        const box = h("input", {
          type: "checkbox",
          checked: shown.has(k),
          onchange: () => {
            const next = kinds.filter((x) => (x === k ? box.checked : shown.has(x)));
            goWith(route, { show: next.join(",") === USUAL ? undefined : next.join(",") || "-" });
          },
        });
        return h(
          "label",
          { title: VERDICTS[k] },
          box,
          h("span", { class: `verdict ${k}` }, k),
          h("span", { class: "muted" }, ` ${n}`),
        );
      }),
    ),
    status,
    body,
  );
}

const searchable = (e: Entry): string => [e.pass, e.rule, e.site, e.at, e.reason, e.changes].join(" ").toLowerCase();

/** Entries that say the same of one rule are one row, with all their places. */
function grouped(entries: readonly Entry[]): Entry[][] {
  const out = new Map<string, Entry[]>();
  for (const e of entries) {
    const key = JSON.stringify([e.pass, e.rule, e.outcome, e.reason, e.changes, e.delta]);
    out.set(key, [...(out.get(key) ?? []), e]);
  }
  return [...out.values()];
}

function rows(entries: readonly Entry[], most: number): HTMLElement {
  const all = grouped(entries);
  const list = table(
    "Entries of the ledger",
    ["verdict", "pass", "rule", "places", "why, and what changed"],
    all.slice(0, most).map((same) => {
      const [e] = same;
      return [
        h("span", { class: `verdict ${e.outcome}` }, e.outcome),
        h("a", { href: href("passes", e.pass) }, e.pass),
        e.rule,
        h(
          "ul",
          { class: "plain mono" },
          same.map((x) =>
            h(
              "li",
              {},
              h("a", { href: href("passes", `${x.pass}/${x.site}`) }, x.at ? `${x.site}/${x.at}` : x.site),
              x.count > 1 ? ` × ${x.count}` : "",
            ),
          ),
        ),
        [e.reason, e.changes && `changes the function: ${e.changes}`, e.delta && deltaInWords(e.delta)]
          .filter(Boolean)
          .join("; "),
      ];
    }),
    { className: "ledger" },
  );
  if (all.length > most)
    list.append(
      h(
        "p",
        {},
        h(
          "button",
          { type: "button", onclick: () => list.replaceWith(rows(entries, all.length)) },
          `Show all ${all.length} rows`,
        ),
      ),
    );
  return list;
}
