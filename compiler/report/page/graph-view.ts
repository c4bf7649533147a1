// A drawing as SVG that can be moved and zoomed, by mouse, touch and keyboard. Every box is a link.
import { h, s } from "./dom.ts";
import type { Box, Drawing, Line } from "./graph-layout.ts";

export interface View {
  /** Where a box leads, and what a screen reader says of it. */
  link: (b: Box) => { href: string; label: string } | undefined;
  /** Of the function's floor, 0 to 1: how much of the box's bar is filled. */
  share: (b: Box) => number;
  /** The same of what was measured, above it. */
  measured: (b: Box) => number;
  selected: (b: Box) => boolean;
  /** Opens or closes a call in place. */
  toggle?: (b: Box) => { href: string; open: boolean } | undefined;
}

export function graphView(d: Drawing, label: string, view: View): HTMLElement {
  const content = s(
    "g",
    {},
    d.boxes.filter((b) => b.kind === "cluster").map(cluster(view)),
    d.lines.map(edge),
    d.boxes.filter((b) => b.kind !== "cluster").map(box(view)),
  );
  const svg = s(
    "svg",
    { class: "graph", role: "group", "aria-label": label, viewBox: `0 0 ${d.width} ${d.height}` },
    arrow(),
    content,
  );
  const frame = h("div", { class: "graph-frame" }, svg);
  const zoom = zoomable(svg, d);
  const button = (text: string, name: string, act: () => void): HTMLElement =>
    h("button", { type: "button", "aria-label": name, title: name, onclick: act }, text);
  frame.append(
    h(
      "div",
      { class: "zoom", role: "group", "aria-label": "Zoom" },
      button("+", "Closer", () => zoom.by(1 / 1.3)),
      button("−", "Further", () => zoom.by(1.3)),
      button("fit", "Fit the whole graph", zoom.fit),
      button("1:1", "1:1, as large as text", zoom.natural),
    ),
  );
  return frame;
}

const arrow = (): SVGElement =>
  s(
    "defs",
    {},
    s(
      "marker",
      { id: "arrow", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto" },
      s("path", { d: "M0 1 L7 4 L0 7", class: "arrow" }),
    ),
  );

function edge(l: Line): SVGElement {
  const [first, ...rest] = l.points;
  let d = `M${first.x} ${first.y}`;
  for (let i = 0; i < rest.length - 1; i++) {
    const [a, b] = [rest[i], rest[i + 1]];
    d += ` Q${a.x} ${a.y} ${(a.x + b.x) / 2} ${(a.y + b.y) / 2}`;
  }
  const end = rest.at(-1)!;
  return s(
    "path",
    { d: `${d} L${end.x} ${end.y}`, class: l.cache ? "edge cache" : "edge", "marker-end": "url(#arrow)" },
    s("title", {}, l.label),
  );
}

const corner = (b: Box): string => `translate(${b.x - b.width / 2} ${b.y - b.height / 2})`;

const cluster =
  (view: View) =>
  (b: Box): SVGElement => {
    const toggle = view.toggle?.(b);
    const title = s("text", { x: 10, y: 16, class: "cluster-title" }, toggle ? `▾ ${b.title}` : b.title);
    return s(
      "g",
      { transform: corner(b) },
      s("rect", { width: b.width, height: b.height, rx: 8, class: "cluster" }),
      toggle ? s("a", { href: toggle.href, "aria-label": `Close ${b.title}` }, title) : title,
    );
  };

const box =
  (view: View) =>
  (b: Box): SVGElement => {
    const link = view.link(b);
    const share = view.share(b);
    const measured = view.measured(b);
    const small = b.kind === "view" || b.kind === "param" || b.kind === "result";
    const inside = [
      s("rect", { width: b.width, height: b.height, rx: small ? b.height / 2 : 6, class: "box" }),
      share > 0 && s("rect", { x: 0, y: b.height - 3, width: Math.max(2, b.width * share), height: 3, class: "heat" }),
      measured > 0 &&
        s("rect", { x: 0, y: b.height - 6, width: Math.max(2, b.width * measured), height: 3, class: "heat measured" }),
      s("text", { x: small ? b.width / 2 : 12, y: small ? 15 : 20, class: small ? "title small" : "title" }, `${b.title} `),
      // A space after each: texts of a drawing have none between them, and are read as one name.
      b.lines.map((t, i) => s("text", { x: 12, y: 36 + 16 * i, class: "note" }, `${t} `)),
    ];
    const toggle = view.toggle?.(b);
    return s(
      "g",
      { transform: corner(b), class: `node ${b.kind}${view.selected(b) ? " selected" : ""}`, "data-id": b.id },
      link ? s("a", { href: link.href, "aria-label": link.label }, ...inside) : inside,
      toggle &&
        s(
          "a",
          { href: toggle.href, "aria-label": `Open ${b.title} in place`, class: "toggle" },
          s("title", {}, "open in place"),
          s("rect", { x: b.width - 26, y: 5, width: 20, height: 20, rx: 4, class: "toggle-box" }),
          s("text", { x: b.width - 16, y: 19, class: "toggle-sign" }, "▸"),
        ),
    );
  };

/** Moves the view box: by dragging, by the wheel with ctrl or ⌘ held, by two fingers as browsers report them, by arrow keys. */
function zoomable(svg: SVGSVGElement, d: Drawing): { by: (factor: number) => void; fit: () => void; natural: () => void } {
  let view = { x: 0, y: 0, w: d.width, h: d.height };
  const show = (): void => svg.setAttribute("viewBox", `${view.x} ${view.y} ${view.w} ${view.h}`);
  const size = (): { width: number; height: number } => {
    const r = svg.getBoundingClientRect();
    return { width: Math.max(1, r.width), height: Math.max(1, r.height) };
  };
  /** As large as text, from the top; smaller where the graph is wider than the frame. */
  const natural = (): void => {
    const { width, height } = size();
    const scale = Math.max(1, Math.min(1.6, d.width / width));
    view = { x: d.width / 2 - (width * scale) / 2, y: 0, w: width * scale, h: height * scale };
    show();
  };
  const fit = (): void => {
    view = { x: 0, y: 0, w: d.width, h: d.height };
    show();
  };
  const by = (factor: number, fx = 0.5, fy = 0.5): void => {
    const w = Math.min(Math.max(view.w * factor, 120), d.width * 4);
    const f = w / view.w;
    view = { x: view.x + view.w * (1 - f) * fx, y: view.y + view.h * (1 - f) * fy, w, h: view.h * f };
    show();
  };
  svg.addEventListener(
    "wheel",
    (e) => {
      const r = svg.getBoundingClientRect();
      e.preventDefault();
      if (e.ctrlKey || e.metaKey) by(Math.exp(e.deltaY / 300), (e.clientX - r.left) / r.width, (e.clientY - r.top) / r.height);
      else {
        view.x += (e.deltaX * view.w) / r.width;
        view.y += (e.deltaY * view.h) / r.height;
        show();
      }
    },
    { passive: false },
  );
  svg.addEventListener("pointerdown", (e) => {
    if ((e.target as Element).closest("a")) return;
    const from = { x: e.clientX, y: e.clientY, view: { ...view } };
    const move = (m: PointerEvent): void => {
      const { width } = size();
      view.x = from.view.x - ((m.clientX - from.x) * view.w) / width;
      view.y = from.view.y - ((m.clientY - from.y) * view.w) / width;
      show();
    };
    svg.setPointerCapture(e.pointerId);
    svg.addEventListener("pointermove", move);
    svg.addEventListener("pointerup", () => svg.removeEventListener("pointermove", move), { once: true });
  });
  svg.addEventListener("focusin", (e) => reveal((e.target as Element).closest<SVGGElement>("g.node")));
  /** A box that has the focus is on the screen. */
  const reveal = (node: SVGGElement | null): void => {
    const b = node && d.boxes.find((x) => x.id === node.dataset.id);
    if (!b) return;
    const out = b.x - b.width / 2 < view.x || b.x + b.width / 2 > view.x + view.w || b.y < view.y || b.y > view.y + view.h;
    if (!out) return;
    view.x = b.x - view.w / 2;
    view.y = b.y - view.h / 2;
    show();
  };
  requestAnimationFrame(natural);
  return { by, fit, natural };
}
