// Small models over the stand-in for the driver: natives and fused kernels between printed ones give the bits of launches one after
// another.
import path from "node:path";
import { expect, test } from "vitest";
import { standard } from "../../passes/index.ts";
import { Model } from "../../runtime/model.ts";
import { lacks } from "../conditions.ts";
import { openDevice } from "./cuda-device.ts";
import { setOf, smallR1 } from "./small-r1.ts";

test.skipIf(lacks("g++"))(
  "natives of rows, routing and sorting fit between the kernels around them, the shared expert among the routed",
  async () => {
    const set = setOf({ ...smallR1, num_hidden_layers: 3, num_nextn_predict_layers: 0 });
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
  const set = setOf(small);
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
  const set = setOf(small);
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
