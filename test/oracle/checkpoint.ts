// A random checkpoint of a config, on disk for dsc and as float64 for the oracle: FP8 matrices are decoded here, by the format's definition.
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { saveTensors } from "../../runtime/safetensors-write.ts";
import { randomOf } from "../kernels/numbers.ts";
import { isMixture, type Config, type Weights } from "./model.ts";

/** Value of an e4m3 code: sign, four bits of exponent with bias 7, three of mantissa; no infinity, 0x7f is NaN. */
function e4m3(code: number): number {
  const [sign, exponent, mantissa] = [code & 128 ? -1 : 1, (code >> 3) & 15, code & 7];
  if (exponent === 15 && mantissa === 7) return NaN;
  return sign * (exponent ? (1 + mantissa / 8) * 2 ** (exponent - 7) : (mantissa / 8) * 2 ** -6);
}

/** Names and shapes of all tensors. */
function tensorsOf(
  c: Config,
  v3: boolean,
  vocab: number,
  intermediate: number,
  expertWidth: number,
): [name: string, shape: number[]][] {
  const [H, h, r, d] = [c.hidden_size, c.num_attention_heads, c.kv_lora_rank, c.qk_rope_head_dim];
  const q = h * (c.qk_nope_head_dim + d);
  const mlp = (prefix: string, width: number): [string, number[]][] => [
    [`${prefix}gate_proj.weight`, [width, H]],
    [`${prefix}up_proj.weight`, [width, H]],
    [`${prefix}down_proj.weight`, [H, width]],
  ];
  const biased = (name: string, n: number): [string, number[]][] => (c.attention_bias ? [[`${name}.bias`, [n]]] : []);
  const layer = (l: number): [string, number[]][] => {
    const [at, attn, ff] = [`model.layers.${l}.`, `model.layers.${l}.self_attn.`, `model.layers.${l}.mlp.`];
    const rq = c.q_lora_rank;
    const experts = c.n_routed_experts ?? 0;
    return [
      [`${at}input_layernorm.weight`, [H]],
      [`${at}post_attention_layernorm.weight`, [H]],
      ...((rq === null
        ? [[`${attn}q_proj.weight`, [q, H]]]
        : [
            [`${attn}q_a_proj.weight`, [rq, H]],
            ...biased(`${attn}q_a_proj`, rq),
            [`${attn}q_a_layernorm.weight`, [rq]],
            [`${attn}q_b_proj.weight`, [q, rq]],
          ]) as [string, number[]][]),
      [`${attn}kv_a_proj_with_mqa.weight`, [r + d, H]],
      ...biased(`${attn}kv_a_proj_with_mqa`, r + d),
      [`${attn}kv_a_layernorm.weight`, [r]],
      [`${attn}kv_b_proj.weight`, [h * (c.qk_nope_head_dim + c.v_head_dim), r]],
      [`${attn}o_proj.weight`, [H, h * c.v_head_dim]],
      ...biased(`${attn}o_proj`, H),
      ...(isMixture(c, l)
        ? ([
            [`${ff}gate.weight`, [experts, H]],
            ...(v3 ? [[`${ff}gate.e_score_correction_bias`, [experts]]] : []),
            ...Array.from({ length: experts }, (_, e) => mlp(`${ff}experts.${e}.`, expertWidth)).flat(),
            ...(c.n_shared_experts ? mlp(`${ff}shared_experts.`, expertWidth * c.n_shared_experts) : []),
          ] as [string, number[]][])
        : mlp(ff, intermediate)),
    ];
  };
  return [
    ["model.embed_tokens.weight", [vocab, H]],
    ...Array.from({ length: c.num_hidden_layers }, (_, l) => layer(l)).flat(),
    ["model.norm.weight", [H]],
    ...((c.tie_word_embeddings ? [] : [["lm_head.weight", [vocab, H]]]) as [string, number[]][]),
  ];
}

export interface Made extends Config {
  architectures: string[];
  vocab_size: number;
  intermediate_size: number;
  moe_intermediate_size?: number;
  quantization_config?: object;
}

/** Writes config.json and model.safetensors into `folder`; gives the same weights as numbers. `lift` is added to every router bias. */
export async function writeModel(folder: string, c: Made, seed: number, lift = 0): Promise<Weights> {
  const random = randomOf(seed);
  const v3 = c.architectures[0] !== "DeepseekV2ForCausalLM";
  const numbers = new Map<string, Float64Array>();
  const stored: Parameters<typeof saveTensors>[1][number][] = [];
  for (const [name, shape] of tensorsOf(c, v3, c.vocab_size, c.intermediate_size, c.moe_intermediate_size ?? 0)) {
    const [n, k] = [shape[0], shape[1] ?? 1];
    if (c.quantization_config && /_proj(_with_mqa)?\.weight$/.test(name)) {
      const codes = Uint8Array.from({ length: n * k }, () => Math.floor(random() * 2) * 128 + Math.floor(random() * 127));
      const columns = Math.ceil(k / 128);
      const scales = Float32Array.from({ length: Math.ceil(n / 128) * columns }, () => (0.5 + random()) / (60 * Math.sqrt(k)));
      stored.push(
        { name, shape, dtype: "F8_E4M3", data: codes },
        { name: `${name}_scale_inv`, shape: [scales.length / columns, columns], dtype: "F32", data: scales },
      );
      numbers.set(
        name,
        Float64Array.from(
          codes,
          (code, i) => e4m3(code) * scales[Math.floor(Math.floor(i / k) / 128) * columns + Math.floor((i % k) / 128)],
        ),
      );
      continue;
    }
    const norm = name.endsWith("norm.weight");
    const size = norm ? 0.25 : name.endsWith("bias") ? 0.3 : name.startsWith("model.embed") ? 1 : 2 / Math.sqrt(k);
    const plus = norm ? 1 : name.endsWith("correction_bias") ? lift : 0;
    const data = Float32Array.from({ length: n * k }, () => plus + size * (2 * random() - 1));
    stored.push({ name, shape, dtype: "F32", data });
    numbers.set(name, Float64Array.from(data));
  }
  mkdirSync(folder, { recursive: true });
  writeFileSync(path.join(folder, "config.json"), JSON.stringify(c));
  await saveTensors(path.join(folder, "model.safetensors"), stored);
  return (name) => numbers.get(name)!;
}
