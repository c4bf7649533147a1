// What is refused, by name and place, and that damaged configs end in a spec or in diagnostics.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { DiagnosticError, render } from "../../ir/diagnostic.ts";
import { specOf } from "../../compiler/frontend/config.ts";
import { sourceOf } from "../../compiler/frontend/source.ts";
import { softmaxScale } from "../../compiler/frontend/spec.ts";
import { codes, load, r1, refused, supported, textOf, withKeys } from "./configs.ts";

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
    [{ hidden_act: "gelu" }, "DSC1014", '"hidden_act"', /"silu"/],
    [{ swiglu_limit: -1 }, "DSC1014", '"swiglu_limit"', /is 10/],
    [{ swiglu_limit: "10" }, "DSC1013", '"swiglu_limit"', /a number/],
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
      {
        quantization_config: {
          quant_method: "fp8",
          weight_block_size: [128, 128],
          modules_to_not_convert: ["model.layers.0.mlp.up_proj"],
        },
      },
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
