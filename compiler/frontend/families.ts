// Which models are compiled, and which relatives are known but refused, each with the mechanism it still lacks. Dispatch
// is by `architectures`: model_type is only a second hint, for fragments without it (kimi_k2 says DeepseekV3ForCausalLM).

/** A supported architecture. */
export interface Known {
  family: "v2" | "v3";
  models: string;
  /** Values of keys that may be left out, where the published implementations agree on them. */
  published: Readonly<
    Partial<Record<"rms_norm_eps" | "rope_theta" | "routed_scaling_factor" | "n_group" | "n_routed_experts", number>>
  >;
  tied?: boolean;
}

export const architectures: Readonly<Record<string, Known>> = {
  DeepseekV2ForCausalLM: {
    family: "v2",
    models: "DeepSeek-V2, V2.5, Coder-V2, V2-Lite",
    published: { rms_norm_eps: 1e-6, rope_theta: 10000, routed_scaling_factor: 1, n_group: 1 },
  },
  DeepseekV3ForCausalLM: {
    family: "v3",
    models: "DeepSeek-V3, R1, V3.1, Moonlight, Kimi-K2",
    published: { rms_norm_eps: 1e-6, rope_theta: 10000 },
  },
  Glm4MoeLiteForCausalLM: { family: "v3", models: "GLM-4.7-Flash", published: { rms_norm_eps: 1e-5, n_group: 1 } },
  YoutuForCausalLM: { family: "v3", models: "Youtu-LLM", published: { rms_norm_eps: 1e-6, n_routed_experts: 0 }, tied: true },
};

/** model_type of fragments and of wrapped models to the architecture. */
export const byModelType: Readonly<Record<string, string>> = {
  deepseek_v2: "DeepseekV2ForCausalLM",
  deepseek_v3: "DeepseekV3ForCausalLM",
  kimi_k2: "DeepseekV3ForCausalLM",
  glm4_moe_lite: "Glm4MoeLiteForCausalLM",
  youtu: "YoutuForCausalLM",
};

/** Wrapped models: the text part, under text_config, is compiled; tensor names get the prefix. */
export const wrappers: readonly string[] = ["KimiVLForConditionalGeneration", "KimiK25ForConditionalGeneration"];
export const wrapperTypes: readonly string[] = ["kimi_vl", "kimi_k25"];

interface Refused {
  name: string;
  mechanism: string;
}

const indexer = "the lightning indexer, and attention over only the cached rows it picks (DeepSeek sparse attention)";
const gqa = "plain grouped-query attention; this compiler is for multi-head latent attention";
const kda = "KDA linear attention (a short convolution and a gated delta rule)";

/** Patterns over architecture and model_type names, the more particular first. */
const refusals: readonly (readonly [RegExp, Refused])[] = [
  [/^deepseek_?v3?_?32|^DeepseekV32/i, { name: "DeepSeek-V3.2", mechanism: indexer }],
  [
    /^deepseek_?v4/i,
    {
      name: "DeepSeek-V4",
      mechanism: "sliding-window plus compressed attention, hyper-connections, hash routing, sqrtsoftplus scores and fp4 experts",
    },
  ],
  [/^glm_?moe_?dsa/i, { name: "GLM-5", mechanism: indexer }],
  [/^glm_?5_?next/i, { name: "GLM-5-next", mechanism: `${kda}, unrotated latent attention and hyper-connections` }],
  [
    /^kimi_?k3/i,
    {
      name: "Kimi-K3",
      mechanism: `${kda}, unrotated latent attention with an output gate, and a latent mixture with mxfp4 experts`,
    },
  ],
  [/^kimi_?linear/i, { name: "Kimi-Linear", mechanism: `${kda} and unrotated latent attention` }],
  [
    /^longcat/i,
    {
      name: "LongCat-Flash",
      mechanism: "two attention and two dense sublayers per layer with a shortcut mixture, identity experts and scaled latents",
    },
  ],
  [/^a_?x_?k1/i, { name: "A.X-K1", mechanism: "an RMSNorm on the output of the mixture" }],
  [/^minicpm3/i, { name: "MiniCPM3", mechanism: "multipliers on the embedding, on the residual stream and on the head's input" }],
  [
    /^mistral_?4|^mistral_?large_?3/i,
    {
      name: "Mistral 4",
      mechanism: "softmax routing with summed groups and renormalised weights, and a query scale that depends on the position",
    },
  ],
  [/^glm4_?moe(?!_?lite)/i, { name: "GLM-4.5 / 4.6 / 4.7", mechanism: gqa }],
  [/^dots1/i, { name: "dots.llm1", mechanism: gqa }],
  [/^bailing/i, { name: "Ling / Ring", mechanism: gqa }],
  [
    /^(llama|qwen|mistral|mixtral|gemma|phi|gpt_?oss|gpt|falcon|olmo|minimax|ernie|granite|cohere|bloom|opt|glm)/i,
    { name: "this model", mechanism: gqa },
  ],
];

/** A table's entry: "constructor" is no architecture, though every object has one. */
export const own = <T>(table: Readonly<Record<string, T>>, key: string | undefined): T | undefined =>
  key !== undefined && Object.hasOwn(table, key) ? table[key] : undefined;

/** The refusal of a known relative, or undefined. */
export function refusalOf(name: string): Refused | undefined {
  if (own(architectures, name) || own(byModelType, name)) return undefined;
  const found = refusals.find(([re]) => re.test(name))?.[1];
  return found && (found.name === "this model" ? { ...found, name } : found);
}

/** Keys of relatives that change what a model computes: on a supported architecture they must be absent, null, false or 0. */
export const mechanisms: Readonly<Record<string, string>> = {
  index_topk: indexer,
  index_n_heads: indexer,
  index_head_dim: indexer,
  indexer_types: indexer,
  sliding_window: "sliding-window attention",
  compress_ratios: "compressed attention",
  o_lora_rank: "a grouped low-rank output projection",
  o_groups: "a grouped low-rank output projection",
  hc_mult: "hyper-connections between layers",
  num_hash_layers: "hash routing",
  expert_dtype: "experts stored in 4 bits",
  zero_expert_num: "identity experts",
  zero_expert_type: "identity experts",
  mla_scale_q_lora: "scaled latents",
  mla_scale_kv_lora: "scaled latents",
  scale_emb: "a multiplier on the embedding",
  scale_depth: "a multiplier on the residual stream",
  dim_model_base: "a multiplier on the head's input",
  linear_attn_config: kda,
  mla_use_nope: "unrotated latent attention",
  mla_use_output_gate: "an output gate on attention",
  use_qk_norm: "norms on queries and keys",
  routed_expert_hidden_size: "a latent mixture",
  llama_4_scaling: "a query scale that depends on the position",
  logit_scale: "a multiplier on the logits",
  final_logit_softcapping: "capped logits",
  attn_logit_softcapping: "capped scores",
};
