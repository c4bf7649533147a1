// quantization_config, and what modelopt writes beside it: FP8 in blocks is read, other formats are named.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { render } from "../../ir/diagnostic.ts";
import { loadSpec } from "../../compiler/frontend/config.ts";
import type { Json } from "../../compiler/frontend/json.ts";
import { codes, load, r1, refused, textOf, withKeys, type Config } from "./configs.ts";

describe("quantisation", () => {
  const quant = r1.quantization_config as Config;
  const refusedBy = (change: Parameters<typeof withKeys>[1]): string => refused(withKeys(r1, change)).map(render).join("\n");

  test("FP8 without weight_block_size has one scale per tensor, which is not read", () => {
    const { weight_block_size: _size, ...perTensor } = quant;
    for (const config of [perTensor, { ...perTensor, weight_block_size: null }])
      expect(refusedBy({ quantization_config: config })).toMatch(
        /DSC1014.*weight_block_size[^]*one scale per tensor \(weight_scale /,
      );
  });

  test("modules left out of the codes are bf16 in every layer of their kind, or refused", () => {
    const but = (list: Json): Parameters<typeof withKeys>[1] => ({
      quantization_config: { ...quant, modules_to_not_convert: list },
    });
    expect(load(withKeys(r1, but(["lm_head", "model.embed_tokens", "gate"]))).spec.storedAs).toBeUndefined();
    expect(load(withKeys(r1, but(["kv_b_proj"]))).spec.storedAs).toEqual({
      "dense/self_attn.kv_b_proj.weight": "bf16",
      "moe/self_attn.kv_b_proj.weight": "bf16",
    });
    expect(load(withKeys(r1, but(["vision_tower"]))).spec.storedAs).toBeUndefined();
    expect(Object.keys(load(withKeys(r1, but(["shared_experts.up_proj"]))).spec.storedAs!)).toEqual([
      "moe/mlp.shared_experts.up_proj.weight",
    ]);
    expect(Object.keys(load(withKeys(r1, but([0, 1, 2].map((i) => `model.layers.${i}.mlp`)))).spec.storedAs!)).toEqual(
      ["gate", "up", "down"].map((n) => `dense/mlp.${n}_proj.weight`),
    );
    expect(refusedBy(but(["model.layers.5.self_attn"]))).toMatch(/DSC1014[^]*in some layers of a kind/);
    expect(refusedBy(but([3]))).toMatch(/DSC1014/);
  });

  test("other formats are named, in the words of their writers", () => {
    expect(refusedBy({ quantization_config: { quant_method: "modelopt", quant_algo: "NVFP4" } })).toMatch(/NVFP4/);
    expect(refusedBy({ quantization_config: { quant_method: "modelopt", quant_algo: "FP8" } })).toMatch(/other scales/);
    const groups = { group_0: { weights: { num_bits: 8, type: "float", strategy: "channel" } } };
    expect(refusedBy({ quantization_config: { quant_method: "compressed-tensors", config_groups: groups } })).toMatch(
      /fp8 .*compressed-tensors/,
    );
    expect(
      refusedBy({ quantization_config: null, compression_config: { quant_method: "compressed-tensors", config_groups: groups } }),
    ).toMatch(/compressed-tensors/);
    for (const method of ["gptq", "awq", "bitsandbytes", "fbgemm_fp8", "mxfp4", "torchao", "quark"])
      expect(refusedBy({ quantization_config: { quant_method: method } })).toMatch(/DSC1020/);
  });

  test("int4 checkpoints are named", () => {
    const groups = { group_0: { weights: { num_bits: 4, group_size: 32, symmetric: true, type: "int" } } };
    const [d] = refused(withKeys(r1, { quantization_config: { quant_method: "compressed-tensors", config_groups: groups } }));
    expect(d.notes.join()).toMatch(/int4 .* groups of 32/);
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
  const algorithm = (quant_algo: string | null): string =>
    JSON.stringify({ producer: { name: "modelopt" }, quantization: { quant_algo, kv_cache_quant_algo: "FP8" } });

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
