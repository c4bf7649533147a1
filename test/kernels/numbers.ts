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
  const one = (): number => {
    if (dtype === "e4m3") {
      const code = Math.floor(random() * 254);
      return e4m3Values[code < 127 ? code : code + 1];
    }
    const x = Math.fround((random() * 2 - 1) * size);
    return dtype === "bf16" ? bf16(x) : x;
  };
  return Float64Array.from({ length: n }, one);
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
