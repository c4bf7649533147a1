// Exact number formats: bf16, e4m3fn, power-of-two scales, and the 1x128 activation quantisation every target must match.
import type { DType } from "./types.ts";

const f32 = new Float32Array(1);
const u32 = new Uint32Array(f32.buffer);

/** Rounds an f32 value to bf16, to nearest even; NaN stays NaN. */
export function bf16(x: number): number {
  f32[0] = x;
  if (f32[0] !== f32[0]) return NaN;
  u32[0] = (u32[0] + 0x7fff + ((u32[0] >>> 16) & 1)) & 0xffff0000;
  return f32[0];
}

/** Value of every e4m3fn code; 0x7f and 0xff are NaN. */
export const e4m3Values: Float32Array = Float32Array.from({ length: 256 }, (_, c) => {
  const sign = c & 0x80 ? -1 : 1;
  const e = (c >> 3) & 15;
  const m = c & 7;
  return e === 15 && m === 7 ? NaN : e === 0 ? sign * m * 2 ** -9 : sign * (1 + m / 8) * 2 ** (e - 7);
});

/** e4m3fn code of x: to nearest even, saturating at 448. */
export function e4m3Code(x: number): number {
  if (x !== x) return 0x7f;
  const sign = x < 0 || Object.is(x, -0) ? 0x80 : 0;
  const a = Math.min(Math.abs(x), 448);
  // Below 2^-6 the grid is uniform with step 2^-9; above, 8 steps an octave.
  const e = a < 2 ** -6 ? -6 : Math.floor(Math.log2(a));
  const scaled = a / 2 ** (e - 3);
  const down = Math.floor(scaled);
  const rest = scaled - down;
  const m = rest > 0.5 || (rest === 0.5 && down % 2 === 1) ? down + 1 : down;
  return sign | (a < 2 ** -6 ? m : Math.min(((e + 7) << 3) + (m - 8), 0x7e));
}

/** Rounds x to the e4m3 grid. */
export const e4m3 = (x: number): number => e4m3Values[e4m3Code(x)];

/** The smallest power of two that is at least s (s > 0, f32): how ue8m0 scales round. NaN stays NaN. */
export function pow2ceil(s: number): number {
  if (Number.isNaN(s)) return s;
  f32[0] = s;
  u32[0] = (u32[0] + 0x7fffff) & 0xff800000;
  return f32[0];
}

/** Least amax of an activation block, so that a block of zeros has a scale (official kernel.py). */
export const AMAX_FLOOR = Math.fround(1e-4);

let rounds = true;

/** Runs `f` with quantisation left out: codes are the values themselves and scales are 1. What two sides differ by then is no rounding. */
export function withoutRounding<T>(f: () => T): T {
  const before = rounds;
  rounds = false;
  try {
    return f();
  } finally {
    rounds = before;
  }
}

/** Quantises one row in blocks of 128 columns, the last one ragged: code values and f32 scales (SEMANTICS: FP8 checkpoints). */
export function quantizeRow(
  row: ArrayLike<number>,
  start: number,
  k: number,
  ue8m0: boolean,
  codes: Float64Array,
  codesAt: number,
  scales: Float64Array,
  scalesAt: number,
): void {
  if (!rounds) {
    for (let i = 0; i < k; i++) codes[codesAt + i] = row[start + i];
    scales.fill(1, scalesAt, scalesAt + Math.ceil(k / 128));
    return;
  }
  for (let b = 0; b * 128 < k; b++) {
    const end = Math.min(k, (b + 1) * 128);
    let amax = AMAX_FLOOR;
    for (let i = b * 128; i < end; i++) amax = Math.max(amax, Math.abs(Math.fround(row[start + i])));
    let s = Math.fround(amax / 448);
    if (ue8m0) s = pow2ceil(s);
    for (let i = b * 128; i < end; i++) codes[codesAt + i] = e4m3(Math.fround(Math.fround(row[start + i]) / s));
    scales[scalesAt + b] = s;
  }
}

/** Rounds data in place to what a dtype can hold; integers and scaled dtypes are left alone. */
export function roundTo(data: Float64Array, dtype: DType): void {
  if (dtype === "f32") for (let i = 0; i < data.length; i++) data[i] = Math.fround(data[i]);
  else if (dtype === "bf16") for (let i = 0; i < data.length; i++) data[i] = bf16(Math.fround(data[i]));
}
