// Whole models that people run on one card, all of bf16 weights: their configs, from the files of test/configs and what differs.
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { root } from "./models.ts";

type Config = Record<string, unknown>;

const read = (name: string): Config =>
  JSON.parse(readFileSync(path.join(root, "test/configs", `${name}.json`), "utf8")) as Config;

const v2Lite = (): Config => ({
  ...read("DeepSeek-V2"),
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

const GLM_LAYERS = 47;

function glmFlash(): Config {
  const { rope_theta: _theta, first_k_dense_replace: _dense, ...rest } = read("Moonlight-16B-A3B-Instruct");
  return {
    ...rest,
    architectures: ["Glm4MoeLiteForCausalLM"],
    model_type: "glm4_moe_lite",
    vocab_size: 154880,
    num_hidden_layers: GLM_LAYERS,
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
    mlp_layer_types: Array.from({ length: GLM_LAYERS }, (_, i) => (i === 0 ? "dense" : "sparse")),
    rope_parameters: { rope_type: "default", rope_theta: 1000000 },
  };
}

const youtu: Config = {
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

/** Of FP8 weights, and larger than a card: only its first layers are opened. */
const kimiK2 = (): Config => ({
  ...read("DeepSeek-R1"),
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

/** An FP8 model of nobody's, with one layer of each kind: none of its products has a row in a table of measurements. */
export const offTable = (): Config => ({
  ...read("DeepSeek-R1"),
  hidden_size: 5120,
  num_hidden_layers: 2,
  num_attention_heads: 40,
  num_key_value_heads: 40,
  q_lora_rank: 1280,
  intermediate_size: 10240,
  moe_intermediate_size: 1280,
  n_routed_experts: 64,
  n_group: 1,
  topk_group: 1,
  first_k_dense_replace: 1,
  num_nextn_predict_layers: 0,
});

/** Experts of a layer of Kimi-K2 that are kept: with all 384 a layer in f32, which transformers computes in, has 68 GB. */
const KIMI_EXPERTS = 128;

/** Configs of so many layers at full width for which transformers has a class, without what it would fetch or not know. */
export function comparable(layers: number): Readonly<Record<string, Config>> {
  const all: Record<string, Config> = {
    "DeepSeek-V2-Lite": v2Lite(),
    "Moonlight-16B-A3B": family["Moonlight-16B-A3B"](),
    "GLM-4.7-Flash": glmFlash(),
    [`Kimi-K2, ${KIMI_EXPERTS} of 384 experts`]: { ...kimiK2(), n_routed_experts: KIMI_EXPERTS },
  };
  return Object.fromEntries(
    Object.entries(all).map(([name, { auto_map: _code, ...config }]) => [name, shortened(config, layers)]),
  );
}

export const family: Readonly<Record<string, () => Config>> = {
  "DeepSeek-V2-Lite": v2Lite,
  "Moonlight-16B-A3B": () => read("Moonlight-16B-A3B-Instruct"),
  "GLM-4.7-Flash": glmFlash,
  "Youtu-LLM": () => youtu,
};

/** The same with few layers, of which the first is dense. */
export function shortened(config: Config, layers: number): Config {
  const types = config.mlp_layer_types as string[] | undefined;
  return { ...config, num_hidden_layers: layers, ...(types ? { mlp_layer_types: types.slice(0, layers) } : {}) };
}

/** Writes a config into a folder; gives its path. */
export function written(folder: string, name: string, config: Config): string {
  const file = path.join(folder, `${name}.json`);
  writeFileSync(file, JSON.stringify(config));
  return file;
}
