// The family in float64, written from the papers' formulas. It imports nothing of dsc: an error that a kernel and its reference op,
// or the frontend and a test of it, make together is not made here. Names are the checkpoint's.

export interface Config {
  hidden_size: number;
  num_hidden_layers: number;
  num_attention_heads: number;
  q_lora_rank: number | null;
  kv_lora_rank: number;
  qk_nope_head_dim: number;
  qk_rope_head_dim: number;
  v_head_dim: number;
  rms_norm_eps: number;
  rope_theta?: number;
  rope_interleave?: boolean;
  rope_scaling?: Yarn;
  rope_parameters?: Yarn;
  attention_bias?: boolean;
  tie_word_embeddings?: boolean;
  n_routed_experts?: number;
  first_k_dense_replace?: number;
  moe_layer_freq?: number;
  num_experts_per_tok?: number;
  n_group?: number;
  topk_group?: number;
  topk_method?: string;
  norm_topk_prob?: boolean;
  routed_scaling_factor?: number;
  n_shared_experts?: number;
  hidden_act?: string;
  swiglu_limit?: number;
}

interface Yarn {
  rope_theta?: number;
  factor?: number;
  original_max_position_embeddings?: number;
  beta_fast?: number;
  beta_slow?: number;
  mscale?: number;
  mscale_all_dim?: number;
  attention_factor?: number;
}

/** A checkpoint: every matrix dequantised, row-major. */
export type Weights = (name: string) => Float64Array;

/** Frequencies of the rotated pairs, what multiplies cos and sin, what multiplies the scores. */
function positionsOf(c: Config): { frequencies: number[]; magnitude: number; scale: number } {
  const d = c.qk_rope_head_dim;
  const y = c.rope_parameters ?? c.rope_scaling ?? {};
  const theta = y.rope_theta ?? c.rope_theta ?? 10000;
  const plain = Array.from({ length: d / 2 }, (_, j) => theta ** ((-2 * j) / d));
  const scale = (c.qk_nope_head_dim + d) ** -0.5;
  const { factor, original_max_position_embeddings: original } = y;
  if (factor === undefined || original === undefined) return { frequencies: plain, magnitude: 1, scale };
  // The lane that turns so many times within the original context.
  const lane = (turns: number): number => (d * Math.log(original / (2 * Math.PI * turns))) / (2 * Math.log(theta));
  const low = Math.max(Math.floor(lane(y.beta_fast ?? 32)), 0);
  const high = Math.min(Math.ceil(lane(y.beta_slow ?? 1)), d - 1);
  const frequencies = plain.map((f, j) => {
    const ramp = Math.min(1, Math.max(0, (j - low) / (high === low ? 0.001 : high - low)));
    return (f / factor) * ramp + f * (1 - ramp);
  });
  const m = (a: number): number => (factor <= 1 ? 1 : 0.1 * a * Math.log(factor) + 1);
  const magnitude = y.attention_factor ?? (y.mscale && y.mscale_all_dim ? m(y.mscale) / m(y.mscale_all_dim) : m(1));
  return { frequencies, magnitude, scale: y.mscale_all_dim ? scale * m(y.mscale_all_dim) ** 2 : scale };
}

/** Experts of one token, ascending, and their weights. */
function routed(c: Config, logits: Float64Array, bias?: Float64Array): { experts: number[]; weights: number[] } {
  const v3 = bias !== undefined;
  const top = Math.max(...logits);
  const powers = logits.map((l) => Math.exp(l - top));
  const total = powers.reduce((a, b) => a + b, 0);
  const scores = v3 ? logits.map((l) => 1 / (1 + Math.exp(-l))) : powers.map((p) => p / total);
  const choice = scores.map((s, e) => s + (bias?.[e] ?? 0));
  const best = (values: readonly number[], n: number): number[] =>
    values
      .map((_, i) => i)
      .sort((a, b) => values[b] - values[a] || a - b)
      .slice(0, n);
  const groups = c.topk_method === "greedy" ? 1 : (c.n_group ?? 1);
  const size = logits.length / groups;
  const ranks = Array.from({ length: groups }, (_, g) => {
    const inside = [...choice.subarray(g * size, (g + 1) * size)].sort((a, b) => b - a);
    return v3 ? inside[0] + inside[1] : inside[0];
  });
  const kept = groups > 1 ? best(ranks, c.topk_group ?? groups) : [0];
  const allowed = [...choice].map((_, e) => e).filter((e) => kept.includes(Math.floor(e / size)));
  const experts = best(
    allowed.map((e) => choice[e]),
    c.num_experts_per_tok!,
  )
    .map((i) => allowed[i])
    .sort((a, b) => a - b);
  let weights = experts.map((e) => scores[e]);
  if (v3 && c.norm_topk_prob !== false) {
    const sum = weights.reduce((a, b) => a + b, 1e-20);
    weights = weights.map((w) => w / sum);
  }
  return { experts, weights: weights.map((w) => w * (c.routed_scaling_factor ?? 1)) };
}

/** Whether a layer is a mixture. */
export const isMixture = (c: Config, layer: number): boolean =>
  !!c.n_routed_experts && layer >= (c.first_k_dense_replace ?? 0) && layer % (c.moe_layer_freq ?? 1) === 0;

type Rows = Float64Array[];

/** w [n, k] row-major times every row. */
const times = (x: Rows, w: Float64Array): Rows =>
  x.map((row) => {
    const k = row.length;
    const y = new Float64Array(w.length / k);
    for (let i = 0; i < y.length; i++) {
      let sum = 0;
      for (let j = 0; j < k; j++) sum += w[i * k + j] * row[j];
      y[i] = sum;
    }
    return y;
  });

const normed = (x: Rows, gain: Float64Array, eps: number): Rows =>
  x.map((row) => {
    const by = 1 / Math.sqrt(row.reduce((a, v) => a + v * v, 0) / row.length + eps);
    return row.map((v, i) => v * by * gain[i]);
  });

const added = (x: Rows, y: Rows): Rows => x.map((row, t) => row.map((v, i) => v + y[t][i]));

/** Pairs (2j, 2j + 1), or (j, j + d/2), turned by position times frequency. */
function rotated(
  v: Float64Array,
  position: number,
  frequencies: readonly number[],
  magnitude: number,
  interleaved: boolean,
): Float64Array {
  const out = v.slice();
  for (const [j, f] of frequencies.entries()) {
    const [a, b] = interleaved ? [2 * j, 2 * j + 1] : [j, j + frequencies.length];
    const [cos, sin] = [Math.cos(position * f) * magnitude, Math.sin(position * f) * magnitude];
    out[a] = v[a] * cos - v[b] * sin;
    out[b] = v[b] * cos + v[a] * sin;
  }
  return out;
}

function attention(c: Config, w: Weights, prefix: string, x: Rows): Rows {
  const [h, n, d, v, r] = [c.num_attention_heads, c.qk_nope_head_dim, c.qk_rope_head_dim, c.v_head_dim, c.kv_lora_rank];
  const { frequencies, magnitude, scale } = positionsOf(c);
  const project = (from: Rows, name: string, biased = false): Rows => {
    const y = times(from, w(`${prefix}${name}.weight`));
    return biased && c.attention_bias
      ? added(
          y,
          y.map(() => w(`${prefix}${name}.bias`)),
        )
      : y;
  };
  const q =
    c.q_lora_rank === null
      ? project(x, "q_proj")
      : project(normed(project(x, "q_a_proj", true), w(`${prefix}q_a_layernorm.weight`), 1e-6), "q_b_proj");
  const latent = project(x, "kv_a_proj_with_mqa", true);
  const kv = project(
    normed(
      latent.map((row) => row.slice(0, r)),
      w(`${prefix}kv_a_layernorm.weight`),
      1e-6,
    ),
    "kv_b_proj",
  );
  const turn = (row: Float64Array, t: number): Float64Array => rotated(row, t, frequencies, magnitude, c.rope_interleave ?? true);
  const shared = latent.map((row, t) => turn(row.slice(r), t));
  const out = x.map(() => new Float64Array(h * v));
  for (let head = 0; head < h; head++)
    for (let t = 0; t < x.length; t++) {
      const query = q[t].subarray(head * (n + d), (head + 1) * (n + d));
      const qp = turn(query.slice(n), t);
      const scores = new Float64Array(t + 1);
      for (let s = 0; s <= t; s++) {
        let sum = 0;
        for (let i = 0; i < n; i++) sum += query[i] * kv[s][head * (n + v) + i];
        for (let i = 0; i < d; i++) sum += qp[i] * shared[s][i];
        scores[s] = sum * scale;
      }
      const top = scores.reduce((a, b) => Math.max(a, b), -Infinity);
      let total = 0;
      for (let s = 0; s <= t; s++) total += scores[s] = Math.exp(scores[s] - top);
      for (let s = 0; s <= t; s++)
        for (let i = 0; i < v; i++) out[t][head * v + i] += (scores[s] / total) * kv[s][head * (n + v) + n + i];
    }
  return project(out, "o_proj", true);
}

const gelu = (x: number): number => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));

function gated(c: Config, w: Weights, prefix: string, x: Rows): Rows {
  const [gate, up] = ["gate_proj", "up_proj"].map((name) => times(x, w(`${prefix}${name}.weight`)));
  const most = c.swiglu_limit || Infinity;
  const act = (g: number): number => (c.hidden_act === "gelu_pytorch_tanh" ? gelu(g) : g / (1 + Math.exp(-g)));
  const clamped = (u: number): number => Math.max(-most, Math.min(most, u));
  return times(
    gate.map((row, t) => row.map((g, i) => act(Math.min(most, g)) * clamped(up[t][i]))),
    w(`${prefix}down_proj.weight`),
  );
}

function mixture(c: Config, w: Weights, prefix: string, x: Rows, v3: boolean): Rows {
  const logits = times(x, w(`${prefix}gate.weight`));
  const out = x.map((row) => new Float64Array(row.length));
  for (const [t, row] of x.entries()) {
    const { experts, weights } = routed(c, logits[t], v3 ? w(`${prefix}gate.e_score_correction_bias`) : undefined);
    for (const [i, e] of experts.entries()) {
      const [y] = gated(c, w, `${prefix}experts.${e}.`, [row]);
      for (let j = 0; j < y.length; j++) out[t][j] += weights[i] * y[j];
    }
  }
  return c.n_shared_experts ? added(out, gated(c, w, `${prefix}shared_experts.`, x)) : out;
}

/** Logits of every row of a sequence. */
export function logitsOf(c: Config, w: Weights, ids: readonly number[], v3 = true): Rows {
  const H = c.hidden_size;
  const embedding = w("model.embed_tokens.weight");
  let x: Rows = ids.map((id) => embedding.slice(id * H, (id + 1) * H));
  for (let l = 0; l < c.num_hidden_layers; l++) {
    const prefix = `model.layers.${l}.`;
    x = added(x, attention(c, w, `${prefix}self_attn.`, normed(x, w(`${prefix}input_layernorm.weight`), c.rms_norm_eps)));
    const y = normed(x, w(`${prefix}post_attention_layernorm.weight`), c.rms_norm_eps);
    x = added(x, isMixture(c, l) ? mixture(c, w, `${prefix}mlp.`, y, v3) : gated(c, w, `${prefix}mlp.`, y));
  }
  return times(normed(x, w("model.norm.weight"), c.rms_norm_eps), c.tie_word_embeddings ? embedding : w("lm_head.weight"));
}
