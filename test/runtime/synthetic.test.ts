// The generator against the oracle's vectors: keys, hashes, values, bf16 bits, FP8 codes and both kinds of scales.
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { describe as recipe, exponentOf, fill, fnv1a32, formBytes, hashAt, keyOf, kindOf } from "../../runtime/synthetic.ts";
import type { Form } from "../../runtime/synthetic.ts";

interface Vector {
  seed: number;
  name: string;
  shape: number[];
  kind: string;
  fnv1a32: number;
  key: number;
  exponent: number;
  hash: number[];
  f32: number[];
  bf16_bits: number[];
  fp8_codes?: number[];
  fp8_scale_first4?: number[];
  fp8_scale_ue8m0_first4?: number[];
  last_index: number;
  last_f32: number;
}
const vectors = JSON.parse(readFileSync(new URL("../oracle/synthetic_vectors.json", import.meta.url), "utf8")) as Vector[];

function values(v: Vector, form: Form, start: number, count: number): number[] {
  const buffer = new ArrayBuffer(count * formBytes(form));
  fill(buffer, 0, recipe(v.seed, v.name, v.shape, form), start, count);
  const array = form === "bf16" ? Uint16Array : form === "e4m3" ? Uint8Array : Float32Array;
  return [...new array(buffer)];
}

test.each(vectors)("$name", (v) => {
  expect(kindOf(v.name)).toBe(v.kind);
  expect(fnv1a32(v.name)).toBe(v.fnv1a32);
  expect(keyOf(v.seed, v.name)).toBe(v.key);
  expect(exponentOf(kindOf(v.name), v.shape[v.shape.length - 1])).toBe(v.exponent);
  expect(v.hash.map((_, i) => hashAt(v.key, i))).toEqual(v.hash);
  expect(values(v, "f32", 0, 8)).toEqual(v.f32);
  expect(values(v, "f32", v.last_index, 1)).toEqual([v.last_f32]);
  expect(values(v, "bf16", 0, 8)).toEqual(v.bf16_bits);
  const bits = new Uint32Array(Float32Array.from(values(v, "bf16-in-f32", 0, 8)).buffer);
  expect([...bits].map((b) => b >>> 16)).toEqual(v.bf16_bits);
  expect(values(v, "bf16", 5, 3)).toEqual(v.bf16_bits.slice(5));
  if (v.fp8_codes) expect(values(v, "e4m3", 0, 8)).toEqual(v.fp8_codes);
  if (v.fp8_scale_first4) expect(values(v, "scale", 0, 4)).toEqual(v.fp8_scale_first4);
  if (v.fp8_scale_ue8m0_first4) expect(values(v, "scale-ue8m0", 0, 4)).toEqual(v.fp8_scale_ue8m0_first4);
});

test("a name without a rule is refused", () => {
  expect(() => kindOf("model.layers.0.mystery")).toThrow(/DSC5024/);
});
