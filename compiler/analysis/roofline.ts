// What a compiled model must move and compute, site by site, and the time below which no kernel for a machine can be.
// Every input counts once and every output once: of the embedding only the rows of the ids, of the experts only those that rows
// are expected to choose, of the cache only the cached rows.
import type { BroughtKernels } from "../../codegen/brought.ts";
import type { Processor } from "../../codegen/loops/processor.ts";
import { cachesOf } from "../../ir/caches.ts";
import { floorOf, type Machine } from "../../ir/machine.ts";
import type { Mesh } from "../../ir/mesh.ts";
import { exchangeSeconds, isExchange, wireOf } from "../../ir/wire.ts";
import { targetOf } from "../../codegen/target.ts";
import type { FunctionPlan, Manifest, Target } from "../../ir/artifact.ts";
import { bytesOf, costOf, weightOnly } from "../../ir/cost.ts";
import { bytesPerElement } from "../../ir/dtype.ts";
import { callOf, everyNode, isWeight, slicesOf, weightName, type Module, type Node } from "../../ir/index.ts";
import { planMemory } from "../../passes/plan/memory.ts";
import { selectModule } from "../../passes/plan/select.ts";
import { arenaBytes, largestDims } from "../../runtime/plan/dims.ts";
import { MEMORY_BYTES } from "../../runtime/devices/segments.ts";
import { instanceBytes, layersThatFit, partBytes } from "../../runtime/weights.ts";
import { weightPlans } from "./weight-plans.ts";
import type { Fit } from "./fit.ts";
import { shareRead, sizesOf, type Experts, type Sizes } from "./launches.ts";

export interface Site {
  /** Function and value; a value without a name goes by its op and the weight it reads. Every site has a name of its own. */
  site: string;
  op: string;
  /** Launches of it in one step: layers, and slices of regions. */
  times: number;
  /** Of one launch. */
  bytes: number;
  flops: number;
  floor_us: number;
  bound: "bytes" | "FLOPs";
  /** Of the step's floor, all its launches together; from 0 to 1. */
  share: number;
}

/** Where ranks of a divided model exchange something. */
export interface Meeting {
  site: string;
  op: string;
  times: number;
  /** Bytes that a rank sends in one of them, at least. */
  bytes: number;
  /** An estimate; null where nothing is known of the device's links. */
  us: number | null;
}

/** All of a step, of one rank. */
export interface WireStep {
  collectives: number;
  bytes: number;
  ms: number | null;
  sites: Meeting[];
}

export interface Step {
  rows: number;
  sequences: number;
  cached: number;
  sites: Site[];
  /** Where the model is divided over ranks; the floor has no part of it. */
  wire?: WireStep;
  launches: number;
  bytes: number;
  flops: number;
  floor_ms: number;
}

export interface Roofline {
  decode: Step;
  prefill: Step;
  memory: Fit;
}

export interface Load {
  /** Sequences of a decode step. */
  batch: number;
  /** Cached rows of each, and rows of each prompt of a prefill. */
  context: number;
  /** Prompts of a prefill, side by side; one unless said. */
  prompts?: number;
}

/** A model after its passes, and what of it is not in the graph. */
export interface Planned {
  architecture: string;
  module: Module;
  target: Target;
  /** Natives, as `targetOf` takes them. */
  natives?: string;
  /** Kernels of plug-ins. */
  kernels?: BroughtKernels;
  /** Of a GPU's kernels, as `targetOf` takes it. */
  arch?: string;
  /** Of kernels in a library. */
  processor?: Processor;
  activations: "f32" | "bf16";
  experts: Experts;
  layers: number;
  /** Layers that have caches: the main ones, and the extra prediction layer. */
  cachedLayers: number;
  maxPositions: number;
}

/** What `targetOf` is asked with. */
export const optionsFor = ({ activations, natives, arch, processor, kernels }: Planned): Parameters<typeof targetOf>[1] => ({
  activations,
  ...(natives === undefined ? {} : { natives }),
  ...(arch === undefined ? {} : { arch }),
  ...(processor === undefined ? {} : { processor }),
  ...(kernels === undefined ? {} : { kernels }),
});

export function roofline(p: Planned, machine: Machine, load: Load): Roofline {
  const step = (entry: "prefill" | "decode"): Step => stepOf(p, machine, entry, load);
  return { decode: step("decode"), prefill: step("prefill"), memory: memoryOf(p, machine)(load) };
}

/** Rows, sequences and cached rows of a step. */
export const stepSizes = (
  entry: "prefill" | "decode",
  { batch, context, prompts = 1 }: Load,
): { rows: number; sequences: number; cached: number } =>
  entry === "decode"
    ? { rows: batch, sequences: batch, cached: context }
    : { rows: prompts * context, sequences: prompts, cached: context };

export function stepOf({ module: m, experts }: Planned, machine: Machine, entry: "prefill" | "decode", load: Load): Step {
  const step = stepSizes(entry, load);
  const z = sizesOf(step, experts);
  const sites: Site[] = [];
  const meetings: Meeting[] = [];
  const seen = new Map<string, number>();
  for (const [name, times] of callsOf(m, m.entries[entry])) {
    const f = m.funcs.get(name)!;
    const inRegion = slicesOf(f, { experts: z.chosen, sequences: step.sequences });
    const free = weightOnly(f);
    for (const n of everyNode(f)) {
      const { flops, launches } = costOf(n, z);
      if (launches === 0 || free.has(n)) continue;
      if (m.mesh && isExchange(n)) {
        const site = numbered(`${name}/${nameOf(n)}`, seen);
        meetings.push({ site, op: n.op.name, times: times * inRegion(n), ...exchanged(n, z, m.mesh, machine) });
        continue;
      }
      const bytes = bytesOfNode(n, z);
      const { us, bound } = floorOf(machine, bytes, flops, formatOf(n));
      sites.push({
        site: numbered(`${name}/${nameOf(n)}`, seen),
        op: n.op.name,
        times: times * inRegion(n),
        bytes,
        flops,
        floor_us: us,
        bound,
        share: 0,
      });
    }
  }
  const sum = (of: (s: Site) => number): number => sites.reduce((a, s) => a + s.times * of(s), 0);
  const floor = sum((s) => s.floor_us);
  for (const s of sites) s.share = (s.times * s.floor_us) / floor;
  // The longest first: that is where time can be saved.
  sites.sort((a, b) => b.share - a.share);
  return {
    ...step,
    sites,
    ...(m.mesh ? { wire: wireStep(meetings) } : {}),
    launches: sum(() => 1),
    bytes: sum((s) => s.bytes),
    flops: sum((s) => s.flops),
    floor_ms: floor / 1000,
  };
}

function exchanged(n: Node, z: Sizes, mesh: Mesh, { links }: Machine): Pick<Meeting, "bytes" | "us"> {
  const wire = wireOf(n, z, mesh);
  return { bytes: wire.bytes, us: links ? exchangeSeconds(wire, mesh.tp, links) * 1e6 : null };
}

function wireStep(sites: Meeting[]): WireStep {
  const sum = (of: (s: Meeting) => number): number => sites.reduce((a, s) => a + s.times * of(s), 0);
  const ms = sites.some((s) => s.us === null) ? null : sum((s) => s.us!) / 1000;
  return { collectives: sum(() => 1), bytes: sum((s) => s.bytes), ms, sites };
}

/** The value's name, or its op and the weight that it reads. */
function nameOf(n: Node): string {
  const named = n.graph.nameOf(n.results[0]);
  if (named) return named;
  const weight = weightName(n.operands.find(isWeight));
  return weight === undefined ? n.op.name : `${n.op.name}(${weight.replace(/^.*_layer\./, "")})`;
}

/** A name that nothing has yet: the second of a name is name.2. */
function numbered(name: string, seen: Map<string, number>): string {
  const n = (seen.get(name) ?? 0) + 1;
  seen.set(name, n);
  return n === 1 ? name : `${name}.${n}`;
}

/** How often each function runs in one step of an entry, callees first. */
export function callsOf(m: Module, entry: string): Map<string, number> {
  const counts = new Map([[entry, 1]]);
  for (const n of everyNode(m.funcs.get(entry)!)) {
    const called = callOf(n);
    if (called) counts.set(called.func, (counts.get(called.func) ?? 0) + 1);
  }
  return new Map([...m.funcs.keys()].filter((f) => counts.has(f)).map((f) => [f, counts.get(f)!]));
}

function bytesOfNode(n: Node, z: Sizes): number {
  let total = 0;
  for (const o of n.operands) {
    // An append takes the state and gives it: what it writes is counted with the results.
    if (o.type.kind === "cache")
      total += n.results.every((r) => r.type.kind !== "cache") ? z.B * z.s * o.type.width * bytesPerElement(o.type.dtype) : 0;
    else total += bytesOf(o.type, z) * shareRead(n, o, z);
  }
  for (const r of n.results)
    total += r.type.kind === "cache" ? z.T * r.type.width * bytesPerElement(r.type.dtype) : bytesOf(r.type, z);
  return total;
}

/** What a node multiplies: codes, or rows and weights in bf16 or f32. */
function formatOf(n: Node): "fp8" | "bf16" | "f32" {
  const dtypes = n.operands.map((o) => (o.type.kind === "tensor" || o.type.kind === "cache" ? o.type.dtype : ""));
  if (dtypes.includes("e4m3/1x128") && dtypes.includes("e4m3/128x128")) return "fp8";
  return dtypes.includes("bf16") ? "bf16" : "f32";
}

/** What a step and a prefill take of a machine's memory, and whether it fits. The plans are made once for any number of loads. */
export function memoryOf(p: Planned, machine: Machine): (load: Load) => Fit {
  const { module: m, target } = p;
  const plans = weightPlans(m);
  const { catalogue } = targetOf(target, optionsFor(p));
  const functions: Record<string, FunctionPlan> = Object.fromEntries(
    selectModule(m, catalogue).map((d) => [d.name, planMemory(d, (k) => k.chosen.family)]),
  );
  return ({ batch, context }) => fitAt(p, machine, { plans, functions, pageRows: catalogue.pageRows }, { batch, context });
}

interface Plans {
  plans: ReturnType<typeof weightPlans>;
  functions: Record<string, FunctionPlan>;
  pageRows: number;
}

function fitAt(p: Planned, machine: Machine, { plans, functions, pageRows }: Plans, { batch, context }: Load): Fit {
  const { module: m, target } = p;
  let weights = 0;
  for (const w of Object.values(plans)) {
    if (w.staging) continue;
    const { data, scales } =
      w.source.kind === "rope" ? { data: context * 2 * w.source.invFreq.length * 4, scales: 0 } : partBytes(w);
    weights += (data + scales) * (w.layers?.length ?? 1);
  }
  const arena = (entry: string, starts: number[], lengths: number[]): number =>
    arenaBytes({ functions } as Manifest, entry, largestDims({ starts, lengths, pages: Math.ceil(context / pageRows) }));
  const rows = Array.from({ length: batch + 1 }, (_, i) => i);
  const most = Math.max(
    arena(m.entries.prefill, [0, context], [context]),
    arena(
      m.entries.decode,
      rows,
      rows.slice(1).map(() => context),
    ),
  );
  const row = [...cachesOf(m).values()].reduce((n, c) => n + c.width * bytesPerElement(c.dtype), 0);
  const cache = row * p.cachedLayers * context * batch;
  const total = weights + cache + most;
  const largest = target === "cpu" ? MEMORY_BYTES : Infinity;
  const large = Object.entries(plans).find(([, w]) => !w.staging && w.source.kind !== "rope" && instanceBytes(w) > largest);
  return {
    weights,
    cache,
    arena: most,
    total,
    available: machine.memory,
    fits: total <= machine.memory && !large,
    layers: p.layers,
    layers_that_fit: layersThatFit({ weights: plans, model: p }, machine.memory - cache - most, largest),
    ...(large ? { too_large: { weight: large[0], bytes: instanceBytes(large[1]), most: largest } } : {}),
  };
}
