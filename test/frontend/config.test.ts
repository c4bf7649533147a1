// config.json to ModelSpec: the family, the fixtures, what is refused and where the finding points.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { DiagnosticError, render, type Diagnostic } from "../../ir/diagnostic.ts";
import { loadSpec, specOf } from "../../compiler/frontend/config.ts";
import { parseJson, type Json } from "../../compiler/frontend/json.ts";
import { ignored, read as readKeys } from "../../compiler/frontend/keys.ts";
import { sourceOf } from "../../compiler/frontend/source.ts";
import { softmaxScale } from "../../compiler/frontend/spec.ts";
import { fixtures, load, pathOf, r1, refused, refusedText, relatives, supported, textOf, withKeys, type Config } from "./configs.ts";

const codes = (ds: Diagnostic[]): string[] => ds.map((d) => d.code);

describe("the family", () => {
  test.each(Object.keys(supported))("%s gives a spec without warnings", (name) => {
    const { spec, warnings } = load(supported[name]);
    expect(warnings.map(render)).toEqual([]);
    expect(spec.position.invFreq).toHaveLength(spec.rope / 2);
  });

  test.each(Object.keys(relatives))("%s is refused by name and mechanism", (key) => {
    const [config, name, mechanism] = relatives[key];
    const [d, ...rest] = refused(config);
    expect(rest).toEqual([]);
    expect(d.code).toBe("DSC1020");
    expect(d.title).toContain(name);
    expect(d.notes.join()).toMatch(mechanism);
    expect(d.spans[0].text).toBeDefined();
  });

  test("R1", () => {
    const { spec } = loadSpec(pathOf("examples/deepseek-r1"));
    expect(spec).toMatchObject({
      hidden: 7168,
      heads: 128,
      qLora: 1536,
      kvLora: 512,
      nope: 128,
      rope: 64,
      vDim: 128,
      mtp: 1,
      tied: false,
    });
    expect(spec).toMatchObject({ family: "v3", eps: 1e-6, latentEps: 1e-6, dtype: "bf16", prefix: "", bos: 0, eos: [1] });
    expect(spec.moe).toEqual({
      experts: 256,
      topk: 8,
      groups: 8,
      kept: 4,
      shared: 1,
      intermediate: 2048,
      scoring: "sigmoid",
      method: "noaux_tc",
      normalise: true,
      factor: 2.5,
      bias: true,
    });
    expect(spec.fp8).toEqual({ scale: "f32", block: [128, 128] });
    expect(spec.layers.join(" ")).toBe([...Array<string>(3).fill("dense"), ...Array<string>(58).fill("moe")].join(" "));
    // Lanes up to 10 keep their frequency, from 23 on it is divided by 40.
    const { invFreq } = spec.position;
    const plain = (j: number): number => Math.fround(10000 ** ((-2 * j) / 64));
    expect(invFreq[10] / plain(10)).toBeCloseTo(1, 6);
    expect(invFreq[11] / plain(11)).toBeLessThan(0.99);
    expect((invFreq[23] / plain(23)) * 40).toBeCloseTo(1, 6);
    expect(softmaxScale(spec)).toBeCloseTo(0.135234, 6);
    expect(spec.position.cosSinFactor).toBe(1);
  });

  test("what differs between members", () => {
    expect(softmaxScale(load(supported["DeepSeek-V2"]).spec)).toBeCloseTo(0.11472, 5);
    expect(load(supported["DeepSeek-V2"]).spec.moe).toMatchObject({
      method: "group_limited_greedy",
      groups: 8,
      kept: 3,
      bias: false,
    });
    expect(load(supported["DeepSeek-V2-Lite"]).spec).toMatchObject({ qLora: null, moe: { method: "greedy", groups: 1 } });
    expect(load(supported["DeepSeek-V3.1"]).spec.fp8?.scale).toBe("ue8m0");
    expect(load(supported.Moonlight).spec).toMatchObject({
      eps: 1e-5,
      latentEps: 1e-6,
      fp8: null,
      position: { theta: 50000, softmaxFactor: 1 },
    });
    expect(load(supported["Kimi-VL"]).spec).toMatchObject({ prefix: "language_model.", architecture: "DeepseekV3ForCausalLM" });
    expect(load(supported["GLM-4.7-Flash"]).spec).toMatchObject({ eps: 1e-5, vDim: 256, layers: ["dense", "moe", "moe", "moe"] });
    expect(load(supported["Youtu-LLM"]).spec).toMatchObject({ moe: null, tied: true });
    expect(load(supported["Kimi-K2.5 in FP8"]).spec.fp8).not.toBeNull();
  });

  test.each([...fixtures, "examples/printed-model", "examples/tiny-r1"])("%s has no warnings", (folder) => {
    expect(loadSpec(pathOf(folder)).warnings).toEqual([]);
  });

  test("fields remember their keys, whichever spelling was used", () => {
    expect(load(r1).spec.keys).toMatchObject({
      hidden: ["hidden_size"],
      position: ["rope_scaling", "rope_theta"],
      tied: ["tie_word_embeddings"],
    });
    expect(load(supported["GLM-4.7-Flash"]).spec.keys.position).toEqual(["rope_parameters"]);
    expect(load(supported["GLM-4.7-Flash"]).spec.keys.layers).toContain("mlp_layer_types");
    expect(load(r1).spec.keys.router).not.toContain("moe_intermediate_size");
    expect(load(supported["Kimi-VL"]).spec.keys.hidden).toEqual(["text_config.hidden_size"]);
    expect(load(withKeys(r1, { attention_bias: undefined })).spec.keys.bias).toEqual(["attention_bias"]);
  });

  test("both spellings of rope settings mean the same", () => {
    const { type, ...rest } = r1.rope_scaling as { type: string };
    const modern = withKeys(r1, {
      rope_scaling: undefined,
      rope_theta: undefined,
      rope_parameters: { rope_type: type, rope_theta: 10000, ...rest },
    });
    expect(load(modern).spec.position).toEqual(load(r1).spec.position);
    expect(codes(refused(withKeys(r1, { rope_parameters: { rope_type: "default", rope_theta: 5 } })))).toContain("DSC1015");
  });
});

describe("rope settings in two spellings", () => {
  const yarn = r1.rope_scaling as Config;
  const { type: _, ...members } = yarn;
  const modern: Config = { rope_type: "yarn", rope_theta: 10000, ...members };
  const both = (scaling: Json, parameters: Json, more: Parameters<typeof withKeys>[1] = {}): Config => withKeys(r1, { rope_scaling: scaling, rope_parameters: parameters, ...more });
  const position = (c: Config): unknown => load(c).spec.position;
  const wanted = load(r1).spec.position;

  test("beside each other, where they come to the same, they are accepted", () => {
    expect(position(both(yarn, modern))).toEqual(wanted);
    // Defaults count: beta_fast 32 may stand in one of them only, rope_theta in any of three places.
    const { beta_fast: _fast, ...shorter } = modern;
    expect(position(both(yarn, shorter))).toEqual(wanted);
    expect(position(both({ ...yarn, rope_type: "yarn", rope_theta: 10000 }, modern, { rope_theta: undefined }))).toEqual(wanted);
    // Null and {} say nothing.
    for (const nothing of [null, {}]) {
      expect(position(both(nothing, modern))).toEqual(wanted);
      expect(position(both(yarn, nothing))).toEqual(wanted);
    }
    expect(load(both(yarn, modern)).warnings).toEqual([]);
  });

  const disagreeing: [what: string, config: Config, names: RegExp][] = [
    ["yarn and default", both(yarn, { rope_type: "default", rope_theta: 10000 }), /the type is "yarn" by "rope_scaling" and "default" by "rope_parameters"/],
    ["default and yarn", both({ type: "default" }, modern), /the type/],
    ["factors", both(yarn, { ...modern, factor: 4 }), /factor is 40 .* 4/],
    ["beta_fast", both(yarn, { ...modern, beta_fast: 16 }), /beta_fast is 32 .* 16/],
    ["beta_slow", both(yarn, { ...modern, beta_slow: 2 }), /beta_slow/],
    ["mscale_all_dim in one only", both(yarn, { ...modern, mscale_all_dim: null }), /mscale_all_dim is 1 .* null/],
    ["attention_factor in one only", both({ ...yarn, attention_factor: 1.5 }, modern), /attention_factor is 1.5 .* null/],
    ["rope_theta of the newer one", both(yarn, { ...modern, rope_theta: 50000 }), /"rope_theta" is 10000, "rope_parameters.rope_theta" is 50000/],
    ["rope_theta, and none at the top", both(yarn, { ...modern, rope_theta: 50000 }, { rope_theta: undefined }), /rope_theta is 10000 .* 50000/],
    ["type and rope_type", both(null, { ...modern, type: "default" }), /"rope_parameters.type" is "default"/],
    ["positions before YaRN, inside and beside", withKeys(r1, { original_max_position_embeddings: 8192 }), /8192.*4096/],
    ["layer types", both(null, { full_attention: modern, sliding_attention: { rope_type: "default", rope_theta: 10000 } }), /every layer/],
    ["nested and flat", both(yarn, { full_attention: { rope_type: "default" } }), /"rope_parameters.full_attention"/],
  ];
  test.each(disagreeing)("%s that disagree are refused by name", (_what, config, names) => {
    const found = refused(config);
    const d = found.find((f) => f.code === "DSC1015");
    expect(d, found.map(render).join("\n")).toBeDefined();
    expect(render(d!)).toMatch(names);
  });

  test("nested by layer type, as transformers 5 writes it where there is more than one", () => {
    expect(position(both(null, { full_attention: modern }))).toEqual(wanted);
    expect(position(both(null, { full_attention: modern, sliding_attention: { ...modern } }))).toEqual(wanted);
    expect(position(both(null, { full_attention: modern, sliding_attention: null }))).toEqual(wanted);
    expect(position(both({ full_attention: yarn }, null))).toEqual(wanted);
    expect(codes(load(both(null, { full_attention: { ...modern, betafast: 3 } })).warnings)).toEqual(["DSC1011"]);
  });

  test("the positions before YaRN may stand beside the settings", () => {
    const { original_max_position_embeddings: _original, ...rest } = yarn;
    expect(position(withKeys(r1, { rope_scaling: rest, original_max_position_embeddings: 4096 }))).toEqual(wanted);
    expect(codes(refused(withKeys(r1, { rope_scaling: rest })))).toEqual(["DSC1012"]);
  });
});

test("dtype and torch_dtype: transformers 5 reads dtype; two that disagree are refused; --set takes the other away", () => {
  const dtypeOf = (change: Parameters<typeof withKeys>[1], set: string[] = []): string => load(withKeys(r1, change), set).spec.dtype;
  expect(dtypeOf({ torch_dtype: undefined, dtype: "float32" })).toBe("f32");
  expect(dtypeOf({ dtype: "bfloat16" })).toBe("bf16");
  expect(dtypeOf({ torch_dtype: "torch.bfloat16", dtype: "bfloat16" })).toBe("bf16");
  expect(dtypeOf({ torch_dtype: null, dtype: "float32" })).toBe("f32");
  const [d] = refused(withKeys(r1, { dtype: "float32" }));
  expect([d.code, d.title]).toEqual(["DSC1015", '"torch_dtype" and "dtype" disagree']);
  expect(dtypeOf({ dtype: "bfloat16" }, ["torch_dtype=float32"])).toBe("f32");
  expect(dtypeOf({}, ["dtype=float32"])).toBe("f32");
  expect(codes(refused(r1, ["dtype=float32", "torch_dtype=bfloat16"]))).toEqual(["DSC1015"]);
});

describe("quantisation", () => {
  const quant = r1.quantization_config as Config;
  const refusedBy = (change: Parameters<typeof withKeys>[1]): string => refused(withKeys(r1, change)).map(render).join("\n");

  test("FP8 without weight_block_size has one scale per tensor, which is not read", () => {
    const { weight_block_size: _size, ...perTensor } = quant;
    for (const config of [perTensor, { ...perTensor, weight_block_size: null }])
      expect(refusedBy({ quantization_config: config })).toMatch(/DSC1014.*weight_block_size[^]*one scale per tensor \(weight_scale /);
  });

  test("modules left out of the codes are bf16 in every layer of their kind, or refused", () => {
    const but = (list: Json): Parameters<typeof withKeys>[1] => ({ quantization_config: { ...quant, modules_to_not_convert: list } });
    expect(load(withKeys(r1, but(["lm_head", "model.embed_tokens", "gate"]))).spec.storedAs).toBeUndefined();
    expect(load(withKeys(r1, but(["kv_b_proj"]))).spec.storedAs).toEqual({ "dense/self_attn.kv_b_proj.weight": "bf16", "moe/self_attn.kv_b_proj.weight": "bf16" });
    expect(load(withKeys(r1, but(["vision_tower"]))).spec.storedAs).toBeUndefined();
    expect(Object.keys(load(withKeys(r1, but(["shared_experts.up_proj"]))).spec.storedAs!)).toEqual(["moe/mlp.shared_experts.up_proj.weight"]);
    expect(Object.keys(load(withKeys(r1, but([0, 1, 2].map((i) => `model.layers.${i}.mlp`)))).spec.storedAs!)).toEqual(["gate", "up", "down"].map((n) => `dense/mlp.${n}_proj.weight`));
    expect(refusedBy(but(["model.layers.5.self_attn"]))).toMatch(/DSC1014[^]*in some layers of a kind/);
    expect(refusedBy(but([3]))).toMatch(/DSC1014/);
  });

  test("other formats are named, in the words of their writers", () => {
    expect(refusedBy({ quantization_config: { quant_method: "modelopt", quant_algo: "NVFP4" } })).toMatch(/NVFP4/);
    expect(refusedBy({ quantization_config: { quant_method: "modelopt", quant_algo: "FP8" } })).toMatch(/other scales/);
    const groups = { group_0: { weights: { num_bits: 8, type: "float", strategy: "channel" } } };
    expect(refusedBy({ quantization_config: { quant_method: "compressed-tensors", config_groups: groups } })).toMatch(/fp8 .*compressed-tensors/);
    expect(refusedBy({ quantization_config: null, compression_config: { quant_method: "compressed-tensors", config_groups: groups } })).toMatch(/compressed-tensors/);
    for (const method of ["gptq", "awq", "bitsandbytes", "fbgemm_fp8", "mxfp4", "torchao", "quark"])
      expect(refusedBy({ quantization_config: { quant_method: method } })).toMatch(/DSC1020/);
  });

  const beside = (text: string, config: Config = r1, set: string[] = []): ReturnType<typeof loadSpec> => {
    const folder = mkdtempSync(path.join(tmpdir(), "dsc-hf-quant-"));
    try {
      writeFileSync(path.join(folder, "config.json"), textOf(config));
      writeFileSync(path.join(folder, "hf_quant_config.json"), text);
      return loadSpec(folder, set);
    } finally {
      rmSync(folder, { recursive: true });
    }
  };
  const algorithm = (quant_algo: string | null): string => JSON.stringify({ producer: { name: "modelopt" }, quantization: { quant_algo, kv_cache_quant_algo: "FP8" } });

  test("hf_quant_config.json counts: what it says and config.json does not is refused at its line", () => {
    expect(() => beside(algorithm("NVFP4"))).toThrow(/DSC1020[^]*hf_quant_config.json:1:[^]*NVFP4/);
    expect(() => beside(algorithm("FP8"), withKeys(r1, { quantization_config: undefined }))).toThrow(/DSC1020[^]*FP8/);
    expect(() => beside(algorithm("FP8_BLOCK_SCALES"), withKeys(r1, { quantization_config: undefined }))).toThrow(/DSC1020/);
    expect(beside(algorithm("FP8_BLOCK_SCALES")).warnings).toEqual([]);
    expect(beside(algorithm(null)).warnings).toEqual([]);
    expect(beside(algorithm("NVFP4"), r1, ["quantization_config=null"]).spec.fp8).toBeNull();
  });

  test("one that cannot be read is a warning: config.json is enough", () => {
    expect(codes(beside("{").warnings)).toEqual(["DSC1022"]);
    expect(beside("[]").warnings).toEqual([]);
  });
});

describe("refusals", () => {
  const cases: [change: Parameters<typeof withKeys>[1], code: string, line: string, help: RegExp][] = [
    [{ scoring_func: "sqrtsoftplus" }, "DSC1014", '"scoring_func"', /"sigmoid"/],
    [{ topk_method: "greedy" }, "DSC1014", '"topk_method"', /noaux_tc/],
    [{ n_group: 7 }, "DSC1015", '"n_group"', /set n_group to 8/],
    [{ topk_group: 9 }, "DSC1015", '"topk_group"', /8 or less/],
    [{ num_experts_per_tok: 300 }, "DSC1015", '"num_experts_per_tok"', /256 or less/],
    [{ num_experts_per_tok: 129 }, "DSC1015", '"num_experts_per_tok"', /128 or less/],
    [{ n_group: 256, topk_group: 8 }, "DSC1015", '"n_group"', /128/],
    [{ qk_rope_head_dim: 63 }, "DSC1014", '"qk_rope_head_dim"', /64/],
    [{ num_key_value_heads: 8 }, "DSC1014", '"num_key_value_heads"', /128/],
    [{ qk_head_dim: 128 }, "DSC1015", '"qk_head_dim"', /192/],
    [{ hidden_act: "gelu" }, "DSC1014", '"hidden_act"', /silu/],
    [{ mlp_bias: true }, "DSC1014", '"mlp_bias"', /false/],
    [{ hidden_size: "7168" }, "DSC1013", '"hidden_size"', /whole number/],
    [{ hidden_size: 0 }, "DSC1013", '"hidden_size"', /at least 1/],
    [{ hidden_size: 1e15 }, "DSC1014", '"hidden_size"', /1048576/],
    [{ tie_word_embeddings: 1 }, "DSC1013", '"tie_word_embeddings"', /true or false/],
    [{ rope_scaling: { type: "linear", factor: 4 } }, "DSC1014", '"type"', /yarn/],
    [{ rope_scaling: { factor: 4 } }, "DSC1016", '"rope_scaling"', /yarn/],
    [
      { rope_scaling: { type: "yarn", rope_type: "default", factor: 4, original_max_position_embeddings: 9 } },
      "DSC1015",
      '"rope_type"',
      /remove/,
    ],
    [{ torch_dtype: "float16" }, "DSC1014", '"torch_dtype"', /bfloat16/],
    [{ num_nextn_predict_layers: 2 }, "DSC1014", '"num_nextn_predict_layers"', /1/],
    [{ index_topk: 2048 }, "DSC1018", '"index_topk"', /index_topk=null/],
    [{ sliding_window: 128 }, "DSC1018", '"sliding_window"', /null/],
    [{ quantization_config: { quant_method: "fp8", weight_block_size: [64, 64] } }, "DSC1014", '"weight_block_size"', /128, 128/],
    [{ quantization_config: { quant_method: "fp8", activation_scheme: "static" } }, "DSC1014", '"activation_scheme"', /dynamic/],
    [
      { quantization_config: { quant_method: "fp8", weight_block_size: [128, 128], modules_to_not_convert: ["model.layers.0.mlp.up_proj"] } },
      "DSC1014",
      "modules",
      /gate/,
    ],
    [{ quantization_config: { quant_method: "modelopt" } }, "DSC1020", '"quant_method"', /fp8/],
    [{ mlp_layer_types: ["dense"] }, "DSC1015", '"mlp_layer_types"', /one entry/],
  ];
  test.each(cases)("%j", (change, code, line, help) => {
    const found = refused(withKeys(r1, change));
    const d = found.find((f) => f.code === code);
    expect(d, found.map(render).join("\n")).toBeDefined();
    expect(d!.spans[0].text).toContain(line);
    expect(d!.spans[0].text!.slice(d!.spans[0].column - 1)).not.toBe("");
    expect(d!.help).toMatch(help);
  });

  test("int4 checkpoints are named", () => {
    const groups = { group_0: { weights: { num_bits: 4, group_size: 32, symmetric: true, type: "int" } } };
    const [d] = refused(withKeys(r1, { quantization_config: { quant_method: "compressed-tensors", config_groups: groups } }));
    expect(d.notes.join()).toMatch(/int4 .* groups of 32/);
  });

  test("V2 with normalised weights is refused: implementations disagree", () => {
    expect(codes(refused(withKeys(supported["DeepSeek-V2"], { norm_topk_prob: true })))).toEqual(["DSC1014"]);
  });

  test("a fragment names every key it lacks", () => {
    const [d] = refused({ architectures: ["DeepseekV3ForCausalLM"], n_routed_experts: 8 });
    expect(d.code).toBe("DSC1012");
    for (const k of ["hidden_size", "kv_lora_rank", "q_lora_rank", "n_group", "first_k_dense_replace", "vocab_size"])
      expect(d.title).toContain(`"${k}"`);
    for (const k of ["rms_norm_eps", "rope_theta", "attention_bias", "norm_topk_prob"]) expect(d.title).not.toContain(`"${k}"`);
  });

  test("a misspelt required key is both missing and explained", () => {
    const found = refused(withKeys(r1, { n_routed_experts: undefined, n_routed_expert: 256 }));
    expect(codes(found)).toEqual(["DSC1012", "DSC1011"]);
    expect(found[1].help).toBe('did you mean "n_routed_experts"?');
  });

  test("an unknown key is a warning at its place; members of objects too", () => {
    const { warnings } = load(
      withKeys(r1, { hiden_act: "silu", quantization_config: { ...(r1.quantization_config as object), scale_fm: "ue8m0" } }),
    );
    expect(warnings.map((w) => [w.code, w.severity, w.help])).toEqual([
      ["DSC1011", "warning", 'did you mean "hidden_act"?'],
      ["DSC1011", "warning", 'did you mean "scale_fmt"?'],
    ]);
    expect(warnings[0].spans[0].text).toContain('"hiden_act"');
  });

  test("architectures come first, model_type helps where they are absent", () => {
    expect(load(withKeys(r1, { model_type: "kimi_k2" })).spec.family).toBe("v3");
    expect(load(withKeys(r1, { architectures: undefined })).spec.family).toBe("v3");
    expect(refused(withKeys(r1, { architectures: ["DeepseekV3ForCausalML"] }))[0].help).toBe(
      "did you mean DeepseekV3ForCausalLM?",
    );
    expect(codes(refused({}))).toEqual(["DSC1012"]);
    expect(codes(refused(withKeys(supported["Kimi-VL"], { text_config: undefined })))).toEqual(["DSC1019"]);
    expect(refused({ architectures: ["NovelForCausalLM"] })[0].notes.join()).toMatch(/kv_lora_rank/);
  });

  test("many findings come together, up to ten", () => {
    const bad = { scoring_func: "x", hidden_act: "y", n_group: 7, torch_dtype: "z", mlp_bias: true, num_key_value_heads: 3 };
    expect(refused(withKeys(r1, bad))).toHaveLength(6);
    const many = Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`nonsense_${i}`, i]));
    expect(refused(withKeys(r1, { ...bad, ...many }))).toHaveLength(10);
  });
});

describe("--set", () => {
  test("lays numbers, booleans, null and JSON over the config, at dotted paths", () => {
    const set = ["num_hidden_layers=4", "q_lora_rank=null", "attention_bias=true", "rope_scaling.factor=8", "eos_token_id=[1,2]"];
    const { spec } = load(r1, set);
    expect(spec).toMatchObject({ qLora: null, attentionBias: true, eos: [1, 2] });
    expect(spec.layers).toHaveLength(4);
    expect(spec.position.softmaxFactor).toBeCloseTo((0.1 * Math.log(8) + 1) ** 2, 12);
    expect(load(r1, ["quantization_config=null"]).spec.fp8).toBeNull();
  });

  test("a finding points at the word given", () => {
    const [d] = refused(r1, ["num_hidden_layers=4", "hidden_size=big"]);
    expect(d.spans[0]).toMatchObject({ file: "--set", line: 2, column: 13, length: 3, text: "hidden_size=big" });
    const [inner] = refused(r1, ['rope_scaling={"type":"linear"}']);
    expect(inner.spans[0].file).toBe("--set");
  });

  test("what cannot be laid is refused", () => {
    expect(codes(refused(r1, ["hidden_size"]))).toEqual(["DSC1004"]);
    expect(codes(refused(r1, ["=3"]))).toEqual(["DSC1004"]);
    expect(codes(refused(r1, ["hidden_size.x=3"]))).toEqual(["DSC1005"]);
    expect(codes(refused(r1, ["architectures.7=3"]))).toEqual(["DSC1005"]);
    expect(load(r1, ["__proto__=3"]).warnings[0].code).toBe("DSC1011");
  });
});

describe("JSON", () => {
  test("positions and strings survive escapes, tabs and other scripts", () => {
    const doc = parseJson('{"a\\u0041": "\\n",\r\n\t"名": [1, {"b": -2.5e3}]}', "x");
    expect(doc.value).toEqual({ aA: "\n", 名: [1, { b: -2500 }] });
    expect(doc.spanOf("名.1.b")).toMatchObject({ line: 2, column: 17, length: 6 });
    expect(doc.keySpanOf("名")).toMatchObject({ line: 2, column: 2, length: 3 });
    expect(codes(refusedText('{"a": "x\ty"}'))).toEqual(["DSC1001"]);
  });

  const cases: [text: string, line: number, column: number, problem: RegExp][] = [
    ['{"a": 1,\n "a": 2}', 2, 2, /second time/],
    ['{"a": 1}\n x', 2, 2, /more text/],
    ['{"a": 1,}', 1, 8, /comma/],
    ['{"a": 01}', 1, 8, /expected , or }/],
    ['{"a": NaN}', 1, 7, /begins no value/],
    ['{"a": [1 2]}', 1, 10, /expected , or ]/],
    ["{'a': 1}", 1, 2, /double quotes/],
    ['{"a" 1}', 1, 6, /expected :/],
    ['{"a": ', 1, 7, /ends in the middle/],
    ["", 1, 1, /ends in the middle/],
  ];
  test.each(cases)("%j", (text, line, column, problem) => {
    const [d] = refusedText(text);
    expect(d.code).toBe("DSC1001");
    expect(d.title).toMatch(problem);
    expect(d.spans[0]).toMatchObject({ line, column });
  });

  test("a list is no config, a folder without one is none either", () => {
    expect(codes(refusedText("[1]"))).toEqual(["DSC1003"]);
    expect(() => loadSpec(pathOf("test/frontend"))).toThrow(/DSC1002.*/);
    expect(() => loadSpec(pathOf("no/such/file"))).toThrow(/DSC1002.*/);
  });
});

test.each<[string, Record<string, string>, string, RegExp]>([
  ["a LoRA adapter", { "adapter_config.json": "{}", "adapter_model.safetensors": "" }, "", /no config.json; it has adapter_config.json: a LoRA adapter[^]*merge it/],
  ["a folder of GGUF", { "model-q4.gguf": "GGUF" }, "", /no config.json; it has model-q4.gguf; GGUF files are not read/],
  ["a GGUF file", { "m.gguf": "GGUF\x03\0" }, "m.gguf", /it is a GGUF file/],
  ["a Git LFS pointer as config", { "config.json": "version https://git-lfs.github.com/spec/v1\n" }, "", /Git LFS pointer[^]*git lfs pull/],
  ["a page as config", { "config.json": "<!doctype html><title>404</title>" }, "config.json", /web page/],
])("%s as SRC is named", (_, files, src, message) => {
  const folder = mkdtempSync(path.join(tmpdir(), "dsc-source-"));
  try {
    for (const [name, text] of Object.entries(files)) writeFileSync(path.join(folder, name), text);
    expect(() => loadSpec(path.join(folder, src))).toThrow(/DSC1002/);
    expect(() => loadSpec(path.join(folder, src))).toThrow(message);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("every key of every config here is read, or ignored with a reason", () => {
  for (const [name, config] of Object.entries(supported)) {
    for (const k of Object.keys(config)) expect(readKeys.includes(k) || k in ignored, `${name}: ${k}`).toBe(true);
  }
  for (const reason of Object.values(ignored)) expect(reason.length).toBeGreaterThan(10);
});

test("mutated configs end in a spec or in diagnostics with code, place and help", () => {
  const values = fc.oneof(
    fc.constantFrom<unknown>(
      null,
      true,
      false,
      0,
      -1,
      1,
      3,
      0.5,
      1e9,
      1e300,
      "",
      "silu",
      "fp8",
      [],
      {},
      [1],
      { type: "yarn" },
      { factor: 2 },
    ),
    fc.jsonValue({ maxDepth: 2 }),
  );
  const bases = Object.values(supported);
  const mutation = fc.record({
    base: fc.nat(bases.length - 1),
    key: fc.nat(),
    action: fc.constantFrom("drop", "set", "cut"),
    value: values,
  });
  fc.assert(
    fc.property(mutation, ({ base, key, action, value }) => {
      const names = Object.keys(bases[base]);
      const k = names[key % names.length];
      const config = withKeys(bases[base], { [k]: action === "drop" ? undefined : (value as null) });
      const text = action === "cut" ? textOf(bases[base]).slice(0, key % 900) : textOf(config);
      try {
        const { spec } = specOf(sourceOf(text, "config.json", "."));
        expect(Number.isFinite(softmaxScale(spec))).toBe(true);
        expect(spec.position.invFreq.every(Number.isFinite)).toBe(true);
      } catch (e) {
        if (!(e instanceof DiagnosticError)) throw e;
        expect(e.diagnostics.length).toBeLessThanOrEqual(10);
        for (const d of e.diagnostics) {
          expect(d.code).toMatch(/^DSC1\d\d\d$/);
          if (d.code !== "DSC1011") expect(d.help, render(d)).toBeTruthy();
          expect(d.spans.length, render(d)).toBeGreaterThan(0);
        }
      }
    }),
    { numRuns: 2000, seed: 1 },
  );
});

describe("what changes nothing is said", () => {
  const kimi = supported["Kimi-VL"];

  test("--set of a wrapped config, where text_config has the key, or where the key counts nowhere else", () => {
    const text = withKeys(kimi, { text_config: withKeys(kimi.text_config as Config, { torch_dtype: "bfloat16" }) });
    for (const set of ["torch_dtype=float32", "dtype=float32", "num_hidden_layers=2"]) {
      const [d] = refused(text, [set]);
      expect(d).toMatchObject({ code: "DSC1023", title: `--set ${set.split("=")[0]} changes nothing`, help: `--set text_config.${set.split("=")[0]}=VALUE`, spans: [{ file: "--set" }] });
    }
    const { text_config, ...outer } = kimi;
    const { torch_dtype: _, dtype: __, ...bare } = text_config as Config;
    // Where text_config leaves it out, the outer key counts.
    expect(load({ ...outer, text_config: bare }, ["torch_dtype=float32"]).spec.dtype).toBe("f32");
    expect(load(text, ["text_config.torch_dtype=float32"]).spec.dtype).toBe("f32");
  });

  test("a factor beside the plain type of positions", () => {
    for (const key of ["rope_scaling", "rope_parameters"]) {
      const { spec, warnings } = load(withKeys(r1, { rope_scaling: null, [key]: { rope_type: "default", factor: 40, rope_theta: 10000 } }));
      expect(warnings.map((w) => [w.code, w.title])).toEqual([["DSC1024", `"${key}.factor" counts with YaRN, and the type is "default"`]]);
      expect(warnings[0].spans[0].text).toContain("40");
      expect(spec.position.softmaxFactor).toBe(1);
    }
    expect(load(withKeys(r1, { rope_scaling: { type: "default", factor: 1 } })).warnings).toEqual([]);
  });
});
