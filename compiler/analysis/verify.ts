// Translation validation: one step of a small model through the interpreter, in float64, before any pass and after each.
// A pass that declares a change of the function (a rounding left out) must still be exact where nothing is quantised.
import { cachesOf } from "../../ir/caches.ts";
import { LATENT } from "../../ir/types.ts";
import {
  callOf,
  everyNode,
  interpret,
  interpretRanks,
  printFunc,
  tensorOf,
  type Caches,
  type Inputs,
  type Module,
  type Tensor,
} from "../../ir/index.ts";
import type { WeightDecl } from "../../ir/graph.ts";
import { localModule } from "../../passes/shard/local.ts";
import { runPipeline, standard, type Pass, type PipelineOptions } from "../../passes/index.ts";
import { modelModule } from "../frontend/model.ts";
import type { ModelSpec } from "../frontend/spec.ts";
import { isNorm, noise, weightOf } from "./made-weights.ts";

export interface Proof {
  entry: string;
  attention: "expanded" | "absorbed";
  pass: string;
  holds: boolean;
  /** Largest difference of any logit to the unoptimised graph's. */
  difference: number;
  change?: string;
  /** The same difference on the graph without activation quantisation, where a change is declared. */
  unquantised?: number;
  /** Collectives that are there before the pass and not after it, where it does not hold: "1 all_reduce in @moe_layer". */
  lost?: string[];
}

/** An entry of a model that a step runs. */
export type Entry = "prefill" | "extend" | "decode" | "draft";

/** Weights of a module by name and layer, as a rank has them. */
export type WeightsOf = (m: Module, rank: number, kept: MadeWeights) => (name: string, layer: number | null) => Tensor;

/** Above rounding of float64 sums in another order, far below a wrong term. */
export const EXACT = 1e-8;

export function prove(
  spec: ModelSpec,
  pipeline: readonly Pass[] = standard,
  given: Readonly<Record<string, string>> = {},
  how: PipelineOptions = {},
  tell: (doing: string) => void = () => {},
): Proof[] {
  const options = { activations: "f32", taps: false } as const;
  const module = modelModule(spec, { ...options, actQuant: "dynamic" });
  const plain = modelModule(spec, { ...options, actQuant: "none" });
  const proofs: Proof[] = [];
  const logits = remembered(spec);
  for (const attention of ["expanded", "absorbed"] as const) {
    const { snapshots, ledger } = runPipeline(module, pipeline, { ...given, attention }, how);
    const changes = new Map(ledger.entries.filter((e) => e.outcome === "fired" && e.changes).map((e) => [e.pass, e.changes!]));
    const exact = changes.size ? runPipeline(plain, pipeline, { ...given, attention }, how).snapshots : [];
    for (const entry of ["prefill", "extend", ...(spec.mtp ? (["draft"] as const) : [])] as const) {
      let before = logits(module, entry);
      for (const [i, { pass, module: m }] of snapshots.entries()) {
        if (i === 0) continue;
        tell(`${attention} attention, ${entry}: pass ${i} of ${snapshots.length - 1}, ${pass}`);
        const after = logits(m, entry);
        const difference = largest(after, before);
        before = after;
        const change = difference < EXACT ? undefined : changes.get(pass);
        const plainly = (at: number): Float64Array => logits(exact[at].module, entry);
        const unquantised = change === undefined ? undefined : largest(plainly(i), plainly(i - 1));
        const holds = difference < EXACT || (Number.isFinite(difference) && unquantised !== undefined && unquantised < EXACT);
        const lost = holds ? [] : lostMeetings(snapshots[i - 1].module, m);
        proofs.push({
          entry,
          attention,
          pass,
          difference,
          holds,
          ...(change === undefined ? {} : { change, unquantised }),
          ...(lost.length ? { lost } : {}),
        });
      }
    }
  }
  return proofs;
}

/** The logits of an entry of modules of a model, interpreted once for all that a step reads. */
function remembered(spec: ModelSpec): (m: Module, entry: Entry) => Float64Array {
  const known = new Map<string, Float64Array>();
  const weights: MadeWeights = new Map();
  return (m, entry) => {
    const key = `${entry} ${m.mesh ? JSON.stringify(m.mesh) : ""}\n${textBelow(m, entry)}`;
    const before = known.get(key);
    if (before) return before;
    const made = step(m, spec, entry, weights);
    known.set(key, made);
    return made;
  };
}

/** All that one entry reads: itself, the functions that it calls, those that compute weights, and weights with their sources. */
export function textBelow(m: Module, entry: keyof Module["entries"]): string {
  const seen = new Set<string>();
  const visit = (name: string): void => {
    const f = m.funcs.get(name);
    if (!f || seen.has(name)) return;
    seen.add(name);
    for (const n of everyNode(f)) {
      const called = callOf(n);
      if (called) visit(called.func);
    }
  };
  for (const name of [m.entries[entry] ?? "", ...m.load.map((l) => l.func)]) visit(name);
  const weights = [...m.weights.values()].map((w) => [w.name, w.type, w.layers, w.source]);
  const texts = [...seen].flatMap((name) => m.funcs.get(name) ?? []).map((f) => printFunc(f));
  return `${texts.join("\n")}\n${JSON.stringify(weights)}`;
}

/** Collectives of every function that a pass left fewer of, in words. */
function lostMeetings(before: Module, after: Module): string[] {
  const counted = (m: Module): Map<string, number> => {
    const counts = new Map<string, number>();
    for (const f of m.funcs.values())
      for (const n of everyNode(f))
        if (n.op.traits.meets === "exchange")
          counts.set(`${n.op.name} in @${f.name}`, (counts.get(`${n.op.name} in @${f.name}`) ?? 0) + 1);
    return counts;
  };
  const left = counted(after);
  return [...counted(before)].flatMap(([what, n]) => (n > (left.get(what) ?? 0) ? [`${n - (left.get(what) ?? 0)} ${what}`] : []));
}

/** Logits of two sequences of 3 and 2 rows; extend and draft run on a prefix of 4 and 0 cached rows. */
export function step(
  m: Module,
  spec: ModelSpec,
  entry: Entry,
  made: MadeWeights = new Map(),
  weights: WeightsOf = weightsOf,
): Float64Array {
  const prefix = entry === "prefill" ? [0, 0] : [4, 0];
  const layers = Array.from({ length: spec.layers.length + spec.mtp }, (_, l) => l);
  const caches = (): Caches =>
    Object.fromEntries(
      [...cachesOf(m)].map(([name, { width }]) => [
        name,
        layers.map((l) => prefix.map((n, b) => noise(`${name === LATENT ? "cache" : name} ${l} ${b}`, n * width))),
      ]),
    );
  const ids = Array.from({ length: 5 }, (_, i) => (i * 29 + 7) % spec.vocab);
  const values: Record<string, Tensor> = { ids: tensorOf([5], ids, "i32") };
  if (entry === "draft") values.hidden = tensorOf([5, spec.hidden], noise("hidden", 5 * spec.hidden));
  const local = localModule(m);
  const func = local.funcs.get(m.entries[entry]!)!;
  const batch = { starts: [0, 3, 5], lengths: [prefix[0] + 3, prefix[1] + 2], ids };
  const inputs = (rank: number): Inputs => ({
    batch,
    values,
    weight: weights(local, rank, made),
    caches: caches(),
  });
  if (!m.mesh) return interpret(m, func, inputs(0)).logits.data;
  const ranks = Array.from({ length: m.mesh.tp }, (_, rank) => ({ module: local, func, inputs: inputs(rank) }));
  const [first, ...others] = interpretRanks(ranks).map((r) => r.logits.data);
  // Every rank has the same bits, or none of them counts.
  return others.every((o) => largest(o, first) === 0) ? first : first.map(() => NaN);
}

/** Weights that steps of a model share, by all that their elements depend on. */
export type MadeWeights = Map<string, Tensor>;

/** Weights of a module by name and layer, each made once; those of a checkpoint once for all that share `kept`. */
export function weightsOf(m: Module, rank: number, kept: MadeWeights): (name: string, layer: number | null) => Tensor {
  const own = new Map<string, Tensor>();
  const weight = (name: string, layer: number | null): Tensor => {
    const decl = m.weights.get(name)!;
    // A computed weight depends on functions.
    const [made, key] =
      decl.source.kind === "computed"
        ? [own, `${name} ${layer}`]
        : [kept, JSON.stringify([isNorm(decl), decl.type, decl.source, layer, divided(decl) && [m.mesh, rank]])];
    if (!made.has(key)) made.set(key, weightOf(m, decl, layer, weight, rank));
    return made.get(key)!;
  };
  return weight;
}

/** Whether ranks have different parts of a weight. */
const divided = ({ source }: WeightDecl): boolean =>
  source.kind === "checkpoint" && source.pieces.some((p) => p.share !== undefined);

/** The largest difference of two lists; Infinity where a number is NaN or infinite, or one list is longer. */
export function largest(a: Float64Array, b: Float64Array): number {
  let d = a.length === b.length ? 0 : Infinity;
  for (let i = 0; i < a.length; i++) {
    const apart = Math.abs(a[i] - b[i]);
    d = Math.max(d, Number.isNaN(apart) ? Infinity : apart);
  }
  return d;
}
