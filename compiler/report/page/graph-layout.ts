// Boxes and lines for a function's graph: what is drawn, how large, and where dagre puts it.
import dagre from "@dagrejs/dagre";
import type { FunctionGraph, GraphNode } from "../html/graph-text.ts";

/** A box to draw. Boxes of functions and regions opened in place are clusters around others. */
export interface Box {
  id: string;
  kind: "op" | "view" | "call" | "param" | "result" | "cluster";
  title: string;
  /** Below the title. */
  lines: string[];
  /** Of ops and calls: the function whose text it stands in. */
  func?: string;
  node?: GraphNode;
  parent?: string;
  width: number;
  height: number;
  /** Its centre. */
  x: number;
  y: number;
}

export interface Line {
  from: string;
  to: string;
  /** What flows, and its type. */
  label: string;
  cache: boolean;
  points: { x: number; y: number }[];
}

export interface Drawing {
  boxes: Box[];
  lines: Line[];
  width: number;
  height: number;
}

/** What a panel knows of a node beside its text. */
export interface Annotate {
  /** Ops that only look at memory in another way. */
  isView: (op: string) => boolean;
  /** Lines under a node's title: what it launches, what it takes. */
  notes: (func: string, node: GraphNode) => string[];
  /** The graph of a called function that is opened in place. */
  opened: (node: GraphNode, id: string) => FunctionGraph | undefined;
}

/** Widths of a character of titles and of what stands below them, in the page's monospaced font. */
const TITLE = 7.6;
const NOTE = 7;
const LINE = 16;
const weight = (o: string): boolean => o.startsWith("@");

class Builder {
  readonly boxes: Box[] = [];
  readonly lines: Line[] = [];
  readonly #annotate: Annotate;

  constructor(annotate: Annotate) {
    this.#annotate = annotate;
  }

  /** Adds a graph's boxes; `made` says who makes a value, and gets what the graph makes. */
  graph(
    g: FunctionGraph,
    func: string,
    prefix: string,
    parent: string | undefined,
    made: Map<string, string>,
    types: Map<string, string>,
  ): void {
    for (const n of g.nodes) this.node(n, func, prefix, parent, made, types);
  }

  node(
    n: GraphNode,
    func: string,
    prefix: string,
    parent: string | undefined,
    made: Map<string, string>,
    types: Map<string, string>,
  ): void {
    const id = prefix + n.id;
    const inner = n.body ?? (n.call && this.#annotate.opened(n, id));
    resultTypes(n).forEach((t, i) => types.set(n.results[i], t));
    if (inner) {
      this.cluster(n, inner, func, id, parent, made, types);
      return;
    }
    const kind = n.call ? "call" : this.#annotate.isView(n.op) ? "view" : "op";
    const title = n.call ? callTitle(n) : n.op;
    const value = n.call ? "" : n.results.filter((r) => !/^%\d+$/.test(r)).join(", ");
    const weights = n.operands.filter(weight).map((w) => w.replace(/^@\w+_layer\./, "@"));
    const notes = kind === "view" ? [] : this.#annotate.notes(func, n);
    const lines = kind === "view" ? [] : [...(value ? [value] : []), ...clipped(weights), ...notes];
    this.box({
      id,
      kind,
      title: kind === "view" ? `${title} ${n.attrs}` : title,
      lines,
      func,
      node: n,
      ...(parent ? { parent } : {}),
    });
    this.connect(n.operands, id, made, types);
    for (const r of n.results) made.set(r, id);
  }

  /** A region, or a call opened in place: its parameters are the values around it. */
  cluster(
    n: GraphNode,
    inner: FunctionGraph,
    func: string,
    id: string,
    parent: string | undefined,
    made: Map<string, string>,
    types: Map<string, string>,
  ): void {
    const title = n.call ? callTitle(n) : n.op;
    this.boxes.push({
      id,
      kind: "cluster",
      title,
      lines: [],
      func,
      node: n,
      ...(parent ? { parent } : {}),
      width: 0,
      height: 0,
      x: 0,
      y: 0,
    });
    const within = new Map(n.call ? [] : made);
    const ownTypes = new Map(n.call ? [] : types);
    const args = n.operands.filter((o) => !weight(o)).slice(-inner.params.length);
    inner.params.forEach((p, i) => {
      const from = args[i] === undefined ? undefined : made.get(args[i]);
      if (from !== undefined) within.set(p.name, from);
      ownTypes.set(p.name, p.type);
    });
    this.graph(inner, n.call ? n.call.name : func, `${id}.`, id, within, ownTypes);
    n.results.forEach((r, i) => {
      const by = within.get(inner.returns[i]?.value ?? "");
      if (by !== undefined) made.set(r, by);
    });
  }

  box(b: Omit<Box, "width" | "height" | "x" | "y">): void {
    const small = b.kind === "view" || b.kind === "param" || b.kind === "result";
    const title = b.title.length * (small ? NOTE : TITLE) + (b.kind === "call" ? 24 : 0);
    const width = Math.max(title, ...b.lines.map((l) => l.length * NOTE), 40) + 24;
    this.boxes.push({ ...b, width, height: (small ? 22 : 32) + b.lines.length * LINE, x: 0, y: 0 });
  }

  connect(operands: readonly string[], to: string, made: ReadonlyMap<string, string>, types: ReadonlyMap<string, string>): void {
    const seen = new Set<string>();
    for (const o of operands) {
      const type = types.get(o) ?? "";
      const from = made.get(o);
      if (weight(o) || from === undefined || type === "batch" || seen.has(from) || from === to) continue;
      seen.add(from);
      this.lines.push({ from, to, label: `${o} : ${type}`, cache: type.startsWith("cache"), points: [] });
    }
  }
}

/** Types of a node's results, which are written one after another. */
function resultTypes(n: GraphNode): string[] {
  const out: string[] = [];
  let depth = 0;
  let from = 0;
  for (let i = 0; i <= n.type.length; i++) {
    const c = n.type[i];
    if (c === "[") depth++;
    if (c === "]") depth--;
    if (c === undefined || (c === "," && depth === 0)) {
      out.push(n.type.slice(from, i).trim());
      from = i + 1;
    }
  }
  return out;
}

const clipped = (list: readonly string[]): string[] =>
  list.length > 3 ? [...list.slice(0, 2), `and ${list.length - 2} weights more`] : [...list];

function callTitle({ call }: GraphNode): string {
  const name = call!.name.slice(call!.name.lastIndexOf("/") + 1);
  return call!.layers.length > 1 ? `${name} × ${call!.layers.length}` : name;
}

/** A function's graph, laid out from top to bottom. */
export function draw(g: FunctionGraph, func: string, annotate: Annotate): Drawing {
  const b = new Builder(annotate);
  const made = new Map<string, string>();
  const types = new Map<string, string>();
  for (const p of g.params) {
    types.set(p.name, p.type);
    if (p.type === "batch") continue;
    b.box({ id: `p${p.name}`, kind: "param", title: p.name, lines: [] });
    made.set(p.name, `p${p.name}`);
  }
  b.graph(g, func, "", undefined, made, types);
  for (const r of g.returns) {
    const id = `r${r.name}${r.value}`;
    b.box({ id, kind: "result", title: r.name || r.value, lines: [] });
    b.connect([r.value], id, made, types);
  }
  return place(b);
}

function place({ boxes, lines }: Builder): Drawing {
  const g = new dagre.graphlib.Graph({ compound: true, multigraph: false });
  g.setGraph({ rankdir: "TB", nodesep: 26, ranksep: 30, edgesep: 12, marginx: 16, marginy: 16 });
  g.setDefaultEdgeLabel(() => ({}));
  for (const b of boxes) g.setNode(b.id, b.kind === "cluster" ? {} : { width: b.width, height: b.height });
  for (const b of boxes) if (b.parent !== undefined) g.setParent(b.id, b.parent);
  for (const l of lines) g.setEdge(l.from, l.to, { weight: l.cache ? 1 : 2 });
  dagre.layout(g);
  for (const b of boxes) {
    const { x, y, width, height } = g.node(b.id) as Box;
    Object.assign(b, { x, y, width, height });
  }
  for (const l of lines) l.points = (g.edge(l.from, l.to) as Line).points;
  const { width = 0, height = 0 } = g.graph() as { width?: number; height?: number };
  return { boxes, lines, width, height };
}
