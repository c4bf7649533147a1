// The float64 reference of a random model: the interpreter over the model as the frontend writes it, call by call, at the routes that
// the run on the card took. A router may choose otherwise where two scores lie closer than rounding moves them, and all that
// follows is another token's; so the reference takes the same way, and how close the scores were is judged by itself.
import type { CompileOptions } from "../../compiler/compile.ts";
import { modelModule } from "../../compiler/frontend/model.ts";
import type { ModelSpec } from "../../compiler/frontend/spec.ts";
import { tensorsOf } from "../../compiler/frontend/weights.ts";
import { e4m3Values } from "../../ir/numeric.ts";
import { interpret, route, tensorOf, type Caches, type Module, type Node, type Tensor } from "../../ir/index.ts";
import { choosePasses, runPipeline, standard } from "../../passes/index.ts";
import { describe, fill, formBytes, type Form } from "../../runtime/synthetic.ts";
import { weightsFrom, type Raw } from "../interpreted.ts";
import { turnCodes, type Turn } from "./family-codes.ts";

/** One call of an entry: rows of sequences, packed; `lengths` count cached rows with the new ones. */
export interface CallRows {
  entry: "prefill" | "extend" | "decode" | "draft";
  starts: number[];
  lengths: number[];
  /** The sequences that have rows. */
  sequences: number[];
  ids: number[];
  /** Rows of the main model that the extra layer takes. */
  hidden?: Float32Array;
}

/** What a call gave: logits [T, vocab], and experts [T, k] of each mixture layer, in any order. */
export interface CallAnswer {
  logits: ArrayLike<number>;
  routes: Map<number, ArrayLike<number>>;
}

/** A row's experts where the reference would have chosen others: how far scores would have to move for the choice. */
export interface Flip {
  call: number;
  layer: number;
  row: number;
  needed: number;
}

export interface Played {
  logits: Float64Array[];
  flips: Flip[];
  /** Codes of quantised rows that lie near the edge to another. */
  near: Turn[];
  /** Scores [T, e] of every router by "call.layer". */
  scores: Map<string, Float64Array>;
}

/** Synthetic weights as a checkpoint holds them. */
export function syntheticRaw(spec: ModelSpec, seed: number): Raw {
  const out: Raw = new Map();
  const put = (name: string, of: string, shape: readonly number[], ofShape: readonly number[], form: Form): void => {
    const n = shape.reduce((a, b) => a * b, 1);
    const bytes = new ArrayBuffer(n * formBytes(form));
    fill(bytes, 0, describe(seed, of, ofShape, form), 0, n);
    const data =
      form === "e4m3"
        ? Float64Array.from(new Uint8Array(bytes), (c) => e4m3Values[c])
        : Float64Array.from(new Float32Array(bytes));
    out.set(name, { dtype: form, shape: [...shape], data });
  };
  for (const t of tensorsOf(spec)) {
    // As the runtime makes them: bf16 values, whatever they are held in, but for the router's bias.
    put(
      t.name,
      t.name,
      t.shape,
      t.shape,
      t.dtype === "e4m3" ? "e4m3" : t.name.endsWith("e_score_correction_bias") ? "f32" : "bf16-in-f32",
    );
    if (t.scaleName) put(t.scaleName, t.name, t.scaleShape!, t.shape, spec.fp8?.scale === "ue8m0" ? "scale-ue8m0" : "scale");
  }
  return out;
}

/** What the options compute, written plainly: absorbing reads the latents as they are, so it changes what a quantised model computes. */
export function referenceModule(spec: ModelSpec, options: CompileOptions): Module {
  const module = modelModule(spec, { activations: options.activations, actQuant: options.actQuant, taps: true });
  const absorbs =
    spec.fp8 && options.actQuant === "dynamic" && choosePasses(options.passes, standard).some((p) => p.name === "absorb-mla");
  return absorbs
    ? runPipeline(module, choosePasses("absorb-mla", standard), { attention: options.attention }, { contracts: false }).module
    : module;
}

/** Plays calls; `taken` are the answers whose routes are followed, `turns` codes that become what lies beyond their edge. */
export function play(
  module: Module,
  spec: ModelSpec,
  raw: Raw,
  calls: readonly CallRows[],
  taken: readonly CallAnswer[],
  mode: "real" | "typed",
  turns: readonly Turn[] = [],
): Played {
  const out: Played = { logits: [], flips: [], near: [], scores: new Map() };
  const main: Float64Array[][] = [];
  const caches: Caches = { latent: main };
  const weight = weightsFrom(module, raw);
  const sequences = Math.max(...calls.flatMap((c) => c.sequences)) + 1;
  const kept = Array.from({ length: spec.layers.length + spec.mtp }, () =>
    Array.from({ length: sequences }, () => new Float64Array()),
  );
  for (const [i, c] of calls.entries()) {
    for (const l of kept.keys()) main[l] = c.sequences.map((b) => kept[l][b]);
    // Rows that two products quantise have one code each: it turns for both.
    const quantised = new Map<Tensor, number>();
    const instead = (node: Node, layer: number | null, ins: readonly Tensor[], given: readonly Tensor[]): readonly Tensor[] => {
      if (node.op.name === "quantize") {
        const first = !quantised.has(ins[0]);
        if (first) quantised.set(ins[0], quantised.size);
        turnCodes(i, quantised.get(ins[0])!, ins[0], given[0], turns, first ? out.near : []);
      }
      return route.made(node) ? follow(node, layer!, ins, given, taken[i].routes.get(layer!)!, i, out) : given;
    };
    const T = c.ids.length;
    const values: Record<string, Tensor> = {
      ids: tensorOf([T], c.ids, "i32"),
      ...(c.hidden ? { hidden: tensorOf([T, spec.hidden], c.hidden) } : {}),
    };
    const got = interpret(
      module,
      module.funcs.get(module.entries[c.entry]!)!,
      { mode, batch: { starts: c.starts, lengths: c.lengths, ids: c.ids }, values, weight, caches, instead },
      c.entry === "draft" ? spec.layers.length : null,
    );
    for (const l of kept.keys()) c.sequences.forEach((b, at) => (kept[l][b] = Float64Array.from(main[l][at])));
    out.logits.push(got.logits.data);
  }
  return out;
}

/** The router's answer at the experts that were taken. */
function follow(
  node: Node,
  layer: number,
  [logits, bias]: readonly Tensor[],
  given: readonly Tensor[],
  taken: ArrayLike<number>,
  call: number,
  out: Played,
): readonly Tensor[] {
  const [T, e] = logits.shape;
  const k = node.attrs.topk as number;
  const all = new Float64Array(T * e);
  const [indices, weights] = [given[0].data.slice(), given[1].data.slice()];
  for (let t = 0; t < T; t++) {
    const scores = scoresOf(logits.data.subarray(t * e, (t + 1) * e), node.attrs.scoring as string);
    all.set(scores, t * e);
    const chosen = Array.from({ length: k }, (_, j) => taken[t * k + j]).sort((a, b) => a - b);
    if (chosen.every((id, j) => id === indices[t * k + j])) continue;
    const c = bias ? scores.map((v, j) => v + bias.data[j]) : scores;
    out.flips.push({
      call,
      layer,
      row: t,
      needed: needed(c, chosen, {
        groups: node.attrs.groups as number,
        kept: node.attrs.kept as number,
        method: node.attrs.method as string,
      }),
    });
    const sum = node.attrs.normalise ? chosen.reduce((s, id) => s + scores[id], 0) + 1e-20 : 1;
    chosen.forEach((id, j) => {
      indices[t * k + j] = id;
      weights[t * k + j] = (scores[id] / sum) * (node.attrs.factor as number);
    });
  }
  out.scores.set(`${call}.${layer}`, all);
  return [tensorOf([T, k], indices, "i32"), tensorOf([T, k], weights)];
}

function scoresOf(row: Float64Array, how: string): Float64Array {
  if (how === "sigmoid") return row.map((v) => 1 / (1 + Math.exp(-v)));
  const max = Math.max(...row);
  const e = row.map((v) => Math.exp(v - max));
  const sum = e.reduce((a, b) => a + b, 0);
  return e.map((v) => v / sum);
}

/** The least by which every score has to be off for these experts to be chosen; Infinity for no choice of a router. */
export function needed(
  c: ArrayLike<number>,
  chosen: readonly number[],
  { groups, kept, method }: { groups: number; kept: number; method: string },
): number {
  const set = new Set(chosen);
  if (set.size !== chosen.length || chosen.some((id) => !(id >= 0 && id < c.length))) return Infinity;
  const width = c.length / groups;
  const among = (keep: ReadonlySet<number>): number => {
    let [best, least] = [-Infinity, Infinity];
    for (let i = 0; i < c.length; i++)
      if (set.has(i)) least = Math.min(least, c[i]);
      else if (keep.has(Math.floor(i / width))) best = Math.max(best, c[i]);
    return Math.max(0, (best - least) / 2);
  };
  const every = Array.from({ length: groups }, (_, g) => g);
  if (method === "greedy" || groups === 1) return among(new Set(every));
  // V3 ranks a group by the sum of its two best, each of which may be off.
  const terms = method === "noaux_tc" ? 2 : 1;
  const rank = every.map((g) =>
    Array.from({ length: width }, (_, i) => c[g * width + i])
      .sort((a, b) => b - a)
      .slice(0, terms)
      .reduce((a, b) => a + b, 0),
  );
  const must = new Set(chosen.map((id) => Math.floor(id / width)));
  let least = Infinity;
  for (let mask = 0; mask < 2 ** groups; mask++) {
    const keep = new Set(every.filter((g) => mask & (1 << g)));
    if (keep.size !== kept || [...must].some((g) => !keep.has(g))) continue;
    const out = every.filter((g) => !keep.has(g));
    const moved = out.length
      ? Math.max(0, (Math.max(...out.map((g) => rank[g])) - Math.min(...[...keep].map((g) => rank[g]))) / (2 * terms))
      : 0;
    least = Math.min(least, Math.max(moved, among(keep)));
  }
  return least;
}
