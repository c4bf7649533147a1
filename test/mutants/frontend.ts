// Bugs in reading a config and writing the model down.
import { bug, type Mutant } from "./mutant.ts";

const rope = "compiler/frontend/rope.ts";
const moe = "compiler/frontend/moe.ts";
const routing = "compiler/frontend/routing.ts";
const mla = "compiler/frontend/mla.ts";
const model = "compiler/frontend/model.ts";
const whole = (only: string): [string, string] => ["test/run/reference.test.ts", `passes all ${only}`];
const config = (only: string): [string, string] => ["test/frontend/config.test.ts", only];
const fixture = (only: string): [string, string] => ["test/run/fixtures.test.ts", only];

export const frontend: readonly Mutant[] = [
  bug("03 routed_scaling_factor is left out of the model", moe, "normalise: m.normalise, factor: m.factor,", "normalise: m.normalise, factor: 1,", whole("biased scores"), "experts weigh 1/2.5 of what they should"),
  bug("04 softmax factor from mscale", rope, "softmaxFactor: mscaleAllDim ? magnitude(factor, mscaleAllDim) ** 2 : 1", "softmaxFactor: mscale ? magnitude(factor, mscale) ** 2 : 1", whole("YaRN: a ramp"), "attention is too sharp or too flat"),
  bug("05 softmax factor is not squared", rope, "magnitude(factor, mscaleAllDim) ** 2", "magnitude(factor, mscaleAllDim)", whole("YaRN: a ramp"), "attention is too flat"),
  bug("06 YaRN clamps at d/2 - 1", rope, "Math.min(Math.ceil(corr(yarn.betaSlow)), d - 1)", "Math.min(Math.ceil(corr(yarn.betaSlow)), d / 2 - 1)", whole("YaRN: a ramp"), "long contexts lose their slow lanes",
    { missed: "no config had a ramp that ends past half the lanes" }),
  bug("17 shared experts are left out", moe, "if (!m.shared) return { y, indices, weights };", "if (m) return { y, indices, weights };", whole("biased scores"), "every token lacks an expert"),
  bug("30 MTP: the hidden half comes first", model, "concat({ a: left, b: right })", "concat({ a: right, b: left })", fixture("a08-v3-mtp default"), "drafts are noise"),
  bug("31 MTP: the state before the final norm", model, `results.push({ name: "final", value: final })`, `results.push({ name: "final", value: h })`, fixture("a08-v3-mtp default"), "drafts are poor"),
  bug("32 latent norms take rms_norm_eps", "compiler/frontend/config.ts", "latentEps: 1e-6,", "latentEps: eps,", config("what differs between members"), "Moonlight and Kimi are off a little everywhere"),
  bug("44 attention_bias is left out of o_proj", mla, `bias(y, "bo", "self_attn.o_proj", hidden)`, "y", whole("prompts of more"), "a bias that the checkpoint has is not read"),
  bug("57 the input of o_proj is not quantised", mla, `"o_proj", () => project(w, reshape(`, `"o_proj", () => project({ ...w, options: { ...w.options, actQuant: "none" } }, reshape(`,
    fixture("a07-v3-fp8 a07-v3-fp8 with quantised activations, --attention expanded"), "FP8 models answer as another implementation does not"),
  bug("64 rope_interleave false is read as true", rope, `c.flag("rope_interleave", true)`, `(c.flag("rope_interleave", true), true)`, fixture("a05-v3-halfsplit-tied-bias default"), "pairs of lanes are the wrong ones"),
  bug("65 one dense layer too many", routing, "mixed && i >= dense && i % every === 0", "mixed && i > dense && i % every === 0", config("R1"), "a layer reads weights that are not there"),
  bug("66 moe_layer_freq is ignored", routing, `mixed && i >= dense && i % every === 0 ? "moe"`, `mixed && i >= dense ? "moe"`, whole("a mixture in every second"), "dense layers are taken for mixtures",
    { missed: "every config said 1" }),
  bug("67 attention_factor is ignored", rope, "yarn.attentionFactor ??", "null ??", whole("YaRN: attention_factor"), "cos and sin have another size", { missed: "no config had the key" }),
  bug("68 cos and sin by m(mscale), not the quotient", rope, "magnitude(factor, mscale) / magnitude(factor, mscaleAllDim)", "magnitude(factor, mscale)", whole("YaRN: a ramp"), "queries and keys are too long"),
  bug("69 beta_fast of rope_parameters is lost", rope, `betaFast: given("beta_fast", 32),`, `betaFast: at === "rope_parameters" ? 32 : given("beta_fast", 32),`, whole("YaRN in rope_parameters"), "the ramp begins at the wrong lane",
    { missed: "every config of that spelling said 32" }),
  bug("79 n_shared_experts is taken as 1", moe, "m.shared * m.intermediate", "m.intermediate", whole("biased scores"), "half of the shared expert is left out"),
  bug("beta_slow is taken as 1", rope, `betaSlow: given("beta_slow", 1),`, `betaSlow: (given("beta_slow", 1), 1),`, whole("YaRN: a ramp"), "the ramp ends at the wrong lane", { missed: "every config said 1" }),
  bug("mscale alone is not m(factor, 1)", rope, ": magnitude(factor, 1));", ": 1);", whole("YaRN: mscale alone"), "cos and sin have another size", { missed: "every config had both keys" }),
  bug("norm_topk_prob false is read as true", routing, `c.flag("norm_topk_prob", !v2)`, `(c.flag("norm_topk_prob", !v2), !v2)`, whole("no query rank"), "experts have other weights", { missed: "every V3 config said true" }),
  bug("the base of the frequencies counts one pair less", rope, "f((2 * j) / d)", "f((2 * j) / (d - 2))", whole("a mixture in every second"), "positions are told apart wrongly"),
  bug("YaRN keeps what it should scale", rope, "f(f(1 / f(yarn.factor * p)) * f(1 - keep)) + f(f(1 / p) * keep)", "f(f(1 / f(yarn.factor * p)) * keep) + f(f(1 / p) * f(1 - keep))", whole("YaRN: a ramp"), "long contexts break"),
  bug("softmax without YaRN's factor", mla, "by: softmaxScale(spec)", "by: (spec.nope + spec.rope) ** -0.5", whole("YaRN: a ramp"), "attention is too flat"),
  bug("a tied head is read as one of its own", model, "spec.tied ? weights.table", "!spec.tied ? weights.table", fixture("a05-v3-halfsplit-tied-bias default"), "tied models do not load"),
];
