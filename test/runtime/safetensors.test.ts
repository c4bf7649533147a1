// Headers that lie are refused before any data moves; what the writer writes the reader reads; synthetic checkpoints are exact.
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeEach, describe, expect, test } from "vitest";
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
  ["a dtype that is no word", { a: tensor(["F32"], [1], [0, 4]) }, 4, /a has dtype \["F32"\]/],
  ["a negative length of an unknown dtype", { a: tensor("F31", [1], [4, 0]) }, 4, /-4 bytes/],
  ["half a byte", { a: tensor("F4", [3], [0, 2]) }, 2, /F4 \[3\] takes 1.5/],
  [
    "a key that stands twice",
    '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}',
    2,
    /"a" twice/,
  ],
  ["a member that stands twice", '{"a":{"dtype":"U8","shape":[1],"dtype":"I8","data_offsets":[0,1]}}', 1, /"dtype" twice/],
  [
    "a key that stands twice, one of them escaped",
    '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"\\u0061":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}',
    2,
    /"a" twice/,
  ],
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
  const empty = join(folder, "empty");
  mkdirSync(empty);
  await expect(Checkpoint.open(empty)).rejects.toThrow(/DSC5010.*neither/s);
});

test("tensors of dtypes that are not read, of later versions too, do not keep a file from being opened", async () => {
  write(
    {
      a: tensor("F4", [4], [0, 2]),
      b: tensor("F6_E2M3", [4], [2, 5]),
      c: tensor("C64", [1], [5, 13]),
      d: tensor("F8_E5M2FNUZ", [1], [13, 14]),
      e: tensor("I3_NEW", [9], [14, 16]),
      f: tensor("F64", [1], [16, 24]),
    },
    24,
  );
  const c = await Checkpoint.open(path);
  expect([...c.tensors.values()].map((t) => t.dtype)).toEqual(["F4", "F6_E2M3", "C64", "F8_E5M2FNUZ", "I3_NEW", "F64"]);
  await c.close();
});

test.each<[string, string | Uint8Array, RegExp]>([
  [
    "a Git LFS pointer",
    "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 4\n",
    /Git LFS pointer[^]*git lfs pull/,
  ],
  ["a GGUF file", "GGUF\x03\0\0\0\x10\0\0\0\0\0\0\0", /GGUF/],
  ["a ZIP archive", Uint8Array.of(0x50, 0x4b, 3, 4, 0, 0, 8, 8, 0, 0, 0, 0), /ZIP.*PyTorch/],
  ["a pickle", Uint8Array.of(0x80, 2, 0x7d, 0x71, 0, 0x28, 0x58, 0, 0, 0), /pickle/],
  ["a page", "\n<!DOCTYPE html><html></html>", /web page/],
])("%s in place of a safetensors file is named", async (_, content, message) => {
  writeFileSync(path, content);
  await expect(Checkpoint.open(path)).rejects.toThrow(message);
  await expect(Checkpoint.open(path)).rejects.toThrow(/DSC5014/);
});

test("a header of any length is sound: its first bytes may be those of something else", async () => {
  for (const length of [0x3c, 0x13c, 0x280]) {
    const json = JSON.stringify({ a: tensor("U8", [1], [0, 1]) });
    write(json.padEnd(length), 1);
    await (await Checkpoint.open(path)).close();
  }
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
    ["{}", /no weight_map/],
    ["[", /DSC5012/],
    [
      good.replace(
        '"weight_map": {',
        '"weight_map": {\n"lm_head.weight": "model-00001-of-00003.safetensors", "lm_head.weight": "model-00002-of-00003.safetensors",',
      ),
      /"lm_head.weight" twice/,
    ],
  ] as const) {
    writeFileSync(index, bad);
    await expect(Checkpoint.open(out)).rejects.toThrow(/DSC5012/);
    await expect(Checkpoint.open(out)).rejects.toThrow(message);
  }
});

describe("which files are a checkpoint", () => {
  const where = join(folder, "shards");
  const f32 = (name: string): Parameters<typeof saveTensors>[1][number] => ({
    name,
    shape: [1],
    dtype: "F32",
    data: Float32Array.of(1),
  });
  const [one, two] = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
  const put = (file: string, ...names: string[]): Promise<void> => saveTensors(join(where, file), names.map(f32));
  const index = (map: Record<string, string>): void =>
    writeFileSync(join(where, "model.safetensors.index.json"), JSON.stringify({ weight_map: map }));
  const names = async (from = where): Promise<string> => {
    const c = await Checkpoint.open(from);
    await c.close();
    return [...c.tensors.keys()].join(" ");
  };
  beforeEach(() => rmSync(where, { recursive: true, force: true }));

  test("shards without an index, a single file of any name, and files that are not the model's", async () => {
    await put(one, "a");
    await put(two, "b");
    await put("adapter_model.safetensors", "a");
    expect(await names()).toBe("a b");
    expect(await names(join(where, two))).toBe("b");
    rmSync(where, { recursive: true });
    await put("consolidated.safetensors", "c");
    expect(await names()).toBe("c");
    // One tensor in two files: nothing says which counts.
    await put("other.safetensors", "c");
    await expect(names()).rejects.toThrow(/DSC5012[^]*c is in two shards, consolidated.safetensors and other.safetensors/);
  });

  test("a shard that is not there is named when a tensor is missing, whether an index or the other names tell of it", async () => {
    await put(one, "a");
    const lacking = async (): Promise<string> => {
      const c = await Checkpoint.open(where);
      const e = await c.bytes("b").catch((e: Error) => e.message);
      await c.close();
      return e as string;
    };
    expect(await lacking()).toMatch(/DSC5020[^]*model-00002-of-00002.safetensors is not in[^]*fetch the missing files/);
    index({ a: one, b: two });
    expect(await lacking()).toMatch(/b \(in model-00002-of-00002.safetensors, which is not there\)/);
  });

  test("an index that names what is gone, or places it elsewhere, is no obstacle", async () => {
    await put(one, "a");
    await put(two, "b");
    index({ a: two, b: two, "mtp.c": one, "mtp.d": "mtp.safetensors" });
    expect(await names()).toBe("a b");
    // One none of whose shards is there describes another copy.
    index({ a: "model-00001-of-00007.safetensors" });
    expect(await names()).toBe("a b");
  });

  test("model.safetensors comes before an index that does not name it, as transformers looks", async () => {
    await put("model.safetensors", "a");
    await put(one, "b");
    index({ b: one });
    expect(await names()).toBe("a");
    index({ a: "model.safetensors", b: one });
    expect((await names()).split(" ").toSorted()).toEqual(["a", "b"]);
    writeFileSync(join(where, "model.safetensors.index.json"), "{");
    expect(await names()).toBe("a");
  });

  test.each([
    ["adapter_model.safetensors", /LoRA adapter[^]*merge it/],
    ["model-q4.gguf", /GGUF files are not read/],
    ["pytorch_model-00001-of-00002.bin", /can run code[^]*\.safetensors/],
    ["consolidated.00.pth", /can run code/],
    ["tf_model.h5", /tf_model.h5/],
  ])("a folder with %s only says so", async (file, message) => {
    mkdirSync(where);
    writeFileSync(join(where, file), "x");
    await expect(names()).rejects.toThrow(/DSC5010/);
    await expect(names()).rejects.toThrow(message);
  });

  test("an index that is a Git LFS pointer is named", async () => {
    mkdirSync(where);
    writeFileSync(join(where, "model.safetensors.index.json"), "version https://git-lfs.github.com/spec/v1\n");
    await expect(names()).rejects.toThrow(/DSC5014[^]*git lfs pull/);
  });

  test("a FIFO among the shards is refused, not waited for", async () => {
    mkdirSync(where);
    execFileSync("mkfifo", [join(where, "x.safetensors")]);
    await expect(names()).rejects.toThrow(/DSC5011[^]*no regular file/);
  });
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
