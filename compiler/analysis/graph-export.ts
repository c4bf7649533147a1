// The graph of an artifact for programs that draw graphs: Graphviz's DOT, and Google's Model Explorer, whose namespaces fold.
import { callOf, everyNode, printType, type Func, type Module, type Node, type Value } from "../../ir/index.ts";
import { printAttrs } from "../../ir/attr.ts";
import { labelsOf } from "../../passes/site.ts";

/** Figures of a node to write beside it, by function and label: floor, launches, kernel. */
export type Overlay = ReadonlyMap<string, Readonly<Record<string, string>>>;

interface Drawn {
  id: string;
  label: string;
  /** "decode/moe_layer", and "experts" or "sequences" inside a region. */
  namespace: string;
  attrs: Record<string, string>;
  from: { id: string; output: string }[];
  outputs: string[];
}

const idOf = (f: Func, n: Node): string => `${f.name}#${n.id}`;

/** The nodes of a function, operands first; weights once for each. */
function drawn(f: Func, overlay: Overlay): Drawn[] {
  const labels = labelsOf(f);
  const inRegion = new Map<Node, string>();
  for (const n of everyNode(f)) if (n.region) for (const inner of within(n)) inRegion.set(inner, `${n.op.name}_${n.id}`);
  const all = new Set<Node>([...f.params.map((p) => p.value.node), ...everyNode(f)]);
  for (const n of everyNode(f)) for (const p of n.region?.params ?? []) all.add(p.node);
  const source = (v: Value): { id: string; output: string } => ({ id: idOf(f, v.node), output: String(v.index) });
  return [...all].map((n): Drawn => {
    const name = n.results[0] ? labels.get(n.results[0]) : undefined;
    const called = callOf(n);
    const label = n.leaf ? n.leaf.name : called ? `call ${called.func} ${called.layer}` : n.op.name;
    const region = inRegion.get(n);
    return {
      id: idOf(f, n),
      label,
      namespace: region === undefined ? f.name : `${f.name}/${region}`,
      attrs: {
        ...(name === undefined || name === label ? {} : { value: name }),
        ...(n.leaf ? { kind: n.leaf.kind } : {}),
        ...(n.leaf || called ? {} : { attributes: printAttrs(n.attrs, n.op.attrs).trim() }),
        ...overlay.get(`${f.name}/${name ?? n.op.name}`),
      },
      from: [...n.operands.map(source), ...(n.region?.results.map(source) ?? [])],
      outputs: n.results.map((r) => printType(r.type)),
    };
  });
}

/** Nodes that a region's results are made of, and its parameters. */
function within(n: Node): Node[] {
  const seen = new Set<Node>(n.region!.params.map((p) => p.node));
  const visit = (x: Node): boolean => {
    if (seen.has(x)) return true;
    const inside = x.operands.map((o) => visit(o.node)).some(Boolean);
    if (inside) seen.add(x);
    return inside;
  };
  for (const r of n.region!.results) visit(r.node);
  return [...seen];
}

const chosen = (m: Module, only: string | undefined): Func[] =>
  [...m.funcs.values()].filter((f) => only === undefined || f.name === only);

/** Graphviz: a cluster for each function and region. */
export function dotOf(m: Module, overlay: Overlay, only?: string): string {
  const quoted = (s: string): string => `"${s.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n")}"`;
  const lines = [`digraph ${quoted(m.name)} {`, "  rankdir = TB;", "  node [shape = box, fontname = monospace, fontsize = 10];"];
  for (const f of chosen(m, only)) {
    const nodes = drawn(f, overlay);
    const by = new Map<string, Drawn[]>();
    for (const n of nodes) by.set(n.namespace, [...(by.get(n.namespace) ?? []), n]);
    lines.push(`  subgraph ${quoted(`cluster ${f.name}`)} {`, `    label = ${quoted(f.name)};`);
    for (const [namespace, list] of by) {
      const inner = namespace !== f.name;
      if (inner)
        lines.push(
          `    subgraph ${quoted(`cluster ${namespace}`)} {`,
          `      label = ${quoted(namespace.slice(f.name.length + 1))};`,
        );
      for (const n of list) {
        const more = ["value", "kernel", "floor"].flatMap((k) => n.attrs[k] ?? []);
        const text = [n.label, ...more, n.outputs.join(", ")].join("\n");
        lines.push(`    ${quoted(n.id)} [label = ${quoted(text)}${n.attrs.kind ? ", style = rounded" : ""}];`);
      }
      if (inner) lines.push("    }");
    }
    for (const n of nodes) for (const { id } of n.from) lines.push(`    ${quoted(id)} -> ${quoted(n.id)};`);
    lines.push("  }");
  }
  return `${[...lines, "}"].join("\n")}\n`;
}

/** Model Explorer's JSON: a graph for each function, its regions as namespaces. */
export function modelExplorerOf(m: Module, overlay: Overlay, only?: string): object {
  const graphs = chosen(m, only).map((f) => ({
    id: f.name,
    nodes: drawn(f, overlay).map((n) => ({
      id: n.id,
      label: n.label,
      namespace: n.namespace.slice(f.name.length + 1),
      attrs: Object.entries(n.attrs).map(([key, value]) => ({ key, value })),
      incomingEdges: n.from.map((e, i) => ({ sourceNodeId: e.id, sourceNodeOutputId: e.output, targetNodeInputId: String(i) })),
      outputsMetadata: n.outputs.map((type, i) => ({ id: String(i), attrs: [{ key: "tensor_shape", value: type }] })),
    })),
  }));
  return { graphs };
}
