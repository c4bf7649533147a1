/** R1 with every width small and experts for every lane of a warp, as --set has it. */
export const smallR1 = {
  hidden_size: 160,
  num_attention_heads: 4,
  num_key_value_heads: 4,
  q_lora_rank: 136,
  kv_lora_rank: 40,
  qk_nope_head_dim: 12,
  qk_rope_head_dim: 8,
  v_head_dim: 16,
  intermediate_size: 140,
  moe_intermediate_size: 72,
  n_routed_experts: 32,
  num_experts_per_tok: 4,
  first_k_dense_replace: 1,
  vocab_size: 67,
  quantization_config: null,
};

/** Keys of a config as --set takes them. */
export const setOf = (keys: object): string[] => Object.entries(keys).map(([k, v]) => `${k}=${v}`);
