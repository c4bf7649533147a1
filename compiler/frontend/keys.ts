// The keys of a config: which are read, which are knowingly ignored and why. Anything else gets a warning, never silence.
import { didYouMean, type Diagnostic } from "../../ir/diagnostic.ts";
import { setInVain, unknownKey } from "./diagnostics.ts";
import { mechanisms } from "./families.ts";
import { OUTSIDE, type Reader } from "./reader.ts";
import type { Source } from "./source.ts";

/** Keys the frontend reads, on any path. */
// prettier-ignore
export const read: readonly string[] = [
  "architectures", "model_type", "hidden_size", "vocab_size", "num_attention_heads", "num_key_value_heads",
  "q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "qk_head_dim", "v_head_dim",
  "intermediate_size", "num_hidden_layers", "first_k_dense_replace", "moe_layer_freq", "mlp_layer_types",
  "n_routed_experts", "num_experts_per_tok", "n_group", "topk_group", "n_shared_experts", "moe_intermediate_size",
  "scoring_func", "topk_method", "norm_topk_prob", "routed_scaling_factor", "rms_norm_eps", "rope_theta",
  "rope_scaling", "rope_parameters", "rope_interleave", "partial_rotary_factor", "max_position_embeddings",
  "original_max_position_embeddings", "attention_bias", "mlp_bias", "tie_word_embeddings", "hidden_act", "swiglu_limit",
  "quantization_config", "compression_config",
  "num_nextn_predict_layers", "torch_dtype", "dtype", "bos_token_id", "eos_token_id", "text_config",
];

/** Members read inside objects. */
// prettier-ignore
const members: Readonly<Record<string, readonly string[]>> = {
  rope_scaling: [
    "type", "rope_type", "rope_theta", "factor", "original_max_position_embeddings", "beta_fast", "beta_slow",
    "mscale", "mscale_all_dim", "attention_factor", "truncate", "partial_rotary_factor",
  ],
  quantization_config: [
    "quant_method", "fmt", "activation_scheme", "weight_block_size", "scale_fmt", "modules_to_not_convert",
    "ignored_layers",
  ],
};

const training = "only used in training";
const remote = "names remote code, which is not run";
const bookkeeping = "bookkeeping of transformers; inference computes the same";
const textOnly = "only the text model is compiled";
const dimension = "follows from qk_nope_head_dim, qk_rope_head_dim and v_head_dim";
const generation = "a default of generation; dsc run has its own options";

const because = (reason: string, keys: readonly string[]): Record<string, string> =>
  Object.fromEntries(keys.map((k) => [k, reason]));

/** Keys that do not change what inference computes, and the reason. */
// prettier-ignore
export const ignored: Readonly<Record<string, string>> = {
  attention_dropout: "dropout is off in inference",
  hidden_dropout: "dropout is off in inference",
  initializer_range: training,
  embedding_initializer_range: training,
  aux_loss_alpha: training,
  seq_aux: training,
  router_aux_loss_coef: training,
  router_jitter_noise: training,
  ignore_index: training,
  gradient_checkpointing: training,
  mtp_loss_weight: training,
  ep_size: "expert parallelism of the training code",
  pretraining_tp: "tensor parallelism of the training code",
  model_parallel_size: "tensor parallelism of the training code",
  use_cache: "the cache is always used",
  output_router_logits: "asks for an output; --taps gives it",
  output_attentions: "asks for an output; --taps gives the like",
  output_hidden_states: "asks for an output; --taps gives it",
  pad_token_id: "sequences are packed, never padded",
  auto_map: remote,
  custom_pipelines: remote,
  head_dim: dimension,
  num_key_value_groups: dimension,
  is_encoder_decoder: "always a decoder",
  is_decoder: "always a decoder",
  add_cross_attention: "always a decoder",
  use_flash_attention_2: "kernels are chosen by the compiler",
  attn_implementation: "kernels are chosen by the compiler",
  _attn_implementation: "kernels are chosen by the compiler",
  vision_config: textOnly,
  image_token_id: textOnly,
  image_token_index: textOnly,
  media_placeholder_token_id: textOnly,
  video_placeholder: textOnly,
  projector_hidden_act: textOnly,
  use_unified_vision_chunk: textOnly,
  ...because(generation, [
    "temperature", "top_k", "top_p", "do_sample", "max_length", "min_length", "num_beams", "repetition_penalty", "length_penalty",
  ]),
  ...because(bookkeeping, [
    "transformers_version", "_name_or_path", "unsloth_fixed", "unsloth_version", "return_dict",
    "chunk_size_feed_forward", "problem_type", "task_specific_params", "id2label", "label2id", "finetuning_task",
    "tokenizer_class", "prefix", "torchscript", "use_bfloat16", "tf_legacy_loss", "pruned_heads",
    "cross_attention_hidden_size", "decoder_start_token_id", "sep_token_id", "_commit_hash",
  ]),
};

/** A warning for every key of the config (and of its text part) that is neither read nor knowingly ignored. */
export function unknownKeys(source: Source, prefixes: readonly string[]): Diagnostic[] {
  return prefixes.flatMap((prefix) => {
    const object = prefix ? (source.value[prefix.slice(0, -1)] as object) : source.value;
    return Object.keys(object)
      .filter((k) => !read.includes(k) && !Object.hasOwn(ignored, k) && !Object.hasOwn(mechanisms, k))
      .map((k) => unknownKey({ key: prefix + k, near: didYouMean(k, read) }, source.keySpanOf(prefix + k)));
  });
}

/**
 * An error for every --set that changes nothing: of a key that is not read, or at the level of a wrapped config where it does
 * not count.
 */
export function idleSets({ value, laid, keySpanOf }: Source, wrapped: boolean): Diagnostic[] {
  const text = wrapped ? (value.text_config as Record<string, unknown>) : {};
  // Two spellings of one key: either, inside, comes before both outside.
  const inside = (key: string): boolean =>
    (["dtype", "torch_dtype"].includes(key) ? ["dtype", "torch_dtype"] : [key]).some((k) => (text[k] ?? null) !== null);
  return laid.flatMap((at) => {
    const [key, ...rest] = at.split(".");
    const say = (why: string, help: string): Diagnostic[] => [setInVain({ key: at, why, help }, keySpanOf(at))];
    if (key === "text_config" && !wrapped && rest.length)
      return say(
        "the model itself is described at the top of this config, not under text_config",
        `--set ${rest.join(".")}=VALUE`,
      );
    const own = key === "text_config" ? (rest[0] ?? "") : key;
    if (Object.hasOwn(ignored, own)) return say(`the key is not read: ${ignored[own]}`, "leave it out");
    if (!wrapped || key === "text_config" || !read.includes(key) || ["architectures", "model_type"].includes(key)) return [];
    return OUTSIDE.includes(key) && !inside(key)
      ? []
      : say("this config keeps the model under text_config, and what stands there counts", `--set text_config.${at}=VALUE`);
  });
}

/** The same for the members of an object; both spellings of rope settings share a list, nested or not. */
export function unknownMembers(c: Reader, at: string, seen: readonly string[]): Diagnostic[] {
  const known = members[at.startsWith("rope_") ? "rope_scaling" : "quantization_config"];
  return seen
    .filter((k) => !known.includes(k))
    .map((k) => unknownKey({ key: `${at}.${k}`, near: didYouMean(k, known) }, c.span(`${at}.${k}`)));
}
