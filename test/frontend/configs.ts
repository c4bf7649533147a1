// Configs for the frontend tests: the files of this repository, and relatives built from R1's by the differences FAMILY names.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { DiagnosticError, type Diagnostic } from "../../ir/diagnostic.ts";
import { specOf, type Loaded } from "../../compiler/frontend/config.ts";
import type { Json } from "../../compiler/frontend/json.ts";
import { sourceOf } from "../../compiler/frontend/source.ts";
import { glmFlash, kimiK2, v2Lite, youtu } from "../relatives.ts";

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

const kimi = { ...kimiK2(r1), model_type: "kimi_k2" } as Config;

const kimiVlText = withKeys(moonlight, { architectures: undefined, rope_theta: 800000, max_position_embeddings: 131072 });

const v2 = read("test/configs/DeepSeek-V2.json");

/** Everything FAMILY lists under "No new op", by name. */
export const supported: Readonly<Record<string, Config>> = {
  "DeepSeek-V2": v2,
  "DeepSeek-V2-Lite": v2Lite(v2) as Config,
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
  "GLM-4.7-Flash": glmFlash(moonlight, 4) as Config,
  "Youtu-LLM": youtu as Config,
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
