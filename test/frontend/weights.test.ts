// The tensor list of a spec against real files: every checkpoint here holds exactly these names, shapes and dtypes.
import { closeSync, openSync, readSync } from "node:fs";
import { expect, test } from "vitest";
import { loadSpec } from "../../compiler/frontend/config.ts";
import { tensorsOf } from "../../compiler/frontend/weights.ts";
import { fixtures, load, pathOf, supported, withKeys } from "./configs.ts";

type Listing = Record<string, { dtype: string; shape: number[] }>;

function listing(file: string): Listing {
  const fd = openSync(file, "r");
  const size = Buffer.alloc(8);
  readSync(fd, size, 0, 8, 0);
  const header = Buffer.alloc(Number(size.readBigUInt64LE()));
  readSync(fd, header, 0, header.length, 8);
  closeSync(fd);
  const { __metadata__: _, ...tensors } = JSON.parse(header.toString()) as Listing & { __metadata__?: unknown };
  return Object.fromEntries(Object.entries(tensors).map(([k, { dtype, shape }]) => [k, { dtype, shape }]));
}

test.each([...fixtures, "examples/tiny-r1"])("%s", (folder) => {
  // One fixture stores in f32 what its config calls bfloat16, as a converted checkpoint may.
  const f32 = folder.includes("a05");
  const { spec } = loadSpec(pathOf(folder), f32 ? ["torch_dtype=float32"] : []);
  const want: Listing = {};
  for (const t of tensorsOf(spec)) {
    want[t.name] = { dtype: { bf16: "BF16", f32: "F32", e4m3: "F8_E4M3" }[t.dtype], shape: [...t.shape] };
    if (t.scaleName) want[t.scaleName] = { dtype: "F32", shape: [...t.scaleShape!] };
  }
  expect(want).toEqual(listing(pathOf(`${folder}/model.safetensors`)));
});

test("wrapped models prefix their tensors; tied ones have no head; ragged blocks round up", () => {
  const names = [...tensorsOf(load(withKeys(supported["Kimi-VL"], {})).spec)].map((t) => t.name);
  expect(names.every((n) => n.startsWith("language_model."))).toBe(true);
  expect([...tensorsOf(load(supported["Youtu-LLM"]).spec)].some((t) => t.name === "lm_head.weight")).toBe(false);
  const kv = [...tensorsOf(load(supported["DeepSeek-R1"]).spec)].find((t) => t.name.endsWith("kv_a_proj_with_mqa.weight"));
  expect(kv).toMatchObject({ shape: [576, 7168], dtype: "e4m3", scaleShape: [5, 56] });
});
