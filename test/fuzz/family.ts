// Random members of the family, every one valid: what a person may publish tomorrow. Heads 1 to 20, biases, odd widths, frequencies of
// mixture layers, groups, shared experts, no query latent, the extra layer, tied tables, f32, bf16 and FP8 with both kinds of scales.
import { compileSpec, defaults, type Compiled, type CompileOptions } from "../../compiler/compile.ts";
import { specOf } from "../../compiler/frontend/config.ts";
import { sourceOf } from "../../compiler/frontend/source.ts";
import type { ModelSpec } from "../../compiler/frontend/spec.ts";
import { standard } from "../../passes/index.ts";
import { Random } from "./random.ts";

export type Config = Record<string, unknown>;

/** What sizes are drawn from. Few of them make many models of few kernels. */
export interface Sizes {
  heads: readonly number[];
  hidden: readonly number[];
  qLora: readonly (number | null)[];
  kvLora: readonly number[];
  nope: readonly number[];
  rope: readonly number[];
  vDim: readonly number[];
  intermediate: readonly number[];
  moe: readonly number[];
  vocab: readonly number[];
}

const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i + 1);

/** Anything: powers of two, multiples of 8 and numbers of no kind, below and above a block of 128. */
const anySizes: Sizes = {
  heads: upTo(20),
  hidden: [24, 64, 100, 127, 128, 136, 160, 192, 250, 256, 384, 512],
  qLora: [null, null, 8, 24, 33, 48, 64, 128, 130, 136, 192, 256],
  kvLora: [8, 16, 24, 32, 40, 63, 64, 128, 136, 192, 256, 512],
  nope: [1, 4, 8, 12, 16, 20, 32, 64, 128],
  rope: [2, 4, 6, 8, 10, 16, 32, 64],
  vDim: [1, 4, 8, 12, 16, 24, 32, 64, 128, 192],
  intermediate: [1, 40, 72, 128, 140, 197, 256, 384, 512],
  moe: [1, 16, 40, 64, 72, 128, 130, 192, 256],
  vocab: [2, 67, 128, 131, 256, 1000],
};

const scaling = (r: Random): Config | null =>
  r.chance(0.3)
    ? null
    : {
        type: "yarn",
        factor: r.one([2, 4, 40]),
        original_max_position_embeddings: r.one([64, 4096]),
        beta_fast: r.one([32, 16]),
        beta_slow: 1,
        mscale: r.one([1, 0.707]),
        mscale_all_dim: r.one([0, 0.707, 1]),
      };

/** A router whose groups fit its experts; V2 chooses greedily or by groups, V3 with a bias. */
function experts(r: Random, v2: boolean): Config {
  const grouped = !v2 || r.chance(0.5);
  const groups = grouped ? r.one([1, 1, 2, 4]) : 1;
  const size = r.one(groups > 1 ? [2, 3, 4, 8] : [1, 2, 4, 5, 8, 16, 33]);
  const kept = 1 + r.below(groups);
  return {
    n_routed_experts: groups * size,
    n_group: groups,
    topk_group: kept,
    num_experts_per_tok: 1 + r.below(Math.min(8, size * kept)),
    n_shared_experts: r.one([0, 1, 1, 2, 3, null]),
    norm_topk_prob: !v2 && r.chance(0.7),
    routed_scaling_factor: r.one([1, 1.5, 2.5]),
    scoring_func: v2 ? "softmax" : "sigmoid",
    topk_method: v2 ? (grouped ? "group_limited_greedy" : "greedy") : "noaux_tc",
  };
}

/** Widths of a seed. */
function widths(seed: number, sizes: Sizes): Config {
  const r = new Random(seed + 5e6);
  // Every number of heads comes, whichever seeds are tried.
  const heads = sizes.heads[(seed * 7) % sizes.heads.length];
  return {
    vocab_size: r.one(sizes.vocab),
    hidden_size: r.one(sizes.hidden),
    num_attention_heads: heads,
    num_key_value_heads: heads,
    q_lora_rank: r.one(sizes.qLora),
    kv_lora_rank: r.one(sizes.kvLora),
    qk_nope_head_dim: r.one(sizes.nope),
    qk_rope_head_dim: r.one(sizes.rope),
    v_head_dim: r.one(sizes.vDim),
    intermediate_size: r.one(sizes.intermediate),
    moe_intermediate_size: r.one(sizes.moe),
  };
}

/** The config of a seed. `widthSeed` draws the widths: models that share them share kernels, whatever else they differ in. */
export function familyConfig(seed: number, widthSeed: number = seed, sizes: Sizes = anySizes): Config {
  const r = new Random(seed + 7e6);
  const v2 = r.chance(0.25);
  const layers = 1 + r.below(4);
  const mixed = r.chance(0.8);
  const fp8 = r.chance(0.35);
  return {
    architectures: [v2 ? "DeepseekV2ForCausalLM" : "DeepseekV3ForCausalLM"],
    model_type: v2 ? "deepseek_v2" : "deepseek_v3",
    attention_bias: r.chance(0.4),
    hidden_act: "silu",
    rms_norm_eps: r.one([1e-6, 1e-5]),
    rope_theta: r.one([10000, 50000]),
    rope_scaling: scaling(r),
    rope_interleave: v2 || r.chance(0.7),
    max_position_embeddings: 4096,
    tie_word_embeddings: r.chance(0.3),
    torch_dtype: r.chance(0.25) ? "float32" : "bfloat16",
    bos_token_id: 0,
    eos_token_id: 1,
    ...widths(widthSeed, sizes),
    num_hidden_layers: layers,
    first_k_dense_replace: mixed ? r.below(layers + 1) : layers,
    moe_layer_freq: r.one([1, 1, 1, 2, 3]),
    num_nextn_predict_layers: !v2 && r.chance(0.35) ? 1 : 0,
    ...(mixed ? experts(r, v2) : { n_routed_experts: null }),
    ...(fp8
      ? {
          quantization_config: {
            quant_method: "fp8",
            fmt: "e4m3",
            activation_scheme: "dynamic",
            weight_block_size: [128, 128],
            ...(r.chance(0.4) ? { scale_fmt: "ue8m0" } : {}),
          },
        }
      : {}),
  };
}

export const specFrom = (config: Config): ModelSpec =>
  specOf(sourceOf(JSON.stringify(config, null, 1), "config.json", ".", [])).spec;

/** Passes of a subset, each left out by chance. */
const somePasses = (r: Random, keep: number): string =>
  standard
    .filter(() => r.chance(keep))
    .map((p) => p.name)
    .join(",") || "none";

/** Every option of a compile, drawn. */
function familyOptions(seed: number): CompileOptions {
  const r = new Random(seed + 9e6);
  const target = r.one(["cuda", "cuda", "triton", "cpu"] as const);
  return {
    ...defaults,
    target,
    passes: r.one(["all", "all", "none", somePasses(r, 0.5), somePasses(r, 0.9)]),
    activations: target === "cpu" ? "f32" : r.one(["bf16", "bf16", "f32"] as const),
    attention: r.one(["auto", "auto", "expanded", "absorbed"] as const),
    actQuant: r.one(["dynamic", "dynamic", "none"] as const),
    taps: r.chance(0.2),
    ...(target === "cuda" ? { natives: r.chance(0.2) ? "none" : "all", deterministic: r.chance(0.2) } : {}),
  };
}

/** Compiles the model of a seed: none is refused, and no pass says that it should have fired. */
export function compileFamily(seed: number): Compiled {
  const compiled = compileSpec(specFrom(familyConfig(seed)), familyOptions(seed));
  const slower = compiled.warnings.filter((w) => w.code === "DSC3003");
  if (slower.length) throw new Error(slower.map((w) => [w.title, ...w.notes].join("\n")).join("\n"));
  return compiled;
}

export const showFamily = (seed: number): string => JSON.stringify({ config: familyConfig(seed), options: familyOptions(seed) });
