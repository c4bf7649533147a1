// ModelSpec to Module: the model written plainly, in the order the paper draws it. Attention is unabsorbed and runs in a
// map_sequences region, experts in a map_experts region, weights keep their stored type, quantisation is explicit.
// Every optimisation is a pass over this. Layers of one kind are one function, called with their index.
import { Graph, type Func, type Module, type NamedValue, type Value } from "../../ir/graph.ts";
import {
  add,
  argmax,
  batchType,
  cacheType,
  call,
  concat,
  embed,
  lastRows,
  linear,
  param,
  rmsNorm,
  tensor,
  type DType,
} from "../../ir/index.ts";
import { attention } from "./mla.ts";
import { mlp, moe } from "./moe.ts";
import type { LayerKind, ModelSpec } from "./spec.ts";
import { always, plus, quantitiesOf, times, type Sized } from "./sizes.ts";
import { Weights } from "./symbols.ts";
import type { ModelOptions, Writer } from "./writer.ts";

export type Entry = "prefill" | "extend" | "decode" | "draft";

/** Sizes the cost model assumes: a long prompt, a chunk on a cached prefix, one token for each of 16 sequences. */
function assumptions(spec: ModelSpec): Record<Entry, Record<string, number>> {
  const rows = (T: number, B: number, s: number): Record<string, number> => {
    const E = spec.moe?.experts ?? 1;
    return { T, B, t: T / B, s, S: s, E, m: Math.max(1, Math.ceil((T * (spec.moe?.topk ?? 1)) / E)) };
  };
  return { prefill: rows(4096, 1, 4096), extend: rows(64, 1, 4096), decode: rows(16, 16, 4096), draft: rows(16, 16, 4096) };
}

export function modelModule(spec: ModelSpec, options: ModelOptions): Module {
  const graph = new Graph();
  const weights = new Weights(graph, spec);
  const funcs = new Map<string, Func>();
  const assume = assumptions(spec);
  const entries: Entry[] = ["prefill", "extend", "decode", ...(spec.mtp ? ["draft" as const] : [])];
  for (const entry of entries) {
    const kinds = entry === "draft" ? [draftKind(spec)] : [...new Set(spec.layers)];
    const bodies = new Map<LayerKind, Func>();
    for (const kind of kinds) {
      const f = layerFunc(graph, spec, options, weights, entry, kind, assume[entry]);
      bodies.set(kind, f);
      funcs.set(f.name, f);
    }
    const f =
      entry === "draft"
        ? draftFunc(graph, spec, options, weights, bodies, assume.draft)
        : mainFunc(graph, spec, options, weights, entry, bodies, assume[entry]);
    funcs.set(f.name, f);
  }
  return {
    name: spec.name,
    graph,
    weights: weights.declared,
    funcs,
    entries: { prefill: "prefill", extend: "extend", decode: "decode", ...(spec.mtp ? { draft: "draft" } : {}) },
    load: [],
    quantities: quantitiesOf(spec),
    ...(spec.storedAs ? { mixed: true } : {}),
  };
}

/** The extra prediction layer is a mixture whatever first_k_dense_replace says. */
const draftKind = (spec: ModelSpec): LayerKind => (spec.moe ? "moe" : "dense");

/** The parameter of a layer's latent cache: rows of [latent | shared key]. */
function cacheParam(graph: Graph, { sizes }: Weights, dtype: DType): Value {
  const row = plus(sizes.kvLora, sizes.rope);
  return graph.sized(param(graph, "cache", cacheType(row.n, dtype)), [row.term]);
}

function writer(graph: Graph, spec: ModelSpec, options: ModelOptions, weights: Weights, batch: Value): Writer {
  return {
    graph,
    spec,
    options,
    weights,
    batch,
    from: (fields, what, body) => graph.from([{ kind: "config", keys: fields.flatMap((f) => spec.keys[f] ?? [f]), what }], body),
  };
}

/** @entry/kind_layer(%h, %batch, %cache) -> next, cache [, routes]. */
function layerFunc(
  graph: Graph,
  spec: ModelSpec,
  options: ModelOptions,
  weights: Weights,
  entry: Entry,
  kind: LayerKind,
  assume: Record<string, number>,
): Func {
  const params: NamedValue[] = [
    { name: "h", value: param(graph, "h", tensor(["T", spec.hidden], options.activations)) },
    { name: "batch", value: param(graph, "batch", batchType) },
    { name: "cache", value: cacheParam(graph, weights, options.activations) },
  ];
  const [h, batch, cache] = params.map((p) => p.value);
  const w = writer(graph, spec, options, weights, batch);
  const body = weights.body(kind);
  const x = w.from(["hidden", "eps"], "input_layernorm", () =>
    rmsNorm({ x: h, gain: body.norm("attn_norm", "input_layernorm", weights.sizes.hidden), eps: spec.eps }),
  );
  graph.name(x, "x");
  const attended = attention(w, body, x, cache);
  const mid = graph.name(add({ a: h, b: attended.y }), "mid");
  const z = w.from(["hidden", "eps"], "post_attention_layernorm", () =>
    rmsNorm({ x: mid, gain: body.norm("ffn_norm", "post_attention_layernorm", weights.sizes.hidden), eps: spec.eps }),
  );
  graph.name(z, "z");
  const results: NamedValue[] = [];
  let y: Value;
  if (kind === "dense") y = w.from(["intermediate"], "mlp", () => mlp(w, body, z, "mlp", "ffn", weights.sizes.intermediate));
  else {
    const out = moe(w, body, z);
    y = out.y;
    if (options.taps) results.push({ name: "route.indices", value: out.indices }, { name: "route.weights", value: out.weights });
  }
  const next = graph.name(add({ a: mid, b: y }), "next");
  return {
    name: `${entry}/${kind}_layer`,
    params,
    results: [{ name: "next", value: next }, { name: "cache", value: attended.cache }, ...results],
    assume,
  };
}

/** @entry(%ids, %batch, %cache) -> logits, next, final, cache [, taps]. */
function mainFunc(
  graph: Graph,
  spec: ModelSpec,
  options: ModelOptions,
  weights: Weights,
  entry: Entry,
  bodies: Map<LayerKind, Func>,
  assume: Record<string, number>,
): Func {
  const params: NamedValue[] = [
    { name: "ids", value: param(graph, "ids", tensor(["T"], "i32"), "ids") },
    { name: "batch", value: param(graph, "batch", batchType) },
    { name: "cache", value: cacheParam(graph, weights, options.activations) },
  ];
  const [ids, batch] = params.map((p) => p.value);
  const { vocab, hidden } = weights.sizes;
  const w = writer(graph, spec, options, weights, batch);
  let cache = params[2].value;
  let h = w.from(["vocab", "hidden"], "embed_tokens", () =>
    embed({
      ids,
      table: weights.table("embed", "model.embed_tokens.weight", [vocab, hidden]),
      dtype: options.activations,
    }),
  );
  graph.name(h, "h_0");
  const taps: NamedValue[] = [{ name: "hidden.0", value: h }];
  for (const [i, kind] of spec.layers.entries()) {
    const out = call(graph, bodies.get(kind)!, [h, batch, cache], i);
    h = graph.name(out.next, `h_${i + 1}`);
    cache = graph.name(out.cache, "cache");
    taps.push({ name: `hidden.${i + 1}`, value: h });
    if (kind === "moe" && options.taps)
      taps.push(
        { name: `route.${i}.indices`, value: out["route.indices"] },
        { name: `route.${i}.weights`, value: out["route.weights"] },
      );
  }
  const final = w.from(["hidden", "eps"], "norm", () =>
    rmsNorm({ x: h, gain: weights.table("norm", "model.norm.weight", [hidden]), eps: spec.eps }),
  );
  graph.name(final, "final");
  // A decode step has one row of each sequence, which is its last.
  const last = options.taps || entry === "decode" ? final : lastRows({ x: final, batch });
  const logits = w.from(["vocab", "tied"], "lm_head", () =>
    linear({
      x: last,
      w: spec.tied
        ? weights.table("embed", "model.embed_tokens.weight", [vocab, hidden])
        : weights.table("head", "lm_head.weight", [vocab, hidden]),
      dtype: "f32",
    }),
  );
  graph.name(logits, "logits");
  const results: NamedValue[] = [
    { name: "logits", value: logits },
    { name: "next", value: greedy(w, logits) },
  ];
  if (options.taps || spec.mtp) results.push({ name: "final", value: final });
  return { name: entry, params, results: [...results, { name: "cache", value: cache }, ...(options.taps ? taps : [])], assume };
}

/** @draft(%ids, %hidden, %batch, %cache): ids are the next tokens, hidden the main model's rows after its final norm. */
function draftFunc(
  graph: Graph,
  spec: ModelSpec,
  options: ModelOptions,
  weights: Weights,
  bodies: Map<LayerKind, Func>,
  assume: Record<string, number>,
): Func {
  const row = tensor(["T", spec.hidden], options.activations);
  const params: NamedValue[] = [
    { name: "ids", value: param(graph, "ids", tensor(["T"], "i32"), "ids") },
    { name: "hidden", value: graph.sized(param(graph, "hidden", row), [{ symbol: "T" }, "hidden"]) },
    { name: "batch", value: param(graph, "batch", batchType) },
    { name: "cache", value: cacheParam(graph, weights, options.activations) },
  ];
  const [ids, rows, batch, cache] = params.map((p) => p.value);
  const { vocab, hidden } = weights.sizes;
  const w = writer(graph, spec, options, weights, batch);
  const L = spec.layers.length;
  const own = (symbol: string, name: string, shape: Sized[]): Value => weights.draftTable(name, shape, symbol);
  // Some checkpoints leave the repeats of the main model's tables out.
  const table = (symbol: string, name: "embed_tokens" | "shared_head.head", main: string): Value =>
    spec.draftShares?.includes(name) ? weights.table(symbol, main, [vocab, hidden]) : own(symbol, name, [vocab, hidden]);
  const x = w.from(["mtp", "hidden"], "enorm, hnorm, eh_proj", () => {
    const e = embed({ ids, table: table("embed", "embed_tokens", "model.embed_tokens.weight"), dtype: options.activations });
    const left = rmsNorm({ x: e, gain: own("enorm", "enorm", [hidden]), eps: spec.eps });
    const right = rmsNorm({ x: rows, gain: own("hnorm", "hnorm", [hidden]), eps: spec.eps });
    // The embedding half comes first (SEMANTICS 8).
    return linear({ x: concat({ a: left, b: right }), w: own("eh_proj", "eh_proj", [hidden, times(always(2), hidden)]) });
  });
  const out = call(graph, bodies.get(draftKind(spec))!, [x, batch, cache], L);
  const final = rmsNorm({ x: out.next, gain: own("norm", "shared_head.norm", [hidden]), eps: spec.eps });
  const logits = w.from(["mtp", "vocab"], "shared_head", () =>
    linear({
      x: options.taps ? final : lastRows({ x: final, batch }),
      w:
        spec.tied && spec.draftShares?.includes("shared_head.head")
          ? weights.table("embed", "model.embed_tokens.weight", [vocab, hidden])
          : table("head", "shared_head.head", "lm_head.weight"),
      dtype: "f32",
    }),
  );
  const routes =
    options.taps && spec.moe
      ? ["indices", "weights"].map((what) => ({ name: `route.${L}.${what}`, value: out[`route.${what}`] }))
      : [];
  return {
    name: "draft",
    params,
    results: [
      { name: "logits", value: logits },
      { name: "next", value: greedy(w, logits) },
      { name: "final", value: final },
      { name: "cache", value: out.cache },
      ...routes,
    ],
    assume,
  };
}

/** The most likely id after the last row of every sequence; with taps the logits have a row per token. */
const greedy = (w: Writer, logits: Value): Value =>
  w.graph.name(argmax({ x: w.options.taps ? lastRows({ x: logits, batch: w.batch }) : logits }), "next");
