// config.json to ModelSpec: reads every key, checks that the values fit together, and refuses what it cannot compile,
// by name and place. Findings are collected; a stage stops at its end, not at the first.
import { DiagnosticError, didYouMean, type Diagnostic } from "../../ir/diagnostic.ts";
import { inconsistent, missingKeys, unknownKey, unknownModel, unsupported, unsupportedModel, wrongKind } from "./diagnostics.ts";
import type { Json } from "./json.ts";
import { ignored, read, refused } from "./keys.ts";
import { ropeSpec, type YarnSettings } from "./rope.ts";
import { openSource, type Source } from "./source.ts";
import type { Fp8Spec, LayerKind, ModelSpec, MoeSpec } from "./spec.ts";

interface Known {
  family: "v2" | "v3";
  name: string;
  /** Routing where the config does not say: published defaults of the class. */
  interleaved: boolean;
}

const architectures: Readonly<Record<string, Known>> = {
  DeepseekV2ForCausalLM: { family: "v2", name: "DeepSeek-V2 / V2.5 / Coder-V2 / V2-Lite", interleaved: true },
  DeepseekV3ForCausalLM: { family: "v3", name: "DeepSeek-V3 / R1 / V3.1, Moonlight, Kimi-K2", interleaved: true },
  Glm4MoeLiteForCausalLM: { family: "v3", name: "GLM-4.7-Flash", interleaved: true },
  YoutuForCausalLM: { family: "v3", name: "Youtu-LLM", interleaved: true },
  KimiVLForConditionalGeneration: { family: "v3", name: "Kimi-VL (text)", interleaved: true },
};
const supported = Object.keys(architectures);

/** Loads SRC; gives the spec and its warnings, or throws a DiagnosticError with up to ten findings. */
export function loadSpec(src: string, set: readonly string[] = []): { spec: ModelSpec; warnings: Diagnostic[]; folder: string; file: string } {
  const source = openSource(src, set);
  return { ...specOf(source), folder: source.folder, file: source.file };
}

export function specOf(source: Source): { spec: ModelSpec; warnings: Diagnostic[] } {
  const root = new Reader(source, "");
  const named = root.list("architectures")?.[0];
  const modelType = root.word("model_type");
  const wrapped = typeof source.value.text_config === "object" && source.value.text_config !== null;
  const architecture = typeof named === "string" ? named : undefined;
  const refusal = [architecture, modelType].map((n) => (n ? refused[n] : undefined)).find((r) => r);
  if (refusal)
    throw new DiagnosticError(unsupportedModel(refusal.name, refusal.mechanism, supported, source.spanOf(architecture && refused[architecture] ? "architectures" : "model_type")));
  const c = wrapped ? new Reader(source, "text_config.") : root;
  if (wrapped) {
    const inner = [c.list("architectures")?.[0], c.word("model_type")].map((n) => (typeof n === "string" ? refused[n] : undefined)).find((r) => r);
    if (inner) throw new DiagnosticError(unsupportedModel(inner.name, inner.mechanism, supported, source.spanOf("text_config.model_type")));
  }
  const byType: Record<string, string> = { deepseek_v2: "DeepseekV2ForCausalLM", deepseek_v3: "DeepseekV3ForCausalLM", kimi_k2: "DeepseekV3ForCausalLM", glm4_moe_lite: "Glm4MoeLiteForCausalLM", youtu: "YoutuForCausalLM", kimi_vl: "KimiVLForConditionalGeneration", kimi_k25: "KimiVLForConditionalGeneration" };
  const chosen = architecture && architectures[architecture] ? architecture : architecture === undefined ? byType[modelType ?? ""] : wrapped ? byType[c.word("model_type") ?? ""] : undefined;
  if (!chosen) {
    if (architecture === undefined && modelType === undefined) throw new DiagnosticError(missingKeys(["architectures"], source.file));
    const name = architecture ?? modelType!;
    throw new DiagnosticError(unknownModel(name, didYouMean(name, supported), supported, source.spanOf(architecture ? "architectures.0" : "model_type")));
  }
  const known = architectures[chosen];
  const warnings = unknownKeys(source, wrapped);
  const spec = readSpec(c, known, chosen, wrapped ? "language_model." : "");
  if (c.found.length) throw new DiagnosticError(c.found.slice(0, 10));
  return { spec: spec!, warnings };
}

function unknownKeys(source: Source, wrapped: boolean): Diagnostic[] {
  const out: Diagnostic[] = [];
  const check = (keys: string[], prefix: string): void => {
    for (const k of keys) if (!read.includes(k) && !(k in ignored)) out.push(unknownKey(k, didYouMean(k, read), source.keySpanOf(prefix + k)));
  };
  check(Object.keys(source.value), "");
  if (wrapped) check(Object.keys(source.value.text_config as object), "text_config.");
  return out;
}

/** Typed access to the keys of one object; problems are collected in `found`. */
class Reader {
  readonly found: Diagnostic[] = [];
  readonly missing: string[] = [];
  readonly #source: Source;
  readonly prefix: string;
  constructor(source: Source, prefix: string) {
    this.#source = source;
    this.prefix = prefix;
  }
  get file(): string {
    return this.#source.file;
  }
  raw(path: string): Json | undefined {
    let at: Json | undefined = this.#source.value;
    for (const k of (this.prefix + path).split(".")) {
      if (typeof at !== "object" || at === null || Array.isArray(at) || !Object.hasOwn(at, k)) return undefined;
      at = at[k];
    }
    return at;
  }
  span(path: string): ReturnType<Source["spanOf"]> {
    return this.#source.spanOf(this.prefix + path);
  }
  say(d: Diagnostic): void {
    this.found.push(d);
  }
  #kind(path: string, want: string): undefined {
    this.say(wrongKind(path, want, show(this.raw(path)), this.span(path)));
    return undefined;
  }
  word(path: string): string | undefined {
    const v = this.raw(path);
    return v === undefined || v === null ? undefined : typeof v === "string" ? v : this.#kind(path, "a string");
  }
  list(path: string): Json[] | undefined {
    const v = this.raw(path);
    return v === undefined || v === null ? undefined : Array.isArray(v) ? v : this.#kind(path, "a list");
  }
  flag(path: string, initial: boolean): boolean {
    const v = this.raw(path);
    return v === undefined || v === null ? initial : typeof v === "boolean" ? v : (this.#kind(path, "true or false") ?? initial);
  }
  real(path: string, initial?: number): number {
    const v = this.raw(path);
    if (v === undefined || v === null) return initial ?? this.#lack(path);
    return typeof v === "number" && Number.isFinite(v) ? v : (this.#kind(path, "a number") ?? initial ?? 1);
  }
  /** A whole number of at least `least`. */
  int(path: string, initial?: number, least = 1): number {
    const v = this.raw(path);
    if (v === undefined || v === null) return initial ?? this.#lack(path);
    if (typeof v === "number" && Number.isSafeInteger(v) && v >= least && v <= 2 ** 31) return v;
    this.#kind(path, `a whole number of at least ${least}`);
    return initial ?? Math.max(least, 1);
  }
  #lack(path: string): number {
    this.missing.push(path);
    return 1;
  }
}

const show = (v: Json | undefined): string => {
  const s = JSON.stringify(v) ?? "absent";
  return s.length > 40 ? s.slice(0, 37) + "..." : s;
};

function readSpec(c: Reader, known: Known, architecture: string, prefix: string): ModelSpec | undefined {
  const v2 = known.family === "v2";
  const hidden = c.int("hidden_size");
  const heads = c.int("num_attention_heads");
  const nope = c.int("qk_nope_head_dim");
  const rope = c.int("qk_rope_head_dim");
  const vDim = c.int("v_head_dim");
  const kvLora = c.int("kv_lora_rank");
  const rawQ = c.raw("q_lora_rank");
  if (rawQ === undefined) c.missing.push("q_lora_rank");
  const qLora = rawQ === null || rawQ === 0 ? null : rawQ === undefined ? 1 : c.int("q_lora_rank");
  const vocab = c.int("vocab_size");
  const count = c.int("num_hidden_layers");
  if (count > 4096) c.say(unsupported("num_hidden_layers", String(count), "more layers than any published model of this family has", "4096", c.span("num_hidden_layers")));
  const maxPositions = c.int("max_position_embeddings");
  const experts = c.raw("n_routed_experts") ? c.int("n_routed_experts") : 0;
  const layers = layerKinds(c, Math.min(count, 4096), experts);
  const moe = experts ? readMoe(c, v2, experts) : null;
  const intermediate = layers.includes("dense") ? c.int("intermediate_size") : c.int("intermediate_size", 1);
  const keyHeads = c.raw("num_key_value_heads");
  if (keyHeads !== undefined && keyHeads !== null && keyHeads !== heads)
    c.say(unsupported("num_key_value_heads", show(keyHeads), "multi-head latent attention has one key head per query head; the key is only a record of that", String(heads), c.span("num_key_value_heads")));
  if (rope % 2) c.say(unsupported("qk_rope_head_dim", String(rope), "rotation turns pairs of lanes, so the width must be even", String(rope + 1), c.span("qk_rope_head_dim")));
  const act = c.word("hidden_act") ?? "silu";
  if (act !== "silu") c.say(unsupported("hidden_act", act, "the gate of every published model of this family is silu", '"silu"', c.span("hidden_act")));
  if (c.flag("mlp_bias", false)) c.say(unsupported("mlp_bias", "true", "no published model of this family has biases in its feed-forward layers", "false", c.span("mlp_bias")));
  const eps = c.real("rms_norm_eps", 1e-6);
  if (!(eps >= 0 && eps < 1)) c.say(unsupported("rms_norm_eps", String(eps), "a norm's epsilon is small and positive", "1e-6", c.span("rms_norm_eps")));
  const mtp = c.raw("num_nextn_predict_layers") ? c.int("num_nextn_predict_layers", 0, 0) : 0;
  if (mtp > 1) c.say(unsupported("num_nextn_predict_layers", String(mtp), "published checkpoints carry one extra prediction layer", "1", c.span("num_nextn_predict_layers")));
  const position = readRope(c, rope, v2 ? true : c.flag("rope_interleave", known.interleaved));
  const fp8 = readQuantization(c);
  const dtypeKey = c.raw("torch_dtype") !== undefined ? "torch_dtype" : "dtype";
  const dtype = c.word(dtypeKey) ?? "bfloat16";
  if (!["bfloat16", "float32"].includes(dtype)) c.say(unsupported(dtypeKey, dtype, "weights are read as bf16 or f32", '"bfloat16"', c.span(dtypeKey)));
  const eosRaw = c.raw("eos_token_id");
  const eos = (Array.isArray(eosRaw) ? eosRaw : eosRaw === undefined || eosRaw === null ? [] : [eosRaw]).filter((v): v is number => typeof v === "number");
  const bos = c.raw("bos_token_id");
  if (c.missing.length) c.say(missingKeys(c.missing.map((k) => c.prefix + k), c.file));
  return {
    name: architecture,
    architecture,
    family: known.family,
    hidden, vocab, heads, qLora, kvLora, nope, rope, vDim, intermediate, layers, mtp, moe, position, eps,
    latentEps: 1e-6,
    attentionBias: c.flag("attention_bias", false),
    tied: c.flag("tie_word_embeddings", false),
    fp8, maxPositions,
    bos: typeof bos === "number" ? bos : null,
    eos,
    dtype: dtype === "float32" ? "f32" : "bf16",
    prefix,
    keys: {
      hidden: ["hidden_size"], heads: ["num_attention_heads"], qLora: ["q_lora_rank"], kvLora: ["kv_lora_rank"], nope: ["qk_nope_head_dim"], rope: ["qk_rope_head_dim"],
      vDim: ["v_head_dim"], intermediate: ["intermediate_size"], layers: ["num_hidden_layers", "first_k_dense_replace", "moe_layer_freq"], vocab: ["vocab_size"],
      position: ["rope_theta", "rope_scaling", "qk_rope_head_dim"], eps: ["rms_norm_eps"], experts: ["n_routed_experts", "moe_intermediate_size"],
      router: ["num_experts_per_tok", "n_group", "topk_group", "scoring_func", "topk_method", "norm_topk_prob", "routed_scaling_factor"], shared: ["n_shared_experts"],
      fp8: ["quantization_config"], mtp: ["num_nextn_predict_layers"], bias: ["attention_bias"], tied: ["tie_word_embeddings"],
    },
  };
}

function layerKinds(c: Reader, count: number, experts: number): LayerKind[] {
  const given = c.list("mlp_layer_types");
  if (given) {
    if (given.length !== count) c.say(inconsistent("mlp_layer_types does not fit num_hidden_layers", `it lists ${given.length} layers, the model has ${count}`, "give one entry per layer", c.span("mlp_layer_types")));
    return Array.from({ length: count }, (_, i) => (given[i] === "sparse" ? "moe" : "dense"));
  }
  if (!experts) return Array.from({ length: count }, () => "dense" as const);
  const dense = c.int("first_k_dense_replace", undefined, 0);
  const every = c.int("moe_layer_freq", 1);
  return Array.from({ length: count }, (_, i) => (i >= dense && i % every === 0 ? "moe" : "dense"));
}

function readMoe(c: Reader, v2: boolean, experts: number): MoeSpec {
  const topk = c.int("num_experts_per_tok");
  const scoring = c.word("scoring_func") ?? (v2 ? "softmax" : "sigmoid");
  const method = c.word("topk_method") ?? (v2 ? "greedy" : "noaux_tc");
  const wantScoring = v2 ? "softmax" : "sigmoid";
  if (scoring !== wantScoring) c.say(unsupported("scoring_func", show(scoring), `the router of this architecture scores with ${wantScoring}`, JSON.stringify(wantScoring), c.span("scoring_func")));
  const methods = v2 ? ["greedy", "group_limited_greedy"] : ["noaux_tc"];
  if (!methods.includes(method)) c.say(unsupported("topk_method", show(method), `this architecture chooses experts by ${methods.join(" or ")}`, JSON.stringify(methods[0]), c.span("topk_method")));
  const groups = c.raw("n_group") ? c.int("n_group") : 1;
  const kept = c.raw("topk_group") ? c.int("topk_group") : groups;
  const grouped = groups > 1 && method !== "greedy";
  if (topk > experts) c.say(inconsistent(`a token cannot choose ${topk} of ${experts} experts`, "num_experts_per_tok is larger than n_routed_experts", `set num_experts_per_tok to ${experts} or less`, c.span("num_experts_per_tok")));
  if (grouped && experts % groups) c.say(inconsistent(`${experts} experts do not divide into ${groups} groups`, "n_group must divide n_routed_experts", `set n_group to ${nearestDivisor(experts, groups)}`, c.span("n_group")));
  else if (grouped && kept > groups) c.say(inconsistent(`${kept} groups cannot be kept of ${groups}`, "topk_group is larger than n_group", `set topk_group to ${groups} or less`, c.span("topk_group")));
  else if (grouped && topk > (experts / groups) * kept)
    c.say(inconsistent(`${topk} experts do not fit into ${kept} groups of ${experts / groups}`, "num_experts_per_tok must be at most topk_group * n_routed_experts / n_group", `set num_experts_per_tok to ${(experts / groups) * kept} or less`, c.span("num_experts_per_tok")));
  const normalise = c.flag("norm_topk_prob", !v2);
  if (v2 && normalise) c.say(unsupported("norm_topk_prob", "true", "implementations of DeepSeek-V2 disagree on it and every published one has false", "false", c.span("norm_topk_prob")));
  return {
    experts, topk, groups: method === "greedy" ? 1 : groups, kept: method === "greedy" ? 1 : kept,
    shared: c.raw("n_shared_experts") ? c.int("n_shared_experts", 0, 0) : 0,
    intermediate: c.int("moe_intermediate_size"),
    scoring: wantScoring,
    method: method as MoeSpec["method"],
    normalise: v2 ? false : normalise,
    factor: c.real("routed_scaling_factor", 1),
    bias: method === "noaux_tc",
  };
}

const nearestDivisor = (n: number, near: number): number => {
  let best = 1;
  for (let d = 1; d <= n; d++) if (n % d === 0 && Math.abs(d - near) < Math.abs(best - near)) best = d;
  return best;
};

function readRope(c: Reader, d: number, interleaved: boolean): ModelSpec["position"] {
  const at = c.raw("rope_parameters") ? "rope_parameters" : "rope_scaling";
  const settings = c.raw(at);
  if (settings !== undefined && settings !== null && (typeof settings !== "object" || Array.isArray(settings))) c.say(wrongKind(at, "an object or null", show(settings), c.span(at)));
  const has = typeof settings === "object" && settings !== null && !Array.isArray(settings);
  const inner = has && (settings as { rope_theta?: Json }).rope_theta !== undefined;
  const theta = c.real(inner ? `${at}.rope_theta` : "rope_theta", 10000);
  const type = has ? (c.word(`${at}.type`) ?? c.word(`${at}.rope_type`) ?? "default") : "default";
  if (!["default", "yarn"].includes(type)) c.say(unsupported(`${at}.type`, show(type), "positions are plain or YaRN in this family", '"yarn"', c.span(`${at}.type`) ?? c.span(`${at}.rope_type`)));
  let yarn: YarnSettings | null = null;
  if (type === "yarn") {
    const optional = (k: string): number | null => (c.raw(`${at}.${k}`) === undefined || c.raw(`${at}.${k}`) === null ? null : c.real(`${at}.${k}`));
    yarn = {
      factor: c.real(`${at}.factor`),
      original: c.int(`${at}.original_max_position_embeddings`),
      betaFast: optional("beta_fast") || 32,
      betaSlow: optional("beta_slow") || 1,
      mscale: optional("mscale"),
      mscaleAllDim: optional("mscale_all_dim"),
      attentionFactor: optional("attention_factor"),
    };
  }
  if (!(theta > 1)) c.say(unsupported("rope_theta", String(theta), "the base of rotary frequencies is larger than one", "10000", c.span("rope_theta")));
  const even = Math.max(2, d - (d % 2));
  return ropeSpec(Math.min(even, 4096), theta > 1 ? theta : 10000, yarn, interleaved);
}

function readQuantization(c: Reader): Fp8Spec | null {
  const q = c.raw("quantization_config");
  if (q === undefined || q === null) return null;
  const at = (k: string): string => `quantization_config.${k}`;
  const method = c.word(at("quant_method"));
  if (method !== "fp8") {
    c.say(unsupported("quantization_config.quant_method", show(method), "compiled weights are bf16, f32, or e4m3 in blocks of 128x128", '"fp8", or a checkpoint without quantization_config', c.span(at("quant_method")) ?? c.span("quantization_config")));
    return null;
  }
  const fmt = c.word(at("fmt")) ?? "e4m3";
  if (fmt !== "e4m3") c.say(unsupported(at("fmt"), show(fmt), "the family publishes e4m3 only", '"e4m3"', c.span(at("fmt"))));
  const scheme = c.word(at("activation_scheme")) ?? "dynamic";
  if (scheme !== "dynamic") c.say(unsupported(at("activation_scheme"), show(scheme), "activations are quantised as they come; static scales are in no checkpoint of the family", '"dynamic"', c.span(at("activation_scheme"))));
  const block = c.list(at("weight_block_size")) ?? [128, 128];
  if (block.length !== 2 || block[0] !== 128 || block[1] !== 128) c.say(unsupported(at("weight_block_size"), show(block), "scales stand for blocks of 128x128 weights and 1x128 activations", "[128, 128]", c.span(at("weight_block_size"))));
  const scale = c.word(at("scale_fmt")) ?? "float";
  if (!["ue8m0", "float"].includes(scale)) c.say(unsupported(at("scale_fmt"), show(scale), "scales are plain floats or powers of two (ue8m0)", '"ue8m0"', c.span(at("scale_fmt"))));
  return { scale: scale === "ue8m0" ? "ue8m0" : "f32", block: [128, 128] };
}
