// Configs of models that people run, as what they differ in from the published files of test/configs and examples: of tests and of
// the runs on a card.

type Config = Record<string, unknown>;

/** DeepSeek-V2-Lite, from DeepSeek-V2's. */
export const v2Lite = (v2: Config): Config => ({
  ...v2,
  hidden_size: 2048,
  num_hidden_layers: 27,
  num_attention_heads: 16,
  num_key_value_heads: 16,
  q_lora_rank: null,
  intermediate_size: 10944,
  moe_intermediate_size: 1408,
  n_routed_experts: 64,
  n_shared_experts: 2,
  num_experts_per_tok: 6,
  n_group: 1,
  topk_group: 1,
  topk_method: "greedy",
  routed_scaling_factor: 1,
});

/** GLM-4.7-Flash with its first layers, from Moonlight's, whose ids are of another vocabulary: 47 are whole. */
export function glmFlash(moonlight: Config, layers = 47): Config {
  const {
    rope_theta: _theta,
    first_k_dense_replace: _dense,
    rms_norm_eps: _eps,
    bos_token_id: _bos,
    eos_token_id: _eos,
    ...rest
  } = moonlight;
  return {
    ...rest,
    architectures: ["Glm4MoeLiteForCausalLM"],
    model_type: "glm4_moe_lite",
    vocab_size: 154880,
    num_hidden_layers: layers,
    num_attention_heads: 20,
    num_key_value_heads: 20,
    q_lora_rank: 768,
    qk_nope_head_dim: 192,
    v_head_dim: 256,
    num_experts_per_tok: 4,
    n_shared_experts: 1,
    moe_intermediate_size: 1536,
    intermediate_size: 10240,
    routed_scaling_factor: 1.8,
    mlp_layer_types: Array.from({ length: layers }, (_, i) => (i === 0 ? "dense" : "sparse")),
    rope_parameters: { rope_type: "default", rope_theta: 1000000 },
  };
}

/** Kimi-K2, from DeepSeek-R1's. */
export const kimiK2 = (r1: Config): Config => ({
  ...r1,
  num_attention_heads: 64,
  num_key_value_heads: 64,
  n_routed_experts: 384,
  n_group: 1,
  topk_group: 1,
  routed_scaling_factor: 2.827,
  first_k_dense_replace: 1,
  num_nextn_predict_layers: 0,
  max_position_embeddings: 131072,
  rope_theta: 50000,
  vocab_size: 163840,
  rope_scaling: {
    type: "yarn",
    factor: 32,
    beta_fast: 1,
    beta_slow: 1,
    mscale: 1,
    mscale_all_dim: 1,
    original_max_position_embeddings: 4096,
  },
});

export const youtu: Config = {
  architectures: ["YoutuForCausalLM"],
  model_type: "youtu",
  hidden_size: 2048,
  num_hidden_layers: 32,
  num_attention_heads: 16,
  num_key_value_heads: 16,
  q_lora_rank: 1536,
  kv_lora_rank: 512,
  qk_nope_head_dim: 128,
  qk_rope_head_dim: 64,
  v_head_dim: 128,
  intermediate_size: 6144,
  vocab_size: 128256,
  rope_theta: 1600000,
  max_position_embeddings: 131072,
  tie_word_embeddings: true,
};
