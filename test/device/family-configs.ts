// Whole models that people run on one card, all of bf16 weights: their configs, from the files of test/configs and what differs.
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { glmFlash, kimiK2, v2Lite, youtu } from "../relatives.ts";
import { root } from "./models.ts";

type Config = Record<string, unknown>;

const read = (name: string): Config =>
  JSON.parse(readFileSync(path.join(root, "test/configs", `${name}.json`), "utf8")) as Config;

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
    "DeepSeek-V2-Lite": family["DeepSeek-V2-Lite"](),
    "Moonlight-16B-A3B": family["Moonlight-16B-A3B"](),
    "GLM-4.7-Flash": family["GLM-4.7-Flash"](),
    [`Kimi-K2, ${KIMI_EXPERTS} of 384 experts`]: { ...kimiK2(read("DeepSeek-R1")), n_routed_experts: KIMI_EXPERTS },
  };
  return Object.fromEntries(
    Object.entries(all).map(([name, { auto_map: _code, ...config }]) => [name, shortened(config, layers)]),
  );
}

export const family: Readonly<Record<string, () => Config>> = {
  "DeepSeek-V2-Lite": () => v2Lite(read("DeepSeek-V2")),
  "Moonlight-16B-A3B": () => read("Moonlight-16B-A3B-Instruct"),
  "GLM-4.7-Flash": () => glmFlash(read("Moonlight-16B-A3B-Instruct")),
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
