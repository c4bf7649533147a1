// The CUDA target without a GPU: config to artifact, kernels, device, sessions and graphs as on one, over a stand-in for the driver
// (test/kernels/host-driver.ts), with printed tile programs in f32 and bf16, against what transformers computed.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, test, vi } from "vitest";
import { compile, defaults, type CompileOptions } from "../../compiler/compile.ts";
import type { Manifest } from "../../ir/artifact.ts";
import { storedIn } from "../../compiler/checkpoint-dtypes.ts";
import { standard } from "../../passes/index.ts";
import type { StoredArray } from "../../runtime/device.ts";
import { CudaDevice } from "../../runtime/devices/cuda/device.ts";
import { identityOf } from "../../runtime/files.ts";
import { Tables } from "../../runtime/devices/cuda/onward.ts";
import { generate, proceed, type GenerateOptions } from "../../runtime/generate.ts";
import { Model } from "../../runtime/model.ts";
import type { Sampling } from "../../runtime/sample.ts";
import { PagePool } from "../../runtime/pages.ts";
import { describe as describeWeight, fill, formBytes, type Form } from "../../runtime/synthetic.ts";
import { widen } from "../../runtime/widen.ts";
import { distances } from "../device/distances.ts";
import { fixtures, readTensors } from "../interpreted.ts";
import { buildDriver, buildKernels } from "../kernels/host-driver.ts";
import { lacks } from "../conditions.ts";
import { altered, type Tensors } from "./altered.ts";

const work = mkdtempSync(path.join(tmpdir(), "dsc-cuda-host-"));
afterAll(() => rmSync(work, { recursive: true }));

async function openDevice(src: string, options: Partial<CompileOptions>): Promise<{ manifest: Manifest; device: CudaDevice }> {
  const { manifest, files: texts } = compile(src, { ...defaults, target: "cuda", natives: "none", ...options });
  const [driver, { files, compile: image }] = await Promise.all([buildDriver(work), buildKernels(manifest, texts)]);
  return { manifest, device: await CudaDevice.open(manifest, files, { compile: image, libraries: [driver] }) };
}

async function open(
  src: string,
  activations: "f32" | "bf16",
  weights: string,
  flags: Partial<CompileOptions> = {},
): Promise<Model<CudaDevice>> {
  const { manifest, device } = await openDevice(src, { activations, taps: true, ...flags, stored: await storedIn(weights) });
  return Model.open(manifest, device, { weights });
}

describe.skipIf(lacks("g++")).each(fixtures.map((f) => [path.basename(f), f] as const))("%s", (name, fixture) => {
  const expected = readTensors(path.join(fixture, "expected.safetensors"));
  const config = JSON.parse(readFileSync(path.join(fixture, "config.json"), "utf8")) as { quantization_config?: object };
  // Exact weights answer what transformers answered on dequantised ones.
  const exact = config.quantization_config ? ({ actQuant: "none" } as const) : {};

  // A compiler run a model: half of them in f32, the others in bf16, all of both with DSC_ALL.
  const number = Number(name[2]);
  test.skipIf(number % 2 === 0 && lacks("DSC_ALL"))("f32: logits within 2e-4, greedy ids exact", async () => {
    const model = await open(fixture, "f32", fixture, exact);
    const { prefill, decode, ids } = await distances(model, expected);
    await model.close();
    expect(prefill).toBeLessThan(2e-4);
    expect(decode).toBeLessThan(2e-4);
    expect(ids).toEqual([...expected.get("greedy_ids")!.data]);
  });

  test.skipIf(number % 2 === 1 && lacks("DSC_ALL"))("bf16: logits within 0.1", async () => {
    const model = await open(fixture, "bf16", fixture, exact);
    const { prefill, decode, flipped } = await distances(model, expected);
    await model.close();
    expect(prefill).toBeLessThan(0.1);
    expect(decode).toBeLessThan(0.1);
    expect(flipped).toBeLessThanOrEqual(1);
  });
});

test.skipIf(lacks("g++"))(
  "natives of rows, routing and sorting fit between the kernels around them, the shared expert among the routed",
  async () => {
    // R1 in small, with experts for every lane of a warp.
    const small = {
      hidden_size: 160,
      num_attention_heads: 4,
      num_key_value_heads: 4,
      q_lora_rank: 136,
      kv_lora_rank: 40,
      qk_nope_head_dim: 12,
      qk_rope_head_dim: 8,
      v_head_dim: 16,
      intermediate_size: 140,
      moe_intermediate_size: 72,
      n_routed_experts: 32,
      num_experts_per_tok: 4,
      num_hidden_layers: 3,
      first_k_dense_replace: 1,
      vocab_size: 67,
      num_nextn_predict_layers: 0,
      quantization_config: null,
    };
    const set = Object.entries(small).map(([k, v]) => `${k}=${v}`);
    const answers = async (natives: string): Promise<{ names: string[]; ids: number[]; logits: Float32Array }> => {
      const { manifest, device } = await openDevice(path.resolve(import.meta.dirname, "../../examples/deepseek-r1/config.json"), {
        set,
        natives,
        activations: "f32",
      });
      const model = await Model.open(manifest, device, { weights: "synthetic:3" });
      const session = model.session({ maxTokens: 40 });
      let result = await session.prefill([
        [3, 1, 4, 1, 5, 9, 2, 6],
        [5, 3, 5],
      ]);
      const ids: number[] = [];
      for (let i = 0; i < 6; i++) {
        ids.push(result.next(0), result.next(1));
        result = await session.decode([result.next(0), result.next(1)]);
      }
      const logits = Float32Array.from([...result.logits(0), ...result.logits(1)]);
      session.close();
      await model.close();
      return { names: Object.keys(manifest.kernels), ids, logits };
    };
    const [printed, native] = [await answers("none"), await answers("norm_rows,route_rows,sort_experts_blocks")];
    expect(native.names.filter((n) => /^(route|sort_experts)_/.test(n)).toSorted()).toEqual([
      "route_32_top4_shared1_rows",
      "sort_experts_33_top5_blocks",
    ]);
    expect(native.ids).toEqual(printed.ids);
    expect(Math.max(...native.logits.map((v, i) => Math.abs(v - printed.logits[i])))).toBeLessThan(1e-5);
  },
);

test.skipIf(lacks("g++")).each([
  ["printed-model", "fuse-linear", { v_head_dim: 16 }],
  // Codes of 16-byte pieces, and a layer whose router and experts read one row.
  [
    "deepseek-r1",
    "fuse-product",
    {
      v_head_dim: 128,
      q_lora_rank: 128,
      num_hidden_layers: 3,
      first_k_dense_replace: 2,
      n_routed_experts: 16,
      num_experts_per_tok: 4,
      moe_intermediate_size: 64,
      num_nextn_predict_layers: 0,
    },
  ],
])("products of %s with neighbours inside give the bits of launches one after another", async (example, pass, more) => {
  const small = {
    hidden_size: 160,
    num_attention_heads: 4,
    num_key_value_heads: 4,
    q_lora_rank: 136,
    kv_lora_rank: 40,
    qk_nope_head_dim: 12,
    qk_rope_head_dim: 8,
    intermediate_size: 140,
    num_hidden_layers: 2,
    vocab_size: 67,
    ...more,
  };
  const set = Object.entries(small).map(([k, v]) => `${k}=${v}`);
  const answers = async (passes: string): Promise<Float32Array> => {
    const { manifest, device } = await openDevice(path.resolve(import.meta.dirname, "../../examples", example, "config.json"), {
      set,
      passes,
      activations: "bf16",
    });
    const model = await Model.open(manifest, device, { weights: "synthetic:3" });
    const session = model.session({ maxTokens: 40 });
    let result = await session.prefill([
      [3, 1, 4, 1, 5, 9, 2, 6],
      [5, 3, 5],
    ]);
    for (let i = 0; i < 4; i++) result = await session.decode([result.next(0), result.next(1)]);
    const logits = Float32Array.from([...result.logits(0), ...result.logits(1)]);
    session.close();
    await model.close();
    return logits;
  };
  const names = standard.map((p) => p.name);
  const [inside, apart] = [await answers("all"), await answers(names.filter((n) => n !== pass).join(","))];
  expect(inside).toEqual(apart);
  expect(inside.some((v) => v !== 0)).toBe(true);
});

test.skipIf(lacks("g++"))("experts of few tokens in one op are their parts one after another, bit for bit", async () => {
  const small = {
    hidden_size: 256,
    num_attention_heads: 4,
    num_key_value_heads: 4,
    q_lora_rank: 128,
    kv_lora_rank: 128,
    qk_nope_head_dim: 32,
    qk_rope_head_dim: 16,
    v_head_dim: 32,
    intermediate_size: 256,
    moe_intermediate_size: 128,
    n_routed_experts: 8,
    num_experts_per_tok: 3,
    n_group: 2,
    topk_group: 1,
    num_hidden_layers: 2,
    first_k_dense_replace: 1,
    vocab_size: 67,
    num_nextn_predict_layers: 0,
  };
  const set = Object.entries(small).map(([k, v]) => `${k}=${v}`);
  const answers = async (passes: string): Promise<{ ops: boolean; ids: number[]; logits: number[] }> => {
    const { manifest, device } = await openDevice(path.resolve(import.meta.dirname, "../../examples/deepseek-r1/config.json"), {
      set,
      passes,
      activations: "bf16",
    });
    const model = await Model.open(manifest, device, { weights: "synthetic:3" });
    const session = model.session({ maxTokens: 40 });
    let result = await session.prefill([
      [3, 1, 4, 1, 5],
      [9, 2],
      [6, 5, 3],
    ]);
    const ids: number[] = [];
    for (let i = 0; i < 4; i++) {
      const next = [0, 1, 2].map((b) => result.next(b));
      ids.push(...next);
      result = await session.decode(next);
    }
    const logits = [0, 1, 2].flatMap((b) => [...result.logits(b)]);
    session.close();
    await model.close();
    return {
      ops: manifest.functions["decode/moe_layer"].steps.some(
        (s) => s.kind === "kernel" && s.site.endsWith("next") && s.kernel.startsWith("gather_rows"),
      ),
      ids,
      logits,
    };
  };
  const without = standard.map((p) => p.name).filter((n) => n !== "experts-add");
  const [whole, apart] = [await answers("all"), await answers(without.join(","))];
  // Its parts bear the name of what the op gives.
  expect([whole.ops, apart.ops]).toEqual([true, false]);
  expect(whole.ids).toEqual(apart.ids);
  expect(whole.logits).toEqual(apart.logits);
  expect(whole.logits.every(Number.isFinite)).toBe(true);
});

test.skipIf(lacks("g++"))(
  "steps begun ahead of their ids choose the same ids, while sequences end at different steps",
  async () => {
    const fixture = fixtures[1];
    const model = await open(fixture, "f32", fixture);
    const prompts = [
      [3, 1, 4, 1, 5],
      [9, 2, 6],
      [5, 3, 5, 8, 9, 7, 9],
    ];
    const run = async (options: Omit<GenerateOptions, "maxNew">, on: Model = model): Promise<number[][]> => {
      const out: number[][] = prompts.map(() => []);
      for await (const step of generate(on, prompts, { maxNew: 12, ...options }))
        step.ids.forEach((ids, b) => out[b].push(...ids));
      return out;
    };
    expect(model.device.mailed).toBe(true);
    const plain = await run({});
    expect(plain.map((ids) => ids.length)).toEqual([12, 12, 12]);
    expect(await run({ ahead: true })).toEqual(plain);
    // An id from the middle of one answer ends it there, and whichever others hold it.
    const stop = [plain[1][4]];
    const short = await run({ stop });
    expect(short[1].length).toBeLessThanOrEqual(5);
    expect(await run({ stop, ahead: true })).toEqual(short);
    await model.close();
  },
);

test.skipIf(lacks("g++"))(
  "the host sends a step's tables only where the device does not know them: a new page, another id, another batch",
  async () => {
    const fixture = fixtures[0];
    const model = await open(fixture, "f32", fixture);
    const { device } = model;
    const prompt = Array.from({ length: 58 }, (_, i) => (i * 5) % 50);
    const sent = async (
      batch: number,
      steps: number,
      next: (chosen: number, i: number) => number,
    ): Promise<{ letters: number; ids: number[]; logits: number[] }> => {
      const session = model.session({ maxTokens: 400, sequences: batch });
      let result = await session.prefill(Array.from({ length: batch }, (_, b) => prompt.slice(b)));
      const from = device.letters;
      const ids: number[] = [];
      for (let i = 0; i < steps; i++) {
        const fed = Array.from({ length: batch }, (_, b) => next(result.next(b), i));
        ids.push(...fed);
        result = await session.decode(fed);
      }
      const logits = Array.from({ length: batch }, (_, b) => [...result.logits(b)]).flat();
      session.close();
      return { letters: device.letters - from, ids, logits };
    };
    // The first step is no graph yet; row 64 begins a page.
    const own = await sent(1, 20, (id) => id);
    expect(own.letters).toBe(1);
    // The same ids, sent every time: what the device makes of its tables is what the host would have sent.
    const forget = vi.spyOn(Tables.prototype, "becomes").mockReturnValue(false);
    const all = await sent(1, 20, (id) => id);
    expect(all.letters).toBe(19);
    expect({ ...all, letters: 1 }).toEqual(own);
    forget.mockRestore();
    // Another id at steps 3 and 4, a page at step 6; three rows, whose sequences meet their pages at different steps.
    expect((await sent(1, 9, (id, i) => (i === 3 || i === 4 ? (id + 1) % 50 : id))).letters).toBe(3);
    expect((await sent(3, 9, (id) => id)).letters).toBe(3);
    // Times are of one step, however often it is replayed, and the next one finds its tables.
    const session = model.session({ maxTokens: 400 });
    let result = await session.prefill([prompt]);
    for (let i = 0; i < 4; i++) result = await session.decode([result.next(0)]);
    expect(device.replayTimes(70)).toHaveLength(70);
    for (let i = 4; i < 20; i++) result = await session.decode([own.ids[i]]);
    expect([...result.logits(0)]).toEqual(own.logits);
    session.close();
    await model.close();
  },
);

test.skipIf(lacks("g++"))(
  "batches are filled up to few sizes with rows that nobody sees: same logits, same cache, the same graphs for nine and for ten",
  async () => {
    const fixture = fixtures[1];
    const [filled, bare] = [await open(fixture, "f32", fixture), await open(fixture, "f32", fixture)];
    Object.assign(bare.device, { rows: (_: string, n: number) => n });
    const play = async (model: Model<CudaDevice>): Promise<{ logits: number[][]; rows: number[][]; cache: Uint8Array[] }> => {
      const session = model.session({ maxTokens: 80, sequences: 10 });
      const { cache: pages } = session as unknown as { cache: { pool: PagePool; address(name: string, layer: number): number } };
      const all = Array.from({ length: 10 }, (_, b) => b);
      let result = await session.prefill(all.map((b) => [3, 1, 4, 1, 5, 9, 2, 6].slice(b % 6).map((id) => id + b)));
      const [logits, rows]: number[][][] = [[], []];
      // Ten, then nine, then ten again, and nine: both sizes meet a graph.
      for (let i = 0; i < 12; i++) {
        const ids = all.map((b) => (Math.floor(i / 3) % 2 && b === 1 ? null : (i * 7 + b) % 50));
        result = await session.decode(ids);
        logits.push(...result.sequences.map((b) => [...result.logits(b)]));
        rows.push(result.starts, result.sequences, result.taps.final?.shape ?? []);
      }
      const { cachedLayers, pageRows, caches } = model.manifest.model;
      const cacheWidth = caches.latent.width;
      const bytes = pageRows * cacheWidth * 4;
      // The first rows of each sequence's page, in every layer.
      const cache = Array.from({ length: cachedLayers * 10 }, (_, i) =>
        model.device.read(
          pages.address("latent", Math.floor(i / 10)) + pages.pool.page(i % 10, 0) * bytes,
          session.lengths[i % 10] * cacheWidth * 4,
        ),
      );
      session.close();
      return { logits, rows, cache };
    };
    const captured = vi.spyOn(filled.device.cuda, "capture");
    const [with_, without] = [await play(filled), await play(bare)];
    expect(with_).toEqual(without);
    // One for steps that follow the last, one for those that do not.
    expect(captured.mock.calls.length).toBeLessThanOrEqual(2);
    await Promise.all([filled.close(), bare.close()]);
  },
);

test.skipIf(lacks("g++"))(
  "ids drawn on the device are those drawn here, alone, in a batch, begun ahead, and where a cut conversation goes on",
  async () => {
    const fixture = fixtures[1];
    const model = await open(fixture, "f32", fixture, { taps: false });
    const host = await open(fixture, "f32", fixture, { taps: false });
    Object.assign(host.device, { draws: false });
    const prompts = [
      [3, 1, 4, 1, 5],
      [9, 2, 6],
      [5, 3, 5, 8, 9, 7, 9],
    ];
    const run = async (on: Model, options: Omit<GenerateOptions, "maxNew">): Promise<number[][]> => {
      const session = on.session({ maxTokens: 64 });
      const out: number[][] = prompts.map(() => []);
      let drawn = true;
      for (let turn = 0; turn < 2; turn++) {
        for await (const step of proceed(session, turn === 0 ? prompts : [[7], [], [8, 8]], { maxNew: 9, ...options })) {
          step.ids.forEach((ids, b) => out[b].push(...ids));
          drawn &&= step.result.drawn;
        }
        // What the device has marked beyond this is no longer held.
        session.truncate(0, 6);
      }
      session.close();
      expect(drawn).toBe(on === model);
      return out;
    };
    const ways: Sampling[] = [
      { temperature: 1.2, seed: 3 },
      { temperature: 0.9, topK: 9, topP: 0.8, seed: 4 },
      { temperature: 1.5, topP: 0.9, repeatPenalty: 1.4, seed: 5 },
      { repeatPenalty: 1.8 },
    ];
    for (const way of ways) {
      const want = await run(host, way);
      expect(new Set(want.flat()).size).toBeGreaterThan(8);
      expect(await run(model, way)).toEqual(want);
      expect(await run(model, { ...way, ahead: true })).toEqual(want);
      const stop = [want[1][4]];
      expect(await run(model, { ...way, stop, ahead: true })).toEqual(await run(host, { ...way, stop }));
    }
    await Promise.all([model.close(), host.close()]);
  },
);

test.skipIf(lacks("g++"))("one bad row of the head ends the step, greedy, drawn, drafted, begun ahead", async () => {
  const fixture = fixtures.find((f) => f.includes("a08"))!;
  const { manifest, device } = await openDevice(fixture, { activations: "bf16", stored: await storedIn(fixture) });
  const model = await Model.open(manifest, device, { weights: fixture });
  const prompts = [
    [3, 1, 4, 1, 5],
    [9, 2, 6],
    [5, 3, 5, 8, 9, 7, 9],
  ];
  const row = model.weights.address("head", "data", undefined) + 2 * 5 * manifest.model.hidden;
  const was = device.read(row, 2).slice();
  const all = async (options: Omit<GenerateOptions, "maxNew">, spoil: number, bits: number): Promise<number> => {
    let steps = 0;
    for await (const step of generate(model, prompts, { maxNew: 8, ...options })) {
      expect(step.ids.flat().every((id) => id >= 0)).toBe(true);
      if (steps++ === spoil) device.write(row, new Uint8Array(Uint16Array.of(bits).buffer));
    }
    return steps;
  };
  const ways = [
    {},
    { ahead: true },
    { temperature: 0.8, topP: 0.9, topK: 20 },
    { temperature: 0.8, ahead: true },
    { repeatPenalty: 1.3, ahead: true },
    { draft: 2 },
  ];
  for (const [i, way] of ways.entries()) {
    await expect(all(way, 3 - (i % 3), [0x7fc0, 0x7f80, 0xff80][i % 3])).rejects.toThrow(
      /DSC5037[^]*the logit of token 5 is NaN or infinite[^]*weight head is NaN or infinite: lm_head.weight/,
    );
    device.write(row, was);
    // The model goes on as if nothing had been.
    expect(await all(way, -1, 0)).toBeGreaterThan(2);
  }
  await model.close();
});

test.skipIf(lacks("g++"))(
  "stored values that are no numbers are refused once they lie in the device's memory, with tensor and layer",
  async () => {
    const put = (t: Tensors, name: string, at: number, bytes: number[]): void => t.get(name)!.data.set(bytes, at);
    const expert = "model.layers.1.mlp.experts.3.up_proj.weight";
    const cases: [fixture: string, tensor: string, alter: (t: Tensors) => void][] = [
      ["a07-v3-fp8", expert, (t) => put(t, expert, 4242, [0x7f])],
      ["a07-v3-fp8", `${expert}_scale_inv`, (t) => put(t, `${expert}_scale_inv`, 4, [0, 0, 0x80, 0x7f])],
      [
        "a01-v3-yarn",
        "model.layers.1.mlp.gate.e_score_correction_bias",
        (t) => put(t, "model.layers.1.mlp.gate.e_score_correction_bias", 28, [1, 0, 0x80, 0xff]),
      ],
      [
        "a01-v3-yarn",
        "model.layers.0.self_attn.kv_b_proj.weight",
        (t) => put(t, "model.layers.0.self_attn.kv_b_proj.weight", 62, [0xc0, 0x7f]),
      ],
    ];
    for (const [name, tensor, alter] of cases) {
      const folder = await altered(name, alter);
      const { manifest, device } = await openDevice(folder, { activations: "bf16", stored: await storedIn(folder) });
      await expect(Model.open(manifest, device, { weights: folder })).rejects.toThrow(
        `DSC5015]: ${tensor} holds a value that is not a number`,
      );
    }
  },
);

test.skipIf(lacks("g++"))("graphs of steps follow the rope tables and the cache when these move", async () => {
  const fixture = fixtures[0];
  const model = await open(fixture, "f32", fixture);
  const rope = Object.keys(model.manifest.weights).find((w) => model.manifest.weights[w].source.kind === "rope")!;
  const steps = async (between: (step: number) => void): Promise<number[][]> => {
    const session = model.session({ maxTokens: 80 });
    let result = await session.prefill([Array.from({ length: 58 }, (_, i) => (i * 5) % 50)]);
    const out: number[][] = [];
    for (let i = 0; i < 12; i++) {
      between(i);
      result = await session.decode([(i * 7) % 50]);
      out.push([...result.logits(0)]);
    }
    session.close();
    return out;
  };
  const plain = await steps(() => {});
  const moved = await steps((i) => {
    if (i !== 4) return;
    // As if the table had been outgrown: a new one is made, and whoever still reads the old one meets NaN.
    const old = model.weights.address(rope, "data", undefined);
    Object.assign(model, { ropePositions: 0 });
    model.ensureRope(80);
    expect(model.weights.address(rope, "data", undefined)).not.toBe(old);
    const width = 2 * (model.manifest.weights[rope].source as { invFreq: number[] }).invFreq.length;
    model.device.write(old, new Uint8Array(new Float32Array(80 * width).fill(NaN).buffer));
  });
  expect(moved).toEqual(plain);
  // Another cache, of which every page is used up before it grows.
  vi.spyOn(PagePool.prototype, "next").mockImplementation(function (this: PagePool, missing: number) {
    return this.capacity + missing;
  });
  expect(await steps(() => {})).toEqual(plain);
  vi.restoreAllMocks();
  await model.close();
});

test.skipIf(lacks("g++"))("synthetic weights made on the device have the bytes of those made here, in every form", async () => {
  const { device } = await openDevice(fixtures[0], { activations: "bf16" });
  const names: [string, Form][] = [
    ["model.layers.0.self_attn.q_a_proj.weight", "bf16"],
    ["model.layers.0.input_layernorm.weight", "bf16-in-f32"],
    ["model.norm.weight", "f32"],
    ["model.layers.0.mlp.gate_proj.weight", "e4m3"],
    ["model.layers.0.mlp.gate_proj.weight", "scale"],
    ["model.layers.0.mlp.gate_proj.weight", "scale-ue8m0"],
  ];
  for (const [name, form] of names) {
    const count = 70_001;
    const recipe = describeWeight(7, name, [count, 64], form);
    const at = device.allocate(count * 4, name);
    await device.fill([{ at, recipe, start: 3, count, bytes: formBytes(form) }]);
    const want = new ArrayBuffer(count * formBytes(form));
    fill(want, 0, recipe, 3, count);
    expect(Buffer.compare(device.read(at, want.byteLength), new Uint8Array(want)), form).toBe(0);
    device.release(at);
  }
  // Once weights are in place nothing more is compiled.
  const { device: sealed } = await openDevice(fixtures[0], { activations: "bf16" });
  sealed.seal();
  await expect(sealed.fill([])).rejects.toThrow(/DSC5610/);
  await Promise.all([device.close(), sealed.close()]);
});

test.skipIf(lacks("g++"))(
  "arrays of files come to the device in the form they are used in, by threads; a file that ends early is named",
  async () => {
    const { device } = await openDevice(fixtures[0], { activations: "bf16" });
    const file = path.join(work, "array.bin");
    const bytes = Uint8Array.from({ length: 5_000_003 }, (_, i) => (i * 2654435761) >>> 13);
    writeFileSync(file, bytes);
    const begin = 3;
    const forms: [StoredArray["form"], number, number][] = [
      ["same", 1, 1],
      ["bf16", 2, 4],
      ["f16", 2, 4],
      ["e8m0", 1, 4],
    ];
    const stored = (form: StoredArray["form"], size: number, at: number, more: Partial<StoredArray> = {}): StoredArray => ({
      at,
      count: size,
      form,
      bytes: size,
      file: { path: file, begin, tensor: "w", identity: identityOf(statSync(file)) },
      read: () => Promise.reject(new Error("threads read by themselves")),
      ...more,
    });
    for (const [form, narrow, wide] of forms) {
      const count = 1_200_000;
      const at = device.allocate(count * wide, form);
      await device.place([stored(form, count * narrow, at)]);
      const want = new ArrayBuffer(count * wide);
      new Uint8Array(want).set(bytes.subarray(begin, begin + count * narrow), count * (wide - narrow));
      if (form !== "same") widen(form, want, 0, count);
      expect(Buffer.compare(device.read(at, want.byteLength), new Uint8Array(want)), form).toBe(0);
      device.release(at);
    }
    const [rows, width, pitch] = [700, 3686, 3696];
    const at = device.allocate(rows * pitch, "rows");
    await device.place([stored("same", rows * width, at, { rows: { bytes: width, pitch } })]);
    const got = device.read(at, rows * pitch);
    for (const r of [0, 1, 283, 284, 699]) {
      expect(
        Buffer.compare(got.subarray(r * pitch, r * pitch + width), bytes.subarray(begin + r * width, begin + (r + 1) * width)),
      ).toBe(0);
      expect(got.subarray(r * pitch + width, (r + 1) * pitch).every((b) => b === 0)).toBe(true);
    }
    await expect(device.place([stored("same", 5_000_001, device.allocate(5_000_001, "w"))])).rejects.toThrow(
      /array\.bin[^]*the file changed after its header was read/,
    );
    await device.close();
  },
);

test.skipIf(lacks("g++"))("a model that does not fit is refused before a weight is read", async () => {
  const { manifest, device } = await openDevice(fixtures[0], { activations: "bf16" });
  vi.spyOn(device, "available").mockReturnValue(1000);
  const placed = vi.spyOn(device, "place");
  await expect(Model.open(manifest, device, { weights: fixtures[0] })).rejects.toThrow(
    /DSC5605.*not enough GPU memory for the model/,
  );
  expect(placed).not.toHaveBeenCalled();
});

test.skipIf(lacks("no GPU"))("a machine without a driver is told so, and what to do instead", () => {
  const cli = path.resolve(import.meta.dirname, "../../dist/compiler/cli.js");
  const r = spawnSync(
    process.execPath,
    [
      cli,
      "run",
      path.resolve(import.meta.dirname, "../../examples/tiny-r1"),
      "--target",
      "cuda",
      "--ids",
      "1,2",
      "--max-new",
      "1",
    ],
    {
      encoding: "utf8",
      env: { ...process.env, DSC_CACHE: path.join(work, "cache") },
    },
  );
  expect(r.status).toBe(1);
  expect(r.stderr).toMatch(/^error\[DSC5601\]: no CUDA driver[^]*--target cpu/);
  expect(r.stderr).not.toMatch(/\n\s+at /);
});
