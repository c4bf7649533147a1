// What the parts of a model are written with.
import type { Graph, Value } from "../../ir/graph.ts";
import type { ModelSpec } from "./spec.ts";
import type { Weights } from "./symbols.ts";

export interface ModelOptions {
  activations: "f32" | "bf16";
  /** dynamic: FP8 linears quantise their input; none: weights only. */
  actQuant: "dynamic" | "none";
  /** Give hidden states, routes and the logits of every row as further results. */
  taps: boolean;
}

/** What the parts of a layer need to write themselves. */
export interface Writer {
  graph: Graph;
  spec: ModelSpec;
  options: ModelOptions;
  weights: Weights;
  batch: Value;
  /** Every node made inside came from these fields of the spec. */
  from<T>(fields: readonly string[], what: string, body: () => T): T;
}
