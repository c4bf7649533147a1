// Multi-head latent attention as the paper writes it: queries and keys expanded per head, one shared rotated key.
import type { Value } from "../../ir/graph.ts";
import {
  add,
  addBias,
  asTensor,
  cacheAppend,
  dequantize,
  einsum,
  linear,
  mapSequences,
  param,
  perSequence,
  quantize,
  reshape,
  rmsNorm,
  rope,
  scale,
  softmaxCausal,
  split,
} from "../../ir/index.ts";
import { plus, times, type Sized } from "./sizes.ts";
import { softmaxScale } from "./spec.ts";
import type { Body } from "./symbols.ts";
import type { Writer } from "./writer.ts";

/** y = x Wᵀ; for a block-scaled W the input is quantised and both are dequantised, in the open. */
export function project(w: Writer, x: Value, matrix: Value): Value {
  if (asTensor(matrix.type).dtype !== "e4m3/128x128") return linear({ x, w: matrix });
  const dtype = w.options.activations;
  return w.from(["fp8"], "FP8 linear", () => {
    const seen = w.options.actQuant === "dynamic" ? dequantize({ x: quantize({ x, scale: w.spec.fp8!.scale }), dtype }) : x;
    return linear({ x: seen, w: dequantize({ x: matrix, dtype }) });
  });
}

/** x [T, d] -> y [T, d], and the cache with this step's rows appended. */
export function attention(w: Writer, body: Body, x: Value, cache: Value): { y: Value; cache: Value } {
  const { spec, graph, batch } = w;
  const { hidden, heads, kvLora, nope, rope: d, vDim, qLora } = w.weights.sizes;
  const table = w.weights.rope();
  const interleaved = spec.position.interleaved;
  const bias = (y: Value, symbol: string, name: string, n: Sized): Value =>
    spec.attentionBias
      ? w.from(["bias"], "attention_bias", () => addBias({ x: y, bias: body.vector(symbol, `${name}.bias`, n) }))
      : y;

  const q = w.from(["heads", "qLora", "nope", "rope"], "queries", () => {
    if (spec.qLora === null) return project(w, x, body.matrix("wq", "self_attn.q_proj", times(heads, plus(nope, d)), hidden));
    const qa = bias(project(w, x, body.matrix("wq_a", "self_attn.q_a_proj", qLora, hidden)), "bq_a", "self_attn.q_a_proj", qLora);
    const qn = rmsNorm({
      x: graph.name(qa, "qa"),
      gain: body.norm("q_norm", "self_attn.q_a_layernorm", qLora),
      eps: spec.latentEps,
    });
    return project(w, graph.name(qn, "qn"), body.matrix("wq_b", "self_attn.q_b_proj", times(heads, plus(nope, d)), qLora));
  });
  const { left: qc, right: qr } = split({
    x: reshape({ x: graph.name(q, "q"), dims: ["T", spec.heads, spec.nope + spec.rope] }),
    at: spec.nope,
  });
  const qp = w.from(["position"], "rotary positions", () => rope({ x: qr, table, batch, interleaved }));
  graph.name(qc, "qc");
  graph.name(qp, "qp");

  const appended = w.from(["kvLora", "rope"], "latent and shared key", () => {
    const a = bias(
      project(w, x, body.matrix("wkv_a", "self_attn.kv_a_proj_with_mqa", plus(kvLora, d), hidden)),
      "bkv_a",
      "self_attn.kv_a_proj_with_mqa",
      plus(kvLora, d),
    );
    const { left: c, right: kr } = split({ x: graph.name(a, "a"), at: spec.kvLora });
    const cn = rmsNorm({
      x: graph.name(c, "c"),
      gain: body.norm("kv_norm", "self_attn.kv_a_layernorm", kvLora),
      eps: spec.latentEps,
    });
    const kp = w.from(["position"], "rotary positions", () => rope({ x: graph.name(kr, "kr"), table, batch, interleaved }));
    return cacheAppend({ cache, c: graph.name(cn, "cn"), kp: graph.name(kp, "kp"), batch });
  });
  graph.name(appended, "cache");

  const o = w.from(["heads", "nope", "vDim", "kvLora"], "attention", () => perHead(w, body, qc, qp, appended));
  const y = w.from(["heads", "vDim"], "o_proj", () =>
    project(
      w,
      reshape({ x: graph.name(o, "o"), dims: ["T", spec.heads * spec.vDim] }),
      body.matrix("wo", "self_attn.o_proj", hidden, times(heads, vDim)),
    ),
  );
  return { y: graph.name(bias(y, "bo", "self_attn.o_proj", hidden), "y"), cache: appended };
}

/** The region of one sequence: expand keys and values of its cached rows, score, softmax, mix. */
function perHead(w: Writer, body: Body, qc: Value, qp: Value, cache: Value): Value {
  const { spec, graph } = w;
  const { heads, kvLora, nope, vDim } = w.weights.sizes;
  const params = [qc, qp, cache].map((v, i) => param(graph, ["qc", "qp", "rows"][i], perSequence(v.type)));
  const [q, p, rows] = params;
  const { left: c, right: kp } = split({ x: rows, at: spec.kvLora });
  const kv = project(w, graph.name(c, "c"), body.matrix("wkv_b", "self_attn.kv_b_proj", times(heads, plus(nope, vDim)), kvLora));
  // Rows of wkv_b are per head [nope | v], so the split is inside each head.
  const { left: k, right: v } = split({ x: reshape({ x: kv, dims: ["s", spec.heads, spec.nope + spec.vDim] }), at: spec.nope });
  const scores = add({ a: einsum("thn,shn->ths", q, graph.name(k, "k")), b: einsum("thd,sd->ths", p, graph.name(kp, "kp")) });
  const weights = softmaxCausal({ x: scale({ x: graph.name(scores, "scores"), by: softmaxScale(spec) }) });
  const out = einsum("ths,shv->thv", graph.name(weights, "p"), graph.name(v, "v"));
  return mapSequences({ batch: w.batch, xs: [qc, qp, cache], region: { params, results: [out] } });
}
