// ModelSpec: what a config means, typed and normalised. Every default is filled in, every choice is one word,
// and every field remembers the config keys it came from.

import type { Gating } from "../../ir/activation.ts";

export type LayerKind = "dense" | "moe";

export interface RopeSpec {
  theta: number;
  /** Frequencies after YaRN, [d/2] f32 (SEMANTICS: RoPE, YaRN). */
  invFreq: number[];
  /** Multiplies cos and sin; 1 for all DeepSeek releases. */
  cosSinFactor: number;
  /** Multiplies (n + d)^-0.5: m(factor, mscale_all_dim)^2, or 1. */
  softmaxFactor: number;
  interleaved: boolean;
}

export interface MoeSpec {
  experts: number;
  topk: number;
  groups: number;
  kept: number;
  shared: number;
  intermediate: number;
  scoring: "sigmoid" | "softmax";
  method: "noaux_tc" | "greedy" | "group_limited_greedy";
  normalise: boolean;
  factor: number;
  /** e_score_correction_bias exists. */
  bias: boolean;
}

export interface Fp8Spec {
  /** How activation scales are rounded; weight scales are read as f32 either way. */
  scale: "f32" | "ue8m0";
  /** Rows and columns of a weight block. */
  block: readonly [128, 128];
}

export interface ModelSpec {
  name: string;
  /** transformers' class, e.g. "DeepseekV3ForCausalLM". */
  architecture: string;
  family: "v2" | "v3";
  hidden: number;
  vocab: number;
  heads: number;
  qLora: number | null;
  kvLora: number;
  nope: number;
  rope: number;
  vDim: number;
  intermediate: number;
  /** Kind of each main layer. */
  layers: LayerKind[];
  /** Extra prediction layers (num_nextn_predict_layers). */
  mtp: number;
  moe: MoeSpec | null;
  position: RopeSpec;
  eps: number;
  /** eps of q_a_layernorm and kv_a_layernorm: 1e-6 whatever rms_norm_eps says (SEMANTICS 2). */
  latentEps: number;
  /** Of every feed-forward layer: dense, shared and routed. */
  gating: Gating;
  attentionBias: boolean;
  tied: boolean;
  fp8: Fp8Spec | null;
  storedAs?: StoredAs;
  /** Tables of the extra prediction layer that its checkpoint leaves out, for they are the main model's. */
  draftShares?: readonly ("embed_tokens" | "shared_head.head")[];
  maxPositions: number;
  bos: number | null;
  eos: number[];
  /** Dtype of unquantised weights in the checkpoint. */
  dtype: "bf16" | "f32";
  /** Before "model." in tensor names: "" or "language_model.". */
  prefix: string;
  /** Config keys behind a field of this record. */
  keys: Readonly<Record<string, readonly string[]>>;
  /** What the config has at keys that were read, as JSON; none of a model that was made small. */
  values: Readonly<Record<string, string>>;
}

/**
 * Weights that are stored otherwise than `fp8` and `dtype` say, by `weightKey`: matrices left out of the FP8 codes, norms or routers
 * in f32. The same in every layer of a kind.
 */
export type StoredAs = Readonly<Record<string, "bf16" | "f32">>;

/**
 * The name of a weight that is the same in every layer of a kind: "moe/self_attn.o_proj.weight", "moe/mlp.experts.*.up_proj.weight".
 * Outside the layers `kind` is absent; tensors that only the extra prediction layer has are of kind "draft".
 */
export const weightKey = (kind: LayerKind | "draft" | undefined, name: string): string =>
  `${kind === undefined ? "" : `${kind}/`}${name.replace(/\.experts\.(?:\d+|\{0\})\./, ".experts.*.")}`;

/** (n + d)^-0.5, times YaRN's softmax factor. */
export const softmaxScale = (s: ModelSpec): number => (s.nope + s.rope) ** -0.5 * s.position.softmaxFactor;
