// Configs for the frontend tests: the files of this repository, and relatives built from R1's by the differences FAMILY names.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { DiagnosticError, type Diagnostic } from "../../ir/diagnostic.ts";
import { specOf, type Loaded } from "../../compiler/frontend/config.ts";
import type { Json } from "../../compiler/frontend/json.ts";
import { sourceOf } from "../../compiler/frontend/source.ts";

export type Config = { [key: string]: Json };

const root = fileURLToPath(new URL("../../", import.meta.url));
export const pathOf = (relative: string): string => root + relative;
export const read = (relative: string): Config => JSON.parse(readFileSync(pathOf(relative), "utf8")) as Config;

export const fixtures = readdirSync(pathOf("test/fixtures"), { withFileTypes: true }).flatMap((d) =>
  d.isDirectory() && existsSync(pathOf(`test/fixtures/${d.name}/config.json`)) ? [`test/fixtures/${d.name}`] : [],
);

export const r1 = read("examples/deepseek-r1/config.json");
const moonlight = read("test/configs/Moonlight-16B-A3B-Instruct.json");

/** A config with some keys changed; undefined removes one. */
export function withKeys(base: Config, change: { [key: string]: Json | undefined }): Config {
  const out = { ...base };
  for (const [k, v] of Object.entries(change)) {
    if (v === undefined) delete out[k];
    else out[k] = v;
  }
  return out;
}

export const textOf = (config: Config): string => JSON.stringify(config, null, 2);

/** The spec of a config held in memory; throws like the command. */
export const load = (config: Config, set: string[] = []): Loaded => specOf(sourceOf(textOf(config), "config.json", ".", set));

/** The findings of a config that must be refused. */
export function refused(config: Config, set: string[] = []): Diagnostic[] {
  return refusedText(textOf(config), set);
}

export function refusedText(text: string, set: string[] = []): Diagnostic[] {
  try {
    specOf(sourceOf(text, "config.json", ".", set));
  } catch (e) {
    if (e instanceof DiagnosticError) return e.diagnostics;
    throw e;
  }
  throw new Error("expected a refusal");
}

export const codes = (found: readonly Diagnostic[]): string[] => found.map((d) => d.code);

const kimi = withKeys(r1, {
  model_type: "kimi_k2",
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

const kimiVlText = withKeys(moonlight, { architectures: undefined, rope_theta: 800000, max_position_embeddings: 131072 });

const flash = withKeys(moonlight, {
  architectures: ["Glm4MoeLiteForCausalLM"],
  model_type: "glm4_moe_lite",
  num_hidden_layers: 4,
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
  rms_norm_eps: undefined,
  first_k_dense_replace: undefined,
  mlp_layer_types: ["dense", "sparse", "sparse", "sparse"],
  rope_theta: undefined,
  rope_parameters: { rope_type: "default", rope_theta: 1000000 },
});

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

const v2 = read("test/configs/DeepSeek-V2.json");

const v2Lite = withKeys(v2, {
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

/** Everything FAMILY lists under "No new op", by name. */
export const supported: Readonly<Record<string, Config>> = {
  "DeepSeek-V2": v2,
  "DeepSeek-V2-Lite": v2Lite,
  "DeepSeek-V3": read("test/configs/DeepSeek-V3.json"),
  "DeepSeek-V3.1": read("test/configs/DeepSeek-V3.1.json"),
  "DeepSeek-R1": r1,
  Moonlight: moonlight,
  "Kimi-K2": kimi,
  "Kimi-VL": {
    architectures: ["KimiVLForConditionalGeneration"],
    model_type: "kimi_vl",
    vision_config: {},
    text_config: kimiVlText,
  },
  "Kimi-K2.5 in FP8": {
    architectures: ["KimiK25ForConditionalGeneration"],
    model_type: "kimi_k25",
    text_config: withKeys(kimi, { rms_norm_eps: 1e-5 }),
  },
  "GLM-4.7-Flash": flash,
  "Youtu-LLM": youtu,
};

const relative = (architecture: string, model_type: string): Config =>
  withKeys(r1, { architectures: [architecture], model_type });

/** Relatives that are refused, with a word of the missing mechanism. */
export const relatives: Readonly<Record<string, [config: Config, name: string, mechanism: RegExp]>> = {
  "V3.2": [read("test/configs/DeepSeek-V3.2.json"), "DeepSeek-V3.2", /indexer/],
  "V4-Flash": [read("test/configs/DeepSeek-V4-Flash.json"), "DeepSeek-V4", /compressed attention/],
  "GLM-5": [read("test/configs/GLM-5.json"), "GLM-5", /indexer/],
  "GLM-4.6": [relative("Glm4MoeForCausalLM", "glm4_moe"), "GLM-4.5", /grouped-query/],
  "Kimi-K3": [
    { architectures: ["KimiK3ForConditionalGeneration"], model_type: "kimi_k3", text_config: { model_type: "kimi_linear" } },
    "Kimi-K3",
    /KDA/,
  ],
  "Kimi-Linear": [relative("KimiLinearForCausalLM", "kimi_linear"), "Kimi-Linear", /KDA/],
  LongCat: [relative("LongcatFlashForCausalLM", "longcat_flash"), "LongCat-Flash", /shortcut/],
  MiniCPM3: [relative("MiniCPM3ForCausalLM", "minicpm3"), "MiniCPM3", /multipliers/],
  "Mistral 4": [relative("Mistral4ForCausalLM", "mistral4"), "Mistral 4", /query scale/],
  "A.X-K1": [relative("AXK1ForCausalLM", "axk1"), "A.X-K1", /RMSNorm/],
  "dots.llm1": [relative("Dots1ForCausalLM", "dots1"), "dots.llm1", /grouped-query/],
  Ling: [relative("BailingMoeV2ForCausalLM", "bailing_moe_v2"), "Ling", /grouped-query/],
  "GLM-5-next": [relative("Glm5NextForCausalLM", "glm5_next"), "GLM-5-next", /KDA/],
  Llama: [relative("LlamaForCausalLM", "llama"), "LlamaForCausalLM", /grouped-query/],
};
