// The page of `dsc report`: reads the data in the file, and shows the panel that the address names.
import type { App } from "./app.ts";
import { costs } from "./costs.ts";
import { readReport, type Report } from "./data.ts";
import { add, h } from "./dom.ts";
import { kernels } from "./kernels.ts";
import { ledger } from "./ledger.ts";
import { memory } from "./memory.ts";
import { model } from "./model.ts";
import { overview } from "./overview.ts";
import { passes } from "./passes.ts";
import { href, parseRoute } from "./route.ts";
import { search } from "./search.ts";

const panels: Record<string, { title: string; show: (app: App) => HTMLElement }> = {
  overview: { title: "Overview", show: overview },
  model: { title: "Model", show: model },
  passes: { title: "Passes", show: passes },
  ledger: { title: "Ledger", show: ledger },
  kernels: { title: "Kernels", show: kernels },
  memory: { title: "Memory", show: memory },
  costs: { title: "Costs", show: costs },
};

const THEMES = ["auto", "light", "dark"] as const;

/** The theme is kept where the browser lets a file keep something. */
function kept(value?: string): string | null {
  try {
    if (value !== undefined) localStorage.setItem("dsc-theme", value);
    return localStorage.getItem("dsc-theme");
  } catch {
    return null;
  }
}

function themeButton(): HTMLElement {
  let at = Math.max(
    0,
    THEMES.findIndex((t) => t === kept()),
  );
  const show = (): void => {
    document.documentElement.dataset.theme = THEMES[at];
    button.textContent = THEMES[at];
    button.setAttribute("aria-label", `Colours: ${THEMES[at]}`);
  };
  const button = h("button", {
    type: "button",
    class: "theme",
    title: "Colours: as the system's, light, dark",
    onclick: () => {
      at = (at + 1) % THEMES.length;
      kept(THEMES[at]);
      show();
    },
  });
  show();
  return button;
}

function start(report: Report): void {
  const page = document.getElementById("page")!;
  const main = h("main", { id: "main" });
  const app: App = { report, route: parseRoute(location.hash) };
  const links = Object.entries(panels).map(([name, p]) => h("a", { href: href(name), "data-panel": name }, p.title));
  add(page, [
    h(
      "a",
      { href: "#main", class: "skip", onclick: (e: Event) => (e.preventDefault(), main.querySelector("h1")?.focus()) },
      "Skip to the panel",
    ),
    h(
      "header",
      { class: "top" },
      h("a", { class: "brand", href: href("overview") }, "dsc", h("span", {}, ` ${report.model.architecture}`)),
      h("nav", { "aria-label": "Panels" }, links),
      search(app),
      themeButton(),
    ),
    main,
  ]);
  let shown = "";
  const show = (): void => {
    app.route = parseRoute(location.hash);
    const name = Object.hasOwn(panels, app.route.panel) ? app.route.panel : "overview";
    for (const l of links) {
      if (l.dataset.panel === name) l.setAttribute("aria-current", "page");
      else l.removeAttribute("aria-current");
    }
    const place = `${name}/${app.route.name}`;
    main.replaceChildren(panels[name].show(app));
    document.title = `${panels[name].title}${app.route.name ? ` · ${app.route.name}` : ""} · ${report.model.architecture}`;
    // A new place begins at its title, for eyes and for screen readers; another choice at the same place does not.
    if (shown !== "" && shown !== place) {
      window.scrollTo(0, 0);
      main.querySelector("h1")?.focus({ preventScroll: true });
    }
    shown = place;
    document.documentElement.dataset.ready = place;
  };
  window.addEventListener("hashchange", show);
  show();
}

void readReport().then(start);
