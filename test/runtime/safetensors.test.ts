// Headers that lie are refused before any data moves; what the writer writes the reader reads; synthetic checkpoints are exact.
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import { Checkpoint } from "../../runtime/safetensors.ts";
import { saveTensors } from "../../runtime/safetensors-write.ts";
import { describe as recipe, fill } from "../../runtime/synthetic.ts";
import { writeSynthetic } from "../../runtime/synthetic-checkpoint.ts";

const folder = mkdtempSync(join(tmpdir(), "dsc-safetensors-"));
afterAll(() => rmSync(folder, { recursive: true }));
const path = join(folder, "x.safetensors");

function write(header: unknown, data: number, length?: bigint): void {
  const json = Buffer.from(typeof header === "string" ? header : JSON.stringify(header));
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(length ?? BigInt(json.length));
  writeFileSync(path, Buffer.concat([prefix, json, Buffer.alloc(data)]));
}
const tensor = (dtype: unknown, shape: unknown, data_offsets: unknown): object => ({ dtype, shape, data_offsets });

test.each<[string, unknown, number, RegExp, bigint?]>([
  ["a header that is not JSON", "{nope", 0, /not JSON/],
  ["a header that is a list", [1, 2, 3], 0, /not an object/],
  ["a header longer than the file", {}, 20, /the file has/, 4000n],
  ["a header past the cap", {}, 20, /the limit is/, 1n << 60n],
  ["an unknown dtype", { a: tensor("F31", [1], [0, 4]) }, 4, /a has dtype "F31"/],
  ["an inherited name as dtype", { a: tensor("toString", [1], [0, 4]) }, 4, /a has dtype/],
  ["a negative size", { a: tensor("F32", [-1], [0, 4]) }, 4, /shape/],
  ["a fraction", { a: tensor("F32", [1.5], [0, 6]) }, 6, /shape/],
  ["a shape that is a number", { a: tensor("F32", 4, [0, 16]) }, 16, /shape/],
  ["one offset", { a: tensor("F32", [1], [0]) }, 4, /data_offsets/],
  ["offsets the wrong way round", { a: tensor("F32", [1], [4, 0]) }, 4, /-4 bytes/],
  ["a length that is not shape x dtype", { a: tensor("F32", [2], [0, 4]) }, 4, /F32 \[2\] takes 8/],
  ["data past the end", { a: tensor("F32", [2], [0, 8]) }, 4, /ends at byte 8 of 4/],
  ["a gap", { a: tensor("F32", [1], [0, 4]), b: tensor("F32", [1], [8, 12]) }, 12, /b begins at byte 8/],
  ["an overlap", { a: tensor("F32", [2], [0, 8]), b: tensor("F32", [1], [4, 8]) }, 8, /b begins at byte 4/],
  ["bytes left over", { a: tensor("F32", [1], [0, 4]) }, 8, /tensors end at byte 4/],
  ["null as a tensor", { a: null }, 0, /a has dtype/],
  ["a product past 2^53", { a: tensor("U8", [2 ** 40, 2 ** 40], [0, 4]) }, 4, /takes/],
])("%s is refused", async (_, header, data, message, length) => {
  write(header, data, length);
  await expect(Checkpoint.open(path)).rejects.toThrow(message);
  await expect(Checkpoint.open(path)).rejects.toThrow(/DSC5011/);
});

test("an empty file, a missing file, an empty folder", async () => {
  writeFileSync(path, "");
  await expect(Checkpoint.open(path)).rejects.toThrow(/DSC5011/);
  await expect(Checkpoint.open(join(folder, "none"))).rejects.toThrow(/DSC5010/);
  await expect(Checkpoint.open(folder)).rejects.toThrow(/DSC5010.*neither/s);
});

test("what is saved is read back: f32, bf16, i64, empty and scalar tensors", async () => {
  await saveTensors(path, [
    { name: "é", shape: [2, 2], dtype: "F32", data: Float32Array.of(1, -2, 3.5, 0) },
    { name: "b", shape: [3], dtype: "BF16", data: Uint16Array.of(0x3f80, 0xc000, 0x7f80) },
    { name: "i", shape: [2], dtype: "I64", data: BigInt64Array.of(5n, -7n) },
    { name: "none", shape: [0, 4], dtype: "F32", data: new Float32Array(0) },
    { name: "one", shape: [], dtype: "F32", data: Float32Array.of(9) },
  ]);
  const c = await Checkpoint.open(path);
  expect([...(await c.numbers("é"))]).toEqual([1, -2, 3.5, 0]);
  expect([...(await c.numbers("b"))]).toEqual([1, -2, Infinity]);
  expect([...(await c.numbers("i"))]).toEqual([5, -7]);
  expect([...(await c.numbers("none"))]).toEqual([]);
  expect([...(await c.numbers("one"))]).toEqual([9]);
  expect(c.tensors.get("one")?.shape).toEqual([]);
  await expect(c.bytes("bb")).rejects.toThrow(/DSC5020.*nearest: b/s);
  await c.close();
});

test("a synthetic checkpoint in shards, FP8 and bf16, is the generator's own values", async () => {
  const out = join(folder, "synthetic");
  const name = "model.layers.0.self_attn.o_proj.weight";
  const files = await writeSynthetic(
    out,
    [
      { name: "model.embed_tokens.weight", shape: [50, 40], dtype: "BF16" },
      { name, shape: [130, 257], dtype: "F8_E4M3" },
      { name: `${name}_scale_inv`, shape: [2, 3], dtype: "F32" },
      { name: "model.layers.3.mlp.gate.e_score_correction_bias", shape: [256], dtype: "F32" },
    ],
    7,
    { shardBytes: 30_000, ue8m0: true },
  );
  expect(files).toEqual([
    "model-00001-of-00003.safetensors",
    "model-00002-of-00003.safetensors",
    "model-00003-of-00003.safetensors",
    "model.safetensors.index.json",
  ]);
  expect(readdirSync(out).toSorted()).toEqual(files);
  const c = await Checkpoint.open(out);
  const want = new ArrayBuffer(130 * 257);
  fill(want, 0, recipe(7, name, [130, 257], "e4m3"), 0, 130 * 257);
  expect(await c.bytes(name)).toEqual(new Uint8Array(want));
  for (const s of await c.numbers(`${name}_scale_inv`)) expect(Number.isInteger(Math.log2(s))).toBe(true);
  await c.close();

  const index = join(out, "model.safetensors.index.json");
  const good = readFileSync(index, "utf8");
  for (const [bad, message] of [
    [good.replaceAll("model-00001", "../model-00001"), /not a file name in the same folder/],
    [good.replaceAll("00003.safetensors", "00004.safetensors"), /it names/],
    ["{}", /no weight_map/],
    ["[", /DSC5012/],
    [good.replace('"model.embed_tokens.weight"', '"model.embed.weight"'), /which does not hold it/],
  ] as const) {
    writeFileSync(index, bad);
    await expect(Checkpoint.open(out)).rejects.toThrow(/DSC5012/);
    await expect(Checkpoint.open(out)).rejects.toThrow(message);
  }
});

test("the trained model's checkpoint opens", async () => {
  const where = fileURLToPath(new URL("../../examples/tiny-r1", import.meta.url));
  if (!existsSync(where)) return;
  const c = await Checkpoint.open(where);
  expect(c.tensors.get("model.embed_tokens.weight")?.dtype).toBe("BF16");
  await c.close();
});

test("a thousand damaged files open soundly or are refused, never worse", async () => {
  await saveTensors(path, [
    { name: "model.norm.weight", shape: [8], dtype: "BF16", data: new Uint16Array(8) },
    { name: "lm_head.weight", shape: [4, 8], dtype: "F32", data: new Float32Array(32) },
  ]);
  const good = readFileSync(path);
  let state = 1;
  const random = (n: number): number => (state = (Math.imul(state, 1103515245) + 12345) >>> 0) % n;
  for (let i = 0; i < 1000; i++) {
    let bad = Buffer.from(good);
    // Mostly inside the header, where damage matters; sometimes the length prefix, sometimes a cut or a tail.
    for (let k = 0; k <= random(3); k++)
      bad[random(20) ? 8 + random(160) : random(8)] = random(3) ? 0x30 + random(10) : random(256);
    if (random(4) === 0) bad = bad.subarray(0, random(bad.length));
    if (random(4) === 0) bad = Buffer.concat([bad, Buffer.alloc(random(20))]);
    writeFileSync(path, bad);
    const error = await Checkpoint.open(path)
      .then(async (c) => {
        for (const name of c.tensors.keys()) await c.bytes(name);
        await c.close();
      })
      .catch((e: Error) => e);
    if (error) expect(error.message).toMatch(/^error\[DSC5011\]/);
  }
});
