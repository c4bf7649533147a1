// Whole models against an oracle that shares no line with dsc (test/oracle/model.ts): corners of the family that no fixture has.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { writeModel, type Made } from "../oracle/checkpoint.ts";
import { logitsOf } from "../oracle/model.ts";
import { openModel } from "./compiled.ts";

const work = mkdtempSync(path.join(tmpdir(), "dsc-reference-"));
afterAll(() => rmSync(work, { recursive: true }));

const base: Made = {
  architectures: ["DeepseekV3ForCausalLM"],
  vocab_size: 101,
  hidden_size: 48,
  intermediate_size: 72,
  num_hidden_layers: 2,
  num_attention_heads: 3,
  q_lora_rank: 40,
  kv_lora_rank: 24,
  qk_nope_head_dim: 12,
  qk_rope_head_dim: 16,
  v_head_dim: 10,
  rms_norm_eps: 1e-5,
  rope_theta: 1000,
  first_k_dense_replace: 9,
  n_routed_experts: 0,
};
const more = { max_position_embeddings: 8192, torch_dtype: "float32", hidden_act: "silu", tie_word_embeddings: false };
const experts = {
  n_routed_experts: 16,
  num_experts_per_tok: 4,
  n_group: 4,
  topk_group: 2,
  topk_method: "noaux_tc",
  scoring_func: "sigmoid",
  norm_topk_prob: true,
  routed_scaling_factor: 2.5,
  n_shared_experts: 2,
  moe_intermediate_size: 20,
  first_k_dense_replace: 1,
  num_hidden_layers: 3,
};
// The ramp ends past half the lanes (lane 10 of 16, of which 8 have a frequency), and begins at lane 2 for beta_fast 1000, at 6 for 32.
const yarn = {
  factor: 4,
  original_max_position_embeddings: 65536,
  beta_fast: 1000,
  beta_slow: 2,
  mscale: 0.7,
  mscale_all_dim: 1.2,
};

const cases: Record<string, { config: object; lift?: number; prompts?: number[]; threads?: number; options?: object }> = {
  "YaRN: a ramp that ends past half the lanes": { config: { rope_scaling: { type: "yarn", ...yarn } } },
  "YaRN in rope_parameters: its own beta_fast and theta": {
    config: { rope_theta: undefined, rope_parameters: { rope_type: "yarn", rope_theta: 1000, ...yarn } },
  },
  "YaRN: attention_factor instead of the magnitudes' quotient": {
    config: { rope_scaling: { type: "yarn", ...yarn, attention_factor: 0.6 } },
  },
  "YaRN: mscale alone": { config: { rope_scaling: { type: "yarn", ...yarn, mscale_all_dim: undefined } } },
  "no query rank, halves for pairs, a tied head, weights not normalised": {
    config: {
      ...experts,
      q_lora_rank: null,
      rope_interleave: false,
      tie_word_embeddings: true,
      norm_topk_prob: false,
      attention_bias: true,
    },
  },
  "a mixture in every second layer": { config: { ...experts, num_hidden_layers: 5, moe_layer_freq: 2 } },
  "biased scores below zero, in groups": { config: experts, lift: -3 },
  "GELU for the gate, in dense, shared and routed layers": { config: { ...experts, hidden_act: "gelu_pytorch_tanh" } },
  "clamped SwiGLU, where most gates and ups are beyond the limit": { config: { ...experts, swiglu_limit: 0.01 } },
  "V2: groups by their best expert": {
    config: {
      ...experts,
      architectures: ["DeepseekV2ForCausalLM"],
      topk_method: "group_limited_greedy",
      scoring_func: "softmax",
      norm_topk_prob: false,
    },
  },
  "prompts of more than a page side by side, on five threads": {
    config: { ...experts, attention_bias: true },
    prompts: [5, 131, 70],
    threads: 5,
  },
  "FP8: joined latents whose second part begins past row 128": {
    config: {
      q_lora_rank: 384,
      kv_lora_rank: 152,
      quantization_config: { quant_method: "fp8", fmt: "e4m3", activation_scheme: "dynamic", weight_block_size: [128, 128] },
    },
    options: { actQuant: "none" },
  },
};

const idsOf = (count: number, salt: number): number[] =>
  Array.from({ length: count }, (_, i) => (i * i * 7 + i * 13 + salt * 29 + 3) % base.vocab_size);

/** Largest distance of a row of logits, as a share of the largest logit. */
function distance(got: Float32Array, want: Float64Array): number {
  const size = want.reduce((a, v) => Math.max(a, Math.abs(v)), 0);
  return want.reduce((a, v, i) => Math.max(a, Math.abs(v - got[i]) / size), got.length === want.length ? 0 : Infinity);
}

describe.each(["all", "none"])("passes %s", (passes) => {
  test.each(Object.entries(cases))("%s", async (name, { config, lift, prompts = [21], threads = 2, options = {} }) => {
    const made = JSON.parse(JSON.stringify({ ...base, ...more, ...config })) as Made;
    const folder = path.join(work, `${name} ${passes}`.replace(/\W+/g, "-"));
    const weights = await writeModel(folder, made, 7, lift);
    const v3 = made.architectures[0] === "DeepseekV3ForCausalLM";
    const model = await openModel(folder, { passes, ...options }, threads);
    const session = model.session({ maxTokens: 200 });
    const all = prompts.map((n, b) => idsOf(n + 2, b));
    const want = all.map((ids) => logitsOf(made, weights, ids, v3));
    const first = await session.prefill(all.map((ids) => ids.slice(0, -2)));
    for (const [b, rows] of want.entries())
      expect(distance(first.logits(b), rows.at(-3)!), `sequence ${b}, prefill`).toBeLessThan(2e-5);
    for (const back of [2, 1]) {
      const next = await session.decode(all.map((ids) => ids.at(-back)!));
      for (const [b, rows] of want.entries())
        expect(distance(next.logits(b), rows.at(-back)!), `sequence ${b}, decode`).toBeLessThan(2e-5);
    }
    session.close();
  });
});

test("4,200 rows: prefill, extend and decode across the first rope table's end", async () => {
  const made = { ...base, ...more, num_hidden_layers: 1, num_attention_heads: 1, rope_theta: 10000 } as Made;
  const folder = path.join(work, "long");
  const weights = await writeModel(folder, made, 8);
  const ids = idsOf(4200, 1);
  const want = logitsOf(made, weights, ids);
  const model = await openModel(folder);
  const session = model.session();
  const whole = model.session();
  expect(distance((await whole.prefill([ids])).logits(0), want[4199])).toBeLessThan(2e-5);
  whole.close();
  await session.prefill([ids.slice(0, 4000)]);
  expect(distance((await session.extend([ids.slice(4000, 4150)])).logits(0), want[4149])).toBeLessThan(2e-5);
  for (let t = 4150; t < 4155; t++) expect(distance((await session.decode([ids[t]])).logits(0), want[t])).toBeLessThan(2e-5);
  session.close();
});
