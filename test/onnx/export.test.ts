// What an exported file is: its form, its weights that stay where they are, its functions, its size; and what is refused, in words.
import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import onnxProto from "onnx-proto";
import { expect, test } from "vitest";
import { canSay, onnxFile, onnxModel } from "../../codegen/onnx/export.ts";
import { written } from "../../codegen/onnx/gated.ts";
import { Scope } from "../../codegen/onnx/scope.ts";
import { activationNames, activations } from "../../ir/activation.ts";
import { DOMAIN, elem, type GraphProto, type ModelProto, type NodeProto } from "../../codegen/onnx/proto.ts";
import type { Find } from "../../codegen/onnx/weights.ts";
import { loadSpec } from "../../compiler/frontend/config.ts";
import type { ModelSpec } from "../../compiler/frontend/spec.ts";
import { tensorsOf } from "../../compiler/frontend/weights.ts";
import { reduce } from "../../compiler/analysis/shrink.ts";
import { externalTo } from "../../compiler/export/external.ts";
import { graphOfSpec, type GraphOptions } from "../../compiler/export/graph.ts";
import { add, parseModule } from "../../ir/index.ts";
import { op } from "../../ir/op.ts";
import { ops } from "../../ir/ops/index.ts";
import { pass, rule, standard } from "../../passes/index.ts";
import { Checkpoint } from "../../runtime/index.ts";
import { at, dsc, json, refusal, root } from "../commands/dsc.ts";
import { fixtures } from "../interpreted.ts";
import { copyOf, exported, stages } from "./exported.ts";

const fp8 = fixtures.find((f) => f.endsWith("fp8"))!;
const yarn = fixtures.find((f) => f.endsWith("yarn"))!;
const decode = (bytes: Uint8Array): ModelProto => onnxProto.onnx.ModelProto.decode(bytes);

/** Nodes of a graph or function, those of loops inside included. */
const everyNode = (nodes: readonly NodeProto[]): NodeProto[] =>
  nodes.flatMap((n) => [n, ...n.attribute.flatMap((a) => (a.g ? everyNode(a.g.node) : []))]);

const namesAndSizes = (list: GraphProto["input"]): string[] =>
  list.map(({ name, type }) => {
    const dims = type.tensorType.shape!.dim.map((d) =>
      "dimParam" in d && d.dimParam ? d.dimParam : Number((d as { dimValue: number }).dimValue),
    );
    return `${name} ${type.tensorType.elemType} [${dims.join(", ")}]`;
  });

test.each(Object.keys(stages))(
  "after %s: one graph for any rows on any prefix, in standard operators and functions with bodies",
  async (stage) => {
    const model = decode((await exported(fp8, stages[stage], { name: stage })).bytes);
    expect(model.opsetImport.map((o) => `${o.domain}:${Number(o.version)}`)).toEqual([":23", `${DOMAIN}:1`]);
    expect(namesAndSizes(model.graph.input)).toEqual(["input_ids 7 [1, T]", "past.0 1 [1, S, 72]", "past.1 1 [1, S, 72]"]);
    expect(namesAndSizes(model.graph.output)).toEqual([
      "logits 1 [1, T, 131]",
      "present.0 1 [1, S + T, 72]",
      "present.1 1 [1, S + T, 72]",
    ]);
    const all = everyNode([...model.graph.node, ...model.functions.flatMap((f) => f.node)]);
    const bodies = new Set(model.functions.map((f) => f.name));
    for (const n of all) if (n.domain) expect(bodies, n.opType).toContain(n.opType);
    expect(new Set(all.map((n) => n.domain ?? ""))).toEqual(new Set(["", DOMAIN]));
    const operators = new Set(all.map((n) => n.opType));
    for (const name of ["RMSNormalization", "RotaryEmbedding", "TopK", "Loop"]) expect(operators, name).toContain(name);
    expect(operators.has("Attention")).toBe(stage.startsWith("all"));
    expect(operators.has("BlockLinear")).toBe(stage.startsWith("all"));
  },
);

test("weights are ranges of the checkpoint's own file, under the checkpoint's names", async () => {
  const { bytes } = await exported(fp8, stages["no pass"], { name: "no pass" });
  const folder = copyOf(fp8);
  const checkpoint = await Checkpoint.open(folder);
  const external = decode(bytes).graph.initializer!.filter((t) => t.dataLocation === 1);
  // All but those of an extra prediction layer, which this one does not have.
  expect(external.map((t) => t.name).toSorted()).toEqual([...checkpoint.tensors.keys()].toSorted());
  const file = readFileSync(path.join(folder, "model.safetensors"));
  for (const t of external) {
    const { location, offset, length } = Object.fromEntries(t.externalData!.map((e) => [e.key, e.value]));
    expect(location).toBe("model.safetensors");
    const stored = file.subarray(Number(offset), Number(offset) + Number(length));
    expect(stored.equals(await checkpoint.bytes(t.name!)), t.name).toBe(true);
    expect(t.dims.map(Number), t.name).toEqual(checkpoint.tensors.get(t.name!)!.shape);
  }
  await checkpoint.close();
  expect(bytes.length).toBeLessThan(statSync(path.join(folder, "model.safetensors")).size / 10);
});

test("without --portable a bf16 model computes in bf16, its cache is bf16, and no weight is cast", async () => {
  const model = decode((await exported(yarn, stages["no pass"], { name: "bf16", portable: false })).bytes);
  expect(model.graph.input[1].type.tensorType.elemType).toBe(elem.BFLOAT16);
  const weights = new Set(model.graph.initializer!.filter((t) => t.dataLocation === 1).map((t) => t.name));
  const cast = model.graph.node.filter((n) => n.opType === "Cast" && weights.has(n.input[0])).map((n) => n.input[0]);
  // Logits, the router's and the model's, are f32 whatever the rest is.
  expect(cast.filter((name) => !/mlp\.gate\.weight$|^lm_head/.test(name))).toEqual([]);
});

const plain: GraphOptions = { activations: "f32", actQuant: "none", set: [], stored: undefined, passOptions: {} };

/** Tensors of a checkpoint that is not there, one after another in a file. */
function imagined(spec: ModelSpec): Find {
  const dtypes = { bf16: "BF16", f32: "F32", e4m3: "F8_E4M3" } as const;
  const shapes = new Map<string, { dtype: string; shape: readonly number[] }>();
  for (const t of tensorsOf(spec)) {
    shapes.set(t.name, { dtype: dtypes[t.dtype], shape: t.shape });
    if (t.scaleName) shapes.set(t.scaleName, { dtype: "F32", shape: t.scaleShape! });
  }
  return (name) => ({ ...shapes.get(name)!, location: "model-00001-of-00163.safetensors", offset: 2 ** 40, length: 4 });
}

test.each([
  ["printed-model", undefined, 2e6],
  ["deepseek-r1", 4, 2e6],
])("the file of %s holds names and places, no weights", async (name, layers, most) => {
  const read = loadSpec(path.join(root, "examples", name)).spec;
  const spec = reduce(read, layers === undefined ? {} : { layers });
  const { module, maker } = graphOfSpec(spec, plain, standard);
  const bytes = await onnxFile(module, { find: imagined(spec), portable: true, maker, version: "0", doc: "" });
  expect(bytes.length).toBeLessThan(most);
});

test("every op has a form in ONNX, its own or that of its parts", () => {
  // Leaves and calls are no operators, a graph gives logits, not ids, and it is for one rank.
  const none = ops.filter(
    (o) => !o.traits.meets && !canSay(o.name) && !o.of && !o.traits.leaf && !o.traits.call && o.name !== "argmax",
  );
  expect(none.map((o) => o.name)).toEqual([]);
  for (const act of activationNames)
    expect(() =>
      written(new Scope(), activations[act].tile({ name: "x", rows: 1, cols: 1, dtype: "f32" }), "x", elem.FLOAT),
    ).not.toThrow();
});

test("every fixture can be said after all passes", async () => {
  for (const fixture of fixtures) {
    const { bytes } = await exported(fixture, stages["all passes, absorbed"], { name: "all passes, absorbed" });
    expect(bytes.length, fixture).toBeGreaterThan(0);
  }
});

test("a layer with another cache has an input and an output for it", () => {
  const text = `module m

@embed : [5, 4] f32 from "embed.weight"

func @extend/layer(%h: [T, 4] f32, %batch: batch, %cache: cache [S, 4] f32, %keys: cache keys [S, 4] f32) assume {T = 1} {
  %c, %k = split %h {at = 2}
  %new = cache_append %cache, %c, %k, %batch
  %more = cache_append %keys, %k, %c, %batch
  return next = %h, cache = %new, keys = %more
}

func @extend(%ids: [T] i32 from ids, %batch: batch, %cache: cache [S, 4] f32, %keys: cache keys [S, 4] f32) assume {T = 1} {
  %h = embed %ids, @embed
  %next, %cache.1, %keys.1 = call @extend/layer %h, %batch, %cache, %keys {layer = 0}
  %logits = linear %next, @embed
  return logits = %logits, cache = %cache.1, keys = %keys.1
}

entry extend = @extend
`;
  const find: Find = () => ({ dtype: "F32", shape: [5, 4], location: "model.safetensors", offset: 8, length: 80 });
  const { graph } = onnxModel(parseModule(text), { find, portable: true, version: "0", doc: "" });
  expect(graph.input.map((v) => v.name)).toEqual(["input_ids", "past.0", "past.0.keys"]);
  expect(graph.output.map((v) => v.name)).toEqual(["logits", "present.0", "present.0.keys"]);
});

test("an op that ONNX cannot say is refused with the pass that made it", () => {
  const odd = op("odd_add", {
    summary: "A sum that only its reference says.",
    ins: { a: "[..b] a", b: "[..b] a" },
    out: "[..b] a",
  });
  const oddity = rule("odd", {
    vars: { a: "[T, d] a", b: "[T, d] a" },
    from: ({ a, b }) => add({ a, b }),
    to: ({ a, b }) => odd({ a, b }),
  });
  const own = pass({ name: "oddity", summary: "Makes sums odd.", rules: [oddity], promises: [] });
  const { spec } = loadSpec(fp8);
  const { module, maker } = graphOfSpec(spec, plain, [own]);
  const refused = (): unknown => onnxFile(module, { find: imagined(spec), portable: true, maker, version: "0", doc: "" });
  expect(refused).toThrow(/DSC4131.*ONNX cannot say odd_add: pass oddity made it/s);
  expect(refused).toThrow(/extend\/dense_layer/);
});

test("--after takes the names of passes, and frontend or none for the graph before any", () => {
  const { spec } = loadSpec(fp8);
  expect(graphOfSpec(spec, { ...plain, after: "none" }, standard).after).toBe("frontend");
  expect(graphOfSpec(spec, plain, standard).after).toBe(standard.at(-1)!.name);
  expect(() => graphOfSpec(spec, { ...plain, after: "absorb" }, standard)).toThrow(/DSC3001.*absorb-mla/s);
});

test("dsc export lists what there is, writes a file beside the weights, and replaces only its own", async () => {
  const folder = copyOf(fp8);
  const [out, artifact] = [path.join(folder, "by-command.onnx"), at("fp8")];
  const [list, made, compiled] = await Promise.all([
    dsc("export"),
    dsc("export", "onnx", folder, "-o", out, "--portable"),
    dsc("compile", folder, "-o", artifact, "--act-quant", "none"),
  ]);
  expect(list.stdout).toMatch(/^onnx  .*opset 23/);
  expect([made.code, compiled.code]).toEqual([0, 0]);
  expect(made.stdout).toContain("weights in model.safetensors");
  expect(made.stdout).toContain("inputs of FP8 linears are not quantised");
  // The same graph from an artifact, which keeps those of all passes; over the file from before.
  const again = await json<{ bytes: number; after: string }>(
    "export",
    "onnx",
    artifact,
    "--weights",
    folder,
    "-o",
    out,
    "--portable",
  );
  expect(again.bytes).toBe(Number(statSync(out).size));
  expect(again.after).toBe(standard.at(-1)!.name);
  writeFileSync(out, "mine");
  expect(await refusal("export", "onnx", folder, "-o", out)).toContain("no export of dsc");
});

test("a checkpoint in another folder gets a second name beside the file, if one is free", async () => {
  const checkpoint = await Checkpoint.open(copyOf(yarn));
  const elsewhere = at("elsewhere");
  mkdirSync(elsewhere);
  const file = (name: string): string => path.join(elsewhere, name);
  const first = externalTo(checkpoint, file("model.onnx"));
  expect(first.find("lm_head.weight").location).toBe("model.safetensors");
  expect(first.link()).toEqual([file("model.safetensors")]);
  expect(statSync(file("model.safetensors")).ino).toBe(statSync(path.join(copyOf(yarn), "model.safetensors")).ino);
  // The name is taken by the same file, then by another.
  expect(externalTo(checkpoint, file("again.onnx")).find("lm_head.weight").location).toBe("model.safetensors");
  rmSync(file("model.safetensors"));
  writeFileSync(file("model.safetensors"), "another");
  expect(externalTo(checkpoint, file("model.onnx")).find("lm_head.weight").location).toBe("model.model.safetensors");
  writeFileSync(file("model.model.safetensors"), "another");
  expect(() => externalTo(checkpoint, file("model.onnx")).find("lm_head.weight")).toThrow(/DSC6028/);
  await checkpoint.close();
});
