// Elements by name, attributes and children; no framework.

export type Child = Node | string | number | null | undefined | false | readonly Child[];
type Attrs = Record<string, string | number | boolean | undefined | null | ((e: never) => void)>;

const SVG = "http://www.w3.org/2000/svg";

function fill<E extends Element>(e: E, attrs: Attrs, children: readonly Child[]): E {
  for (const [k, v] of Object.entries(attrs)) {
    if (v === undefined || v === null || v === false) continue;
    if (typeof v === "function") e.addEventListener(k.slice(2), v as EventListener);
    else e.setAttribute(k, v === true ? "" : String(v));
  }
  add(e, children);
  return e;
}

export function add(e: Element, children: readonly Child[]): void {
  for (const c of children) {
    if (c === null || c === undefined || c === false) continue;
    if (isList(c)) add(e, c);
    else e.append(c instanceof Node ? c : String(c));
  }
}

const isList = (c: Child): c is readonly Child[] => Array.isArray(c);

/** An HTML element. `onclick` and its like are listeners. */
export const h = <K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attrs: Attrs = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] => fill(document.createElement(tag), attrs, children);

/** An SVG element. */
export const s = <K extends keyof SVGElementTagNameMap>(
  tag: K,
  attrs: Attrs = {},
  ...children: Child[]
): SVGElementTagNameMap[K] => fill(document.createElementNS(SVG, tag), attrs, children);

/** A table with a caption for those who hear it; columns from `right` on are numbers. */
export function table(
  caption: string,
  head: readonly Child[],
  rows: readonly (readonly Child[])[],
  { right = [], className = "" }: { right?: readonly number[]; className?: string } = {},
): HTMLElement {
  const cell = (tag: "td" | "th", c: Child, i: number): HTMLElement =>
    h(tag, { class: right.includes(i) ? "num" : undefined, scope: tag === "th" ? "col" : undefined }, c);
  return h(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
    h(
      "table",
      { class: className || undefined },
      h("caption", { class: "unseen" }, caption),
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          head.map((c, i) => cell("th", c, i)),
        ),
      ),
      h(
        "tbody",
        {},
        rows.map((r) =>
          h(
            "tr",
            {},
            r.map((c, i) => cell("td", c, i)),
          ),
        ),
      ),
    ),
  );
}

/** A labelled choice. */
export function choice(
  label: string,
  options: readonly { value: string; text: string }[],
  value: string,
  onChange: (value: string) => void,
): HTMLElement {
  const select = h(
    "select",
    { onchange: () => onChange(select.value) },
    options.map((o) => h("option", { value: o.value, selected: o.value === value }, o.text)),
  );
  return h("label", { class: "choice" }, h("span", {}, label), select);
}
