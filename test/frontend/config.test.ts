// config.json to ModelSpec: the family and the fixtures, keys in two spellings, and what --set lays over them.
import { describe, expect, test } from "vitest";
import { render } from "../../ir/diagnostic.ts";
import { loadSpec } from "../../compiler/frontend/config.ts";
import { ignored, read as readKeys } from "../../compiler/frontend/keys.ts";
import { softmaxScale } from "../../compiler/frontend/spec.ts";
import { codes, fixtures, load, pathOf, r1, refused, relatives, supported, withKeys, type Config } from "./configs.ts";

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
    expect(load(supported["DeepSeek-V2-Lite"]).spec).toMatchObject({
      hidden: 2048,
      heads: 16,
      qLora: null,
      moe: { experts: 64, method: "greedy", groups: 1 },
    });
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
});

test("dtype and torch_dtype: transformers 5 reads dtype; two that disagree are refused; --set takes the other away", () => {
  const dtypeOf = (change: Parameters<typeof withKeys>[1], set: string[] = []): string =>
    load(withKeys(r1, change), set).spec.dtype;
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

test("every key of every config here is read, or ignored with a reason", () => {
  for (const [name, config] of Object.entries(supported)) {
    for (const k of Object.keys(config)) expect(readKeys.includes(k) || k in ignored, `${name}: ${k}`).toBe(true);
  }
  for (const reason of Object.values(ignored)) expect(reason.length).toBeGreaterThan(10);
});

describe("what changes nothing is said", () => {
  const kimi = supported["Kimi-VL"];

  test("--set of a wrapped config, where text_config has the key, or where the key counts nowhere else", () => {
    const text = withKeys(kimi, { text_config: withKeys(kimi.text_config as Config, { torch_dtype: "bfloat16" }) });
    for (const set of ["torch_dtype=float32", "dtype=float32", "num_hidden_layers=2"]) {
      const [d] = refused(text, [set]);
      expect(d).toMatchObject({
        code: "DSC1023",
        title: `--set ${set.split("=")[0]} changes nothing`,
        help: `--set text_config.${set.split("=")[0]}=VALUE`,
        spans: [{ file: "--set" }],
      });
    }
    const { text_config, ...outer } = kimi;
    const { torch_dtype: _, dtype: __, ...bare } = text_config as Config;
    // Where text_config leaves it out, the outer key counts.
    expect(load({ ...outer, text_config: bare }, ["torch_dtype=float32"]).spec.dtype).toBe("f32");
    expect(load(text, ["text_config.torch_dtype=float32"]).spec.dtype).toBe("f32");
  });
});
