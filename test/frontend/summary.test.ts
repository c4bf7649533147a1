// dsc summary: the published counts exactly, PyTorch's and torchinfo's forms, and agreement of tree and tensor list.
import { expect, test, vi } from "vitest";
import yargs from "yargs";
import { summary } from "../../compiler/commands/summary.ts";
import { loadSpec } from "../../compiler/frontend/config.ts";
import { countOf, tensorsOf } from "../../compiler/frontend/weights.ts";
import { printSummary, summarise } from "../../compiler/report/summary.ts";
import { moduleTree, parametersOf, pythonFloat } from "../../compiler/report/tree.ts";
import { fixtures, load, pathOf, read, supported } from "./configs.ts";

test("the printed model has 698,789,888 parameters", () => {
  const { spec } = loadSpec(pathOf("examples/printed-model"));
  expect(summarise(spec)).toMatchObject({
    parameters: 698_789_888,
    parameters_with_mtp: 698_789_888,
    bytes: { total: 1_397_579_776 },
  });
});

test("R1's published counts", () => {
  expect(summarise(loadSpec(pathOf("examples/deepseek-r1")).spec)).toMatchObject({
    layers: { dense: 3, moe: 58, mtp: 1 },
    parameters: 671_026_419_200,
    mtp_parameters: 13_463_426_304,
    parameters_with_mtp: 684_489_845_504,
    active_parameters: 37_552_297_472,
    cache_bytes_per_token: 70_272,
    expanded_cache_bytes_per_token: 4_997_120,
  });
  const without = loadSpec(pathOf("examples/deepseek-r1"), ["num_nextn_predict_layers=0"]).spec;
  expect(summarise(without)).toMatchObject({ parameters_with_mtp: 671_026_419_200 });
});

test("the fixtures' counts are those of their manifest", () => {
  const { fixtures: list } = read("test/fixtures/manifest.json") as unknown as { fixtures: { name: string; params: number }[] };
  for (const { name, params } of list) {
    if (!fixtures.includes(`test/fixtures/${name}`)) continue;
    const sum = summarise(loadSpec(pathOf(`test/fixtures/${name}`)).spec);
    expect([sum.parameters, sum.parameters_with_mtp]).toContain(params);
  }
});

test.each(Object.keys(supported))("%s: module tree, tensor list and sums agree", (name) => {
  const { spec } = load(supported[name]);
  const sum = summarise(spec);
  expect(parametersOf(moduleTree(spec))).toBe(sum.parameters_with_mtp);
  expect(parametersOf(moduleTree(spec, false))).toBe(sum.parameters);
  expect(countOf(tensorsOf(spec)).parameters).toBe(sum.parameters_with_mtp);
  expect(countOf(tensorsOf(spec)).bytes).toMatchObject({ bf16: sum.bytes_with_mtp.bf16, e4m3: sum.bytes_with_mtp.e4m3 });
});

test("forms of PyTorch and torchinfo", () => {
  const text = printSummary(loadSpec(pathOf("examples/printed-model")).spec);
  expect(text).toContain("      (0-2): 3 x DeepseekV3DecoderLayer(\n        (self_attn): DeepseekV3Attention(\n");
  expect(text).toContain("          (q_b_proj): Linear(in_features=1536, out_features=24576, bias=False)\n");
  expect(text).toContain("        (input_layernorm): DeepseekV3RMSNorm((7168,), eps=1e-06)\n");
  expect(text).toContain("│    │    └─DeepseekV3DecoderLayer: 3-3  226,753,536\n");
  expect(text).toContain("\nTotal params: 698,789,888\nTrainable params: 698,789,888\nNon-trainable params: 0\n");
  const r1 = printSummary(loadSpec(pathOf("examples/deepseek-r1")).spec);
  expect(r1).toContain("      (3-60): 58 x DeepseekV3DecoderLayer(\n");
  expect(r1).toContain("            (0-255): 256 x DeepseekV3MLP(\n");
  for (const n of ["671,026,419,200", "684,489,845,504", "70,272"]) expect(r1).toContain(n);
  expect([1e-6, 0.001, 1, 2.5e-5, 1e-12].map(pythonFloat)).toEqual(["1e-06", "0.001", "1.0", "2.5e-05", "1e-12"]);
});

test("--json prints exactly one object on stdout, warnings go to stderr", async () => {
  const out: string[] = [];
  const err: string[] = [];
  const onOut = vi.spyOn(process.stdout, "write").mockImplementation((text) => out.push(String(text)) > 0);
  const onErr = vi.spyOn(process.stderr, "write").mockImplementation((text) => err.push(String(text)) > 0);
  try {
    const words = ["summary", pathOf("examples/deepseek-r1"), "--json", "--set", "num_hidden_layers=4", "nonsense=1"];
    await yargs(words).command(summary).strict().parseAsync();
  } finally {
    onOut.mockRestore();
    onErr.mockRestore();
  }
  const answer = JSON.parse(out.join("")) as Record<string, unknown>;
  expect(answer).toMatchObject({ layers: { dense: 3, moe: 1, mtp: 1 }, warnings: [{ code: "DSC1011" }] });
  expect(answer.modules).toContainEqual({ depth: 3, index: 5, type: "DeepseekV3MTPLayer", parameters: 13_463_426_304 });
  expect(err.join("")).toContain('"nonsense" is not a field I know');
});
