// A layer with two caches, as sparse attention has them: rows are appended to both and scored by both. Nothing of the runtime is made
// for it: the graph names its caches, and everything else follows. Held to the interpreter over prompts, growing caches and steps.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, expect, test } from "vitest";
import { writeArtifact } from "../../compiler/artifact/write.ts";
import { compileModule, defaults } from "../../compiler/compile.ts";
import { loadSpec } from "../../compiler/frontend/config.ts";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { Graph, type Func, type Module, type NamedValue, type Value, type WeightDecl } from "../../ir/graph.ts";
import {
  add,
  argmax,
  batchType,
  cacheAppend,
  cacheType,
  call,
  einsum,
  embed,
  interpret,
  lastRows,
  linear,
  mapSequences,
  param,
  parseModule,
  perSequence,
  printModule,
  reshape,
  scale,
  softmaxCausal,
  split,
  tensor,
  tensorOf,
  type Caches,
  type Tensor,
} from "../../ir/index.ts";
import { weight as weightOf } from "../../ir/ops/module.ts";
import { verify } from "../../ir/verify.ts";
import { load, type Model } from "../../runtime/index.ts";
import type { CpuDevice } from "../../runtime/devices/cpu.ts";
import { checkManifest } from "../../runtime/manifest.ts";
import { tiny } from "./compiled.ts";

const [V, H, HEADS, LATENT, INDEX, LAYERS] = [40, 16, 2, 16, 8, 2];

/** Names of linears that synthetic weights have a rule for. */
const STORED: Readonly<Record<string, string>> = {
  latent: "kv_a_proj_with_mqa",
  index: "kv_b_proj",
  q: "q_b_proj",
  p: "q_a_proj",
  o: "o_proj",
};

function toy(): Module {
  const graph = new Graph();
  const weights = new Map<string, WeightDecl>();
  const of = (name: string, dims: number[], layered = true): Value => {
    const tensorName = layered
      ? `model.layers.{layer}.self_attn.${STORED[name]}.weight`
      : `${name === "lm_head" ? "" : "model."}${name}.weight`;
    const source = { kind: "checkpoint" as const, pieces: [{ at: [], tensor: tensorName }] };
    const decl = weights.get(name) ?? { name, type: tensor(dims, "f32"), layers: layered ? [0, 1] : null, source, origin: [] };
    weights.set(name, decl);
    return weightOf(graph, decl);
  };
  const state = (): NamedValue[] => [
    { name: "batch", value: param(graph, "batch", batchType) },
    { name: "cache", value: param(graph, "cache", cacheType(LATENT, "f32")) },
    { name: "index", value: param(graph, "index", cacheType(INDEX, "f32", "index")) },
  ];
  const assume = { T: 16, B: 16, t: 1, s: 512, S: 512 };
  const layer = ((): Func => {
    const params = [{ name: "h", value: param(graph, "h", tensor(["T", H], "f32")) }, ...state()];
    const [h, batch, cache, index] = params.map((p) => p.value);
    const appended = (to: Value, name: string, width: number, at: number): Value => {
      const { left, right } = split({ x: linear({ x: h, w: of(name, [width, H]) }), at });
      return cacheAppend({ cache: to, c: left, kp: right, batch });
    };
    const [latents, keys] = [appended(cache, "latent", LATENT, 12), appended(index, "index", INDEX, 6)];
    const query = (name: string, n: number): Value =>
      reshape({ x: linear({ x: h, w: of(name, [HEADS * n, H]) }), dims: ["T", HEADS, n] });
    const xs = [query("q", LATENT), query("p", INDEX), latents, keys];
    const inside = xs.map((v, i) => param(graph, ["q", "p", "rows", "keys"][i], perSequence(v.type)));
    const [q, p, rows, keyRows] = inside;
    const scores = add({ a: einsum("thn,sn->ths", q, rows), b: einsum("thd,sd->ths", p, keyRows) });
    const out = einsum("ths,sv->thv", softmaxCausal({ x: scale({ x: scores, by: 0.5 }) }), rows);
    const o = mapSequences({ batch, xs, region: { params: inside, results: [out] } });
    const y = linear({ x: reshape({ x: o, dims: ["T", HEADS * LATENT] }), w: of("o", [H, HEADS * LATENT]) });
    const next = { name: "next", value: add({ a: h, b: y }) };
    return {
      name: "step/layer",
      params,
      results: [next, { name: "cache", value: latents }, { name: "index", value: keys }],
      assume,
    };
  })();
  const main = ((): Func => {
    const params = [{ name: "ids", value: param(graph, "ids", tensor(["T"], "i32"), "ids") }, ...state()];
    const [ids, batch] = params.map((p) => p.value);
    let [, , cache, index] = params.map((p) => p.value);
    let h = embed({ ids, table: of("embed_tokens", [V, H], false), dtype: "f32" });
    for (let l = 0; l < LAYERS; l++) {
      const next = call(graph, layer, [h, batch, cache, index], l);
      [h, cache, index] = [next.next, next.cache, next.index];
    }
    const logits = linear({ x: lastRows({ x: h, batch }), w: of("lm_head", [V, H], false), dtype: "f32" });
    const results = [
      { name: "logits", value: logits },
      { name: "next", value: argmax({ x: logits }) },
    ];
    return {
      name: "step",
      params,
      results: [...results, { name: "cache", value: cache }, { name: "index", value: index }],
      assume,
    };
  })();
  const funcs = new Map([layer, main].map((f) => [f.name, f]));
  return {
    name: "toy",
    graph,
    weights,
    funcs,
    entries: { prefill: "step", extend: "step", decode: "step" },
    load: [],
    mixed: true,
  };
}

let made = 0;
const work = mkdtempSync(path.join(tmpdir(), "dsc-caches-"));
afterAll(() => rmSync(work, { recursive: true }));
const { spec: tinySpec } = loadSpec(tiny, []);
const spec = {
  ...tinySpec,
  vocab: V,
  hidden: H,
  layers: ["dense", "dense"] as typeof tinySpec.layers,
  mtp: 0 as typeof tinySpec.mtp,
  moe: null,
  maxPositions: 1024,
};

test("a cache that is not the latent one prints its name, and the text parses back", () => {
  const text = printModule(toy());
  expect(text).toContain("%cache: cache [S, 16] f32, %index: cache index [S, 8] f32");
  expect(printModule(parseModule(text))).toBe(text);
});

test("a module whose functions differ in what a cache of one name is does not verify", () => {
  const text = printModule(toy());
  // The caller's only: its call then gives another type than the callee takes, and the caches differ.
  const at = text.indexOf("func @step(");
  const broken = text.slice(0, at) + text.slice(at).replace("cache index [S, 8] f32", "cache index [S, 4] f32");
  const said = ((): string => {
    try {
      verify(parseModule(broken));
      return "";
    } catch (e) {
      if (!(e instanceof DiagnosticError)) throw e;
      return JSON.stringify(e.diagnostics);
    }
  })();
  expect(said).toMatch(/cache index \[S, 4\] f32/);
});

async function opened(module: Module, passes: string): Promise<Model> {
  const compiled = compileModule(module, spec, { ...defaults, passes });
  expect(compiled.manifest.model).toMatchObject({
    cachedLayers: LAYERS,
    caches: { latent: { width: LATENT, dtype: "f32" }, index: { width: INDEX, dtype: "f32" } },
  });
  const folder = path.join(work, `${passes} ${made++}`);
  writeArtifact(compiled, folder);
  return load(folder, { weights: "synthetic:7", threads: 2 });
}

/** Weights as they lie in memory where no pass has joined any. */
async function stored(module: Module): Promise<(name: string, layer: number | null) => Tensor> {
  const plain = await opened(module, "none");
  const at = (name: string, layer: number | null): number => plain.weights.address(name, "data", layer ?? undefined);
  const found = new Map<string, Tensor>();
  for (const { name, type, layers } of module.weights.values())
    for (const layer of layers ?? [null]) {
      const shape = type.dims as number[];
      const values = (plain.device as CpuDevice).f32(
        at(name, layer),
        shape.reduce((x, y) => x * y, 1),
      );
      found.set(`${name} ${layer}`, tensorOf([...shape], values));
    }
  await plain.close();
  return (name, layer) => found.get(`${name} ${layer}`)!;
}

test.each(["none", "all"])("appended to and read, both caches give the interpreter's logits (passes %s)", async (passes) => {
  const module = toy();
  const weight = await stored(module);
  const model = await opened(module, passes);
  const caches: Caches = {};
  const lengths = [0, 0];
  const session = model.session({ sequences: 2, maxTokens: 700 });
  const ids = (n: number, from: number): number[] => Array.from({ length: n }, (_, i) => (i * 7 + from) % V);
  // A prompt over a page, one of three rows; one more page each; five hundred rows, for which the caches grow; steps.
  for (const rows of [
    [70, 3],
    [1, 1],
    [40, 500],
    [1, 1],
    [1, 1],
  ]) {
    const tokens = rows.map((n, b) => ids(n, 3 * b + lengths[b]));
    const got = lengths[0] === 0 ? await session.prefill(tokens) : await session.extend(tokens);
    for (const b of [0, 1]) lengths[b] += rows[b];
    const want = interpret(module, module.funcs.get("step")!, {
      batch: { starts: [0, rows[0], rows[0] + rows[1]], lengths: [...lengths], ids: tokens.flat() },
      values: { ids: tensorOf([rows[0] + rows[1]], tokens.flat(), "i32") },
      weight,
      caches,
    }).logits.data;
    for (const b of [0, 1])
      for (const [j, v] of got.logits(b).entries())
        expect(Math.abs(v - want[b * V + j]), `sequence ${b}, id ${j} at ${lengths.join()}`).toBeLessThan(1e-4);
  }
  expect(caches.index[1].map((c) => c.length)).toEqual(lengths.map((n) => n * INDEX));
  session.close();
  await model.close();
});

test("a manifest that uses a cache its model does not have is refused", () => {
  const { manifest } = compileModule(toy(), spec, { ...defaults, passes: "none" });
  checkManifest(manifest);
  const { index: _, ...caches } = manifest.model.caches;
  expect(() => checkManifest({ ...manifest, model: { ...manifest.model, caches } })).toThrow(/DSC5005[^]*has no cache index/);
});
