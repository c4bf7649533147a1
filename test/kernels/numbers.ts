// Random values that a dtype can hold, and the two ways a kernel's answer is judged: exact, or close by a stated reason.
import { expect } from "vitest";
import { bf16, e4m3Values } from "../../ir/numeric.ts";

/** Seeded numbers in [0, 1). */
export function randomOf(seed: number): () => number {
  let s = seed;
  return () => {
    s = (s + 0x6d2b79f5) | 0;
    let t = Math.imul(s ^ (s >>> 15), 1 | s);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** n values that a dtype can hold: f32 and bf16 in [-size, size), e4m3 any finite code. */
export function draw(random: () => number, n: number, dtype: "f32" | "bf16" | "e4m3" = "f32", size = 1): Float64Array {
  const out = new Float64Array(n);
  // Loops, not a function for each element: some cases draw millions.
  if (dtype === "e4m3")
    for (let i = 0; i < n; i++) {
      const code = Math.floor(random() * 254);
      out[i] = e4m3Values[code < 127 ? code : code + 1];
    }
  else for (let i = 0; i < n; i++) out[i] = Math.fround((random() * 2 - 1) * size);
  if (dtype === "bf16") for (let i = 0; i < n; i++) out[i] = bf16(out[i]);
  return out;
}

const codeByWord = new Uint8Array(1 << 16);
for (const [code, word] of new Uint32Array(e4m3Values.buffer).entries()) codeByWord[word >>> 16] = code;

/** Codes of e4m3 values; they are told apart by the upper half of an f32. */
export function e4m3Codes(values: ArrayLike<number>): Uint8Array {
  const words = new Uint32Array(new Float32Array(values).buffer);
  const out = new Uint8Array(words.length);
  for (let i = 0; i < out.length; i++) out[i] = codeByWord[words[i] >>> 16];
  return out;
}

/** Positive f32 scales around 1/256, far enough apart that a wrong one shows. */
export const drawScales = (random: () => number, n: number): Float64Array =>
  Float64Array.from({ length: n }, () => Math.fround(2 ** (random() * 6 - 11)));

/** Every value equal in every bit; what names the case. */
export function exact(got: ArrayLike<number>, want: ArrayLike<number>, what: unknown): void {
  if (got.length !== want.length) expect.fail(`${JSON.stringify(what)}: ${got.length} values, want ${want.length}`);
  for (let i = 0; i < got.length; i++)
    if (!Object.is(got[i], want[i])) expect.fail(`${JSON.stringify(what)}: [${i}] is ${got[i]}, want ${want[i]}`);
}

/** |got - want| <= within * size, where size is the sum of magnitudes behind a value (the value itself when absent). */
export function close(
  got: ArrayLike<number>,
  want: ArrayLike<number>,
  what: unknown,
  within: number,
  size: ArrayLike<number> = want,
): void {
  if (got.length !== want.length) expect.fail(`${JSON.stringify(what)}: ${got.length} values, want ${want.length}`);
  for (let i = 0; i < got.length; i++)
    // exp overflows past 88.7: what is divided by it is zero instead of up to 3e-37. Below that no result is relative.
    if (!(Math.abs(got[i] - want[i]) <= within * Math.abs(size[i]) + 3e-37))
      expect.fail(`${JSON.stringify(what)}: [${i}] is ${got[i]}, want ${want[i]} within ${within * Math.abs(size[i])}`);
}
