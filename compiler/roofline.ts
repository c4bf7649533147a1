// What a compiled model must move and compute, site by site, and the time below which no kernel for a machine can be.
// Every input counts once and every output once: of the embedding only the rows of the ids, of the experts only those that rows
// are expected to choose, of the cache only the cached rows.
import { targetOf } from "../codegen/target.ts";
import type { FunctionPlan, Manifest } from "../ir/artifact.ts";
import { bytesOf, bytesPerElement, costOf, weightOnly, type Assume } from "../ir/cost.ts";
import { bodyOf, everyNode, sizeOf, type Func, type Module, type Node } from "../ir/index.ts";
import { runPipeline, standard } from "../passes/index.ts";
import { planMemory } from "../passes/plan/memory.ts";
import { selectModule } from "../passes/plan/select.ts";
import { arenaBytes, largestDims } from "../runtime/devices/dims.ts";
import { partBytes } from "../runtime/weights.ts";
import { weightPlans } from "./compile.ts";
import { modelModule } from "./frontend/model.ts";
import type { ModelSpec } from "./frontend/spec.ts";
import type { Machine } from "./machine.ts";

export interface Site {
  /** Function and value, as manifest.json names launches. */
  site: string;
  op: string;
  /** Launches of it in one step: layers, and slices of regions. */
  times: number;
  /** Of one launch. */
  bytes: number;
  flops: number;
  floor_us: number;
  bound: "bytes" | "FLOPs";
}

export interface Step {
  rows: number;
  sequences: number;
  cached: number;
  sites: Site[];
  launches: number;
  bytes: number;
  flops: number;
  floor_ms: number;
}

export interface Fit {
  weights: number;
  cache: number;
  /** Rows between kernels; the larger of a prefill's and a decode step's. */
  arena: number;
  total: number;
  available: number;
  fits: boolean;
}

export interface Roofline {
  decode: Step;
  prefill: Step;
  memory: Fit;
}

export interface Load {
  /** Sequences of a decode step. */
  batch: number;
  /** Cached rows of each, and rows of a prefill. */
  context: number;
}

export function roofline(spec: ModelSpec, machine: Machine, target: "cpu" | "cuda", load: Load): Roofline {
  const { activations } = machine;
  const module = runPipeline(modelModule(spec, { activations, actQuant: "dynamic", taps: false }), standard, { attention: "auto" }).module;
  const step = (entry: "prefill" | "decode"): Step => stepOf(module, spec, machine, entry, load);
  return { decode: step("decode"), prefill: step("prefill"), memory: fitOf(module, spec, machine, target, load) };
}

function stepOf(m: Module, spec: ModelSpec, machine: Machine, entry: "prefill" | "decode", { batch, context }: Load): Step {
  const decode = entry === "decode";
  const [rows, sequences] = decode ? [batch, batch] : [context, 1];
  const E = spec.moe?.experts ?? 1;
  const k = spec.moe?.topk ?? 1;
  // Each row chooses k of E; the rows of a step choose as if at random.
  const chosen = E * (1 - (1 - k / E) ** rows);
  const assume = { T: rows, B: sequences, t: rows / sequences, s: context, S: context, E, m: Math.max(1, Math.ceil((rows * k) / chosen)) };
  const sites: Site[] = [];
  for (const [name, times] of callsOf(m, m.entries[entry])) {
    const f = m.funcs.get(name)!;
    const inRegion = slicesOf(f, sequences, chosen);
    const free = weightOnly(f);
    for (const n of everyNode(f)) {
      const { flops, launches } = costOf(n, assume);
      if (launches === 0 || free.has(n)) continue;
      const bytes = bytesOfNode(m, n, assume, chosen);
      const [byBytes, byFlops] = [bytes / machine.bandwidth, flops / machine.flops[formatOf(n)]];
      sites.push({
        site: `${name}/${n.graph.nameOf(n.results[0]) ?? n.op.name}`,
        op: n.op.name,
        times: times * (inRegion.get(n) ?? 1),
        bytes,
        flops,
        floor_us: Math.max(byBytes, byFlops) * 1e6,
        bound: byBytes >= byFlops ? "bytes" : "FLOPs",
      });
    }
  }
  const sum = (of: (s: Site) => number): number => sites.reduce((a, s) => a + s.times * of(s), 0);
  return { rows, sequences, cached: context, sites, launches: sum(() => 1), bytes: sum((s) => s.bytes), flops: sum((s) => s.flops), floor_ms: sum((s) => s.floor_us) / 1000 };
}

/** How often each function runs in one step of an entry, callees first. */
function callsOf(m: Module, entry: string): Map<string, number> {
  const counts = new Map([[entry, 1]]);
  for (const n of everyNode(m.funcs.get(entry)!)) if (n.op.name === "call") counts.set(n.attrs.func as string, (counts.get(n.attrs.func as string) ?? 0) + 1);
  return new Map([...m.funcs.keys()].filter((f) => counts.has(f)).map((f) => [f, counts.get(f)!]));
}

/** Nodes inside regions, with how often a region's body runs. */
function slicesOf(f: Func, sequences: number, experts: number): Map<Node, number> {
  const times = new Map<Node, number>();
  for (const n of everyNode(f)) if (n.region) for (const x of bodyOf(n.region)) times.set(x, n.op.name === "map_experts" ? experts : sequences);
  return times;
}

function bytesOfNode(m: Module, n: Node, assume: Assume, chosen: number): number {
  let total = 0;
  for (const o of n.operands) {
    const decl = o.node.op.name === "weight" ? m.weights.get(o.node.attrs.name as string) : undefined;
    if (o.type.kind === "cache") {
      // An append takes the state and gives it: what it writes is counted with the results.
      if (n.results.every((r) => r.type.kind !== "cache")) total += assume.B * assume.s * o.type.width * bytesPerElement(o.type.dtype);
    } else if (decl?.source.kind === "rope" || (decl && n.op.name === "embed")) {
      total += assume.T * sizeOf(decl.type.dims[1], assume) * bytesPerElement(decl.type.dtype);
    } else {
      const stacked = decl?.source.kind === "checkpoint" && decl.source.pieces.some((p) => p.tensor.includes(".experts."));
      // Experts past those that are routed to are shared ones, which every row goes through.
      const all = stacked ? sizeOf(decl.type.dims[0], assume) : 1;
      total += (bytesOf(o.type, assume) * (stacked ? chosen + Math.max(0, all - assume.E) : 1)) / all;
    }
  }
  for (const r of n.results) total += r.type.kind === "cache" ? assume.T * r.type.width * bytesPerElement(r.type.dtype) : bytesOf(r.type, assume);
  return total;
}

/** What a node multiplies: codes, or rows and weights in bf16 or f32. */
function formatOf(n: Node): "fp8" | "bf16" | "f32" {
  const dtypes = n.operands.map((o) => (o.type.kind === "tensor" || o.type.kind === "cache" ? o.type.dtype : ""));
  if (dtypes.includes("e4m3/1x128") && dtypes.includes("e4m3/128x128")) return "fp8";
  return dtypes.includes("bf16") ? "bf16" : "f32";
}

function fitOf(m: Module, spec: ModelSpec, machine: Machine, target: "cpu" | "cuda", { batch, context }: Load): Fit {
  let weights = 0;
  for (const w of Object.values(weightPlans(m))) {
    if (w.staging) continue;
    const { data, scales } = w.source.kind === "rope" ? { data: context * 2 * w.source.invFreq.length * 4, scales: 0 } : partBytes(w);
    weights += (data + scales) * (w.layers?.length ?? 1);
  }
  const { catalogue } = targetOf(target, { activations: machine.activations });
  const functions: Record<string, FunctionPlan> = Object.fromEntries(selectModule(m, catalogue).map((d) => [d.name, planMemory(d, (k) => k.chosen.family)]));
  const arena = (entry: string, starts: number[], lengths: number[]): number => arenaBytes({ functions } as Manifest, entry, largestDims({ starts, lengths, pages: Math.ceil(context / 64) }));
  const rows = Array.from({ length: batch + 1 }, (_, i) => i);
  const most = Math.max(arena(m.entries.prefill, [0, context], [context]), arena(m.entries.decode, rows, rows.slice(1).map(() => context)));
  const cache = (spec.kvLora + spec.rope) * bytesPerElement(machine.activations) * (spec.layers.length + spec.mtp) * context * batch;
  const total = weights + cache + most;
  return { weights, cache, arena: most, total, available: machine.memory, fits: total <= machine.memory };
}
