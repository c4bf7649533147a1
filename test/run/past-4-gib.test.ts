// One weight of more than 4 GiB, in a file that has holes: kernels in C address all of it. Every layer adds zero, so logits are products of
// rows of the embedding, which is the head too.
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, expect, test } from "vitest";
import { writeArtifact } from "../../compiler/artifact/write.ts";
import { compile, defaults } from "../../compiler/compile.ts";
import { load } from "../../runtime/index.ts";
import { lacks } from "../conditions.ts";
import { read } from "../frontend/configs.ts";

const folder = mkdtempSync(path.join(tmpdir(), "dsc-past-4-gib-"));
afterAll(() => rmSync(folder, { recursive: true }));

const [VOCAB, HIDDEN] = [560_000, 4096];
const [HEADS, NOPE, ROPE, V, R, Q, WIDE] = [4, 16, 8, 24, 64, 48, 64];
const layer = "model.layers.0";
const shapes: Record<string, number[]> = {
  "model.embed_tokens.weight": [VOCAB, HIDDEN],
  "model.norm.weight": [HIDDEN],
  [`${layer}.input_layernorm.weight`]: [HIDDEN],
  [`${layer}.post_attention_layernorm.weight`]: [HIDDEN],
  [`${layer}.self_attn.q_a_proj.weight`]: [Q, HIDDEN],
  [`${layer}.self_attn.q_a_layernorm.weight`]: [Q],
  [`${layer}.self_attn.q_b_proj.weight`]: [HEADS * (NOPE + ROPE), Q],
  [`${layer}.self_attn.kv_a_proj_with_mqa.weight`]: [R + ROPE, HIDDEN],
  [`${layer}.self_attn.kv_a_layernorm.weight`]: [R],
  [`${layer}.self_attn.kv_b_proj.weight`]: [HEADS * (NOPE + V), R],
  [`${layer}.self_attn.o_proj.weight`]: [HIDDEN, HEADS * V],
  [`${layer}.mlp.gate_proj.weight`]: [WIDE, HIDDEN],
  [`${layer}.mlp.up_proj.weight`]: [WIDE, HIDDEN],
  [`${layer}.mlp.down_proj.weight`]: [HIDDEN, WIDE],
};

/** A checkpoint of zeros but for these rows, each of one value. */
function sparse(rows: readonly (readonly [tensor: string, row: number, value: number])[]): void {
  const begins: Record<string, number> = {};
  let end = 0;
  const header: Record<string, object> = {};
  for (const [name, shape] of Object.entries(shapes)) {
    begins[name] = end;
    end += 2 * shape.reduce((a, b) => a * b);
    header[name] = { dtype: "BF16", shape, data_offsets: [begins[name], end] };
  }
  const text = Buffer.from(JSON.stringify(header));
  const data = 8 + text.length;
  const file = openSync(path.join(folder, "model.safetensors"), "w");
  ftruncateSync(file, data + end);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  writeSync(file, Buffer.concat([length, text]), 0, data, 0);
  for (const [name, row, value] of rows) {
    const bits = new Uint32Array(Float32Array.of(value).buffer)[0] >>> 16;
    const bytes = new Uint8Array(new Uint16Array(HIDDEN).fill(bits).buffer);
    writeSync(file, bytes, 0, bytes.length, data + begins[name] + row * 2 * HIDDEN);
  }
  closeSync(file);
}

test.skipIf(lacks("C compiler", "Linux", "6 GB", "DSC_ALL"))("a checkpoint of 4.6 GB whose embedding is past 4 GiB", async () => {
  const config = {
    ...read("test/fixtures/a06-v3-dense/config.json"),
    vocab_size: VOCAB,
    hidden_size: HIDDEN,
    num_hidden_layers: 1,
    first_k_dense_replace: 1,
    intermediate_size: WIDE,
    tie_word_embeddings: true,
  };
  writeFileSync(path.join(folder, "config.json"), JSON.stringify(config));
  const last = VOCAB - 1;
  sparse([
    ["model.norm.weight", 0, 1],
    ["model.embed_tokens.weight", last, 1],
    ["model.embed_tokens.weight", 3, 0.25],
    // Of this row the first element is before 4 GiB, or past it.
    ["model.embed_tokens.weight", 2 ** 32 / (2 * HIDDEN), -0.5],
  ]);
  const out = path.join(folder, "out");
  writeArtifact(compile(folder, { ...defaults, target: "c" }), out);
  const model = await load(out, { weights: folder, threads: 2 });
  const session = model.session({ maxTokens: 8 });
  const logits = (await session.prefill([[last]])).logits(0);
  const got = [last, 3, 2 ** 32 / (2 * HIDDEN), 4].map((i) => logits[i]);
  for (const [i, want] of [HIDDEN, HIDDEN / 4, -HIDDEN / 2, 0].entries()) expect(got[i]).toBeCloseTo(want, 1);
  session.close();
  await model.close();
});
