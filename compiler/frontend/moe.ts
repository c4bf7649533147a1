// Feed-forward layers: the gated MLP, and the mixture of experts with its router and shared experts.
import type { Value } from "../../ir/graph.ts";
import { add, gated, linear, mapExperts, param, perExpert, route } from "../../ir/index.ts";
import { project } from "./mla.ts";
import { times, type Sized } from "./sizes.ts";
import type { Body } from "./symbols.ts";
import type { Writer } from "./writer.ts";

/** (act(x Wgᵀ) * (x Wuᵀ)) Wdᵀ */
function feedForward(w: Writer, x: Value, gate: Value, up: Value, down: Value): Value {
  const g = w.graph.name(project(w, x, gate), "g");
  const u = w.graph.name(project(w, x, up), "u");
  const act = w.from(["gating"], "act_fn", () => gated({ gate: g, up: u, ...w.spec.gating }));
  return project(w, w.graph.name(act, "act"), down);
}

export function mlp(w: Writer, body: Body, x: Value, name: string, symbol: string, width: Sized): Value {
  const d = w.weights.sizes.hidden;
  return feedForward(
    w,
    x,
    body.matrix(`${symbol}.gate`, `${name}.gate_proj`, width, d),
    body.matrix(`${symbol}.up`, `${name}.up_proj`, width, d),
    body.matrix(`${symbol}.down`, `${name}.down_proj`, d, width),
  );
}

/** Routed experts in a region of their own, plus the shared experts, unweighted. */
export function moe(w: Writer, body: Body, x: Value): { y: Value; indices: Value; weights: Value } {
  const { spec, graph } = w;
  const m = spec.moe!;
  const { hidden, experts, shared, moeIntermediate } = w.weights.sizes;
  const routed = w.from(["router", "experts", "moeIntermediate"], "router", () => {
    const logits = linear({ x, w: body.plain("router", "mlp.gate", experts, hidden), dtype: "f32" });
    return route({
      logits: graph.name(logits, "router_logits"),
      bias: m.bias ? body.vector("router_bias", "mlp.gate.e_score_correction_bias", experts, "f32") : undefined,
      topk: m.topk,
      groups: m.groups,
      kept: m.kept,
      scoring: m.scoring,
      method: m.method,
      normalise: m.normalise,
      factor: m.factor,
    });
  });
  const { indices, weights } = routed;
  graph.name(indices, "indices");
  graph.name(weights, "weights");
  const stacked = [
    body.experts("experts.gate", "gate_proj", moeIntermediate, hidden),
    body.experts("experts.up", "up_proj", moeIntermediate, hidden),
    body.experts("experts.down", "down_proj", hidden, moeIntermediate),
  ];
  const y = w.from(["experts", "moeIntermediate"], "routed experts", () => {
    const params = [
      param(graph, "xe", perExpert(x.type, true)),
      ...stacked.map((s, i) => param(graph, ["w_gate", "w_up", "w_down"][i], perExpert(s.type, false))),
    ];
    const out = feedForward(w, params[0], params[1], params[2], params[3]);
    return mapExperts({ indices, weights, x, stacked, region: { params, results: [out] } });
  });
  graph.name(y, "routed");
  if (!m.shared) return { y, indices, weights };
  const always = w.from(["shared"], "shared experts", () =>
    mlp(w, body, x, "mlp.shared_experts", "shared", times(shared, moeIntermediate)),
  );
  return { y: add({ a: y, b: graph.name(always, "shared") }), indices, weights };
}
