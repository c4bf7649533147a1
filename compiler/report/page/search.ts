// One field that finds anything by name: kernels, functions, values, tensors, config keys, passes, rules.
import type { App } from "./app.ts";
import { launchesOf, type Report } from "./data.ts";
import { h } from "./dom.ts";
import { href } from "./route.ts";

interface Found {
  kind: string;
  text: string;
  to: string;
  /** What is searched. */
  words: string;
}

const MOST = 12;

function indexOf(r: Report): Found[] {
  const out: Found[] = [];
  const add = (kind: string, text: string, to: string, words = text): void =>
    void out.push({ kind, text, to, words: words.toLowerCase() });
  const last = r.passes.at(-1)!;
  for (const f of Object.keys(last.functions)) add("function", f, href("model", f));
  for (const p of r.passes) add("pass", p.name, href("passes", p.name), `${p.name} ${p.summary}`);
  for (const k of Object.keys(r.kernels)) add("kernel", k, href("kernels", k));
  const seen = new Set<string>();
  const once = (kind: string, text: string, to: string): void => {
    if (seen.has(`${kind} ${text}`)) return;
    seen.add(`${kind} ${text}`);
    add(kind, text, to);
  };
  r.steps.forEach((s, step) => {
    for (const f of s.functions)
      for (const l of launchesOf(f)) {
        const to = href("kernels", l.kernel, { site: l.site, step: step || undefined });
        once("value", l.site, to);
        for (const t of l.tensors) once("tensor", `${t} → ${f.name}`, to);
      }
  });
  for (const { key } of r.config) add("config", key, href("kernels", "", { key }));
  for (const rule of new Set(r.ledger.map((e) => e.rule)))
    add("rule", rule, href("ledger", "", { q: rule, show: "fired,declined,refused,unmatched,none" }));
  return out;
}

export function search(app: App): HTMLElement {
  let index: Found[] | undefined;
  let found: Found[] = [];
  let at = -1;
  const list = h("ul", { class: "found", role: "listbox", id: "found", hidden: true, "aria-label": "Found" });
  const show = (): void => {
    list.replaceChildren(
      ...found.map((f, i) =>
        h(
          "li",
          { role: "option", id: `found-${i}`, "aria-selected": i === at ? "true" : "false", onclick: () => take(f) },
          h("span", { class: "muted" }, f.kind),
          " ",
          f.text,
        ),
      ),
    );
    list.hidden = found.length === 0;
    input.setAttribute("aria-expanded", String(found.length > 0));
    if (at >= 0) input.setAttribute("aria-activedescendant", `found-${at}`);
    else input.removeAttribute("aria-activedescendant");
  };
  const close = (): void => {
    found = [];
    at = -1;
    show();
  };
  const take = (f: Found): void => {
    input.value = "";
    close();
    location.hash = f.to;
  };
  const find = (): void => {
    index ??= indexOf(app.report);
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const rank = (f: Found): number => (f.words.startsWith(words[0]) ? 0 : 1);
    found = words.length
      ? index
          .filter((f) => words.every((w) => f.words.includes(w)))
          .toSorted((a, b) => rank(a) - rank(b) || a.text.length - b.text.length)
          .slice(0, MOST)
      : [];
    at = found.length ? 0 : -1;
    show();
  };
  const input = h("input", {
    type: "search",
    role: "combobox",
    placeholder: "Find a kernel, tensor, key, pass",
    "aria-label": "Find a kernel, value, tensor, config key, pass or rule",
    "aria-controls": "found",
    "aria-expanded": "false",
    "aria-autocomplete": "list",
    autocomplete: "off",
    spellcheck: "false",
    oninput: find,
    onkeydown: (e: KeyboardEvent) => {
      if (e.key === "ArrowDown" || e.key === "ArrowUp") {
        e.preventDefault();
        at = found.length ? (at + (e.key === "ArrowDown" ? 1 : found.length - 1)) % found.length : -1;
        show();
      } else if (e.key === "Enter" && found[at]) take(found[at]);
      else if (e.key === "Escape") {
        input.value = "";
        close();
      }
    },
    onblur: () => setTimeout(close, 150),
  });
  document.addEventListener("keydown", (e) => {
    if (e.key === "/" && !(e.target as Element).matches("input, select, textarea")) {
      e.preventDefault();
      input.focus();
    }
  });
  return h("div", { class: "search", role: "search" }, input, list);
}
