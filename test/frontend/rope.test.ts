// rope_scaling and rope_parameters: two spellings of the settings of positions, beside each other and alone.
import { describe, expect, test } from "vitest";
import { render } from "../../ir/diagnostic.ts";
import type { Json } from "../../compiler/frontend/json.ts";
import { codes, load, r1, refused, withKeys, type Config } from "./configs.ts";

describe("rope settings in two spellings", () => {
  const yarn = r1.rope_scaling as Config;
  const { type: _, ...members } = yarn;
  const modern: Config = { rope_type: "yarn", rope_theta: 10000, ...members };
  const both = (scaling: Json, parameters: Json, more: Parameters<typeof withKeys>[1] = {}): Config =>
    withKeys(r1, { rope_scaling: scaling, rope_parameters: parameters, ...more });
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
    [
      "yarn and default",
      both(yarn, { rope_type: "default", rope_theta: 10000 }),
      /the type is "yarn" by "rope_scaling" and "default" by "rope_parameters"/,
    ],
    ["default and yarn", both({ type: "default" }, modern), /the type/],
    ["factors", both(yarn, { ...modern, factor: 4 }), /factor is 40 .* 4/],
    ["beta_fast", both(yarn, { ...modern, beta_fast: 16 }), /beta_fast is 32 .* 16/],
    ["beta_slow", both(yarn, { ...modern, beta_slow: 2 }), /beta_slow/],
    ["mscale_all_dim in one only", both(yarn, { ...modern, mscale_all_dim: null }), /mscale_all_dim is 1 .* null/],
    ["attention_factor in one only", both({ ...yarn, attention_factor: 1.5 }, modern), /attention_factor is 1.5 .* null/],
    [
      "rope_theta of the newer one",
      both(yarn, { ...modern, rope_theta: 50000 }),
      /"rope_theta" is 10000, "rope_parameters.rope_theta" is 50000/,
    ],
    [
      "rope_theta, and none at the top",
      both(yarn, { ...modern, rope_theta: 50000 }, { rope_theta: undefined }),
      /rope_theta is 10000 .* 50000/,
    ],
    ["type and rope_type", both(null, { ...modern, type: "default" }), /"rope_parameters.type" is "default"/],
    ["positions before YaRN, inside and beside", withKeys(r1, { original_max_position_embeddings: 8192 }), /8192.*4096/],
    [
      "layer types",
      both(null, { full_attention: modern, sliding_attention: { rope_type: "default", rope_theta: 10000 } }),
      /every layer/,
    ],
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

  test("a factor beside the plain type of positions", () => {
    for (const key of ["rope_scaling", "rope_parameters"]) {
      const { spec, warnings } = load(
        withKeys(r1, { rope_scaling: null, [key]: { rope_type: "default", factor: 40, rope_theta: 10000 } }),
      );
      expect(warnings.map((w) => [w.code, w.title])).toEqual([
        ["DSC1024", `"${key}.factor" counts with YaRN, and the type is "default"`],
      ]);
      expect(warnings[0].spans[0].text).toContain("40");
      expect(spec.position.softmaxFactor).toBe(1);
    }
    expect(load(withKeys(r1, { rope_scaling: { type: "default", factor: 1 } })).warnings).toEqual([]);
  });
});
