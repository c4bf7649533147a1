// config.json to ModelSpec: dispatches on the architecture, reads every key, checks that the values fit together, and
// refuses what it cannot compile, by name and place. Findings are collected and up to ten are thrown at the end of the
// stage.
import { activationOf, knownActivations, type Gating } from "../../ir/activation.ts";
import { DiagnosticError, didYouMean, type Diagnostic } from "../../ir/diagnostic.ts";
import { foreignId, inconsistent, lacksText, mechanism, missingKeys, unknownModel, unsupportedModel } from "./diagnostics.ts";
import { architectures, byModelType, mechanisms, own, refusalOf, wrappers, wrapperTypes } from "./families.ts";
import type { Json } from "./json.ts";
import { quantisedBeside } from "./hf-quant.ts";
import { idleSets, unknownKeys } from "./keys.ts";
import { readLeftOut, readQuantization } from "./quantization.ts";
import { Reader, show } from "./reader.ts";
import { readRope } from "./rope.ts";
import { layerKinds, readMoe } from "./routing.ts";
import { openSource, type Source } from "./source.ts";
import type { ModelSpec } from "./spec.ts";

/** Widths and ranks stay under this, so that products of any two are exact numbers. */
const WIDTH = { most: 2 ** 20 };
const MOST_DIAGNOSTICS = 10;

export interface Loaded {
  spec: ModelSpec;
  warnings: Diagnostic[];
}

/** Loads SRC; gives the spec and its warnings, or throws a DiagnosticError with up to ten findings. */
export function loadSpec(src: string, set: readonly string[] = []): Loaded & { folder: string; file: string } {
  const source = openSource(src, set);
  const loaded = specOf(source);
  const beside = quantisedBeside(source, loaded.spec);
  if (beside?.severity === "error") throw new DiagnosticError([beside, ...loaded.warnings].slice(0, MOST_DIAGNOSTICS));
  return {
    spec: loaded.spec,
    warnings: [...loaded.warnings, ...(beside ? [beside] : [])],
    folder: source.folder,
    file: source.file,
  };
}

export function specOf(source: Source): Loaded {
  const outer = new Reader(source);
  const { architecture, wrapped } = dispatch(source, outer);
  const c = wrapped ? new Reader(source, "text_config.", outer) : outer;
  const unknown = unknownKeys(source, wrapped ? ["", "text_config."] : [""]);
  for (const d of idleSets(source, wrapped)) c.say(d);
  for (const [key, what] of Object.entries(mechanisms)) {
    const v = c.raw(key);
    const off = v === undefined || v === null || v === false || v === 0 || (Array.isArray(v) && v.length === 0);
    if (!off) c.say(mechanism({ key: c.prefix + key, got: show(v), what }, c.span(key)));
  }
  const spec = readSpec(c, architecture, wrapped ? "language_model." : "");
  const lacking = c.missing.size ? [missingKeys({ keys: [...c.missing], file: c.file })] : [];
  const errors = [...lacking, ...c.found].filter((d) => d.severity === "error");
  const warnings = [...unknown, ...c.found.filter((d) => d.severity === "warning")];
  // With errors, the warnings are shown too: an unknown key is often the misspelt missing one.
  if (errors.length) throw new DiagnosticError([...errors, ...warnings].slice(0, MOST_DIAGNOSTICS));
  return { spec, warnings };
}

/** Chooses the architecture by `architectures`, then by model_type; throws for relatives and strangers. */
function dispatch(source: Source, c: Reader): { architecture: string; wrapped: boolean } {
  const supported = Object.keys(architectures);
  return c.field("architecture", () => {
    const given = c.list("architectures")?.[0];
    const first = typeof given === "string" ? given : undefined;
    const type = c.word("model_type");
    const text = c.members("text_config");
    const wrapped = text !== undefined && !own(architectures, first);
    const inner = wrapped ? new Reader(source, "text_config.", c) : c;
    const innerFirst = wrapped ? inner.list("architectures")?.[0] : undefined;
    const innerType = wrapped ? inner.word("model_type") : undefined;
    if (c.found.length) throw new DiagnosticError(c.found);
    const names: [string | undefined, string][] = [
      [first, "architectures.0"],
      [type, "model_type"],
      [typeof innerFirst === "string" ? innerFirst : undefined, "text_config.architectures.0"],
      [innerType, "text_config.model_type"],
    ];
    for (const [name, at] of names) {
      // What `architectures` supports is compiled whatever model_type says, but not the other way round.
      const refusal = name === undefined || (own(architectures, first) && at !== "architectures.0") ? undefined : refusalOf(name);
      if (refusal)
        throw new DiagnosticError(
          unsupportedModel({ name: refusal.name, needs: refusal.mechanism, supported }, source.spanOf(at)),
        );
    }
    const wrapper =
      (first !== undefined && wrappers.includes(first)) ||
      (first === undefined && type !== undefined && wrapperTypes.includes(type));
    if (wrapper && !wrapped)
      throw new DiagnosticError(lacksText({ name: first ?? type! }, source.spanOf(first ? "architectures.0" : "model_type")));
    const outerKnown = first ?? (type !== undefined ? (own(byModelType, type) ?? type) : undefined);
    const architecture =
      wrapped && (wrapper || outerKnown === undefined)
        ? typeof innerFirst === "string"
          ? innerFirst
          : own(byModelType, innerType)
        : outerKnown;
    if (architecture !== undefined && Object.hasOwn(architectures, architecture)) return { architecture, wrapped };
    const name = architecture ?? innerType ?? first ?? type;
    if (name === undefined) throw new DiagnosticError(missingKeys({ keys: ["architectures"], file: source.file }));
    const at = names.find(([n]) => n === name)?.[1] ?? "model_type";
    throw new DiagnosticError(
      unknownModel(
        { name, near: didYouMean(name, supported), supported, latent: c.has("kv_lora_rank") || inner.has("kv_lora_rank") },
        source.spanOf(at),
      ),
    );
  });
}

function readSpec(c: Reader, architecture: string, prefix: string): ModelSpec {
  const known = architectures[architecture];
  const hidden = c.field("hidden", () => c.int("hidden_size", WIDTH));
  const heads = c.field("heads", () => c.int("num_attention_heads", { most: 2 ** 14 }));
  const nope = c.field("nope", () => c.int("qk_nope_head_dim", { most: 2 ** 14 }));
  const rope = c.field("rope", () => c.int("qk_rope_head_dim", { most: 2 ** 14 }));
  const vDim = c.field("vDim", () => c.int("v_head_dim", { most: 2 ** 14 }));
  const kvLora = c.field("kvLora", () => c.int("kv_lora_rank", WIDTH));
  const qLora = c.field("qLora", () => c.intOrNone("q_lora_rank", WIDTH));
  const vocab = c.field("vocab", () => c.int("vocab_size", { most: 2 ** 26 }));
  checkHeads(c, heads, nope, rope);
  const experts = c.field("experts", () =>
    c.intOrNone("n_routed_experts", { most: 2 ** 16 }, known.published.n_routed_experts === 0 ? null : undefined),
  );
  const layers = c.field("layers", () => layerKinds(c, c.int("num_hidden_layers", { most: 4096 }), experts !== null));
  const moe = experts === null ? null : readMoe(c, known, experts);
  const intermediate = c.field("intermediate", () => c.int("intermediate_size", WIDTH, layers.includes("dense") ? undefined : 1));
  const gating = c.field("gating", () => readGating(c));
  checkFeedForward(c);
  const eps = c.field("eps", () => c.real("rms_norm_eps", known.published.rms_norm_eps));
  if (!(eps >= 0 && eps < 1)) c.refuse("rms_norm_eps", "a norm's epsilon is small and not negative", "1e-6");
  const mtp = c.field("mtp", () => c.intOrNone("num_nextn_predict_layers", {}, null) ?? 0);
  if (mtp > 1) c.refuse("num_nextn_predict_layers", "published checkpoints carry at most one extra prediction layer", "1");
  const position = c.field("position", () => readRope(c, known, rope));
  const fp8 = c.field("fp8", () => readQuantization(c));
  const dtype = c.field("dtype", () => readDtype(c));
  const ids = readIds(c, vocab);
  const attentionBias = c.field("bias", () => c.flag("attention_bias", false));
  const tied = c.field("tied", () => c.flag("tie_word_embeddings", known.tied ?? false));
  const maxPositions = c.field("maxPositions", () => c.int("max_position_embeddings", { most: 2 ** 28 }));
  const spec: ModelSpec = {
    name: architecture,
    architecture,
    family: known.family,
    hidden,
    vocab,
    heads,
    qLora,
    kvLora,
    nope,
    rope,
    vDim,
    intermediate,
    layers,
    mtp,
    moe,
    position,
    eps,
    // The published modelling code builds both latent norms with its default (SEMANTICS 2).
    latentEps: 1e-6,
    gating,
    attentionBias,
    tied,
    fp8,
    maxPositions,
    ...ids,
    dtype,
    prefix,
    keys: c.keys,
    values: c.values,
  };
  const leftOut =
    c.found.some((d) => d.severity === "error") || c.missing.size ? undefined : c.field("fp8", () => readLeftOut(c, spec));
  return leftOut ? { ...spec, storedAs: leftOut } : spec;
}

function checkHeads(c: Reader, heads: number, nope: number, rope: number): void {
  if (rope % 2) c.refuse("qk_rope_head_dim", "rotation turns pairs of lanes, so the width must be even", String(rope + 1));
  if (c.has("num_key_value_heads") && c.int("num_key_value_heads") !== heads && !c.lacks("num_attention_heads"))
    c.refuse(
      "num_key_value_heads",
      "multi-head latent attention has one key head per query head (num_attention_heads)",
      String(heads),
    );
  const whole = c.has("qk_head_dim") ? c.int("qk_head_dim") : nope + rope;
  if (whole !== nope + rope && !c.lacks("qk_nope_head_dim", "qk_rope_head_dim")) {
    const rule = `qk_nope_head_dim + qk_rope_head_dim = ${nope} + ${rope} = ${nope + rope}`;
    c.say(
      inconsistent(
        { title: `"qk_head_dim" is ${whole}`, rule, help: `set qk_head_dim to ${nope + rope}, or remove it` },
        c.span("qk_head_dim"),
      ),
    );
  }
}

/** The activation of the gates, and what clamps them (clamped SwiGLU). */
function readGating(c: Reader): Gating {
  const act = activationOf(c.word("hidden_act") ?? "silu");
  if (!act) c.refuse("hidden_act", `the gate of a feed-forward layer is one of ${knownActivations().join(", ")}`, '"silu"');
  const limit = c.real("swiglu_limit", 0);
  if (!(limit >= 0 && Number.isFinite(Math.fround(limit))))
    c.refuse("swiglu_limit", "gate and up are clamped at a positive number, or not at all", "10");
  return { act: act ?? "silu", limit };
}

function checkFeedForward(c: Reader): void {
  if (c.flag("mlp_bias", false))
    c.refuse("mlp_bias", "no published model of this family has biases in its feed-forward layers", "false");
}

function readDtype(c: Reader): ModelSpec["dtype"] {
  // transformers 5 writes dtype and reads it before torch_dtype; some writers say "torch.bfloat16".
  const plain = (v: Json | undefined): Json | undefined => (typeof v === "string" ? v.replace(/^torch\./, "") : v);
  c.agree("torch_dtype", "dtype", plain);
  const key = c.has("dtype") ? "dtype" : "torch_dtype";
  const name = plain(c.word(key)) ?? "bfloat16";
  if (name !== "bfloat16" && name !== "float32") c.refuse(key, "weights are read as bf16 or f32", '"bfloat16"');
  return name === "float32" ? "f32" : "bf16";
}

/** Token ids; one outside the vocabulary (a shrunken model) can never come out, which is worth a warning, not an end. */
function readIds(c: Reader, vocab: number): Pick<ModelSpec, "bos" | "eos"> {
  const check = (key: string): number[] => {
    const v = c.raw(key);
    const one = (at: string): number => {
      const id = c.int(at, { least: 0 });
      if (id >= vocab && !c.lacks("vocab_size")) c.say(foreignId({ key: c.prefix + at, id, vocab }, c.span(at)));
      return id;
    };
    if (v === undefined || v === null) return [];
    return Array.isArray(v) ? v.map((_, i) => one(`${key}.${i}`)) : [one(key)];
  };
  const bos = c.field("bos", () => check("bos_token_id"));
  return { bos: bos[0] ?? null, eos: c.field("eos", () => check("eos_token_id")) };
}
