// Cost of nodes at assumed sizes: floating-point operations from the op's declaration, bytes from the types.
// Values inside a region are read once per sequence or expert; map_* regions multiply by the slices assumed.
import { bodyOf, isWeight, type Func, type Node } from "./graph.ts";
import type { Op } from "./op.ts";
import { everyNode } from "./print.ts";
import { bytesPerElement } from "./dtype.ts";
import { partsOf } from "./fused.ts";
import { sizeOf, type Dim, type Type } from "./types.ts";

/** Floating point operations, bytes moved, and launches. */
export interface Cost {
  flops: number;
  bytes: number;
  /** Nodes that become kernels: views cost no launch. */
  launches: number;
}

/** Sizes that a cost is judged at, by symbol. */
export type Assume = Readonly<Record<string, number>>;

/** Whether a node is no launch: a leaf, a call, or elements that stay where they are. */
const isFree = (n: Node): boolean => n.leaf !== undefined || n.op.traits.call === true || n.op.traits.view !== undefined;

/** Bytes of a value of a type at these sizes, scales included. */
export function bytesOf(t: Type, assume: Assume): number {
  if (t.kind !== "tensor") return 0;
  return elements(t, assume) * bytesPerElement(t.dtype);
}

function elements(t: Type, assume: Assume): number {
  return t.kind === "tensor" ? t.dims.reduce((n: number, d) => n * sizeOf(d, assume), 1) : 0;
}

// Passes ask for the same nodes at the same sizes again and again.
const costs = new WeakMap<Node, { assume: Assume; cost: Cost }>();

/** Cost of one node, not counting its region. */
export function costOf(n: Node, assume: Assume): Cost {
  const before = costs.get(n);
  if (before?.assume === assume) return before.cost;
  const cost = freshCost(n, assume);
  costs.set(n, { assume, cost });
  return cost;
}

function freshCost(n: Node, assume: Assume): Cost {
  if (isFree(n) || n.region) return { flops: 0, bytes: 0, launches: 0 };
  const ins = n.operands.map((o) => ({ type: o.type, weight: isWeight(o) }));
  const outs = n.results.map((r) => r.type);
  const bytes = [...ins.map((o) => o.type), ...outs].reduce((a, t) => a + bytesOf(t, assume), 0);
  return { flops: flopsOf(n.op, ins, outs, n.attrs, assume), bytes, launches: 1 };
}

/** Floating-point operations of an op on operands of these types. */
export function flopsOf(
  op: Op,
  ins: readonly { type: Type; weight: boolean }[],
  outs: readonly Type[],
  attrs: Node["attrs"],
  assume: Assume,
): number {
  const types = ins.map((o) => o.type);
  if (op.of) return partFlops(op, ins, attrs, assume);
  const b = op.bind(types, attrs);
  if (!op.flops || typeof b === "string") return 0;
  const size = (d: Dim): number => sizeOf(d, assume);
  const product = (dims: readonly Dim[]): number => dims.reduce<number>((a, d) => a * size(d), 1);
  // A weight is wider than what is computed where only some of its rows are read: the rotary table.
  const visited = [...ins.filter((o) => !o.weight).map((o) => o.type), ...outs];
  return op.flops(
    {
      elements: Math.max(...visited.map((t) => elements(t, assume))),
      rows: product(b.rests.b ?? (b.dims.r !== undefined ? [b.dims.r] : [])),
      weights: types[1] ? elements(types[1], assume) : 1,
      axes: product(op.axes?.(types, attrs) ?? []),
      of: { ...assume, ...Object.fromEntries(Object.entries(b.dims).map(([k, d]) => [k, size(d)])) },
    },
    attrs,
  );
}

/** What the parts of a fused op compute, together. */
function partFlops(op: Op, ins: Parameters<typeof flopsOf>[1], attrs: Node["attrs"], assume: Assume): number {
  const { params, nodes } = partsOf(
    op,
    ins.map((o) => o.type),
    attrs,
  );
  const weights = new Set(params.filter((_, i) => ins[i].weight));
  const flops = nodes.map((n) => {
    const operands = n.operands.map((o) => ({ type: o.type, weight: weights.has(o) }));
    return flopsOf(
      n.op,
      operands,
      n.results.map((r) => r.type),
      n.attrs,
      assume,
    );
  });
  return flops.reduce((a, f) => a + f, 0);
}

/** Cost of a function's own nodes, regions included once per slice; weight-only nodes are free, they run at load. */
export function costOfFunc(f: Func, assume: Assume = f.assume): Cost {
  const total = { flops: 0, bytes: 0, launches: 0 };
  const fromWeights = weightOnly(f);
  const times = slicesOf(f, { experts: assume.E ?? 1, sequences: assume.B ?? 1 });
  for (const n of everyNode(f)) {
    if (fromWeights.has(n)) continue;
    const c = costOf(n, assume);
    total.flops += c.flops * times(n);
    total.bytes += c.bytes * times(n);
    total.launches += c.launches * times(n);
  }
  return total;
}

/** How often a node runs for one run of its function: once per slice inside a region. */
export function slicesOf(
  f: Pick<Func, "results">,
  slices: Readonly<Record<"experts" | "sequences", number>>,
): (n: Node) => number {
  const inside = new Map<Node, number>();
  for (const n of everyNode(f))
    if (n.region) for (const x of bodyOf(n.region)) inside.set(x, slices[n.op.traits.region ?? "sequences"]);
  return (n) => inside.get(n) ?? 1;
}

/** Whether a node reads operands that `known` are functions of weights alone, and nothing else. */
export const ofWeights = (n: Node, known: (n: Node) => boolean): boolean =>
  n.leaf?.kind === "weight" ||
  (!n.leaf && !n.op.traits.call && !n.region && n.operands.length > 0 && n.operands.every((o) => known(o.node)));

/** Nodes that depend on weights alone. */
export function weightOnly(f: Pick<Func, "results">): Set<Node> {
  const only = new Set<Node>();
  for (const n of everyNode(f)) if (ofWeights(n, (x) => only.has(x))) only.add(n);
  return only;
}
