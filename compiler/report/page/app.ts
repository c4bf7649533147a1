// What every panel is given, and pieces that several show.
import { choice, h, type Child } from "./dom.ts";
import { stepName, type Report, type StepData } from "./data.ts";
import { goWith, type Route } from "./route.ts";

export interface App {
  report: Report;
  route: Route;
}

/** The step chosen in the address; the first where none is. */
export const stepIndex = ({ report, route }: App): number => {
  const i = Number(route.query.get("step") ?? 0);
  return Number.isInteger(i) && i >= 0 && i < report.steps.length ? i : 0;
};

export const stepQuery = (app: App): { step?: number } => {
  const step = stepIndex(app);
  return step === 0 ? {} : { step };
};

export function stepChoice(app: App, steps: readonly StepData[] = app.report.steps): HTMLElement {
  const chosen = steps.includes(app.report.steps[stepIndex(app)]) ? stepIndex(app) : app.report.steps.indexOf(steps[0]);
  const options = steps.map((s) => ({ value: String(app.report.steps.indexOf(s)), text: stepName(s) }));
  return choice("step", options, String(chosen), (v) => goWith(app.route, { step: v === "0" ? undefined : v }));
}

/** The head of a panel: its title, a sentence, and what can be chosen. */
export const head = (title: Child, sentence: Child, ...controls: Child[]): HTMLElement =>
  h(
    "header",
    { class: "panel-head" },
    h("div", {}, h("h1", { tabindex: -1 }, title), h("p", { class: "lead" }, sentence)),
    h("div", { class: "controls" }, controls),
  );

export const facts = (rows: readonly (readonly [string, Child])[]): HTMLElement =>
  h(
    "dl",
    { class: "facts" },
    rows.map(([k, v]) => h("div", {}, h("dt", {}, k), h("dd", {}, v))),
  );
