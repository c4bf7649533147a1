// Which tensors a checkpoint of a spec holds: names, shapes, stored types (SEMANTICS 7 and 9). One table of a layer's
// parts serves the synthetic writer, the summary, and the comparison with what a checkpoint stores (compiler/checkpoint-dtypes.ts).
import { weightKey, type LayerKind, type ModelSpec } from "./spec.ts";

export type WeightType = "bf16" | "f32" | "e4m3";

/** A tensor of a checkpoint; `scaleName` and `scaleShape` (f32, one per 128x128 block) come with e4m3 only. */
export interface WeightTensor {
  name: string;
  shape: readonly number[];
  dtype: WeightType;
  scaleName?: string;
  scaleShape?: readonly number[];
  /** Its name for all layers of its kind, and whether FP8 checkpoints code it. */
  key: string;
  linear: boolean;
}

/** One parameter of a layer, named relative to it. */
interface Part {
  name: string;
  shape: readonly number[];
  /** Linear weights are codes in FP8 checkpoints; routers, tables, norms and eh_proj never are. */
  linear?: boolean;
  f32?: boolean;
}

const linear = (name: string, out: number, input: number): Part => ({
  name: `${name}.weight`,
  shape: [out, input],
  linear: true,
});
const vector = (name: string, width: number): Part => ({ name, shape: [width] });

/** Gate, up and down of a feed-forward layer of the given width. */
function* feedForward(prefix: string, hidden: number, width: number): Generator<Part> {
  yield linear(`${prefix}.gate_proj`, width, hidden);
  yield linear(`${prefix}.up_proj`, width, hidden);
  yield linear(`${prefix}.down_proj`, hidden, width);
}

function* attention(s: ModelSpec): Generator<Part> {
  const { hidden, heads, qLora, kvLora, nope, rope, vDim } = s;
  const at = "self_attn";
  if (qLora === null) yield linear(`${at}.q_proj`, heads * (nope + rope), hidden);
  else {
    yield linear(`${at}.q_a_proj`, qLora, hidden);
    if (s.attentionBias) yield vector(`${at}.q_a_proj.bias`, qLora);
    yield vector(`${at}.q_a_layernorm.weight`, qLora);
    yield linear(`${at}.q_b_proj`, heads * (nope + rope), qLora);
  }
  yield linear(`${at}.kv_a_proj_with_mqa`, kvLora + rope, hidden);
  if (s.attentionBias) yield vector(`${at}.kv_a_proj_with_mqa.bias`, kvLora + rope);
  yield vector(`${at}.kv_a_layernorm.weight`, kvLora);
  yield linear(`${at}.kv_b_proj`, heads * (nope + vDim), kvLora);
  yield linear(`${at}.o_proj`, hidden, heads * vDim);
  if (s.attentionBias) yield vector(`${at}.o_proj.bias`, hidden);
}

/** The parameters of a decoder layer, in the order its modules run. */
function* layerParts(s: ModelSpec, kind: LayerKind): Generator<Part> {
  yield vector("input_layernorm.weight", s.hidden);
  yield* attention(s);
  yield vector("post_attention_layernorm.weight", s.hidden);
  if (kind === "dense" || !s.moe) return yield* feedForward("mlp", s.hidden, s.intermediate);
  const { experts, intermediate, shared, bias } = s.moe;
  yield { name: "mlp.gate.weight", shape: [experts, s.hidden] };
  if (bias) yield { name: "mlp.gate.e_score_correction_bias", shape: [experts], f32: true };
  for (let j = 0; j < experts; j++) yield* feedForward(`mlp.experts.${j}`, s.hidden, intermediate);
  if (shared) yield* feedForward("mlp.shared_experts", s.hidden, intermediate * shared);
}

/** What an extra prediction layer has besides a decoder layer: norms, the joint, and repeats of embedding and head. */
function* draftParts(s: ModelSpec): Generator<Part> {
  if (!s.draftShares?.includes("embed_tokens")) yield { name: "embed_tokens.weight", shape: [s.vocab, s.hidden] };
  yield vector("enorm.weight", s.hidden);
  yield vector("hnorm.weight", s.hidden);
  yield { name: "eh_proj.weight", shape: [s.hidden, 2 * s.hidden] };
  yield vector("shared_head.norm.weight", s.hidden);
  if (!s.draftShares?.includes("shared_head.head")) yield { name: "shared_head.head.weight", shape: [s.vocab, s.hidden] };
}

function tensorAt(s: ModelSpec, prefix: string, p: Part, kind?: LayerKind | "draft"): WeightTensor {
  const name = prefix + p.name;
  const key = weightKey(kind, p.name);
  const linear = p.linear === true;
  const stored = s.storedAs?.[key];
  if (!s.fp8 || !linear || stored) return { name, shape: p.shape, dtype: stored ?? (p.f32 ? "f32" : s.dtype), key, linear };
  return {
    name,
    shape: p.shape,
    dtype: "e4m3",
    scaleName: `${name}_scale_inv`,
    scaleShape: p.shape.map((n) => Math.ceil(n / 128)),
    key,
    linear,
  };
}

/** The tensors of main layer `index`, or of an extra prediction layer (index >= layers.length), whose layer is one of its kind. */
export function* layerTensors(s: ModelSpec, index: number): Generator<WeightTensor> {
  const draft = index >= s.layers.length;
  const kind = draft ? (s.moe ? "moe" : "dense") : s.layers[index];
  const prefix = `${s.prefix}model.layers.${index}.`;
  const own = draft ? [...draftParts(s)] : [];
  const isTail = (p: Part): boolean => p.name.startsWith("shared_head.");
  for (const p of own) if (!isTail(p)) yield tensorAt(s, prefix, p, "draft");
  for (const p of layerParts(s, kind)) yield tensorAt(s, prefix, p, kind);
  for (const p of own) if (isTail(p)) yield tensorAt(s, prefix, p, "draft");
}

/** The tensors outside the layers: embedding, last norm, and the head unless it is the embedding. */
export function* outerTensors(s: ModelSpec): Generator<WeightTensor> {
  yield tensorAt(s, s.prefix, { name: "model.embed_tokens.weight", shape: [s.vocab, s.hidden] });
  yield tensorAt(s, s.prefix, vector("model.norm.weight", s.hidden));
  if (!s.tied) yield tensorAt(s, s.prefix, { name: "lm_head.weight", shape: [s.vocab, s.hidden] });
}

/** Every tensor of a checkpoint, extra prediction layers included. */
export function* tensorsOf(s: ModelSpec): Generator<WeightTensor> {
  yield* outerTensors(s);
  for (let i = 0; i < s.layers.length + s.mtp; i++) yield* layerTensors(s, i);
}

const inSafetensors = { bf16: "BF16", f32: "F32", e4m3: "F8_E4M3" } as const;

/** The same in safetensors' words, scales behind the weights that they serve. */
export const storedTensors = (s: ModelSpec): { name: string; shape: number[]; dtype: "BF16" | "F32" | "F8_E4M3" }[] =>
  [...tensorsOf(s)].flatMap((t) => [
    { name: t.name, shape: [...t.shape], dtype: inSafetensors[t.dtype] },
    ...(t.scaleName ? [{ name: t.scaleName, shape: [...t.scaleShape!], dtype: "F32" as const }] : []),
  ]);

/** Elements of a shape. */
const elements = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/** Parameters and stored bytes of some tensors. Block scales count as tensors and f32 bytes, not as parameters. */
export interface WeightCount {
  parameters: number;
  tensors: number;
  bytes: { bf16: number; e4m3: number; f32: number };
}

export function countOf(tensors: Iterable<WeightTensor>): WeightCount {
  const out: WeightCount = { parameters: 0, tensors: 0, bytes: { bf16: 0, e4m3: 0, f32: 0 } };
  for (const t of tensors) {
    const n = elements(t.shape);
    out.parameters += n;
    out.tensors++;
    out.bytes[t.dtype] += n * { bf16: 2, f32: 4, e4m3: 1 }[t.dtype];
    if (t.scaleShape) {
      out.bytes.f32 += elements(t.scaleShape) * 4;
      out.tensors++;
    }
  }
  return out;
}

/** The sum of counts, each `times` over. */
export function addCounts(...parts: readonly (readonly [count: WeightCount, times: number])[]): WeightCount {
  const out = countOf([]);
  for (const [c, times] of parts) {
    out.parameters += c.parameters * times;
    out.tensors += c.tensors * times;
    for (const t of ["bf16", "e4m3", "f32"] as const) out.bytes[t] += c.bytes[t] * times;
  }
  return out;
}
