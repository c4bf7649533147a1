// The shared expert as one more routed expert, that every token visits with weight 1. Where it is as wide as the routed ones its
// three products join theirs; one that is several times as wide is as many experts. README.md has the identity and what it costs.
import { bytesPerElement } from "../../ir/dtype.ts";
import {
  add,
  asTensor,
  bodyOf,
  fixed,
  gated,
  isScaled,
  isWeight,
  joinExperts,
  linear,
  make,
  mapExperts,
  param,
  perExpert,
  quantize,
  type Func,
  type Graph,
  type Module,
  type Node,
  type Region,
  type Value,
} from "../../ir/index.ts";
import type { Machine } from "../../ir/machine.ts";
import { everyNode } from "../../ir/print.ts";
import { route } from "../../ir/ops/expert.ts";
import type { Body } from "../contract.ts";
import { pass, type Cx } from "../pass.ts";
import { placeExperts } from "../plan/load.ts";
import { gatedLayers } from "./pack-gate-up.ts";
import { rebuild } from "../rewrite.ts";

const step = "shared expert as a routed one";

/** Launches the shared expert has to itself once passes are through: gate and up, the gating, down. */
const SAVED = 3;

interface Site {
  sum: Node;
  map: Node;
  routed: Node;
  /** Weights of the shared expert, in the order of the region's. */
  weights: Value[];
  /** Experts of the routed ones' width that it is, and whether rows or columns of each weight belong to one of them. */
  parts: number;
  cuts: ("rows" | "columns")[];
}

/** add(map_experts(..), s) where s is what the region computes, of the same rows and other weights; or what is in the way. */
function siteOf(f: Func, sum: Node): Site | string | undefined {
  const map = sum.operands[0]?.node;
  if (!add.made(sum) || map?.op.traits.region !== "experts") return undefined;
  const region = map.region!;
  const [indices, weights, x, ...stacked] = map.operands;
  const bound = new Map<Value, Value>([[region.params[0], x]]);
  const differs = alike(region.results[0], sum.operands[1], new Set(region.params), bound);
  if (differs) return differs;
  const own = region.params.slice(1).map((p) => bound.get(p));
  if (!own.every((v): v is Value => isWeight(v))) return "a matrix of the shared expert is computed";
  const cut = cutOf(own, stacked, region);
  if (typeof cut === "string") return cut;
  if (!route.made(indices.node) || weights.node !== indices.node) return "the experts are not chosen by route";
  const readers = everyNode(f).filter((n) => n.operands.some((o) => o.node === indices.node));
  if (readers.some((n) => n !== map) || f.results.some((r) => r.value.node === indices.node))
    return "the choice of experts is read elsewhere too (--taps)";
  return { sum, map, routed: indices.node, weights: own, ...cut };
}

/**
 * How the shared expert's matrices are cut into experts as wide as the routed ones: rows of those that read the token, columns of the one
 * that makes the result, for what lies between treats columns alike. Or what is in the way.
 */
function cutOf(own: readonly Value[], stacked: readonly Value[], region: Region): Pick<Site, "parts" | "cuts"> | string {
  const found: { parts: number; of: "rows" | "columns" }[] = [];
  for (const [i, w] of own.entries()) {
    const [one, stack] = [asTensor(w.type), asTensor(stacked[i].type)];
    if (one.dtype !== stack.dtype) return `the shared expert is ${one.dtype}, the routed ones ${stack.dtype}`;
    const [rows, columns] = stack.dims.slice(1).map((n, axis) => fixed(one.dims[axis]) / fixed(n));
    const of = rows === 1 ? "columns" : "rows";
    const parts = Math.max(rows, columns);
    const differ = `the shared expert has matrices [${one.dims.join(", ")}], the routed ones [${stack.dims.slice(1).join(", ")}]`;
    if (Math.min(rows, columns) !== 1 || !Number.isInteger(parts)) return differ;
    if (parts > 1 && isScaled(one.dtype)) return `${differ}, and blocks of scales are not cut`;
    found.push({ parts, of });
  }
  const [{ parts }] = found;
  if (found.some((f) => f.parts !== parts))
    return "matrices of the shared expert are so many times the routed ones', and so many";
  if (parts > 1) {
    const last = region.results[0].node;
    for (const n of bodyOf(region)) {
      if (gated.made(n)) continue;
      const at = linear.made(n) ? region.params.indexOf(n.operands[1]) - 1 : -1;
      const reads = n === last ? "columns" : n.operands[0] === region.params[0] ? "rows" : undefined;
      if (at < 0 || found[at].of !== reads)
        return `${n.op.name} of the experts is no product by whose rows or columns they can be cut`;
    }
  }
  return { parts, cuts: found.map((f) => f.of) };
}

/** Null when `v` is `p` with values for its parameters. */
function alike(p: Value, v: Value, params: ReadonlySet<Value>, bound: Map<Value, Value>): string | null {
  if (params.has(p)) {
    if (!bound.has(p)) bound.set(p, v);
    return bound.get(p) === v ? null : "the shared expert reads other rows than the routed ones";
  }
  if (p.node.op !== v.node.op || p.index !== v.index || JSON.stringify(p.node.attrs) !== JSON.stringify(v.node.attrs))
    return `the shared expert has ${v.node.op.name} where the routed ones have ${p.node.op.name}`;
  for (const [i, o] of p.node.operands.entries()) {
    const differs = alike(o, v.node.operands[i], params, bound);
    if (differs) return differs;
  }
  return null;
}

/** Why it does not pay where one row of each sequence is decoded, or null: a row more per token and part is gathered and read. */
function loses({ map, parts }: Site, T: number, { name, bandwidth, launch }: Machine): string | null {
  const row = asTensor(map.operands[2].type);
  const region = map.region!;
  const readers = bodyOf(region).filter((n) => n.operands.includes(region.params[0]));
  // Rows that are only read quantised are gathered as codes, once quantise-once is through.
  const dtype = readers.every(quantize.made) ? "e4m3/1x128" : row.dtype;
  const bytes = 2 * parts * T * fixed(row.dims.at(-1)) * bytesPerElement(dtype);
  const us = (seconds: number): string => `${(seconds * 1e6).toFixed(1)} us`;
  if (bytes / bandwidth < SAVED * launch) return null;
  return (
    `on ${name} ${(bytes / 1e6).toFixed(2)} MB more to move take ${us(bytes / bandwidth)}, ${SAVED} launches fewer ` +
    `give ${us(SAVED * launch)}`
  );
}

/** One answer for the whole model: matrices joined in one function and read alone in another would be kept twice. */
function verdict(m: Module, machines: readonly Machine[]): { refusal?: string; kind: "declined" | "unmatched" } {
  const decode = m.funcs.get(m.entries.decode);
  for (const f of m.funcs.values())
    for (const n of everyNode(f)) {
      const site = siteOf(f, n);
      if (site === undefined) continue;
      if (typeof site === "string") return { refusal: site, kind: "declined" };
      const worse = machines.flatMap((machine) => loses(site, decode?.assume.T ?? 1, machine) ?? []);
      if (worse.length) return { refusal: worse.join("; "), kind: "declined" };
    }
  return { kind: "declined" };
}

const verdicts = new WeakMap<Module, ReturnType<typeof verdict> & { machines: readonly Machine[] }>();

/** Regions of experts with a shared expert beside them. */
export const besideExperts = (b: Body): number =>
  gatedLayers(b) > 0 ? b.all(mapExperts).filter((n) => b.readers(n).some(add.made)).length : 0;

export const sharedExpert = pass({
  name: "shared-expert",
  summary: "The shared expert as one more routed expert, or several where it is as wide as those, where that is faster.",
  steps: {
    [step]: "add(map_experts(...), the same products of the same rows)",
    place: "matrices of the shared expert behind those of the routed ones",
  },
  run(f: Func, cx: Cx): Func {
    const sites = everyNode(f).flatMap((n) => {
      const site = siteOf(f, n);
      return site === undefined ? [] : [{ at: n.results[0], site }];
    });
    if (!sites.length) return f;
    let known = verdicts.get(cx.module);
    if (known?.machines !== cx.machines)
      verdicts.set(cx.module, (known = { machines: cx.machines, ...verdict(cx.module, cx.machines) }));
    const { refusal } = known;
    if (refusal !== undefined) {
      for (const { at } of sites) cx.declined(step, refusal, at);
      return f;
    }
    const bySum = new Map(sites.map(({ site }) => [(site as Site).sum, site as Site]));
    for (const { at } of sites) cx.fired(step, { at });
    return rebuild(f, cx.module.graph, (_, original) => {
      const site = bySum.get(original);
      return site ? [joined(site, cx.module.graph)] : undefined;
    });
  },
  whole: placeExperts,
  promises: [{ rules: [step], before: besideExperts }],
});

/** map_experts over one expert more, or several; its body is built anew, for a region belongs to one node. */
function joined({ map, routed, weights, parts, cuts }: Site, graph: Graph): Value {
  const [, , x, ...stacked] = map.operands;
  const { indices, weights: gates } = route({ ...routeArgs(routed), shared: parts });
  graph.name(indices, "indices");
  graph.name(gates, "weights");
  const all = stacked.map((s, i) => joinExperts({ a: s, b: weights[i], parts, of: cuts[i] }));
  const old = map.region!;
  const params = [
    param(graph, "xe", perExpert(x.type, true)),
    ...all.map((s, i) => param(graph, graph.nameOf(old.params[i + 1]) ?? "w", perExpert(s.type, false))),
  ];
  const done = new Map<Value, Value>(old.params.map((p, i) => [p, params[i]]));
  for (const n of bodyOf(old)) {
    const made = graph.from(graph.originsOf(n), () =>
      make(
        n.op,
        n.operands.map((o) => done.get(o) ?? o),
        n.attrs,
        n.region,
      ),
    );
    for (const [i, r] of n.results.entries()) done.set(r, made[i]);
  }
  const region = { params, results: old.results.map((r) => done.get(r)!) };
  return graph.name(
    graph.from(graph.originsOf(map), () => mapExperts({ indices, weights: gates, x, stacked: all, region })),
    "routed",
  );
}

function routeArgs(n: Node): Parameters<typeof route>[0] {
  const [logits, bias] = n.operands;
  return { ...n.attrs, logits, ...(bias ? { bias } : {}) } as Parameters<typeof route>[0];
}
