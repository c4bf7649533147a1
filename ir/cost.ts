// Cost of nodes at assumed sizes: floating-point operations from the op's declaration, bytes from the types.
// Values inside a region are read once per sequence or expert; map_* regions multiply by the slices assumed.
import { bodyOf, type Func, type Node } from "./graph.ts";
import type { Op } from "./op.ts";
import { parseSpec } from "./ops/math.ts";
import { everyNode } from "./print.ts";
import { sizeOf, type DType, type TensorType, type Type } from "./types.ts";

export interface Cost {
  flops: number;
  bytes: number;
  /** Nodes that become kernels: views cost no launch. */
  launches: number;
}

export type Assume = Readonly<Record<string, number>>;

const views = new Set(["reshape", "split", "param", "weight", "call", "stack", "join_rows", "join_experts"]);

/** Bytes of one element, scales included. */
export function bytesPerElement(d: DType): number {
  return d === "bf16" ? 2 : d === "e4m3/1x128" ? 1 + 4 / 128 : d === "e4m3/128x128" ? 1 + 4 / 16384 : 4;
}

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
  if (views.has(n.op.name) || n.region) return { flops: 0, bytes: 0, launches: 0 };
  const ins = n.operands.map((o) => ({ type: o.type, weight: o.node.op.name === "weight" }));
  const outs = n.results.map((r) => r.type);
  const bytes = [...ins.map((o) => o.type), ...outs].reduce((a, t) => a + bytesOf(t, assume), 0);
  return { flops: flopsOf(n.op, ins, outs, n.attrs, assume), bytes, launches: 1 };
}

/** Floating-point operations of an op on operands of these types. */
export function flopsOf(op: Op, ins: readonly { type: Type; weight: boolean }[], outs: readonly Type[], attrs: Node["attrs"], assume: Assume): number {
  const types = ins.map((o) => o.type);
  const b = op.bind(types, attrs);
  const sizes: Record<string, number> = { ...assume };
  if (typeof b !== "string") for (const [k, d] of Object.entries(b.dims)) sizes[k] = sizeOf(d, assume);
  // A weight is wider than what is computed where only some of its rows are read: the rotary table.
  sizes["#elements"] = Math.max(...ins.filter((o) => !o.weight).map((o) => elements(o.type, assume)), ...outs.map((t) => elements(t, assume)));
  if (typeof b !== "string") {
    const lead = (b.rests.b ?? (b.dims.r !== undefined ? [b.dims.r] : [])).map((d) => sizeOf(d, assume));
    sizes["#rows"] = lead.reduce((a, d) => a * d, 1);
    if (types[1]) sizes["#weights"] = elements(types[1], assume);
  }
  if (op.name === "einsum" || op.name === "einsum_quant") {
    const s = parseSpec(attrs.spec as string)!;
    const all = new Map<string, number>();
    for (const [i, c] of [...s.a].entries()) all.set(c, sizeOf((types[0] as TensorType).dims[i], assume));
    for (const [i, c] of [...s.b].entries()) all.set(c, sizeOf((types[1] as TensorType).dims[i], assume));
    sizes["#einsum"] = [...all.values()].reduce((a, d) => a * d, 1);
  }
  return op.flops?.(sizes, attrs) ?? 0;
}

/** Cost of a function's own nodes, regions included once per slice; weight-only nodes are free, they run at load. */
export function costOfFunc(f: Func, assume: Assume = f.assume): Cost {
  const total = { flops: 0, bytes: 0, launches: 0 };
  const fromWeights = weightOnly(f);
  const inRegion = new Map<Node, number>();
  for (const n of everyNode(f)) if (n.region) for (const x of bodyOf(n.region)) inRegion.set(x, n.op.name === "map_experts" ? (assume.E ?? 1) : (assume.B ?? 1));
  for (const n of everyNode(f)) {
    if (fromWeights.has(n)) continue;
    const c = costOf(n, assume);
    const times = inRegion.get(n) ?? 1;
    total.flops += c.flops * times;
    total.bytes += c.bytes * times;
    total.launches += c.launches * times;
  }
  return total;
}

/** Nodes that depend on weights alone. */
export function weightOnly(f: Pick<Func, "results">): Set<Node> {
  const only = new Set<Node>();
  for (const n of everyNode(f)) {
    if (n.op.name === "weight") only.add(n);
    else if (n.op.name !== "param" && n.op.name !== "call" && !n.region && n.operands.length && n.operands.every((o) => only.has(o.node))) only.add(n);
  }
  return only;
}
