// NaN and infinity in stored values, by what the values are: every code of the formats of one and two bytes, and of f32 those at the
// edges, alone among numbers.
import { expect, test } from "vitest";
import { Finite, firstBad } from "../../runtime/finite.ts";
import { toNumbers } from "../../runtime/safetensors.ts";

const e4m3 = (code: number): number => ((code & 0x7f) === 0x7f ? NaN : code);
const e8m0 = (code: number): number => (code === 0xff ? NaN : code);
const stored = (bytes: Uint8Array, dtype: string): number => toNumbers(bytes, dtype)[0];

const COUNT = 100;
const memory = new WebAssembly.Memory({ initial: 1, maximum: 65536, shared: true });
const finite = new Finite(memory);

test.each<[dtype: string, bytes: number, value: (b: Uint8Array) => number]>([
  ["F8_E4M3", 1, ([b]) => e4m3(b)],
  ["F8_E8M0", 1, ([b]) => e8m0(b)],
  ["U8", 1, ([b]) => e8m0(b)],
  ["BF16", 2, (b) => stored(b, "BF16")],
  ["F16", 2, (b) => stored(b, "F16")],
  ["F32", 4, (b) => stored(b, "F32")],
])("%s: what is no number is found, and nothing else", (dtype, bytes, value) => {
  const edges = [0, 1, 0x7f7fffff, 0x7f800000, 0x7f800001, 0x7fc00000, 0x7fffffff, 0x00800000, 0x3f800000];
  const codes = bytes < 4 ? Array.from({ length: 256 ** bytes }, (_, i) => i) : edges.flatMap((c) => [c, (c | 0x80000000) >>> 0]);
  const room = new Uint8Array(memory.buffer, 64, COUNT * bytes);
  for (const [n, code] of codes.entries()) {
    const element = n % COUNT;
    const at = room.subarray(element * bytes, (element + 1) * bytes);
    for (let b = 0; b < bytes; b++) at[b] = code / 256 ** b;
    const wanted = Number.isFinite(value(at.slice())) ? undefined : element;
    const found = [finite.firstBad(64, room.length, dtype), firstBad(room, dtype)];
    if (found.some((f) => f !== wanted)) expect(found, code.toString(16)).toEqual([wanted, wanted]);
    at.fill(0);
  }
});

test("dtypes that are not looked at have nothing that is no number", () => {
  expect(firstBad(new Uint8Array(16).fill(255), "I64")).toBeUndefined();
});
