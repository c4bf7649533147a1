// What the device checks of FP8 products share: pools of random codes and scales, the same values in float64, sampled places of
// an output, and its distance from the reference. Deterministic, so that a failure comes back.
import { xorshift } from "../../runtime/xorshift.ts";

/** A prime length, so that rows of any width differ. Codes are small and finite; scales lie around 2^-6. */
export const POOL = 4_194_301;
export const codes = new Uint8Array(POOL);
export const scales = new Float32Array(65_521);
export const next = xorshift();
for (let i = 0; i < POOL; i++) {
  const c = next() & 0xff;
  codes[i] = (c & 0x7f) === 0x7f ? 0x38 : c;
}
for (let i = 0; i < scales.length; i++) scales[i] = (0.5 + next() / 2 ** 32) / 64;
/** What each code stands for. */
export const values = Float64Array.from({ length: 256 }, (_, c) => {
  const [e, f] = [(c >> 3) & 15, c & 7];
  return (c & 0x80 ? -1 : 1) * (e ? (1 + f / 8) * 2 ** (e - 7) : (f / 8) * 2 ** -6);
});

export { filled as put, median } from "../../runtime/devices/cuda/launch-time.ts";
export const scaleBytes = new Uint8Array(scales.buffer);

/** Rows and columns worth looking at: corners, edges of tiles, and random ones. */
export function samples(m: number, n: number, random = 200): [number, number][] {
  const edge = (size: number): number[] =>
    [0, 1, 7, 63, 64, 127, 128, size - 129, size - 2, size - 1].filter((i) => i >= 0 && i < size);
  const out: [number, number][] = [];
  for (const r of edge(m)) for (const c of edge(n)) out.push([r, c]);
  for (let i = 0; i < random; i++) out.push([next() % m, next() % n]);
  return out;
}

/** ||y - want|| / ||want|| over places of a bf16 output (indices into it), and how many words of all of it nobody wrote. */
export function distance(
  y: Uint16Array,
  at: readonly number[],
  want: readonly number[],
): { relative: number; unwritten: number } {
  let [error, norm, unwritten] = [0, 0, 0];
  const word = new Uint32Array(1);
  const float = new Float32Array(word.buffer);
  for (const [i, place] of at.entries()) {
    word[0] = y[place] << 16;
    error += (float[0] - want[i]) ** 2;
    norm += want[i] ** 2;
  }
  for (let i = 0; i < y.length; i++) if (y[i] === UNWRITTEN) unwritten++;
  return { relative: Math.sqrt(error / norm), unwritten };
}

/** What an output holds before a launch, every word of it: a NaN no product makes. */
const UNWRITTEN = 0xffff;
